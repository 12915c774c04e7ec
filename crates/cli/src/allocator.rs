//! The allocator of the program, and its message when no memory is left.
//!
//! Computing with tensors allocates and frees many megabytes all the time. The system's allocator returns such memory
//! to the system at once, and the system has to clear every page of it again. mimalloc keeps the memory for a while.
//!
//! If the system gives no more memory (because of `ulimit -v` or the limit of a container), Rust ends a program by a
//! signal and prints a line that users do not understand. This allocator says what is wrong and what helps, and ends
//! the program with the exit code of any other error.

#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by nature; all calls go on to mimalloc"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::io::Write;

use mimalloc::MiMalloc;

/// The allocator mimalloc, with an understandable message if the memory is exhausted.
pub struct Allocator;

// SAFETY: every call is mimalloc's own, with the same arguments; a null pointer is never returned, which is allowed.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that mimalloc asks for; as in all that follow.
        given(unsafe { MiMalloc.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see `alloc`.
        given(unsafe { MiMalloc.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: see `alloc`.
        given(unsafe { MiMalloc.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: see `alloc`.
        unsafe { MiMalloc.dealloc(old, layout) }
    }
}

fn given(memory: *mut u8, bytes: usize) -> *mut u8 {
    if memory.is_null() {
        end(bytes);
    }
    memory
}

#[cold]
fn end(bytes: usize) -> ! {
    // Nothing may be allocated here.
    let mut line = [0u8; 256];
    let mut rest = &mut line[..];
    let written = write!(
        rest,
        "\nerror: the system has no memory for {bytes} bytes more; take less at a time (--residency stream, --memory, \
         --limit), or lift the bound (ulimit -v)\n"
    );
    let left = rest.len();
    if written.is_ok() {
        let _ = std::io::stderr().write_all(&line[..line.len() - left]);
    }
    std::process::exit(1)
}

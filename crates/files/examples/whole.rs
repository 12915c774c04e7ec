//! Writes a file that is never seen half-done, and sweeps away what a killed process left.
//!
//! `cargo run --example whole`

use std::io::Write;

use interlingua_files::{Partial, sweep, write};

fn main() -> std::io::Result<()> {
    let folder = std::env::temp_dir().join(format!("interlingua-whole-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let target = folder.join("numbers.txt");

    // In one piece.
    write(&target, b"1 2 3\n")?;
    // In many: until `finish`, readers see the earlier file.
    let partial = Partial::file(&target)?;
    for number in 4..8 {
        writeln!(partial.handle(), "{number}")?;
    }
    println!("before: {:?}", std::fs::read_to_string(&target)?);
    partial.finish()?;
    println!("after:  {:?}", std::fs::read_to_string(&target)?);

    // A name without a lock is what a killed process leaves; one in use is kept.
    std::fs::write(folder.join("numbers.txt.1-0.partial"), "hal")?;
    let busy = Partial::file(&target)?;
    println!("swept:  {} file", sweep(&folder)?.len());
    println!("in use: {}", busy.path().exists());
    drop(busy);
    std::fs::remove_dir_all(&folder)
}

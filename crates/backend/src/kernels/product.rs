//! The kernel of matrix products `A · B`, with `B` laid out beforehand for any number of products.
//!
//! `B` is stored in [panels](super::panels). A few rows of `A` at a time are laid out in the same way and used for every
//! `B`. The terms of a sum and their order depend on the depth only, never on the number of threads, nor on the rows and
//! columns that are computed beside it.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::coded::RUN;
use super::lanes::{HIGHEST, Registers, registers};
use super::panels::{
    DEPTH, LINE, Line, Panels, Slab, View, WIDEST, depths, lay_out_panels, lay_out_rows, numbers,
    numbers_mut, width,
};

/// Rows that are laid out at once: with [`DEPTH`] numbers each they stay in the second cache. A
/// multiple of the height of the highest tile.
const ROWS: usize = 48;

/// Columns of [`DEPTH`] that are laid out at once for each thread where `b` is used once: they stay in
/// a shared cache.
const COLUMNS: usize = if cfg!(test) { WIDEST } else { 512 };

/// Products of fewer multiplications are not worth handing to other threads.
const WORTH_SHARING: usize = if cfg!(test) { 1 } else { 1 << 17 };

/// One factor `B` of [`products`].
#[derive(Debug, Clone)]
pub struct Factor<'a> {
    /// The matrix.
    pub panels: &'a Panels,
    /// The columns of it that are used.
    pub columns: Range<usize>,
    /// The bias that is added to every row, with one value for each of these columns.
    pub bias: Option<&'a [f32]>,
}

impl<'a> Factor<'a> {
    /// Makes a factor of all columns of a matrix.
    pub fn whole(panels: &'a Panels, bias: Option<&'a [f32]>) -> Factor<'a> {
        Factor {
            panels,
            columns: 0..panels.columns,
            bias,
        }
    }
}

/// Computes `a · b + bias` for several `b`, row-major.
///
/// # Shapes
/// `a` is `[rows, depth]`, and each result is `[rows, columns]`.
///
/// # Panics
/// If the depths differ, or if a factor names columns that do not exist.
pub fn products(a: View<'_>, factors: &[Factor<'_>]) -> Vec<Vec<f32>> {
    let [_, depth] = a.dims();
    let mut asked = Vec::with_capacity(factors.len());
    for factor in factors {
        assert_eq!(factor.panels.depth, depth, "inner dimensions of a product");
        assert!(factor.columns.end <= factor.panels.columns, "columns");
        let biases = factor.bias.map_or(factor.columns.len(), <[f32]>::len);
        assert_eq!(biases, factor.columns.len(), "one bias per column");
        asked.push((factor.columns.clone(), factor.bias));
    }
    let rows = a.rows;
    let mut results: Vec<Vec<f32>> = asked
        .iter()
        .map(|(columns, _)| Vec::with_capacity(rows * columns.len()))
        .collect();
    let asked = asked
        .into_iter()
        .zip(&mut results)
        .map(|((columns, bias), result)| {
            let rows = rows_of(result, rows, columns.len());
            (columns, bias, rows)
        });
    let mut tasks = Tasks::new(a, asked.collect());
    tasks.each(|task| {
        for depth in depths(depth) {
            let slabs: Vec<Slab<'_>> = factors.iter().map(|f| f.panels.slab(&depth)).collect();
            task.run(&depth, &slabs);
        }
    });
    drop(tasks);
    for (result, factor) in results.iter_mut().zip(factors) {
        finish(result, rows, factor.columns.len(), depth, factor.bias);
    }
    results
}

/// Computes `a · b` for a `b` that is used once, of which only a part is laid out at a time.
///
/// # Shapes
/// `a` is `[rows, depth]` and `b` is `[depth, columns]`; the result is `[rows, columns]`, row-major.
///
/// # Panics
/// If the depths differ.
pub fn product(a: View<'_>, b: View<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    product_in(Vec::new(), a, b, bias)
}

/// Computes [`product`] and reuses the memory of `room` for the result if it is large enough.
pub fn product_in(room: Vec<f32>, a: View<'_>, b: View<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let ([_, depth], [of_b, columns]) = (a.dims(), b.dims());
    assert_eq!(depth, of_b, "inner dimensions of a product");
    let biases = bias.map_or(columns, <[f32]>::len);
    assert_eq!(biases, columns, "one bias per column");
    let width = width();
    let step = COLUMNS * rayon::current_num_threads();
    let mut slab = SLAB.take();
    let panels = columns.min(step).div_ceil(width * LINE);
    enlarge(
        &mut slab,
        depth.min(DEPTH) * panels * width,
        Line([0.0; LINE]),
    );
    let mut result = room;
    let mut rows = rows_of(&mut result, a.rows, columns);
    for start in (0..columns).step_by(step) {
        let now = start..(start + step).min(columns);
        let own = rows
            .iter_mut()
            .map(|row| row.split_off_mut(..now.len()).expect("as wide"));
        let bias = bias.map(|bias| &bias[now.clone()]);
        let mut tasks = Tasks::new(a, vec![(0..now.len(), bias, own.collect())]);
        for depth in depths(depth) {
            lay_out_panels(b, now.clone(), depth.clone(), width, &mut slab);
            tasks.each(|task| task.run(&depth, &[Slab::Whole(&slab)]));
        }
    }
    drop(rows);
    SLAB.set(slab);
    finish(&mut result, a.rows, columns, depth, bias);
    result
}

/// Room for each row of a result.
fn rows_of(result: &mut Vec<f32>, rows: usize, columns: usize) -> Vec<&mut [MaybeUninit<f32>]> {
    result.clear();
    result.reserve_exact(rows * columns);
    let room = &mut result.spare_capacity_mut()[..rows * columns];
    match columns {
        0 => (0..rows).map(|_| Default::default()).collect(),
        _ => room.chunks_exact_mut(columns).collect(),
    }
}

/// Makes the rows of [`rows_of`], which tasks have written, the values of the result.
fn finish(result: &mut Vec<f32>, rows: usize, columns: usize, depth: usize, bias: Option<&[f32]>) {
    if depth == 0 {
        // Sums of nothing, which no task writes.
        result.resize(rows * columns, 0.0);
        if let Some(bias) = bias.filter(|b| !b.is_empty()) {
            for row in result.chunks_exact_mut(columns) {
                row.copy_from_slice(bias);
            }
        }
        return;
    }
    // SAFETY: there is room for them, and the tasks, which share out all rows and columns, wrote
    // every number at the first depth.
    unsafe { result.set_len(rows * columns) };
}

thread_local! {
    /// What [`product`] lays `b` out in. Memory that is used again need not be cleared again.
    static SLAB: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    /// What a task lays its rows of `a` out in.
    static STRIPS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    /// What a task widens a panel in.
    static WIDENED: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// At least so long; what is there stays.
fn enlarge<T: Copy>(values: &mut Vec<T>, len: usize, with: T) {
    if values.len() < len {
        values.resize(len, with);
    }
}

/// Columns of a result: which of those that are laid out, what is added, and the place of each row.
type Asked<'a> = (
    Range<usize>,
    Option<&'a [f32]>,
    Vec<&'a mut [MaybeUninit<f32>]>,
);

/// Everything there is to do, cut into pieces that do not depend on each other.
struct Tasks<'a> {
    tasks: Vec<Task<'a>>,
    /// Whether there is enough to do for more threads than one.
    shared: bool,
}

impl<'a> Tasks<'a> {
    fn new(a: View<'a>, asked: Vec<Asked<'a>>) -> Tasks<'a> {
        let blocks = a.rows.div_ceil(ROWS);
        let threads = rayon::current_num_threads();
        let columns: usize = asked.iter().map(|(columns, ..)| columns.len()).sum();
        let shared = threads > 1 && a.rows * a.columns * columns >= WORTH_SHARING;
        // Few rows are also cut by columns, so that every thread has something to do.
        let splits = match shared {
            true => (2 * threads).div_ceil(blocks.max(1)),
            false => 1,
        };
        let mut tasks: Vec<Task<'a>> = (0..blocks * splits)
            .map(|at| Task {
                a,
                rows: at / splits * ROWS..(at / splits * ROWS + ROWS).min(a.rows),
                parts: Vec::with_capacity(asked.len()),
            })
            .collect();
        for (columns, bias, rows) in asked {
            let step = columns.len().div_ceil(splits).next_multiple_of(WIDEST);
            let at = |split: usize| (split * step).min(columns.len());
            for (task, split) in tasks.iter_mut().zip((0..splits).cycle()) {
                let part = at(split)..at(split + 1);
                task.parts.push(Part {
                    columns: columns.start + part.start..columns.start + part.end,
                    bias: bias.map(|b| &b[part]),
                    rows: Vec::with_capacity(task.rows.len()),
                });
            }
            for (at, mut row) in rows.into_iter().enumerate() {
                for task in &mut tasks[at / ROWS * splits..][..splits] {
                    let part = task.parts.last_mut().expect("pushed just above");
                    let own = row.split_off_mut(..part.columns.len());
                    part.rows.push(own.expect("as wide as all parts"));
                }
            }
        }
        tasks.retain(|task| task.parts.iter().any(|part| !part.columns.is_empty()));
        Tasks { tasks, shared }
    }

    fn each(&mut self, work: impl Fn(&mut Task<'a>) + Send + Sync) {
        match self.shared {
            false => self.tasks.iter_mut().for_each(work),
            true => self.tasks.par_iter_mut().for_each(work),
        }
    }
}

/// Some rows of the results, for some columns.
struct Task<'a> {
    a: View<'a>,
    rows: Range<usize>,
    parts: Vec<Part<'a>>,
}

/// Some columns of one result.
struct Part<'a> {
    columns: Range<usize>,
    bias: Option<&'a [f32]>,
    /// The place of each row.
    rows: Vec<&'a mut [MaybeUninit<f32>]>,
}

impl Task<'_> {
    /// Adds the products at one depth; `slabs`: all panels of that depth, for each part.
    fn run(&mut self, depth: &Range<usize>, slabs: &[Slab<'_>]) {
        let registers = registers();
        match registers.width() {
            WIDEST => run::<WIDEST>(self, depth, slabs, registers),
            _ => run::<LINE>(self, depth, slabs, registers),
        }
    }
}

/// A few rows of a task that go through the panels together.
struct Strip {
    /// Counted from the task's first.
    rows: Range<usize>,
    /// Rows of the tile, of which the last ones may be nobody's.
    height: usize,
}

/// Cuts rows into tiles: the highest first, and for the rest the lowest that holds it, since a tile costs what its height says.
fn strips(rows: usize, heights: &[usize]) -> Vec<Strip> {
    let highest = heights[0];
    let strip = |start: usize| {
        let left = (rows - start).min(highest);
        let holds = heights.iter().filter(|&&height| height >= left);
        Strip {
            rows: start..start + left,
            height: holds.min().copied().unwrap_or(highest),
        }
    };
    (0..rows).step_by(highest).map(strip).collect()
}

/// By tiles of `N` columns.
fn run<const N: usize>(
    task: &mut Task<'_>,
    depth: &Range<usize>,
    slabs: &[Slab<'_>],
    registers: Registers,
) {
    let [_, total] = task.a.dims();
    let strips = strips(task.rows.len(), registers.heights());
    let numbers_of = |strip: &Strip| strip.height * depth.len();
    let mut buffer = STRIPS.take();
    enlarge(&mut buffer, strips.iter().map(numbers_of).sum(), 0.0);
    let mut rest = buffer.as_mut_slice();
    for strip in &strips {
        let (out, after) = rest.split_at_mut(numbers_of(strip));
        let row = task.rows.start + strip.rows.start;
        lay_out_rows(task.a, row, strip.height, depth, out);
        rest = after;
    }
    let mut widened = WIDENED.take();
    for (part, slab) in task.parts.iter_mut().zip(slabs) {
        let Range { start, end } = part.columns;
        let panel_lines = depth.len() * N / LINE;
        for panel in start / N..end.div_ceil(N) {
            let b = match slab {
                Slab::Whole(lines) => {
                    Side::Whole(numbers(&lines[panel * panel_lines..][..panel_lines]))
                }
                narrow if strips.len() > 1 => {
                    enlarge(&mut widened, panel_lines, Line([0.0; LINE]));
                    let out = numbers_mut(&mut widened[..panel_lines]);
                    narrow.widen(panel, depth, out);
                    Side::Whole(out)
                }
                narrow => Side::Narrow(*narrow, panel, depth),
            };
            // The columns of this panel that are asked for.
            let asked = start.max(panel * N)..end.min((panel + 1) * N);
            let place = Place {
                cells: asked.start - start..asked.end - start,
                sums: asked.start - panel * N..asked.end - panel * N,
                first: depth.start == 0,
            };
            let mut rest = buffer.as_slice();
            for strip in &strips {
                let (a, after) = rest.split_at(numbers_of(strip));
                let rows = &mut part.rows[strip.rows.clone()];
                rows.iter().for_each(|row| soon(&row[place.cells.start..]));
                let mut sums = [[0.0; N]; HIGHEST];
                multiply(&mut sums, (registers, strip.height), a, b);
                place.fill(rows, &sums);
                rest = after;
            }
        }
        if let Some(bias) = part.bias.filter(|_| depth.end == total) {
            part.rows.iter_mut().for_each(|row| add(row, bias));
        }
    }
    STRIPS.set(buffer);
    WIDENED.set(widened);
}

/// A panel that a tile multiplies with.
#[derive(Clone, Copy)]
enum Side<'a> {
    /// Its numbers.
    Whole(&'a [f32]),
    /// Where it is in few bits, and the depth.
    Narrow(Slab<'a>, usize, &'a Range<usize>),
}

/// Where the sums of a panel belong.
struct Place {
    /// Cells of the rows.
    cells: Range<usize>,
    /// Columns of the panel.
    sums: Range<usize>,
    /// Whether nothing is there yet.
    first: bool,
}

impl Place {
    #[inline(always)]
    fn fill<const N: usize>(
        &self,
        rows: &mut [&mut [MaybeUninit<f32>]],
        sums: &[[f32; N]; HIGHEST],
    ) {
        for (row, sums) in rows.iter_mut().zip(sums) {
            let cells = &mut row[self.cells.clone()];
            let sums = &sums[self.sums.clone()];
            match self.first {
                true => write(cells, sums),
                false => add(cells, sums),
            }
        }
    }
}

/// Has the first of some cells brought near while something else is done.
#[inline(always)]
fn soon(cells: &[MaybeUninit<f32>]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads and writes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(cells.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = cells;
}

#[inline(always)]
fn write(cells: &mut [MaybeUninit<f32>], sums: &[f32]) {
    for (cell, sum) in cells.iter_mut().zip(sums) {
        cell.write(*sum);
    }
}

/// Adds to cells that [`write`] filled at the first depth.
#[inline(always)]
fn add(cells: &mut [MaybeUninit<f32>], sums: &[f32]) {
    for (cell, sum) in cells.iter_mut().zip(sums) {
        // SAFETY: `run` writes every cell of a task at the first depth, and adds after that.
        unsafe { *cell.assume_init_mut() += sum };
    }
}

/// Adds `Σ a · b` over the depth, `a` and `b` laid out.
fn multiply<const N: usize>(
    sums: &mut [[f32; N]; HIGHEST],
    (registers, height): (Registers, usize),
    a: &[f32],
    b: Side<'_>,
) {
    let sums = sums.as_flattened_mut();
    let (slab, panel, depth) = match b {
        Side::Whole(b) => return registers.multiply(height, sums, a, b),
        Side::Narrow(slab, panel, depth) => (slab, panel, depth),
    };
    let mut b = [[0.0; N]; RUN];
    for (start, a) in (depth.clone().step_by(RUN)).zip(a.chunks_exact(RUN * height)) {
        slab.widen(panel, &(start..start + RUN), b.as_flattened_mut());
        registers.multiply(height, sums, a, b.as_flattened());
    }
}

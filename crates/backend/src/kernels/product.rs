//! The kernel of matrix products `A · B`, with `B` laid out beforehand for any number of products.
//!
//! `B` is stored in panels of a few columns, so that each step along the depth reads one aligned piece of memory. A
//! few rows of `A` at a time are laid out in the same way and used for every `B`. The terms of a sum and their order
//! depend on the shapes only, never on the number of threads.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;

use multiversion::multiversion;
use multiversion::target::target_cfg_f;
use rayon::prelude::*;

use super::math::multiply_add;

/// Depth that is multiplied at once, before sums are written.
const DEPTH: usize = 1024;

/// Rows that are laid out at once: with [`DEPTH`] numbers each they stay in the second cache. A
/// multiple of the height of the highest tile.
const ROWS: usize = 48;

/// Columns of [`DEPTH`] that are laid out at once for each thread where `b` is used once: they stay in
/// a shared cache.
const COLUMNS: usize = if cfg!(test) { WIDEST } else { 512 };

/// Products of fewer multiplications are not worth handing to other threads.
const WORTH_SHARING: usize = if cfg!(test) { 1 } else { 1 << 17 };

/// Steps of depth between two tests for the end.
const UNROLLED: usize = 4;

/// Numbers that lie in one cache line.
const LINE: usize = 16;

/// The number of columns of the widest panel.
pub const WIDEST: usize = 2 * LINE;

/// One cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// A view of a matrix in memory.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// Whether the values are those of the transpose, row by row.
    transposed: bool,
}

impl<'a> View<'a> {
    /// Makes a view of row-major values.
    ///
    /// # Panics
    /// If the number of values is not `rows · columns`.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> View<'a> {
        let len = values.len();
        assert_eq!(len, rows * columns, "{len} values for [{rows}, {columns}]");
        View {
            values,
            rows,
            columns,
            transposed: false,
        }
    }

    /// Returns the transpose, without moving any values.
    pub fn transpose(self) -> View<'a> {
        View {
            rows: self.columns,
            columns: self.rows,
            transposed: !self.transposed,
            ..self
        }
    }

    /// Returns the number of rows and the number of columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    /// Writes some rows side by side: `out[N · depth + lane]` is of row `first + lane`.
    ///
    /// Lanes beyond the last row are left as they are.
    #[inline(always)]
    fn lay_out<const N: usize>(&self, first: usize, depth: Range<usize>, out: &mut [f32]) {
        let rows = N.min(self.rows - first);
        let (out, _) = out.as_chunks_mut::<N>();
        if self.transposed {
            for (d, out) in depth.zip(out) {
                let row = &self.values[d * self.rows + first..];
                match row.first_chunk::<N>().filter(|_| rows == N) {
                    Some(row) => *out = *row,
                    None => out[..rows].copy_from_slice(&row[..rows]),
                }
            }
            return;
        }
        let row = |lane: usize| &self.values[(first + lane) * self.columns..][depth.clone()];
        if rows < N {
            for lane in 0..rows {
                for (out, &x) in out.iter_mut().zip(row(lane)) {
                    out[lane] = x;
                }
            }
            return;
        }
        let rows: [&[f32]; N] = std::array::from_fn(row);
        // Four rows at a time: many rows a power of two apart would drive each other out of the
        // nearest cache.
        for lane in (0..N / 4 * 4).step_by(4) {
            let rows: [&[f32]; 4] = std::array::from_fn(|i| rows[lane + i]);
            for (d, out) in out.iter_mut().enumerate() {
                for i in 0..4 {
                    out[lane + i] = rows[i][d];
                }
            }
        }
        for lane in N / 4 * 4..N {
            for (out, &x) in out.iter_mut().zip(rows[lane]) {
                out[lane] = x;
            }
        }
    }
}

/// The factor `B` of a product in its layout for the kernel.
#[derive(Debug, Clone)]
pub struct Panels {
    /// For each run of [`DEPTH`], for each panel: `depth × width`.
    lines: Vec<Line>,
    depth: usize,
    columns: usize,
    /// Lines that are side by side in a panel.
    width: usize,
}

impl Panels {
    /// Lays out a matrix, on all threads.
    pub fn new(b: View<'_>) -> Panels {
        let [depth, columns] = b.dims();
        let mut panels = Panels::zeros(depth, columns);
        panels.set(b, 0);
        panels
    }

    /// Makes a matrix of zeros, `depth × columns`.
    pub fn zeros(depth: usize, columns: usize) -> Panels {
        let width = width();
        let lines = depth * columns.div_ceil(width * LINE) * width;
        Panels {
            lines: vec![Line([0.0; LINE]); lines],
            depth,
            columns,
            width,
        }
    }

    /// Sets some columns; the first of them must be a multiple of [`WIDEST`].
    ///
    /// # Panics
    /// If it is not, if `b` has another depth, or if it extends beyond the last column.
    pub fn set(&mut self, b: View<'_>, first: usize) {
        let [depth, columns] = b.dims();
        assert_eq!(depth, self.depth, "depth of the columns");
        assert!(first + columns <= self.columns, "columns beyond the last");
        assert!(first.is_multiple_of(WIDEST), "columns from within a panel");
        let panels = self.columns.div_ceil(self.width * LINE);
        for depth in depths(self.depth) {
            let before = depth.start * panels + first / (self.width * LINE) * depth.len();
            let lines = &mut self.lines[before * self.width..];
            lay_out_panels(b, 0..columns, depth, self.width, lines);
        }
    }

    /// Returns the depth and the number of columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.depth, self.columns]
    }

    /// Appends one column to `out`.
    ///
    /// # Panics
    /// If the column does not exist.
    pub fn push_column(&self, column: usize, out: &mut Vec<f32>) {
        assert!(column < self.columns, "a column beyond the last");
        let (panel, lane) = (column / (self.width * LINE), column % (self.width * LINE));
        for depth in depths(self.depth) {
            let lines = depth.len() * self.width;
            let lines = &self.slab(&depth)[panel * lines..][..lines];
            let lines = lines[lane / LINE..].iter().step_by(self.width);
            out.extend(lines.map(|line| line.0[lane % LINE]));
        }
    }

    /// All panels of a run of depth.
    fn slab(&self, depth: &Range<usize>) -> &[Line] {
        let panels = self.columns.div_ceil(self.width * LINE);
        &self.lines[depth.start * panels * self.width..depth.end * panels * self.width]
    }
}

/// Lays out some columns of `b` at some depth, on all threads; `lines` begin with their place.
fn lay_out_panels(
    b: View<'_>,
    columns: Range<usize>,
    depth: Range<usize>,
    width: usize,
    lines: &mut [Line],
) {
    let panel = depth.len() * width;
    let lay_out = |(at, out): (usize, &mut [Line])| {
        let first = columns.start + at * width * LINE;
        lay_out_panel(b.transpose(), first, depth.clone(), out);
    };
    lines[..columns.len().div_ceil(width * LINE) * panel]
        .par_chunks_exact_mut(panel)
        .enumerate()
        .for_each(lay_out);
}

#[multiversion(targets = "simd")]
fn lay_out_panel(columns: View<'_>, first: usize, depth: Range<usize>, out: &mut [Line]) {
    let width = out.len() / depth.len();
    // SAFETY: as in `numbers`, and nobody else has them.
    let out = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), out.len() * LINE) };
    match width {
        1 => columns.lay_out::<LINE>(first, depth, out),
        _ => columns.lay_out::<WIDEST>(first, depth, out),
    }
}

/// The numbers of some lines.
#[inline(always)]
fn numbers(lines: &[Line]) -> &[f32] {
    // SAFETY: a `Line` is sixteen numbers without padding, of a stricter alignment.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LINE) }
}

/// Runs of at most [`DEPTH`].
fn depths(depth: usize) -> impl Iterator<Item = Range<usize>> {
    (0..depth)
        .step_by(DEPTH)
        .map(move |start| start..(start + DEPTH).min(depth))
}

/// Lines that are side by side in a panel: two for registers of 512 bits.
fn width() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd");
        if wide { 2 } else { 1 }
    }
    #[cfg(not(target_arch = "x86_64"))]
    1
}

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
            let slabs: Vec<&[Line]> = factors.iter().map(|f| f.panels.slab(&depth)).collect();
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
            tasks.each(|task| task.run(&depth, &[&slab]));
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
    fn run(&mut self, depth: &Range<usize>, slabs: &[&[Line]]) {
        match width() {
            1 => run_narrow(self, depth, slabs),
            _ => run_wide(self, depth, slabs),
        }
    }
}

#[multiversion(targets = "simd")]
fn run_narrow(task: &mut Task<'_>, depth: &Range<usize>, slabs: &[&[Line]]) {
    // Twelve registers of sums, two for a line, one for a number of a row.
    const FUSED: bool = target_cfg_f!(any(target_feature = "fma", target_arch = "aarch64"));
    run::<LINE, FUSED>(task, depth, slabs, &[6, 4, 2, 1]);
}

#[multiversion(targets = "simd")]
fn run_wide(task: &mut Task<'_>, depth: &Range<usize>, slabs: &[&[Line]]) {
    // Twenty-four registers of sums, two for two lines, one for a number of a row.
    const FUSED: bool = target_cfg_f!(target_feature = "fma");
    run::<WIDEST, FUSED>(task, depth, slabs, &[12, 8, 4, 2, 1]);
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

/// By tiles of these heights, highest first, and `N` columns; `FUSED`: whether a multiplication and an addition are one.
#[inline(always)]
fn run<const N: usize, const FUSED: bool>(
    task: &mut Task<'_>,
    depth: &Range<usize>,
    slabs: &[&[Line]],
    heights: &[usize],
) {
    let [_, total] = task.a.dims();
    let strips = strips(task.rows.len(), heights);
    let numbers_of = |strip: &Strip| strip.height * depth.len();
    let mut buffer = STRIPS.take();
    enlarge(&mut buffer, strips.iter().map(numbers_of).sum(), 0.0);
    let mut rest = buffer.as_mut_slice();
    for strip in &strips {
        let (out, after) = rest.split_at_mut(numbers_of(strip));
        let row = task.rows.start + strip.rows.start;
        match strip.height {
            1 => task.a.lay_out::<1>(row, depth.clone(), out),
            2 => task.a.lay_out::<2>(row, depth.clone(), out),
            4 => task.a.lay_out::<4>(row, depth.clone(), out),
            6 => task.a.lay_out::<6>(row, depth.clone(), out),
            8 => task.a.lay_out::<8>(row, depth.clone(), out),
            _ => task.a.lay_out::<12>(row, depth.clone(), out),
        }
        rest = after;
    }
    for (part, slab) in task.parts.iter_mut().zip(slabs) {
        let Range { start, end } = part.columns;
        let panel_lines = depth.len() * N / LINE;
        for panel in start / N..end.div_ceil(N) {
            let b = numbers(&slab[panel * panel_lines..][..panel_lines]);
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
                match strip.height {
                    1 => place.fill::<1, N, FUSED>(rows, a, b),
                    2 => place.fill::<2, N, FUSED>(rows, a, b),
                    4 => place.fill::<4, N, FUSED>(rows, a, b),
                    6 => place.fill::<6, N, FUSED>(rows, a, b),
                    8 => place.fill::<8, N, FUSED>(rows, a, b),
                    _ => place.fill::<12, N, FUSED>(rows, a, b),
                }
                rest = after;
            }
        }
        if let Some(bias) = part.bias.filter(|_| depth.end == total) {
            part.rows.iter_mut().for_each(|row| add(row, bias));
        }
    }
    STRIPS.set(buffer);
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
    /// Multiplies the rows of a strip, at most `M`, with a panel.
    #[inline(always)]
    fn fill<const M: usize, const N: usize, const FUSED: bool>(
        &self,
        rows: &mut [&mut [MaybeUninit<f32>]],
        a: &[f32],
        b: &[f32],
    ) {
        rows.iter().for_each(|row| soon(&row[self.cells.start..]));
        if rows.len() == M && self.cells.len() == N {
            // All sizes are known: sums go from registers straight to their place.
            let sums = tile::<M, N, FUSED>(a, b);
            for i in 0..M {
                let cells = rows[i][self.cells.start..].first_chunk_mut::<N>();
                let cells = cells.expect("as many as the panel is wide");
                match self.first {
                    true => write(cells, &sums[i]),
                    false => add(cells, &sums[i]),
                }
            }
            return;
        }
        // By itself, so that only these sums have to be in memory.
        let sums = tile::<M, N, FUSED>(a, b);
        for (row, sums) in rows.iter_mut().zip(&sums) {
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

/// `Σ a · b` over the depth, `a` and `b` laid out.
#[inline(always)]
fn tile<const M: usize, const N: usize, const FUSED: bool>(a: &[f32], b: &[f32]) -> [[f32; N]; M] {
    let mut sums = [[0.0; N]; M];
    let (a, _) = a.as_chunks::<M>();
    let (b, _) = b.as_chunks::<N>();
    let (a, a_rest) = a.as_chunks::<UNROLLED>();
    let (b, b_rest) = b.as_chunks::<UNROLLED>();
    for (a, b) in a.iter().zip(b) {
        for at in 0..UNROLLED {
            step::<M, N, FUSED>(&mut sums, &a[at], &b[at]);
        }
    }
    for (a, b) in a_rest.iter().zip(b_rest) {
        step::<M, N, FUSED>(&mut sums, a, b);
    }
    sums
}

/// One place of the depth. A closure here need not be inlined, and outside the function that was compiled for an
/// instruction set every multiplication would be a call.
#[inline(always)]
fn step<const M: usize, const N: usize, const FUSED: bool>(
    sums: &mut [[f32; N]; M],
    a: &[f32; M],
    b: &[f32; N],
) {
    for i in 0..M {
        for j in 0..N {
            sums[i][j] = multiply_add::<FUSED>(a[i], b[j], sums[i][j]);
        }
    }
}

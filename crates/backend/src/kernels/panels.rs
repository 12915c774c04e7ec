//! Matrices that are laid out before their products, in panels of a few columns, so that each step along the depth reads
//! one aligned piece of memory.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;

use super::coded::Coded;
use super::halves::Halves;
use super::lanes::registers;
use super::narrow::{Codes, Coding, Half};

/// Depth that is multiplied at once, before sums are written.
pub(super) const DEPTH: usize = 1024;

/// Numbers that lie in one cache line.
pub(super) const LINE: usize = 16;

/// The number of columns of the widest panel.
pub const WIDEST: usize = 2 * LINE;

/// One cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; LINE]);

/// A view of a matrix in memory.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    values: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
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

    /// Returns the values, and how far apart in them neighbours in a column and in a row are.
    pub(super) fn strided(&self) -> (&'a [f32], [isize; 2]) {
        let strides = match self.transposed {
            true => [1, self.rows as isize],
            false => [self.columns as isize, 1],
        };
        (self.values, strides)
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
    values: Values,
    pub(super) depth: usize,
    pub(super) columns: usize,
    /// Lines that are side by side in a panel.
    width: usize,
}

#[derive(Debug, Clone)]
enum Values {
    /// For each run of [`DEPTH`], for each panel: `depth × width`.
    Whole(Vec<Line>),
    /// In few bits, to be widened as they are multiplied.
    Coded(Coded),
    /// In half precision, to be widened as they are multiplied.
    Halves(Halves),
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
            values: Values::Whole(vec![Line([0.0; LINE]); lines]),
            depth,
            columns,
            width,
        }
    }

    /// Lays out the transpose of a matrix that is read as codes, some rows at a time, on all threads.
    ///
    /// # Errors
    /// Whatever `read` returns.
    ///
    /// # Panics
    /// As [`Coded::read`].
    pub fn read<E: Send>(
        [columns, depth]: [usize; 2],
        coding: Coding,
        read: impl Fn(Range<usize>) -> Result<Codes, E> + Sync,
    ) -> Result<Panels, E> {
        let width = width();
        let coded = Coded::read((depth, columns, width * LINE), coding, read)?;
        Ok(Panels {
            values: Values::Coded(coded),
            depth,
            columns,
            width,
        })
    }

    /// Does the same with a matrix of half precision.
    ///
    /// # Errors
    /// Whatever `read` returns.
    ///
    /// # Panics
    /// As [`Halves::read`].
    pub fn read_halves<E: Send>(
        [columns, depth]: [usize; 2],
        half: Half,
        read: impl Fn(Range<usize>) -> Result<Vec<u16>, E> + Sync,
    ) -> Result<Panels, E> {
        let width = width();
        let halves = Halves::read((depth, columns, width * LINE), half, read)?;
        Ok(Panels {
            values: Values::Halves(halves),
            depth,
            columns,
            width,
        })
    }

    /// Sets some columns; the first of them must be a multiple of [`WIDEST`].
    ///
    /// # Panics
    /// If it is not, if `b` has another depth, if it extends beyond the last column, or if the values are in few bits.
    pub fn set(&mut self, b: View<'_>, first: usize) {
        let Values::Whole(lines) = &mut self.values else {
            panic!("numbers of few bits do not change");
        };
        let [depth, columns] = b.dims();
        assert_eq!(depth, self.depth, "depth of the columns");
        assert!(first + columns <= self.columns, "columns beyond the last");
        assert!(first.is_multiple_of(WIDEST), "columns from within a panel");
        let panels = self.columns.div_ceil(self.width * LINE);
        for depth in depths(self.depth) {
            let before = depth.start * panels + first / (self.width * LINE) * depth.len();
            let lines = &mut lines[before * self.width..];
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
        let whole = match &self.values {
            Values::Whole(lines) => lines,
            Values::Coded(coded) => return coded.push_column(column, out),
            Values::Halves(halves) => return halves.push_column(column, out),
        };
        let (panel, lane) = (column / (self.width * LINE), column % (self.width * LINE));
        for depth in depths(self.depth) {
            let lines = depth.len() * self.width;
            let lines = &self.lines(whole, &depth)[panel * lines..][..lines];
            let lines = lines[lane / LINE..].iter().step_by(self.width);
            out.extend(lines.map(|line| line.0[lane % LINE]));
        }
    }

    /// All panels of a run of depth.
    pub(super) fn slab(&self, depth: &Range<usize>) -> Slab<'_> {
        match &self.values {
            Values::Whole(lines) => Slab::Whole(self.lines(lines, depth)),
            Values::Coded(coded) => Slab::Coded(coded),
            Values::Halves(halves) => Slab::Halves(halves),
        }
    }

    fn lines<'a>(&self, lines: &'a [Line], depth: &Range<usize>) -> &'a [Line] {
        let panels = self.columns.div_ceil(self.width * LINE);
        &lines[depth.start * panels * self.width..depth.end * panels * self.width]
    }
}

/// The panels that a task multiplies with at one depth.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slab<'a> {
    /// Those of this depth.
    Whole(&'a [Line]),
    /// Those of all depth.
    Coded(&'a Coded),
    /// Those of all depth.
    Halves(&'a Halves),
}

impl Slab<'_> {
    /// The values of a panel of few bits at some depth, of whole [runs](super::coded::RUN).
    pub(super) fn widen(&self, panel: usize, depth: &Range<usize>, out: &mut [f32]) {
        match self {
            Slab::Whole(_) => unreachable!("has been widened"),
            Slab::Coded(coded) => coded.widen(panel, depth, out),
            Slab::Halves(halves) => halves.widen(panel, depth, out),
        }
    }
}

/// Lays out some columns of `b` at some depth, on all threads; `lines` begin with their place.
pub(super) fn lay_out_panels(
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

fn lay_out_panel(columns: View<'_>, first: usize, depth: Range<usize>, out: &mut [Line]) {
    let width = out.len() / depth.len() * LINE;
    lay_out_rows(columns, first, width, &depth, numbers_mut(out));
}

/// Writes some rows side by side, as many as a tile is high or a panel is wide; those beyond the last are left out.
#[multiversion(targets = "simd")]
pub(super) fn lay_out_rows(
    rows: View<'_>,
    first: usize,
    together: usize,
    depth: &Range<usize>,
    out: &mut [f32],
) {
    match together {
        1 => rows.lay_out::<1>(first, depth.clone(), out),
        2 => rows.lay_out::<2>(first, depth.clone(), out),
        4 => rows.lay_out::<4>(first, depth.clone(), out),
        6 => rows.lay_out::<6>(first, depth.clone(), out),
        8 => rows.lay_out::<8>(first, depth.clone(), out),
        12 => rows.lay_out::<12>(first, depth.clone(), out),
        LINE => rows.lay_out::<LINE>(first, depth.clone(), out),
        WIDEST => rows.lay_out::<WIDEST>(first, depth.clone(), out),
        _ => unreachable!("no tile or panel of {together} rows"),
    }
}

/// The numbers of some lines.
#[inline(always)]
pub(super) fn numbers(lines: &[Line]) -> &[f32] {
    // SAFETY: a `Line` is sixteen numbers without padding, of a stricter alignment.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LINE) }
}

#[inline(always)]
pub(super) fn numbers_mut(lines: &mut [Line]) -> &mut [f32] {
    // SAFETY: as in `numbers`, and nobody else has them.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * LINE) }
}

/// Runs of at most [`DEPTH`].
pub(super) fn depths(depth: usize) -> impl Iterator<Item = Range<usize>> {
    (0..depth)
        .step_by(DEPTH)
        .map(move |start| start..(start + DEPTH).min(depth))
}

/// Lines that are side by side in a panel.
pub(super) fn width() -> usize {
    registers().width() / LINE
}

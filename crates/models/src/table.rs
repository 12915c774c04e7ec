//! The vocabulary matrix, whose rows are looked up by token and which is multiplied in slices.
//!
//! If it is resident, it is one matrix from its first product on. Before that, and if it is streamed, a lookup reads only
//! the rows of the tokens that occur. Streamed, scoring reads slices of limited size. Rows that a lookup has read are kept,
//! up to a limit, and are not read again for the slices. So a tied embedding is read from the disk once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, OnceLock};

use interlingua_backend::ops::Matrix;
use interlingua_backend::{Device, Precision, Tensor, from_rows};

use crate::ModelError;
use crate::weights::Weights;

/// Values of one slice.
const SLICE: usize = 24 << 20;

/// Rows of a slice are a multiple of those that the head's kernel reduces at once, so that the sums of slices are those of
/// the whole matrix to the last bit.
const TILE: usize = 2048;

/// Values of looked-up rows that are kept.
const KEPT: usize = 32 << 20;

/// The matrix `[vocabulary, hidden]`, on disk or in memory.
#[derive(Debug)]
pub struct Table {
    name: String,
    rows: usize,
    width: usize,
    /// Whether it stays in memory.
    resident: bool,
    /// What it is multiplied in; lookups that read the disk are exact.
    precision: Precision,
    whole: OnceLock<Matrix>,
    kept: Mutex<BTreeMap<usize, Vec<f32>>>,
}

impl Table {
    /// Describes a tensor of this name and shape; nothing is read yet.
    pub fn new(name: String, rows: usize, width: usize, resident: bool) -> Table {
        Table {
            name,
            rows,
            width,
            resident,
            precision: Precision::F32,
            whole: OnceLock::new(),
            kept: Mutex::default(),
        }
    }

    /// Returns the same table, multiplied in another precision.
    pub fn with_precision(mut self, precision: Precision) -> Table {
        self.precision = precision;
        self.whole = OnceLock::new();
        self
    }

    /// Returns the name of the tensor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of bytes of the largest slice that is in memory at once, and of the rows that lookups keep.
    pub fn slice_bytes(&self) -> u64 {
        let all = (self.rows * self.width) as u64;
        self.precision.bytes() * all.min(SLICE as u64) + 4 * all.min(KEPT as u64)
    }

    fn whole(&self, weights: &Weights, device: &Device) -> Result<&Matrix, ModelError> {
        if self.whole.get().is_none() {
            let table = weights.matrix(&self.name, (device, self.precision))?;
            let _ = self.whole.set(table);
        }
        Ok(self.whole.get().expect("filled just above"))
    }

    /// Returns the rows of these tokens.
    ///
    /// # Shapes
    /// Each of `tokens` is below `rows`; the result is `[tokens, width]`.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn lookup(
        &self,
        tokens: &[u32],
        weights: &Weights,
        device: &Device,
    ) -> Result<Tensor<2>, ModelError> {
        // Rows alone are read as long as nobody multiplies with all of them; they are the same where they are not rounded.
        let exact = Matrix::keeps_narrow(device, self.precision);
        if self.resident && (self.whole.get().is_some() || !exact) {
            return Ok(self.whole(weights, device)?.rows(tokens, device));
        }
        let mut kept = self.kept.lock().expect("no panic while held");
        let mut out = Vec::with_capacity(tokens.len() * self.width);
        for &token in tokens {
            let row = token as usize;
            if let Some(values) = kept.get(&row) {
                out.extend_from_slice(values);
                continue;
            }
            let values = weights.read_rows(&self.name, row..row + 1)?;
            out.extend_from_slice(&values);
            if (kept.len() + 1) * self.width <= KEPT {
                kept.insert(row, values);
            }
        }
        Ok(from_rows(out, tokens.len(), self.width, device))
    }

    /// Calls `visit` with every slice and the row at which it begins, in order.
    ///
    /// # Shapes
    /// The slices are `[slice, width]`.
    ///
    /// # Errors
    /// Weights that cannot be read, and whatever `visit` returns.
    pub fn slices(
        &self,
        weights: &Weights,
        device: &Device,
        visit: &mut dyn FnMut(usize, &Matrix) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        if self.resident {
            return visit(0, self.whole(weights, device)?);
        }
        let step = (SLICE / self.width / TILE).max(1) * TILE;
        for first in (0..self.rows).step_by(step) {
            let end = (first + step).min(self.rows);
            let read =
                |rows: Range<usize>| self.slice(first + rows.start, first + rows.end, weights);
            let to = (device, self.precision);
            visit(first, &Matrix::read(end - first, self.width, to, read)?)?;
        }
        Ok(())
    }

    /// Rows `first..end`: those that are kept, and between them the disk's.
    fn slice(&self, first: usize, end: usize, weights: &Weights) -> Result<Vec<f32>, ModelError> {
        let kept = self.kept.lock().expect("no panic while held");
        let mut values = Vec::with_capacity((end - first) * self.width);
        let mut at = first;
        for (&row, known) in kept.range(first..end) {
            if row > at {
                values.extend(weights.read_rows(&self.name, at..row)?);
            }
            values.extend_from_slice(known);
            at = row + 1;
        }
        if at < end {
            values.extend(weights.read_rows(&self.name, at..end)?);
        }
        Ok(values)
    }
}

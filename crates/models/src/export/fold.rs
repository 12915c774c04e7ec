//! Applies edits to one weight matrix, row by row.

use std::ops::Range;

use interlingua_edits::{Edit, EditError, Hook, Matrix};

use super::{Side, Writer};
use crate::ModelError;
use crate::weights::Weights;

/// Values of a matrix that are in memory at once.
const BLOCK: usize = 4 << 20;

/// The edits that one weight matrix takes up.
#[derive(Debug, Clone)]
pub struct Fold {
    /// The name of the module, without `.weight`.
    pub module: String,
    /// Whether the matrix is stored `[in, out]`.
    pub transposed: bool,
    /// Whether the module has a bias.
    pub bias: bool,
    /// The edit of the states that the weight reads.
    pub input: Option<(Hook, Edit)>,
    /// The edits of the states that the weight writes, each with the position in its output at which these states
    /// begin.
    pub output: Vec<(Hook, usize, Edit)>,
}

impl Fold {
    pub(super) fn new(writer: &Writer, hook: Hook, edit: Edit) -> Fold {
        let mut fold = Fold {
            module: writer.module.clone(),
            transposed: writer.transposed,
            bias: writer.bias,
            input: None,
            output: Vec::new(),
        };
        match writer.side {
            Side::Input => fold.input = Some((hook, edit)),
            Side::Output(at) => fold.output.push((hook, at, edit)),
        }
        fold
    }

    /// Adds an edit that follows the earlier ones. Two hooks may be the same states (`down` and `mlp` of a block
    /// without a norm between them), and their edits then follow each other.
    pub(super) fn add(&mut self, writer: &Writer, hook: Hook, edit: Edit) -> Result<(), EditError> {
        let Side::Output(at) = writer.side else {
            self.input = Some((hook, edit));
            return Ok(());
        };
        match self.output.iter_mut().find(|(_, other, _)| *other == at) {
            Some((_, _, first)) => *first = first.then(&edit)?,
            None => self.output.push((hook, at, edit)),
        }
        Ok(())
    }

    /// Returns the name of the weight's tensor.
    pub fn weight(&self) -> String {
        format!("{}.weight", self.module)
    }

    /// Returns the number of directions of all edits together.
    pub fn rank(&self) -> usize {
        let input = self.input.iter().map(|(_, edit)| rank(edit));
        let output = self.output.iter().map(|(_, _, edit)| rank(edit));
        input.chain(output).sum()
    }

    /// Prepares the edits as two operations on the rows of the stored matrix.
    ///
    /// # Errors
    /// A matrix that cannot be read.
    pub fn ready<'a>(&self, weights: &'a Weights) -> Result<Folded<'a>, ModelError> {
        let shape = weights.shape(&self.weight())?;
        let (rows, columns) = (shape[0], shape[1]);
        let (out, inside) = if self.transposed {
            (columns, rows)
        } else {
            (rows, columns)
        };
        // Of the weight [out, in]: input L, R over `in`; output L, R over `out`.
        let input = self.input.as_ref().map(|(_, edit)| edit.factors().into());
        let output = self.output.iter().map(|(_, at, edit)| {
            let [left, right] = edit.factors();
            (widen(&left, *at, out), widen(&right, *at, out))
        });
        let output = stack(output.collect(), out);
        let input: (Matrix, Matrix) =
            input.unwrap_or_else(|| (Matrix::zeros(0, inside), Matrix::zeros(0, inside)));
        let mut folded = Folded {
            weights,
            name: self.weight(),
            rows,
            columns,
            // A row loses (row · a) b.
            row: match self.transposed {
                false => (input.0.clone(), input.1.clone()),
                true => (output.1.clone(), output.0.clone()),
            },
            // All rows together lose b ⊗ (a · matrix).
            mix: match self.transposed {
                false => (output.1.clone(), output.0.clone()),
                true => (input.0.clone(), input.1.clone()),
            },
            row_first: !self.transposed,
            mixed: Matrix::zeros(0, columns),
        };
        folded.mixed = folded.mix_rows()?;
        Ok(folded)
    }
}

fn rank(edit: &Edit) -> usize {
    edit.offset().len()
}

/// Directions of a part of a wider space.
fn widen(part: &Matrix, at: usize, width: usize) -> Matrix {
    Matrix::from_fn(part.rows(), width, |i, j| match j.checked_sub(at) {
        Some(j) if j < part.cols() => part.at(i, j),
        _ => 0.0,
    })
}

/// Pairs of matrices of one width, one below the other.
fn stack(parts: Vec<(Matrix, Matrix)>, width: usize) -> (Matrix, Matrix) {
    let of = |side: fn(&(Matrix, Matrix)) -> &Matrix| {
        let rows: Vec<Vec<f64>> = parts
            .iter()
            .flat_map(|part| (0..side(part).rows()).map(move |i| side(part).row(i).to_vec()))
            .collect();
        Matrix::from_rows(&rows, width)
    };
    (of(|p| &p.0), of(|p| &p.1))
}

/// A stored matrix with its edits, which is read row by row.
pub struct Folded<'a> {
    weights: &'a Weights,
    name: String,
    /// The number of rows of the stored matrix.
    pub rows: usize,
    /// The number of its columns.
    pub columns: usize,
    row: (Matrix, Matrix),
    mix: (Matrix, Matrix),
    /// Whether rows lose their parts before they are mixed: it decides what is mixed, not the result.
    row_first: bool,
    /// What is mixed: k × columns.
    mixed: Matrix,
}

impl Folded<'_> {
    /// Returns the name of the tensor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Iterates over the ranges of rows that are read together.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (rows, step) = (self.rows, (BLOCK / self.columns.max(1)).max(1));
        (0..rows)
            .step_by(step)
            .map(move |from| from..(from + step).min(rows))
    }

    /// Rows of the matrix as it is, in f64.
    fn read(&self, rows: Range<usize>) -> Result<Vec<f64>, ModelError> {
        let values = self.weights.read_rows(&self.name, rows)?;
        Ok(values.into_iter().map(f64::from).collect())
    }

    fn lose(&self, row: &mut [f64]) {
        let (a, b) = &self.row;
        let times: Vec<f64> = (0..a.rows())
            .map(|j| interlingua_edits::dot(a.row(j), row))
            .collect();
        for (j, times) in times.into_iter().enumerate() {
            interlingua_edits::axpy(-times, b.row(j), row);
        }
    }

    fn mix_rows(&self) -> Result<Matrix, ModelError> {
        let (a, _) = &self.mix;
        let mut mixed = Matrix::zeros(a.rows(), self.columns);
        if a.rows() == 0 {
            return Ok(mixed);
        }
        for range in self.blocks() {
            let mut values = self.read(range.clone())?;
            for (i, row) in range.zip(values.chunks_exact_mut(self.columns)) {
                if self.row_first {
                    self.lose(row);
                }
                for j in 0..a.rows() {
                    interlingua_edits::axpy(a.at(j, i), row, mixed.row_mut(j));
                }
            }
        }
        Ok(mixed)
    }

    /// Returns rows of the edited matrix.
    ///
    /// # Errors
    /// Rows that cannot be read.
    pub fn edited(&self, range: Range<usize>) -> Result<Vec<f64>, ModelError> {
        let mut values = self.read(range.clone())?;
        let (_, b) = &self.mix;
        for (i, row) in range.zip(values.chunks_exact_mut(self.columns)) {
            if self.row_first {
                self.lose(row);
            }
            for j in 0..b.rows() {
                interlingua_edits::axpy(-b.at(j, i), self.mixed.row(j), row);
            }
            if !self.row_first {
                self.lose(row);
            }
        }
        Ok(values)
    }

    /// Returns the difference that the edits make to the weight `[out, in]` as the product B·A: A is `[k, in]` and Bᵀ
    /// is `[k, out]`.
    ///
    /// # Errors
    /// Rows that cannot be read.
    pub fn low_rank(&self) -> Result<(Matrix, Matrix), ModelError> {
        let negative = |m: &Matrix| Matrix::from_fn(m.rows(), m.cols(), |i, j| -m.at(i, j));
        // Products of every row with what rows lose, of the matrix that the rows lose it from.
        let (a, b) = &self.row;
        let mut products = Matrix::zeros(a.rows(), self.rows);
        if a.rows() > 0 {
            for range in self.blocks() {
                let mut values = self.read(range.clone())?;
                for (i, row) in range.zip(values.chunks_exact_mut(self.columns)) {
                    if !self.row_first {
                        for j in 0..self.mix.1.rows() {
                            interlingua_edits::axpy(-self.mix.1.at(j, i), self.mixed.row(j), row);
                        }
                    }
                    for j in 0..a.rows() {
                        products.row_mut(j)[i] = interlingua_edits::dot(a.row(j), row);
                    }
                }
            }
        }
        let below = |first: &Matrix, second: &Matrix, width: usize| {
            stack(
                vec![
                    (first.clone(), first.clone()),
                    (second.clone(), second.clone()),
                ],
                width,
            )
            .0
        };
        Ok(match self.row_first {
            // Stored [out, in]: −(W·L₁)R₁ and −L₂(R₂·W).
            true => (
                below(b, &self.mixed, self.columns),
                below(&negative(&products), &negative(&self.mix.1), self.rows),
            ),
            // Stored [in, out]: the same of the transposed matrix.
            false => (
                below(&self.mix.1, &products, self.rows),
                below(&negative(&self.mixed), &negative(b), self.columns),
            ),
        })
    }
}

/// Computes the new bias of a module from its old one, which is zero if the module has none.
///
/// # Errors
/// Weights that cannot be read.
pub fn bias(fold: &Fold, weights: &Weights) -> Result<Vec<f64>, ModelError> {
    let shape = weights.shape(&fold.weight())?;
    let (rows, columns) = (shape[0], shape[1]);
    let out = if fold.transposed { columns } else { rows };
    let mut bias: Vec<f64> = match fold.bias {
        true => weights
            .read(&format!("{}.bias", fold.module))?
            .into_iter()
            .map(f64::from)
            .collect(),
        false => vec![0.0; out],
    };
    if let Some((_, edit)) = &fold.input
        && edit.offset().iter().any(|b| *b != 0.0)
    {
        let constant = added(edit);
        let step = (BLOCK / columns.max(1)).max(1);
        for from in (0..rows).step_by(step) {
            let range = from..(from + step).min(rows);
            let values = weights.read_rows(&fold.weight(), range.clone())?;
            for (i, row) in range.zip(values.chunks_exact(columns)) {
                let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
                match fold.transposed {
                    false => bias[i] += interlingua_edits::dot(&row, &constant),
                    true => interlingua_edits::axpy(constant[i], &row, &mut bias),
                }
            }
        }
    }
    for (_, at, edit) in &fold.output {
        let part = &mut bias[*at..*at + edit.dim()];
        let mut states = Matrix::from_rows(&[part.to_vec()], edit.dim());
        edit.apply_matrix(&mut states)
            .expect("a row of the edit's width");
        part.copy_from_slice(states.row(0));
    }
    Ok(bias)
}

/// Returns L·b, the vector that an edit adds to every state.
pub(super) fn added(edit: &Edit) -> Vec<f64> {
    let [left, _] = edit.factors();
    let mut sum = vec![0.0; edit.dim()];
    for (j, &b) in edit.offset().iter().enumerate() {
        interlingua_edits::axpy(b, left.row(j), &mut sum);
    }
    sum
}

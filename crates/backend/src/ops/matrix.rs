//! Matrices by which states are multiplied.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::DType;

use super::index;
use crate::device::{Precision, is_plain_cpu};
use crate::kernels::{Codes, Coding, Factor, Half, Panels, View, WIDEST, add_bias, products};
use crate::{Device, Host, Tensor, from_rows};

/// A matrix `[out, in]` that is laid out once, for any number of products with it.
///
/// On the CPU, a product with a plain tensor has to rearrange the matrix for its kernel every time; here that is done
/// when the matrix is made. Clones share the layout.
///
/// A bfloat16 matrix ([`Precision::Bf16`]) takes part in bfloat16 products, on every device.
#[derive(Debug, Clone)]
pub struct Matrix(Layout);

#[derive(Debug, Clone)]
enum Layout {
    /// On the CPU: the transpose, in panels.
    Panels(Arc<Panels>),
    /// On every other device, under autodiff, and of another type than `f32`.
    Tensor(Tensor<2>),
}

impl Matrix {
    /// # Shapes
    /// `w`: `[out, in]`.
    pub fn new(w: Tensor<2>) -> Matrix {
        if !is_plain_cpu(&w.device()) || w.dtype() != DType::F32 {
            return Matrix(Layout::Tensor(w));
        }
        let [rows, cols] = w.dims();
        let panels = Panels::new(View::new(&Host::of(w), rows, cols).transpose());
        Matrix(Layout::Panels(Arc::new(panels)))
    }

    /// Makes a matrix from rows that are read a few at a time, so that on the CPU they are never in memory twice.
    ///
    /// # Shapes
    /// `read` returns the row-major values of a range of the `rows` rows.
    ///
    /// # Errors
    /// Whatever `read` returns.
    pub fn read<E>(
        rows: usize,
        cols: usize,
        (device, precision): (&Device, Precision),
        mut read: impl FnMut(Range<usize>) -> Result<Vec<f32>, E>,
    ) -> Result<Matrix, E> {
        /// Values that are read at a time.
        const PIECE: usize = if cfg!(test) { 1 << 8 } else { 1 << 22 };
        if !is_plain_cpu(device) || precision != Precision::F32 {
            let w = from_rows(read(0..rows)?, rows, cols, device);
            return Ok(Matrix(Layout::Tensor(precision.cast(w))));
        }
        let mut panels = Panels::zeros(cols, rows);
        let piece = (PIECE / cols.max(1)).next_multiple_of(WIDEST).max(WIDEST);
        for start in (0..rows).step_by(piece) {
            let end = (start + piece).min(rows);
            let values = read(start..end)?;
            panels.set(View::new(&values, end - start, cols).transpose(), start);
        }
        Ok(Matrix(Layout::Panels(Arc::new(panels))))
    }

    /// Makes a matrix of rows in codes. They stay codes in memory and are widened as they are multiplied, so that products
    /// equal those of the widened matrix to the last bit. This is for `f32` products on the CPU alone
    /// ([`Matrix::keeps_narrow`]).
    ///
    /// # Shapes
    /// `read`: a range of the `rows` rows, of `cols` codes each; it is called on all threads.
    ///
    /// # Errors
    /// Whatever `read` returns.
    ///
    /// # Panics
    /// If `read` gives another number of codes, scales or minima, or if `cols` is not a multiple of 32.
    pub fn read_codes<E: Send>(
        rows: usize,
        cols: usize,
        coding: Coding,
        read: impl Fn(Range<usize>) -> Result<Codes, E> + Sync,
    ) -> Result<Matrix, E> {
        let panels = Panels::read([rows, cols], coding, read)?;
        Ok(Matrix(Layout::Panels(Arc::new(panels))))
    }

    /// Makes a matrix of rows of half precision, which stay so in memory as codes do.
    ///
    /// # Shapes
    /// `read`: a range of the `rows` rows, of `cols` numbers each; it is called on all threads.
    ///
    /// # Errors
    /// Whatever `read` returns.
    ///
    /// # Panics
    /// If `read` gives another number of values, or if `cols` is not a multiple of 32.
    pub fn read_halves<E: Send>(
        rows: usize,
        cols: usize,
        half: Half,
        read: impl Fn(Range<usize>) -> Result<Vec<u16>, E> + Sync,
    ) -> Result<Matrix, E> {
        let panels = Panels::read_halves([rows, cols], half, read)?;
        Ok(Matrix(Layout::Panels(Arc::new(panels))))
    }

    /// Returns whether products on a device and in a precision can read matrices of few bits.
    pub fn keeps_narrow(device: &Device, precision: Precision) -> bool {
        is_plain_cpu(device) && precision == Precision::F32
    }

    /// Returns the shape `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        match &self.0 {
            Layout::Panels(panels) => {
                let [cols, rows] = panels.dims();
                [rows, cols]
            }
            Layout::Tensor(w) => w.dims(),
        }
    }

    /// Returns some rows as `f32`, as the lookup of tokens needs them.
    ///
    /// # Shapes
    /// Each of `rows` is below `out`; the result is `[rows, in]`.
    ///
    /// # Panics
    /// If a row does not exist.
    pub fn rows(&self, rows: &[u32], device: &Device) -> Tensor<2> {
        match &self.0 {
            Layout::Panels(panels) => {
                let [cols, _] = panels.dims();
                let mut values = Vec::with_capacity(rows.len() * cols);
                for &row in rows {
                    panels.push_column(row as usize, &mut values);
                }
                from_rows(values, rows.len(), cols, device)
            }
            Layout::Tensor(w) => {
                let at = rows.iter().map(|&r| r as i32).collect();
                w.clone().select(0, index(at, device)).cast(DType::F32)
            }
        }
    }

    /// Returns the layout for the CPU's kernels, if the matrix is on the CPU.
    pub(super) fn panels(&self) -> Option<&Panels> {
        match &self.0 {
            Layout::Panels(panels) => Some(panels),
            Layout::Tensor(_) => None,
        }
    }
}

/// The weight of a linear map: a [`Matrix`], or a tensor that is trained.
pub trait Weight {
    /// Computes `x · wᵀ + bias` for several weights of the same input.
    ///
    /// # Shapes
    /// `x` is `[rows, in]`. Each weight is `[out, in]`, and all are of one type; its bias is `[out]` and its result
    /// `[rows, out]`.
    fn affines<const N: usize>(
        x: Tensor<2>,
        maps: [(&Self, Option<&Tensor<1>>); N],
    ) -> [Tensor<2>; N];
}

impl Weight for Matrix {
    fn affines<const N: usize>(
        x: Tensor<2>,
        maps: [(&Self, Option<&Tensor<1>>); N],
    ) -> [Tensor<2>; N] {
        let tensors = maps.map(|(w, bias)| match &w.0 {
            Layout::Tensor(w) => Some((w, bias)),
            Layout::Panels(_) => None,
        });
        if let Some(maps) = all(tensors) {
            return Tensor::affines(x, maps);
        }
        let device = x.device();
        let [rows, depth] = x.dims();
        let biases = maps.map(|(_, bias)| bias.map(|b| Host::of(b.clone())));
        let factors: Vec<Factor<'_>> = maps
            .iter()
            .zip(&biases)
            .map(|((w, _), bias)| {
                let panels = w.panels().expect("matrices of one device");
                Factor::whole(panels, bias.as_deref())
            })
            .collect();
        let x = Host::of(x);
        let mut found = products(View::new(&x, rows, depth), &factors).into_iter();
        maps.map(|(w, _)| {
            let [out, _] = w.dims();
            from_rows(found.next().expect("one for each"), rows, out, &device)
        })
    }
}

impl Weight for Tensor<2> {
    fn affines<const N: usize>(
        x: Tensor<2>,
        maps: [(&Self, Option<&Tensor<1>>); N],
    ) -> [Tensor<2>; N] {
        let device = x.device();
        let x = x.cast(maps.first().map_or(DType::F32, |(w, _)| w.dtype()));
        maps.map(|(w, bias)| {
            let product = x.clone().matmul(w.clone().transpose());
            let product = product.cast(DType::F32);
            let Some(bias) = bias else {
                return product;
            };
            if !is_plain_cpu(&device) {
                return product + bias.clone().unsqueeze();
            }
            let mut values = Host::of(product);
            add_bias(&mut values, &Host::of(bias.clone()));
            values.tensor(&device)
        })
    }
}

fn all<T, const N: usize>(options: [Option<T>; N]) -> Option<[T; N]> {
    let all: Option<Vec<T>> = options.into_iter().collect();
    all?.try_into().ok()
}

/// Computes `x · wᵀ`.
///
/// # Shapes
/// `x` is `[rows, in]`, `w` is `[out, in]`, and the result is `[rows, out]`.
pub fn linear<W: Weight>(x: Tensor<2>, w: &W) -> Tensor<2> {
    affine(x, w, None)
}

/// Computes `x · wᵀ + bias`.
///
/// # Shapes
/// `x` is `[rows, in]`, `w` is `[out, in]`, `bias` is `[out]`, and the result is `[rows, out]`.
pub fn affine<W: Weight>(x: Tensor<2>, w: &W, bias: Option<&Tensor<1>>) -> Tensor<2> {
    let [y] = W::affines(x, [(w, bias)]);
    y
}

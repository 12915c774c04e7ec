//! Probes: classifiers that measure how well an attribute can be read from hidden states.
//!
//! No probe should find what an edit has erased. There are two measures of the same probe: its [accuracy()] on
//! held-out states, and the [codelength()] of the labels given the states. The codelength also counts how much data
//! the probe needs, so a large probe cannot get a good value by memorising the data.
//!
//! A linear probe is the exact optimum of a convex problem (see [logistic]). A multilayer perceptron (see [mlp]) also
//! finds attributes that are not linear in the states, about which erasers such as LEACE promise nothing.
//!
//! # Shapes
//! States are n×d in `f32`, row after row. Memory: one `f64` copy of the rows and
//! a square matrix of the smaller of n and d.

pub mod accuracy;
pub mod codelength;
pub mod logistic;
pub mod mlp;
mod scale;

pub use accuracy::{ProbeAccuracy, accuracy};
pub use codelength::{Block, Codelength, codelength};

use serde::{Deserialize, Serialize};

use crate::error::{MetricError, length};
use logistic::{Logistic, LogisticOptions};
use mlp::{Mlp, MlpOptions};
use scale::Scaler;

/// Hidden states with a label for every row.
///
/// # Shapes
/// `x` is n×`dim`, row after row; `y` has n entries below `classes`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    /// The states, n×`dim`, row after row.
    pub x: &'a [f32],
    /// The class of each row.
    pub y: &'a [usize],
    /// The dimension of the states.
    pub dim: usize,
    /// The number of classes.
    pub classes: usize,
}

impl Rows<'_> {
    /// # Errors
    /// No rows, shapes that do not fit, fewer than two classes, a class that does
    /// not exist, or a state that is not finite.
    fn check(&self, what: &'static str) -> Result<(), MetricError> {
        if self.classes < 2 {
            return Err(MetricError::BadSetting {
                name: "classes",
                value: self.classes.to_string(),
                expected: "at least 2",
            });
        }
        if self.dim == 0 {
            return Err(MetricError::BadSetting {
                name: "dim",
                value: "0".to_owned(),
                expected: "at least 1",
            });
        }
        if self.y.is_empty() {
            return Err(MetricError::Empty { what });
        }
        let expected = self.y.len().saturating_mul(self.dim);
        length("rows × dim", expected, self.x.len())?;
        if let Some(row) = self.y.iter().position(|&class| class >= self.classes) {
            return Err(MetricError::UnknownClass {
                what,
                row,
                class: self.y[row],
                classes: self.classes,
            });
        }
        match self.x.iter().position(|v| !v.is_finite()) {
            Some(index) => Err(MetricError::NotFinite {
                what,
                index,
                value: f64::from(self.x[index]),
            }),
            None => Ok(()),
        }
    }

    /// Classes that occur, in ascending order.
    fn present(&self) -> Vec<usize> {
        let mut seen = vec![false; self.classes];
        self.y.iter().for_each(|&class| seen[class] = true);
        (0..self.classes).filter(|&class| seen[class]).collect()
    }

    /// The first n rows.
    fn first(&self, n: usize) -> Self {
        self.range(0, n)
    }

    fn range(&self, from: usize, to: usize) -> Self {
        Self {
            x: &self.x[from * self.dim..to * self.dim],
            y: &self.y[from..to],
            ..*self
        }
    }
}

/// A kind of classifier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// Multinomial logistic regression.
    Linear(LogisticOptions),
    /// A perceptron with one hidden layer of rectified linear units.
    Mlp(MlpOptions),
}

/// A classifier with its treatment of the states.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The kind of classifier.
    pub kind: Kind,
    /// Whether every feature is shifted and scaled to mean 0 and variance 1 on
    /// the training rows. A feature that is constant there becomes 0 everywhere.
    pub standardise: bool,
    /// The seed of everything random: the order of the rows in [codelength()], and the initial weights and the
    /// batches of a perceptron. The linear probe itself has no randomness.
    pub seed: u64,
}

impl Probe {
    /// Makes a logistic regression with C = 1 on standardised states.
    pub fn linear(seed: u64) -> Self {
        Self {
            kind: Kind::Linear(LogisticOptions::default()),
            standardise: true,
            seed,
        }
    }

    /// Makes a perceptron with the default settings on standardised states.
    pub fn mlp(seed: u64) -> Self {
        Self {
            kind: Kind::Mlp(MlpOptions::default()),
            standardise: true,
            seed,
        }
    }

    /// Fits the probe to rows that hold at least two classes.
    fn fit(&self, train: &Rows<'_>) -> Result<Fitted, MetricError> {
        let present = train.present();
        if present.len() < 2 {
            return Err(MetricError::OneClass {
                what: "training rows of a probe",
                class: present[0],
            });
        }
        let scaler = if self.standardise {
            Scaler::fit(train.x, train.dim)
        } else {
            Scaler::none(train.dim)
        };
        let y: Vec<usize> = train
            .y
            .iter()
            .map(|class| present.partition_point(|p| p < class))
            .collect();
        let x = scaler.apply(train.x);
        let model = match &self.kind {
            Kind::Linear(options) => {
                Model::Linear(logistic::fit(&x, &y, train.dim, present.len(), options)?)
            }
            Kind::Mlp(options) => {
                let x: Vec<f32> = x.iter().map(|&v| v as f32).collect();
                Model::Mlp(mlp::fit(
                    &x,
                    &y,
                    train.dim,
                    present.len(),
                    options,
                    self.seed,
                )?)
            }
        };
        Ok(Fitted {
            scaler,
            present,
            model,
        })
    }
}

enum Model {
    Linear(Logistic),
    Mlp(Mlp),
}

/// A probe that has seen its training rows.
struct Fitted {
    scaler: Scaler,
    /// The classes it knows, in the order of its outputs.
    present: Vec<usize>,
    model: Model,
}

impl Fitted {
    /// Whether training came to its own end rather than to the cap on its steps.
    fn converged(&self) -> bool {
        match &self.model {
            Model::Linear(model) => model.converged,
            Model::Mlp(model) => model.converged,
        }
    }

    /// ln p of the known classes.
    ///
    /// # Shapes
    /// `x` m×d; the answer is m×`present`, row after row.
    fn log_probabilities(&self, x: &[f32]) -> Vec<f64> {
        let x = self.scaler.apply(x);
        match &self.model {
            Model::Linear(model) => model.log_probabilities(&x),
            Model::Mlp(model) => {
                let x: Vec<f32> = x.iter().map(|&v| v as f32).collect();
                model.log_probabilities(&x)
            }
        }
    }

    /// The most likely class of every row.
    fn predict(&self, x: &[f32]) -> Vec<usize> {
        self.log_probabilities(x)
            .chunks_exact(self.present.len())
            .map(|row| self.present[largest(row)])
            .collect()
    }
}

/// Position of the largest value, the first of equals.
fn largest(row: &[f64]) -> usize {
    let mut best = 0;
    for (i, v) in row.iter().enumerate() {
        if *v > row[best] {
            best = i;
        }
    }
    best
}

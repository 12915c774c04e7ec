//! Computes the accuracy of a probe on held-out states.

use serde::{Deserialize, Serialize};

use super::{Probe, Rows};
use crate::bootstrap::{self, Bootstrap, Estimate};
use crate::error::{MetricError, length};

/// The accuracy with which a probe predicts the attribute from the states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeAccuracy {
    /// The share of test rows whose class the probe predicts, from 0 to 1.
    pub accuracy: Estimate,
    /// The share of test rows that belong to the most frequent class of the training rows (of several, the one with
    /// the smallest number). A probe that ignores the states reaches this accuracy.
    pub majority: f64,
    /// The mean over the test rows' classes of the share of rows that the probe predicts. It is 1/classes for a probe
    /// that ignores the states, however unequal the classes are.
    pub balanced_accuracy: f64,
    /// Whether training reached its stopping criterion (see [`super::logistic::Logistic`] and [`super::mlp::Mlp`])
    /// before the limit on its steps.
    pub converged: bool,
    /// For every test row, 1 if the probe predicts its class and 0 otherwise; paired tests and clustered intervals
    /// need these.
    pub hits: Vec<f64>,
}

/// Fits the probe to `train` and computes its accuracy on `test`, with an interval over test rows.
///
/// A class may occur in `test` alone; its rows then count as errors.
///
/// # Shapes
/// The shapes are those of [`Rows`]; both sides have the same dimension and classes.
///
/// # Errors
/// [`MetricError::OneClass`] if all training rows belong to one class; no rows, shapes that do not fit, an unknown
/// class, a state that is not finite, or an impossible setting; [`MetricError::Undefined`] if a perceptron's training
/// overflows, which happens only on states that are not standardised.
pub fn accuracy(
    train: &Rows<'_>,
    test: &Rows<'_>,
    probe: &Probe,
    options: &Bootstrap,
) -> Result<ProbeAccuracy, MetricError> {
    train.check("training rows of a probe")?;
    test.check("test rows of a probe")?;
    length("dimension of the test rows", train.dim, test.dim)?;
    length("classes of the test rows", train.classes, test.classes)?;
    let fitted = probe.fit(train)?;
    let named = fitted.predict(test.x);
    let hits: Vec<f64> = named
        .iter()
        .zip(test.y)
        .map(|(a, b)| f64::from(u8::from(a == b)))
        .collect();
    let (sizes, found) = (count(test, None), count(test, Some(&hits)));
    let recalls = (0..test.classes)
        .filter(|&class| sizes[class] > 0.0)
        .map(|class| found[class] / sizes[class]);
    let frequent = super::largest(&count(train, None));
    Ok(ProbeAccuracy {
        accuracy: bootstrap::mean(&hits, options)?,
        majority: sizes[frequent] / test.y.len() as f64,
        balanced_accuracy: recalls.sum::<f64>() / sizes.iter().filter(|&&s| s > 0.0).count() as f64,
        converged: fitted.converged(),
        hits,
    })
}

/// Rows of each class, or the sum of their weights.
fn count(rows: &Rows<'_>, weights: Option<&[f64]>) -> Vec<f64> {
    let mut out = vec![0.0; rows.classes];
    for (i, &class) in rows.y.iter().enumerate() {
        out[class] += weights.map_or(1.0, |w| w[i]);
    }
    out
}

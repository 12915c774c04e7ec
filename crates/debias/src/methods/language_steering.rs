//! Steering between languages: adds a constant vector that points from one language to another, or to what all
//! languages share.
//!
//! # Source
//! Lim, Aji and Cohn, "Language-Specific Latent Process Hinders Cross-Lingual Performance" (arXiv 2505.13141), steer
//! toward English by the mean difference of parallel states, at one layer.
//!
//! Formula: v = mean over the sentences of (state in the language `toward` − state in the language of the fit). If
//! `toward` is `shared`, v = mean of the languages' means − mean of the language of the fit. In both cases x ↦ x + v,
//! at each hook by itself. Hooks joined by `+`, or a range such as `blocks.3-8.output`, are shifted in one pass. The
//! strength is the paper's γ.
//!
//! The sentences are the training rows of the parallel text, on which nothing is evaluated.
//!
//! # Shapes
//! x is n×d, and v has d values.

use super::mean_shift::mean;
use crate::fitted::named;
use crate::options::{ParamSpec, Params, SHARED};
use crate::{Contrast, Debiaser, Edit, FitData, FitError, FitOptions, Fitted, Needs, Size, units};
use interlingua_edits::{axpy, norm};

/// Steering between languages. The first class is the language of the fit; a vector from a language to itself is
/// zero.
///
/// Notes of the fit: `length` is ‖v‖, and `sentences` the number of sentences in the mean of the language of the fit.
#[derive(Debug, Clone, Copy, Default)]
pub struct LanguageSteering;

impl Debiaser for LanguageSteering {
    fn name(&self) -> &'static str {
        "language-steering"
    }

    fn title(&self) -> &'static str {
        "Steering between languages"
    }

    fn citation(&self) -> &'static str {
        "Lim et al. 2025, arXiv 2505.13141"
    }

    fn summary(&self) -> &'static str {
        "Adds the vector that leads from one language to another, or to the mean of all."
    }

    fn docs(&self) -> &'static str {
        "methods/language-steering.md"
    }

    fn needs(&self) -> Needs {
        Needs {
            classes: 2,
            ..Needs::default()
        }
    }

    fn size(&self) -> Size {
        Size::Strength
    }

    fn contrast(&self, options: &FitOptions) -> Result<Contrast, FitError> {
        let _ = options;
        Ok(Contrast::Languages)
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[ParamSpec::TOWARD, ParamSpec::MEAN_OR_LAST]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("toward")?;
        params.mean_or_last().map(|_| ())
    }

    fn max_rank(&self, _classes: usize, _groups: usize, _dim: usize) -> usize {
        1
    }

    fn fit(&self, data: &FitData, options: &FitOptions) -> Result<Fitted, FitError> {
        self.check(options)?;
        let params = Params::new(self.name(), self.params(), options)?;
        let means = Means::new(self.name(), data)?;
        let vector = means.toward(self.name(), params.text("toward")?)?;
        let notes = [
            ("length", norm(&vector)),
            ("sentences", means.sentences as f64),
        ];
        Ok(Fitted {
            edit: shift(vector)?,
            notes: named(notes),
        })
    }
}

/// The mean states of each language.
pub(super) struct Means<'a> {
    names: Vec<&'a str>,
    means: Vec<Vec<f64>>,
    /// Sentences of the language of the fit.
    sentences: usize,
}

impl<'a> Means<'a> {
    pub(super) fn new(method: &'static str, data: &'a FitData) -> Result<Means<'a>, FitError> {
        data.check()?;
        let classes = data.require_classes(method, 2)?;
        let rows = |class: usize| -> Vec<usize> {
            let all = 0..data.label.len();
            all.filter(|&row| data.label[row] == class).collect()
        };
        Ok(Means {
            names: classes.iter().map(|&c| data.classes[c].as_str()).collect(),
            means: classes.iter().map(|&c| mean(&data.x, &rows(c))).collect(),
            sentences: rows(classes[0]).len(),
        })
    }

    /// Returns the vector from the language of the fit to another one, or to the mean of all.
    pub(super) fn toward(
        &self,
        method: &'static str,
        named: Option<&str>,
    ) -> Result<Vec<f64>, FitError> {
        let mut vector = match named {
            None | Some(SHARED) => {
                let all: Vec<usize> = (0..self.means.len()).collect();
                let means = interlingua_edits::Matrix::from_rows(&self.means, self.means[0].len());
                mean(&means, &all)
            }
            named => self.means[units::place(method, named, &self.names)?].clone(),
        };
        axpy(-1.0, &self.means[0], &mut vector);
        Ok(vector)
    }
}

pub(super) fn shift(vector: Vec<f64>) -> Result<Edit, FitError> {
    Edit::shift(vector).map_err(|_| FitError::Overflow {
        what: "the difference of the means",
    })
}

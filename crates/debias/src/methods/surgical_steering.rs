//! Surgical steering: at the shallower hooks it steers towards what languages share, and at the deeper ones towards
//! what is specific to the language.
//!
//! # Source
//! Han, Agrawal and Briakou, "Rethinking Cross-lingual Alignment: Balancing Transfer and Cultural Erasure" (arXiv
//! 2510.26024), add an English vector in the middle layers and a local vector in deeper ones, in one pass.
//!
//! Formula: let m be the mean state of the language of the fit and M the mean of all languages' means. At the first
//! half of the hooks v = m(`toward`) − m, or v = M − m if `toward` is `shared`, and x ↦ x + v. At the other hooks w =
//! `local`·(m − M) and x ↦ x + w. If the number of hooks is odd, the first half has one more.
//!
//! The paper's local vector is the difference between answers that are specific to a place and answers that are not.
//! The parallel text that vectors are fitted on here has no such answers, so the local part is what a language has
//! beyond the mean of all languages. To search for the two layers and the strength, an experiment lists several pairs
//! of hooks, strengths and values of `local`, and names the tasks that choose; the run chooses on a share of the items and
//! evaluates on the others.
//!
//! # Shapes
//! x is n×d at each site; v and w have d values.

use super::language_steering::{Means, shift};
use crate::options::{ParamSpec, Params};
use crate::{Contrast, Debiaser, Evidence, FitError, FitOptions, FittedSites, Needs, Size, Span};
use interlingua_edits::norm;

/// Surgical steering. The first class is the language of the fit.
///
/// Notes of the fit: `length_I` is the length of the vector at hook I, counted from 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct SurgicalSteering;

impl Debiaser for SurgicalSteering {
    fn name(&self) -> &'static str {
        "surgical-steering"
    }

    fn title(&self) -> &'static str {
        "Surgical steering"
    }

    fn citation(&self) -> &'static str {
        "Han et al. 2025, arXiv 2510.26024"
    }

    fn summary(&self) -> &'static str {
        "Adds a vector toward what languages share at the shallower hooks, and one toward the language itself at the deeper hooks."
    }

    fn docs(&self) -> &'static str {
        "methods/surgical-steering.md"
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

    fn span(&self, options: &FitOptions) -> Result<Span, FitError> {
        let _ = options;
        Ok(Span::Sites)
    }

    fn contrast(&self, options: &FitOptions) -> Result<Contrast, FitError> {
        let _ = options;
        Ok(Contrast::Languages)
    }

    fn params(&self) -> &'static [ParamSpec] {
        &[
            ParamSpec::TOWARD,
            ParamSpec::MEAN_OR_LAST,
            ParamSpec {
                name: "local",
                default: "1",
                help: "the length of the vector at the deeper hooks, as a multiple of the difference between the language's own mean and the mean of all languages",
            },
        ]
    }

    fn check(&self, options: &FitOptions) -> Result<(), FitError> {
        let params = Params::new(self.name(), self.params(), options)?;
        params.text("toward")?;
        params.positive("local")?;
        params.mean_or_last().map(|_| ())
    }

    fn max_rank(&self, _classes: usize, _groups: usize, _dim: usize) -> usize {
        1
    }

    fn fit_sites(
        &self,
        evidence: &mut dyn Evidence,
        options: &FitOptions,
    ) -> Result<FittedSites, FitError> {
        self.check(options)?;
        let params = Params::new(self.name(), self.params(), options)?;
        let local = params.positive("local")?.unwrap_or(1.0);
        let sites = evidence.dims().len();
        let mut all = FittedSites::default();
        for site in 0..sites {
            let data = evidence.at(site)?;
            let means = Means::new(self.name(), &data)?;
            let vector = match site < sites.div_ceil(2) {
                true => means.toward(self.name(), params.text("toward")?)?,
                false => {
                    let mut away = means.toward(self.name(), None)?;
                    away.iter_mut().for_each(|v| *v *= -local);
                    away
                }
            };
            all.notes.push((format!("length_{site}"), norm(&vector)));
            all.edits.push(shift(vector)?);
        }
        Ok(all)
    }
}

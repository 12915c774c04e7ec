//! Reads the states of sentences at every hook in one pass, and fits methods on them.

use std::collections::BTreeMap;

use interlingua_debias::{
    Debiaser, Evidence as Source, FitData, FitError, FitOptions, Given, Matrix,
};
use interlingua_edits::{Edit, Hook, ModelShape};
use interlingua_models::engine::capture;
use interlingua_models::export::beside::{self, Beside};
use interlingua_models::{Capture, Model, ModelError, Pooling, Sequence};

use crate::TuneError;

/// The sentences of a fit, each with its class, its counterfactual set and its language.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sentences {
    pub texts: Vec<String>,
    pub label: Vec<usize>,
    pub set: Vec<Option<usize>>,
    pub language: Vec<usize>,
    /// The names of the classes, and the position of the one that is no group.
    pub classes: Vec<String>,
    pub neutral: Option<usize>,
}

impl Sentences {
    pub(crate) fn add(&mut self, text: &str, label: usize, set: Option<usize>, language: usize) {
        self.texts.push(text.to_owned());
        self.label.push(label);
        self.set.push(set);
        self.language.push(language);
    }
}

/// The mean states of the sentences on which edits are fitted.
pub(crate) struct Evidence {
    pub shape: ModelShape,
    sentences: Sentences,
    /// `[sentences][width]`.
    states: BTreeMap<Hook, Matrix>,
}

impl Evidence {
    /// Runs the model once over all sentences and keeps the pooled state of each sentence at each hook.
    ///
    /// # Errors
    /// A hook that the model lacks, and whatever stops the pass.
    pub fn capture(
        model: &Model,
        sentences: Sentences,
        hooks: &[Hook],
        pooling: Pooling,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Evidence, TuneError> {
        let shape = model.geometry.shape();
        let rows = sentences.texts.len();
        let texts = sentences.texts.iter();
        let sequences: Vec<Sequence> = texts
            .map(|text| model.sequence(text))
            .collect::<Result<_, _>>()?;
        let captures: Vec<Capture> = hooks
            .iter()
            .map(|&hook| Capture { hook, pooling })
            .collect();
        let mut found = Vec::new();
        for &hook in hooks {
            found.push(vec![0.0f32; rows * shape.width(hook)?]);
        }
        let mut sink = |at: usize, sequence: usize, row: &[f32]| {
            found[at][sequence * row.len()..][..row.len()].copy_from_slice(row);
            Ok(())
        };
        capture(model, &sequences, &captures, &mut sink, progress)?;
        let states = hooks.iter().zip(&found).map(|(&hook, values)| {
            let width = values.len() / rows.max(1);
            let value = |i: usize, j: usize| f64::from(values[i * width + j]);
            (hook, Matrix::from_fn(rows, width, value))
        });
        Ok(Evidence {
            states: states.collect(),
            shape,
            sentences,
        })
    }

    /// Returns the states at a hook.
    ///
    /// # Errors
    /// A hook that was not captured.
    pub fn at(&self, hook: Hook) -> Result<&Matrix, TuneError> {
        self.states.get(&hook).ok_or_else(|| TuneError::Setting {
            name: "hook",
            value: hook.to_string(),
            expected: "one whose states were captured".into(),
        })
    }

    /// Fits a method on the unedited states, and returns one edit for each hook. Methods that look at weights too need
    /// the model.
    ///
    /// # Errors
    /// A hook that was not captured, and data on which the method cannot be fitted.
    pub fn fit(
        &self,
        method: &dyn Debiaser,
        options: &FitOptions,
        hooks: &[Hook],
        model: Option<&Model>,
    ) -> Result<Vec<Edit>, TuneError> {
        let mut given = Vec::with_capacity(hooks.len());
        for &hook in hooks {
            given.push(self.data(self.at(hook)?, method.needs().tuples));
        }
        let mut given = Beneath {
            states: Given::new(&given),
            hooks,
            model,
        };
        let fitted = method.fit_sites(&mut given, options);
        Ok(fitted
            .map_err(|source| failed(method.name(), hooks, source))?
            .edits)
    }

    /// Returns the data of a fit. A method that learns from counterfactual sets gets only the sentences of these sets.
    fn data(&self, x: &Matrix, only_sets: bool) -> FitData {
        let all = &self.sentences;
        let rows: Vec<usize> = (0..x.rows())
            .filter(|&row| !only_sets || all.set[row].is_some())
            .collect();
        FitData {
            x: Matrix::from_fn(rows.len(), x.cols(), |i, j| x.at(rows[i], j)),
            label: rows.iter().map(|&row| all.label[row]).collect(),
            tuple: rows.iter().map(|&row| all.set[row]).collect(),
            language: rows.iter().map(|&row| all.language[row]).collect(),
            classes: all.classes.clone(),
            neutral: all.neutral,
        }
    }
}

/// States that are given, with the weights of the model beneath them.
struct Beneath<'a> {
    states: Given<'a>,
    hooks: &'a [Hook],
    model: Option<&'a Model>,
}

impl Beneath<'_> {
    fn weights(
        &self,
        site: usize,
        read: fn(&Model, Hook) -> Result<Beside, ModelError>,
    ) -> Result<Matrix, FitError> {
        let no_weights = |reason| FitError::NoWeights { site, reason };
        let Some(model) = self.model else {
            return Err(no_weights("only states are given here".to_owned()));
        };
        let found = read(model, self.hooks[site]).map_err(|error| FitError::Evidence {
            site,
            reason: error.to_string(),
        })?;
        found.map_err(no_weights)
    }
}

impl Source for Beneath<'_> {
    fn dims(&self) -> &[usize] {
        self.states.dims()
    }

    fn at(&mut self, site: usize) -> Result<FitData, FitError> {
        self.states.at(site)
    }

    fn under(&mut self, site: usize, earlier: &[Edit]) -> Result<FitData, FitError> {
        self.states.under(site, earlier)
    }

    fn written_by(&mut self, site: usize) -> Result<Matrix, FitError> {
        self.weights(site, beside::written_by)
    }

    fn read_by(&mut self, site: usize) -> Result<Matrix, FitError> {
        self.weights(site, beside::read_by)
    }
}

/// The error of a fit at some hooks.
pub(crate) fn failed(method: &str, hooks: &[Hook], source: FitError) -> TuneError {
    let hooks: Vec<String> = hooks.iter().map(Hook::to_string).collect();
    TuneError::Fit {
        method: method.to_owned(),
        hook: hooks.join(", "),
        source,
    }
}

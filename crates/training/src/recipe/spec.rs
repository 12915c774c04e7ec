//! The settings that a user writes in a pre-training recipe, such as `experiments/pretrain-4l.toml`.

use std::path::Path;

use interlingua_data::{Format, Language, OnBadRow};
use interlingua_models::architectures::cohere::Config;
use serde::{Deserialize, Serialize};

use crate::{TrainingError, merge};

/// A pre-training recipe as a user writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainSpec {
    /// The name of the model; its folder is `OUT/<name>`.
    pub name: String,
    /// The heading of the model card.
    pub title: String,
    /// The purpose of the model, in a few sentences.
    #[serde(default)]
    pub description: String,
    /// Reservations that a user of the model must know.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// The seed of the weights, of the order of the text and of the held-out split.
    #[serde(default = "one")]
    pub seed: u64,
    /// The sources of text.
    pub text: Vec<TextSpec>,
    /// The use of the text.
    #[serde(default)]
    pub data: DataSpec,
    /// The sizes of the model.
    #[serde(default)]
    pub model: GeometrySpec,
    /// The settings of the training.
    #[serde(default)]
    pub training: TrainingSpec,
    /// The changes that `--quick` makes, which are merged over everything above.
    #[serde(default)]
    pub quick: Option<toml::Table>,
}

/// One source of text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSpec {
    /// The name of the source in tables; several files may share a name.
    pub name: String,
    /// The file, the folder or the prefix of line-aligned files under `--data-dir`.
    pub file: String,
    /// The languages to read.
    pub languages: Vec<Language>,
    /// The format; if it is left out, it is found from name and content.
    #[serde(default)]
    pub format: Option<Format>,
    /// The share of its rows that is never trained on.
    #[serde(default = "one_hundredth")]
    pub held_out: f64,
    /// The most rows to use, from the first on.
    #[serde(default)]
    pub rows: Option<usize>,
    /// The licence of the text; if it is left out, it is taken from a manifest that knows the file.
    #[serde(default)]
    pub licence: Option<String>,
}

/// The use of the text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    /// The exponent of the language balance. With 1, every sentence is trained on once per epoch; with 0, the
    /// sentences of smaller languages are repeated until all languages have as many as the largest.
    pub balance: f64,
    /// How to treat rows that cannot be read.
    pub on_bad_row: OnBadRow,
}

impl Default for DataSpec {
    fn default() -> Self {
        DataSpec {
            balance: 1.0,
            on_bad_row: OnBadRow::Skip,
        }
    }
}

/// The sizes of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GeometrySpec {
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The width of the MLP.
    pub intermediate_size: usize,
    /// The number of blocks.
    pub layers: usize,
    /// The number of query heads.
    pub heads: usize,
    /// The number of key and value heads.
    pub kv_heads: usize,
    /// The largest size of the vocabulary of the byte-level BPE.
    pub vocab_size: usize,
    /// The length of the longest sequence in tokens; longer sentences are left out.
    pub max_positions: usize,
    /// The factor on the logits.
    pub logit_scale: f64,
}

impl Default for GeometrySpec {
    fn default() -> Self {
        GeometrySpec {
            hidden_size: 256,
            intermediate_size: 1024,
            layers: 4,
            heads: 4,
            kv_heads: 2,
            vocab_size: 8192,
            max_positions: 512,
            logit_scale: 0.25,
        }
    }
}

impl GeometrySpec {
    /// Checks that a model of these sizes can be made.
    ///
    /// # Errors
    /// The key whose value cannot be, and what would work.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, value, least, most) in [
            ("hidden_size", self.hidden_size, 1, 1 << 16),
            ("intermediate_size", self.intermediate_size, 1, 1 << 20),
            ("layers", self.layers, 1, 1000),
            ("heads", self.heads, 1, 1 << 16),
            ("kv_heads", self.kv_heads, 1, 1 << 16),
            // A byte-level BPE begins with a token for each byte and four of its own.
            ("vocab_size", self.vocab_size, 260, 1 << 24),
            ("max_positions", self.max_positions, 1, 1 << 17),
        ] {
            if value < least || value > most {
                return Err((key, format!("{value} is not from {least} to {most}")));
            }
        }
        let scale = self.logit_scale;
        if !(scale.is_finite() && scale > 0.0) {
            return Err(("logit_scale", format!("{scale} is not a positive number")));
        }
        if !self.hidden_size.is_multiple_of(2 * self.heads) {
            let problem = format!(
                "{} heads cannot share a width of {}: each needs the same even width",
                self.heads, self.hidden_size
            );
            return Err(("heads", problem));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let problem = format!(
                "{} heads cannot share {} evenly; use a divisor",
                self.heads, self.kv_heads
            );
            return Err(("kv_heads", problem));
        }
        Ok(())
    }

    /// Returns the number of parameters of the model with a vocabulary of this size. The sizes must have been checked.
    pub fn parameters(&self, vocabulary: usize) -> usize {
        interlingua_models::architectures::cohere::tensors(&self.config(vocabulary))
            .needed()
            .values()
            .map(|shape| shape.iter().product::<usize>())
            .sum()
    }

    /// Returns the model's configuration with a vocabulary of this size.
    pub fn config(&self, vocab_size: usize) -> Config {
        Config {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.hidden_size / self.heads,
            vocab_size,
            max_positions: self.max_positions,
            norm_eps: 1e-5,
            rope_theta: 10_000.0,
            logit_scale: self.logit_scale as f32,
            tied: true,
            qk_norm: false,
            attention_bias: false,
            bos: Some(super::BOS),
            eos: Some(super::EOS),
        }
    }
}

/// The settings of the optimiser, and the intervals of evaluations and checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingSpec {
    /// The number of passes over the text; with a fraction, training ends within a pass.
    pub epochs: f64,
    /// The approximate number of predicted tokens per step; a step consists of whole sentences.
    pub batch_tokens: usize,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// The share of the steps in which the rate rises.
    pub warmup: f64,
    /// The decay of the first moment.
    pub beta_1: f64,
    /// The decay of the second moment.
    pub beta_2: f64,
    /// The decoupled weight decay of matrices.
    pub weight_decay: f64,
    /// The largest norm of the gradient.
    pub clip_norm: f64,
    /// The number of steps between checkpoints from which a killed run can be resumed.
    pub checkpoint_every: usize,
    /// The number of steps between evaluations on held-out text.
    pub evaluate_every: usize,
    /// The number of held-out sentences per language in these evaluations; the last one uses all.
    pub evaluate_sentences: usize,
    /// The number of steps per point of the loss curve.
    pub log_every: usize,
    /// The number of bootstrap resamples for the intervals.
    pub resamples: usize,
}

impl Default for TrainingSpec {
    fn default() -> Self {
        TrainingSpec {
            epochs: 2.0,
            batch_tokens: 4096,
            learning_rate: 3e-3,
            warmup: 0.05,
            beta_1: 0.9,
            beta_2: 0.999,
            weight_decay: 0.01,
            clip_norm: 1.0,
            checkpoint_every: 200,
            evaluate_every: 500,
            evaluate_sentences: 300,
            log_every: 50,
            resamples: 2000,
        }
    }
}

/// The error of a key.
fn wrong(key: &str, problem: String) -> Result<(), TrainingError> {
    Err(TrainingError::value(key, problem))
}

impl PretrainSpec {
    /// Reads a recipe; with `quick`, its `[quick]` table is merged in.
    ///
    /// # Errors
    /// A missing file, TOML errors with line and key, or values that cannot be used.
    pub fn read(path: &Path, quick: bool) -> Result<PretrainSpec, TrainingError> {
        let text = std::fs::read_to_string(path).map_err(TrainingError::io(path))?;
        PretrainSpec::parse(&text, path, quick)
    }

    /// Parses a recipe from a text; `path` is only for messages.
    ///
    /// # Errors
    /// The errors of [`PretrainSpec::read`].
    pub fn parse(text: &str, path: &Path, quick: bool) -> Result<PretrainSpec, TrainingError> {
        let bad = |problem: String| TrainingError::Spec {
            path: path.to_owned(),
            problem: problem.trim_end().to_owned(),
        };
        // The text itself is checked first, because only there does an error know its line.
        let typed: PretrainSpec = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
        let mut table: toml::Table = toml::from_str(text).map_err(|e| bad(e.to_string()))?;
        table.remove("quick");
        if quick {
            merge(&mut table, typed.quick.unwrap_or_default());
        }
        let spec: PretrainSpec = table
            .try_into()
            .map_err(|e: toml::de::Error| bad(format!("after [quick] is merged in: {e}")))?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<(), TrainingError> {
        self.check_text()?;
        self.check_model()?;
        self.check_training()
    }

    fn check_text(&self) -> Result<(), TrainingError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return wrong(
                "name",
                format!("`{}` is not made of letters, digits, - and _", self.name),
            );
        }
        if self.text.is_empty() {
            return wrong("text", "at least one [[text]] is needed".into());
        }
        for (at, text) in self.text.iter().enumerate() {
            if text.languages.is_empty() {
                return wrong(
                    &format!("text[{at}].languages"),
                    "name the languages to read, such as [\"en\", \"de\"]".into(),
                );
            }
            if !(text.held_out > 0.0 && text.held_out <= 0.5) {
                return wrong(
                    &format!("text[{at}].held_out"),
                    format!("{} is not above 0 and at most 0.5", text.held_out),
                );
            }
        }
        if !(0.0..=1.0).contains(&self.data.balance) {
            return wrong(
                "data.balance",
                format!("{} is not between 0 and 1", self.data.balance),
            );
        }
        Ok(())
    }

    fn check_model(&self) -> Result<(), TrainingError> {
        let checked = self.model.check();
        checked.or_else(|(key, problem)| wrong(&format!("model.{key}"), problem))
    }

    fn check_training(&self) -> Result<(), TrainingError> {
        let (m, t) = (&self.model, &self.training);
        let positive = |x: f64| x > 0.0 && x.is_finite();
        for (key, value, good, what) in [
            (
                "epochs",
                t.epochs,
                positive(t.epochs) && t.epochs <= 1000.0,
                "above 0 and at most 1000",
            ),
            (
                "learning_rate",
                t.learning_rate,
                positive(t.learning_rate),
                "above 0",
            ),
            (
                "warmup",
                t.warmup,
                (0.0..=1.0).contains(&t.warmup),
                "between 0 and 1",
            ),
            (
                "beta_1",
                t.beta_1,
                (0.0..1.0).contains(&t.beta_1),
                "from 0 to below 1",
            ),
            (
                "beta_2",
                t.beta_2,
                (0.0..1.0).contains(&t.beta_2),
                "from 0 to below 1",
            ),
            (
                "weight_decay",
                t.weight_decay,
                t.weight_decay >= 0.0 && t.weight_decay.is_finite(),
                "at least 0",
            ),
            ("clip_norm", t.clip_norm, positive(t.clip_norm), "above 0"),
            (
                "logit_scale",
                m.logit_scale,
                positive(m.logit_scale),
                "above 0",
            ),
        ] {
            if !good {
                let room = if key == "logit_scale" {
                    "model"
                } else {
                    "training"
                };
                return wrong(&format!("{room}.{key}"), format!("{value} is not {what}"));
            }
        }
        for (key, value) in [
            ("batch_tokens", t.batch_tokens),
            ("checkpoint_every", t.checkpoint_every),
            ("evaluate_every", t.evaluate_every),
            ("evaluate_sentences", t.evaluate_sentences),
            ("log_every", t.log_every),
            ("resamples", t.resamples),
        ] {
            if value == 0 {
                return wrong(
                    &format!("training.{key}"),
                    "0 is too few; use at least 1".into(),
                );
            }
        }
        Ok(())
    }

    /// Returns all languages, in the order in which the sources name them.
    pub fn languages(&self) -> Vec<Language> {
        let mut all = Vec::new();
        for language in self.text.iter().flat_map(|t| &t.languages) {
            if !all.contains(language) {
                all.push(*language);
            }
        }
        all
    }
}

fn one() -> u64 {
    1
}
fn one_hundredth() -> f64 {
    0.01
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "name = \"x\"\ntitle = \"X\"\n[[text]]\nname = \"t\"\nfile = \"t.tsv\"\nlanguages = [\"en\", \"de\"]\n[training]\nepochs = 1.5\n";

    fn parse(text: &str, quick: bool) -> Result<PretrainSpec, TrainingError> {
        PretrainSpec::parse(text, Path::new("p.toml"), quick)
    }

    #[test]
    fn quick_is_merged_over_the_rest() {
        let text = format!("{SMALL}[quick]\nname = \"y\"\ntraining.epochs = 0.1\n");
        assert_eq!(parse(&text, false).unwrap().training.epochs, 1.5);
        let quick = parse(&text, true).unwrap();
        assert_eq!((quick.name.as_str(), quick.training.epochs), ("y", 0.1));
        assert_eq!(quick.languages(), [Language::EN, Language::DE]);
    }

    #[test]
    fn what_cannot_work_is_named() {
        for (from, to, expect) in [
            ("epochs", "epohcs", "epohcs"),
            ("epochs = 1.5", "epochs = 0.0", "training.epochs"),
            ("epochs = 1.5", "beta_2 = 1.0", "training.beta_2"),
            ("epochs = 1.5", "batch_tokens = 0", "training.batch_tokens"),
            (
                "[training]",
                "[model]\nheads = 3\n[training]",
                "model.heads",
            ),
            (
                "[training]",
                "[model]\nvocab_size = 100\n[training]",
                "model.vocab_size",
            ),
            (
                "[training]",
                "held_out = 0.0\n[training]",
                "text[0].held_out",
            ),
            ("name = \"x\"", "name = \"../x\"", "name"),
        ] {
            let text = SMALL.replacen(from, to, 1);
            let message = parse(&text, false).unwrap_err().to_string();
            assert!(message.contains(expect), "{to}: {message}");
        }
    }
}

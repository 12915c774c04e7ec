//! Classifies texts with a checkpoint that has a head for sequences: BERT, DistilBERT, RoBERTa, XLM-RoBERTa.
//!
//! ```text
//! h      = the last state of the first token ([CLS], <s>)
//! logits = out(act(dense(h)))        act: tanh, for DistilBERT ReLU
//! p      = softmax(logits), or sigmoid(logits) where a text may have several labels
//! ```
//!
//! The encoder runs as every other model; the head is computed in f64 from the weights as they are stored.
//!
//! # Source
//! transformers' `BertForSequenceClassification` and its siblings; probabilities as in its `TextClassificationPipeline`.

use std::path::{Path, PathBuf};

use interlingua_backend::Device;
use interlingua_edits::Hook;
use serde_json::{Value, json};

use crate::architectures;
use crate::checkpoint::Checkpoint;
use crate::config::{Reader, read_json};
use crate::engine::{Capture, Pooling, capture};
use crate::input;
use crate::weights::Weights;
use crate::{Model, ModelError, Residency, Sequence};

/// A kind of checkpoint with a head for sequences.
struct Kind {
    /// The name in `config.json`.
    class: &'static str,
    /// The `model_type` that comes with it.
    model_type: &'static str,
    /// The architecture without a head that computes its states, and its type.
    base: [&'static str; 2],
    /// The tensor of the dense layer, and of the layer that gives the logits.
    layers: [&'static str; 2],
    activation: fn(f64) -> f64,
}

fn relu(x: f64) -> f64 {
    x.max(0.0)
}

const KINDS: &[Kind] = &[
    Kind {
        class: "BertForSequenceClassification",
        model_type: "bert",
        base: ["BertModel", "bert"],
        layers: ["bert.pooler.dense", "classifier"],
        activation: f64::tanh,
    },
    Kind {
        class: "DistilBertForSequenceClassification",
        model_type: "distilbert",
        base: ["DistilBertModel", "distilbert"],
        layers: ["pre_classifier", "classifier"],
        activation: relu,
    },
    Kind {
        class: "RobertaForSequenceClassification",
        model_type: "roberta",
        base: ["XLMRobertaModel", "xlm-roberta"],
        layers: ["classifier.dense", "classifier.out_proj"],
        activation: f64::tanh,
    },
    Kind {
        class: "XLMRobertaForSequenceClassification",
        model_type: "xlm-roberta",
        base: ["XLMRobertaModel", "xlm-roberta"],
        layers: ["classifier.dense", "classifier.out_proj"],
        activation: f64::tanh,
    },
];

/// The most labels that a classifier may have.
const MOST_LABELS: usize = 1000;

/// How probabilities come from logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A text has one label: the softmax over all logits.
    OneLabel,
    /// A text may have several labels, or there is only one: the sigmoid of each logit.
    EachLabel,
}

/// A checkpoint that gives texts probabilities of labels.
pub struct Classifier {
    model: Model,
    labels: Vec<String>,
    reading: Reading,
    dense: Layer,
    activation: fn(f64) -> f64,
    out: Layer,
}

/// What a classifier says of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The logit of each label.
    pub logits: Vec<f64>,
    /// The probability of each label.
    pub probabilities: Vec<f64>,
    /// Whether the end of the text was cut off, because the model does not take so many tokens.
    pub cut: bool,
}

impl Classifier {
    /// Opens a folder with `config.json`, `tokenizer.json` and safetensors.
    ///
    /// # Errors
    /// A checkpoint without a head for sequences, one that is trained to give numbers and no probabilities, labels that are not
    /// numbered from 0 on or of which two are the same, and the errors of [`Model::open`].
    pub fn open(
        folder: &Path,
        device: &Device,
        residency: Residency,
    ) -> Result<Classifier, ModelError> {
        let path = folder.join("config.json");
        let checkpoint = Checkpoint::open(folder)?;
        if matches!(checkpoint, Checkpoint::Gguf(_)) {
            return Err(unknown(folder.to_owned(), "a GGUF file"));
        }
        if !input::is_there(&path)? {
            return Err(ModelError::MissingFile {
                folder: folder.to_owned(),
                file: "config.json".into(),
            });
        }
        let mut json = read_json(&path)?;
        let kind = kind(&path, &json)?;
        let (labels, reading) = labels(&Reader::new(&path, &json))?;
        json["architectures"] = json!([kind.base[0]]);
        json["model_type"] = json!(kind.base[1]);
        let architecture = architectures::parse(&path, &json)?;
        let width = architecture.geometry().hidden_size;
        let mut tensors = architecture.tensors();
        let [dense, out] = kind.layers;
        tensors.linear(dense, width, width, true);
        tensors.linear(out, labels.len(), width, true);
        let model = Model::of(
            folder,
            &checkpoint,
            (architecture, &tensors),
            device,
            residency,
        )?;
        let layer = |name| Layer::read(model.weights(), name);
        Ok(Classifier {
            dense: layer(dense)?,
            out: layer(out)?,
            labels,
            reading,
            activation: kind.activation,
            model,
        })
    }

    /// Returns the labels, in the order of the probabilities.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Returns how probabilities come from logits.
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// Returns the place of a label.
    ///
    /// # Errors
    /// A label that the classifier does not have; the error names those that it has.
    pub fn label(&self, label: &str) -> Result<usize, ModelError> {
        let place = self.labels.iter().position(|known| known == label);
        place.ok_or_else(|| ModelError::UnknownLabel {
            folder: self.model.folder.clone(),
            label: input::brief(label.to_owned()),
            known: self.labels.clone(),
        })
    }

    /// Returns a digest of the weights, the configuration and the tokenizer together.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn digest(&self) -> Result<blake3::Hash, ModelError> {
        self.model.digest()
    }

    /// Classifies texts. A text with more tokens than the model takes is cut at the end, as transformers does with
    /// `truncation=True`, and its verdict says so. Padding tokens that are written out in a text are left out where they have no position.
    ///
    /// `progress` is called with the number of operations that are done and the total number.
    ///
    /// # Errors
    /// A text on which the tokenizer fails, weights that cannot be read, or states that are not finite.
    pub fn classify(
        &self,
        texts: &[String],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Verdict>, ModelError> {
        let mut sequences = Vec::with_capacity(texts.len());
        let mut cut = Vec::with_capacity(texts.len());
        for text in texts {
            let (sequence, was_cut) = self.sequence(text)?;
            sequences.push(sequence);
            cut.push(was_cut);
        }
        let width = self.model.geometry.hidden_size;
        let mut first = vec![Vec::new(); texts.len()];
        let captured = [Capture {
            hook: Hook::FINAL_NORM,
            pooling: Pooling::All,
        }];
        let mut keep = |_, text: usize, rows: &[f32]| {
            first[text] = rows[..width].iter().map(|&x| f64::from(x)).collect();
            Ok(())
        };
        capture(&self.model, &sequences, &captured, &mut keep, progress)?;
        let verdict = |(state, cut): (Vec<f64>, bool)| {
            let inner = self.dense.of(&state).into_iter().map(self.activation);
            let logits = self.out.of(&inner.collect::<Vec<f64>>());
            Verdict {
                probabilities: self.reading.of(&logits),
                logits,
                cut,
            }
        };
        Ok(first.into_iter().zip(cut).map(verdict).collect())
    }

    /// The tokens of a text, and whether some were cut off.
    fn sequence(&self, text: &str) -> Result<(Sequence, bool), ModelError> {
        let mut sequence = self.model.sequence(text)?;
        if let Some(padding) = self.model.architecture().unplaced_token() {
            sequence.tokens.retain(|token| *token != padding);
        }
        let most = self.model.max_tokens();
        let is_long = sequence.tokens.len() > most;
        if is_long {
            let closing = sequence.closing.min(most);
            let end = sequence.tokens.len() - closing;
            sequence.tokens.drain(most - closing..end);
        }
        Ok((sequence, is_long))
    }
}

impl Reading {
    /// Probabilities of logits.
    fn of(self, logits: &[f64]) -> Vec<f64> {
        match self {
            Reading::EachLabel => logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
            Reading::OneLabel => {
                let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = logits.iter().map(|x| (x - max).exp()).collect();
                let sum: f64 = weights.iter().sum();
                weights.iter().map(|w| w / sum).collect()
            }
        }
    }
}

/// A linear map with a bias.
struct Layer {
    /// `[out, in]`, row by row.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    fn read(weights: &Weights, name: &str) -> Result<Layer, ModelError> {
        Ok(Layer {
            weight: weights.read(&format!("{name}.weight"))?,
            bias: weights.read(&format!("{name}.bias"))?,
        })
    }

    fn of(&self, x: &[f64]) -> Vec<f64> {
        let rows = self.weight.chunks_exact(x.len()).zip(&self.bias);
        let product = |(row, bias): (&[f32], &f32)| {
            let terms = row.iter().zip(x).map(|(&w, x)| f64::from(w) * x);
            terms.sum::<f64>() + f64::from(*bias)
        };
        rows.map(product).collect()
    }
}

fn unknown(path: PathBuf, found: &str) -> ModelError {
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.class).collect();
    ModelError::NoClassifier {
        path,
        found: input::brief(found.to_owned()),
        known: names.join(", "),
    }
}

/// What the configuration says that the checkpoint is.
fn kind(path: &Path, json: &Value) -> Result<&'static Kind, ModelError> {
    let found = json.get("architectures").and_then(|a| a.get(0));
    let found = found.and_then(Value::as_str).unwrap_or("(nothing)");
    let Some(kind) = KINDS.iter().find(|kind| kind.class == found) else {
        return Err(unknown(path.to_owned(), found));
    };
    let reader = Reader::new(path, json);
    match reader.value("model_type") {
        Some(other) if other != kind.model_type => Err(reader.bad(
            "model_type",
            format!(
                "{other} does not belong to {found}, whose type is `{}`",
                kind.model_type
            ),
        )),
        _ => Ok(kind),
    }
}

/// The labels by number, and how their probabilities are read.
fn labels(r: &Reader<'_>) -> Result<(Vec<String>, Reading), ModelError> {
    let labels: Vec<String> = match r.value("id2label") {
        None => {
            let count = r.size("num_labels", Some(2))?;
            if count > MOST_LABELS {
                let problem = format!("{count} is more than {MOST_LABELS}");
                return Err(r.bad("num_labels", problem));
            }
            (0..count).map(|n| format!("LABEL_{n}")).collect()
        }
        Some(named) => by_number(r, named)?,
    };
    if let Some(twice) = (1..labels.len()).find(|&at| labels[..at].contains(&labels[at])) {
        let problem = format!("two labels are called `{}`", labels[twice]);
        return Err(r.bad("id2label", problem));
    }
    let reading = match r.text("problem_type", "")? {
        "multi_label_classification" => Reading::EachLabel,
        "" | "single_label_classification" if labels.len() == 1 => Reading::EachLabel,
        "" | "single_label_classification" => Reading::OneLabel,
        other => {
            let problem = format!(
                "`{other}` gives no probabilities; single_label_classification and multi_label_classification do"
            );
            return Err(r.bad("problem_type", problem));
        }
    };
    Ok((labels, reading))
}

fn by_number(r: &Reader<'_>, named: &Value) -> Result<Vec<String>, ModelError> {
    let bad = || {
        let problem = format!(
            "is not an object of names by number, from 0 on, with 1 to {MOST_LABELS} of them"
        );
        r.bad("id2label", problem)
    };
    let named = named.as_object().ok_or_else(bad)?;
    if named.is_empty() || named.len() > MOST_LABELS {
        return Err(bad());
    }
    let label = |number: usize| {
        let label = named.get(&number.to_string()).and_then(Value::as_str);
        label.map(str::to_owned).ok_or_else(bad)
    };
    (0..named.len()).map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: Value) -> Result<(Vec<String>, Reading), String> {
        let path = Path::new("config.json");
        labels(&Reader::new(path, &config)).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_and_their_reading_are_those_of_transformers() {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        for (config, expect, reading) in [
            (json!({}), names(&["LABEL_0", "LABEL_1"]), Reading::OneLabel),
            (
                json!({"num_labels": 1}),
                names(&["LABEL_0"]),
                Reading::EachLabel,
            ),
            (
                json!({"id2label": {"1": "toxic", "0": "neutral"}, "problem_type": null}),
                names(&["neutral", "toxic"]),
                Reading::OneLabel,
            ),
            (
                json!({"id2label": {"0": "a", "1": "b"}, "problem_type": "multi_label_classification"}),
                names(&["a", "b"]),
                Reading::EachLabel,
            ),
        ] {
            assert_eq!(check(config), Ok((expect, reading)));
        }
        for (config, told) in [
            (json!({"id2label": []}), "by number"),
            (json!({"id2label": {}}), "by number"),
            (json!({"id2label": {"1": "a", "2": "b"}}), "from 0 on"),
            (json!({"id2label": {"0": 1}}), "by number"),
            (
                json!({"id2label": {"0": "a", "1": "a"}}),
                "two labels are called `a`",
            ),
            (json!({"num_labels": 0}), "num_labels"),
            (json!({"num_labels": 1e9}), "num_labels"),
            (json!({"problem_type": "regression"}), "no probabilities"),
            (json!({"problem_type": 3}), "problem_type"),
        ] {
            let error = check(config).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn large_logits_have_probabilities() {
        assert_eq!(Reading::OneLabel.of(&[1000.0, 1000.0]), [0.5, 0.5]);
        assert_eq!(
            Reading::EachLabel.of(&[-1000.0, 0.0, 1000.0]),
            [0.0, 0.5, 1.0]
        );
        let found = Reading::OneLabel.of(&[0.0, 3f64.ln()]);
        assert!((found[0] - 0.25).abs() < 1e-15 && (found[1] - 0.75).abs() < 1e-15);
    }
}

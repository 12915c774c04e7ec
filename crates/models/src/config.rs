//! Reads and checks the `config.json` of a checkpoint, key by key.

use std::path::Path;

use interlingua_backend::ops::{Activation, RotaryScaling};
use interlingua_edits::{Hook, ModelShape};
use serde_json::Value;

use crate::ModelError;
use crate::input;

/// No real model comes near these; a larger value is a damaged or hostile file.
const MAX_SIZE: u64 = 1 << 24;

/// No real `config.json` comes near this many bytes: the longest list the names of some thousand classes.
const MAX_FILE: u64 = 4 << 20;

/// The largest number of blocks of a model. The tensors of each block are listed before any tensor is examined, so
/// the number of blocks needs a limit of its own.
pub const MAX_LAYERS: u64 = 4096;

/// Keys that count blocks.
const LAYER_KEYS: [&str; 4] = ["num_hidden_layers", "n_layer", "n_layers", "num_layers"];

/// The facts about a model that the engine and the reports need, whatever its architecture is.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// The name in `config.json`, such as `CohereForCausalLM`.
    pub architecture: String,
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The number of units of the MLP.
    pub intermediate_size: usize,
    /// Whether the MLP has a gate.
    pub gated: bool,
    /// The number of blocks.
    pub layers: usize,
    /// The number of query heads.
    pub heads: usize,
    /// The number of key and value heads.
    pub kv_heads: usize,
    /// The width of one head.
    pub head_dim: usize,
    /// The number of rows of the embedding.
    pub vocab_size: usize,
    /// The length of the longest sequence, in tokens.
    pub max_positions: usize,
    /// Whether a token sees only the tokens before it.
    pub causal: bool,
    /// The id of the beginning-of-sequence token.
    pub bos: Option<u32>,
    /// The id of the end-of-sequence token.
    pub eos: Option<u32>,
}

impl Geometry {
    /// Returns the sizes on which an intervention depends.
    pub fn shape(&self) -> ModelShape {
        ModelShape {
            architecture: self.architecture.clone(),
            layers: self.layers,
            hidden: self.hidden_size,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            intermediate: self.intermediate_size,
            gated: self.gated,
        }
    }

    /// Returns every hook of the model, in the order of the forward pass.
    pub fn hooks(&self) -> Vec<Hook> {
        self.shape().hooks()
    }
}

/// A reader for a JSON object of a `config.json`, with errors that name the file and the key.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    path: &'a Path,
    json: &'a Value,
    /// Put before every key in errors: `text_config.` of a nested object.
    within: &'a str,
}

/// Reads a `config.json` into JSON.
///
/// # Errors
/// A file that is missing, too large, or not a JSON object.
pub fn read_json(path: &Path) -> Result<Value, ModelError> {
    parse_json(path, &input::read(path, MAX_FILE)?)
}

pub(crate) fn parse_json(path: &Path, bytes: &[u8]) -> Result<Value, ModelError> {
    let bad = |problem: String| ModelError::Config {
        path: path.to_owned(),
        key: "(whole file)".into(),
        problem,
    };
    let json: Value = serde_json::from_slice(bytes).map_err(|e| bad(format!("not JSON: {e}")))?;
    if !json.is_object() {
        return Err(bad("not a JSON object".into()));
    }
    Ok(json)
}

impl<'a> Reader<'a> {
    /// Makes a reader of the whole file.
    pub fn new(path: &'a Path, json: &'a Value) -> Reader<'a> {
        Reader {
            path,
            json,
            within: "",
        }
    }

    /// Makes a reader of the object under `key`. `within` is the key with a dot, for errors.
    ///
    /// # Errors
    /// A key that is missing or does not hold an object.
    pub fn object(&self, key: &str, within: &'a str) -> Result<Reader<'a>, ModelError> {
        match self.json.get(key) {
            Some(json) if json.is_object() => Ok(Reader {
                path: self.path,
                json,
                within,
            }),
            _ => Err(self.bad(key, "missing; expected an object".into())),
        }
    }

    /// Returns the path of the file, for errors.
    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// Makes an error about a key.
    pub fn bad(&self, key: &str, problem: String) -> ModelError {
        ModelError::Config {
            path: self.path.to_owned(),
            key: format!("{}{key}", self.within),
            // It may hold a value of the file, which may be of any length.
            problem: input::brief(problem),
        }
    }

    /// Returns the value of a key; `None` if it is absent or null.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.json.get(key).filter(|v| !v.is_null())
    }

    /// Returns whether the key is present, even if it is null. Some defaults apply to absent keys only.
    pub fn has(&self, key: &str) -> bool {
        self.json.get(key).is_some()
    }

    /// Returns which of two names of the same setting the file uses; the first, if it uses neither.
    ///
    /// # Errors
    /// A file that has both names with different values.
    pub fn either(&self, key: &'a str, other: &'a str) -> Result<&'a str, ModelError> {
        match (self.value(key), self.value(other)) {
            (None, Some(_)) => Ok(other),
            (Some(a), Some(b)) if a != b => Err(self.bad(
                key,
                format!("{a}, but `{other}`, another name of it, is {b}"),
            )),
            _ => Ok(key),
        }
    }

    /// Reads a positive whole number.
    ///
    /// # Errors
    /// A key that is absent without a default, or a value outside the sensible range.
    pub fn size(&self, key: &str, default: Option<usize>) -> Result<usize, ModelError> {
        match (self.value(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.bad(key, "missing; expected a positive whole number".into())),
            (Some(value), _) => self.size_of(key, value),
        }
    }

    fn size_of(&self, key: &str, value: &Value) -> Result<usize, ModelError> {
        let most = if LAYER_KEYS.contains(&key) {
            MAX_LAYERS
        } else {
            MAX_SIZE
        };
        match value.as_u64() {
            Some(n) if (1..=most).contains(&n) => Ok(n as usize),
            _ => Err(self.bad(
                key,
                format!("{value} is not a whole number from 1 to {most}"),
            )),
        }
    }

    /// Reads a positive whole number, or `None` if the key is absent or null.
    ///
    /// # Errors
    /// A value outside the sensible range.
    pub fn optional_size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        self.value(key).map(|v| self.size_of(key, v)).transpose()
    }

    /// Refuses a size that would make other numbers overflow.
    ///
    /// # Errors
    /// A size outside the sensible range.
    pub fn check_size(&self, key: &str, size: usize) -> Result<usize, ModelError> {
        self.size_of(key, &Value::from(size as u64))
    }

    /// Reads a finite number.
    ///
    /// # Errors
    /// A key that is absent without a default, or a value that is not a finite number.
    pub fn number(&self, key: &str, default: Option<f64>) -> Result<f64, ModelError> {
        match (self.value(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.bad(key, "missing; expected a number".into())),
            (Some(value), _) => match value.as_f64() {
                Some(x) if x.is_finite() => Ok(x),
                _ => Err(self.bad(key, format!("{value} is not a number"))),
            },
        }
    }

    /// Reads a finite number above zero.
    ///
    /// # Errors
    /// The errors of [`Reader::number`], and a number that is not above zero.
    pub fn positive(&self, key: &str, default: Option<f64>) -> Result<f32, ModelError> {
        let x = self.number(key, default)?;
        if x > 0.0 && (x as f32).is_finite() {
            Ok(x as f32)
        } else {
            Err(self.bad(key, format!("{x} is not positive")))
        }
    }

    /// Reads a number above zero, or `None` if the key is absent or null.
    ///
    /// # Errors
    /// The errors of [`Reader::positive`].
    pub fn optional_positive(&self, key: &str) -> Result<Option<f32>, ModelError> {
        self.value(key)
            .map(|_| self.positive(key, None))
            .transpose()
    }

    /// Reads the epsilon of a norm.
    ///
    /// # Errors
    /// A value that is negative or not a number.
    pub fn epsilon(&self, key: &str, default: f64) -> Result<f32, ModelError> {
        let eps = self.number(key, Some(default))?;
        if (0.0..1.0).contains(&eps) {
            Ok(eps as f32)
        } else {
            Err(self.bad(key, format!("{eps} is not a usable epsilon")))
        }
    }

    /// Reads a boolean.
    ///
    /// # Errors
    /// A value that is not a boolean.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.value(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.bad(key, format!("{other} is not true or false"))),
        }
    }

    /// Reads a text.
    ///
    /// # Errors
    /// A value that is not a text.
    pub fn text(&self, key: &str, default: &'a str) -> Result<&'a str, ModelError> {
        match self.value(key) {
            None => Ok(default),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(self.bad(key, format!("{other} is not a text"))),
        }
    }

    /// Refuses a setting that some checkpoints use and that is not implemented.
    ///
    /// # Errors
    /// A key that is present with another value than `works`.
    pub fn only(&self, key: &str, works: impl Into<Value>) -> Result<(), ModelError> {
        let works = works.into();
        match self.value(key) {
            Some(value) if *value != works => Err(self.bad(
                key,
                format!("{value} is not implemented for this architecture; {works} is"),
            )),
            _ => Ok(()),
        }
    }

    /// Reads an activation function.
    ///
    /// # Errors
    /// A function that is not implemented.
    pub fn activation(&self, key: &str, default: &'a str) -> Result<Activation, ModelError> {
        let name = self.text(key, default)?;
        Activation::parse(name).ok_or_else(|| {
            self.bad(
                key,
                format!(
                    "activation `{name}` is not implemented; those that are: {}",
                    Activation::NAMES.join(", ")
                ),
            )
        })
    }

    /// Reads a token id below `vocab_size`; of a list, the first is taken. The result is `None` if the key is absent
    /// or null.
    ///
    /// # Errors
    /// A value that is not such an id.
    pub fn token(&self, key: &str, vocab_size: usize) -> Result<Option<u32>, ModelError> {
        let value = match self.value(key) {
            None => return Ok(None),
            Some(Value::Array(many)) => many.first().unwrap_or(&Value::Null),
            Some(value) => value,
        };
        match value.as_u64() {
            Some(id) if (id as usize) < vocab_size => Ok(Some(id as u32)),
            _ => Err(self.bad(
                key,
                format!("{value} is not a token id below vocab_size {vocab_size}"),
            )),
        }
    }

    /// Reads a token id as [`Reader::token`] does, with a default for an absent key.
    ///
    /// # Errors
    /// The errors of [`Reader::token`].
    pub fn token_or(
        &self,
        key: &str,
        vocab_size: usize,
        default: u32,
    ) -> Result<Option<u32>, ModelError> {
        if self.has(key) {
            self.token(key, vocab_size)
        } else {
            Ok(Some(default).filter(|&id| (id as usize) < vocab_size))
        }
    }

    /// Reads the number of query heads, the number of key and value heads, and the width of a head.
    ///
    /// # Errors
    /// Numbers that do not divide each other.
    pub fn heads(&self, hidden_size: usize) -> Result<(usize, usize, usize), ModelError> {
        let heads = self.size("num_attention_heads", None)?;
        let kv_heads = self.size("num_key_value_heads", Some(heads))?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(self.bad(
                "num_key_value_heads",
                format!("{kv_heads} does not divide the {heads} attention heads"),
            ));
        }
        let head_dim = match self.optional_size("head_dim")? {
            Some(head_dim) => head_dim,
            None => self.head_dim("num_attention_heads", hidden_size, heads)?,
        };
        self.check_size("head_dim", heads.saturating_mul(head_dim))?;
        Ok((heads, kv_heads, head_dim))
    }

    /// Reads the width of a head, which by default is the model's width divided by the number of heads.
    ///
    /// # Errors
    /// A width that the number of heads does not divide.
    pub fn head_dim(
        &self,
        key: &str,
        hidden_size: usize,
        heads: usize,
    ) -> Result<usize, ModelError> {
        if hidden_size.is_multiple_of(heads) {
            Ok(hidden_size / heads)
        } else {
            Err(self.bad(
                key,
                format!("{heads} does not divide the width {hidden_size}"),
            ))
        }
    }

    /// Reads the base and the scaling of rotary position embedding.
    ///
    /// Both the current keys (`rope_parameters`) and those of older files (`rope_theta`, `rope_scaling`) are read.
    /// `default_theta` is for architectures whose default in transformers has never changed.
    ///
    /// # Errors
    /// A missing base, a base that cannot be used, or a scaling that is not implemented.
    pub fn rope(&self, default_theta: Option<f64>) -> Result<(f32, RotaryScaling), ModelError> {
        let (key, rope) = match (self.value("rope_parameters"), self.value("rope_scaling")) {
            // transformers has changed which of the two wins.
            (Some(rope), Some(other)) if rope != other => {
                return Err(self.bad(
                    "rope_scaling",
                    "differs from rope_parameters, which says the same in newer files; remove one"
                        .into(),
                ));
            }
            (Some(rope), _) => ("rope_parameters", Some(rope)),
            (None, rope) => ("rope_scaling", rope),
        };
        self.rope_of(key, rope, default_theta)
    }

    /// Refuses heads that are rotated in part.
    ///
    /// # Errors
    /// A part other than 1.
    fn whole_heads(&self, key: &str, part: &Value) -> Result<(), ModelError> {
        match part.as_f64() {
            Some(1.0) => Ok(()),
            _ => Err(self.bad(
                key,
                format!("{part} is not implemented for this architecture; 1.0 is"),
            )),
        }
    }

    /// Reads the base and the scaling from an object that stands under `key`, as [`Reader::rope`] does.
    ///
    /// # Errors
    /// The errors of [`Reader::rope`].
    pub fn rope_of(
        &self,
        key: &str,
        rope: Option<&'a Value>,
        default_theta: Option<f64>,
    ) -> Result<(f32, RotaryScaling), ModelError> {
        if let Some(part) = self.value("partial_rotary_factor") {
            self.whole_heads("partial_rotary_factor", part)?;
        }
        if let Some(other) = rope.filter(|r| !r.is_object()) {
            return Err(self.bad(key, format!("{other} is not an object")));
        }
        let inner = rope.map(|json| Reader {
            path: self.path,
            json,
            within: "",
        });
        if let Some(part) = inner.and_then(|r| r.value("partial_rotary_factor")) {
            self.whole_heads(&format!("{key}.partial_rotary_factor"), part)?;
        }
        let theta = match inner.and_then(|r| r.value("rope_theta")) {
            Some(theta) => theta
                .as_f64()
                .ok_or_else(|| self.bad(&format!("{key}.rope_theta"), "not a number".into()))?,
            // transformers changed its default between major versions, so none is assumed.
            None if self.value("rope_theta").is_none() && default_theta.is_none() => {
                return Err(self.bad(
                    "rope_theta",
                    "missing; expected here or in rope_parameters".into(),
                ));
            }
            None => self.number("rope_theta", default_theta)?,
        };
        if !(theta.is_finite() && (1.0..1e12).contains(&theta)) {
            return Err(self.bad(
                "rope_theta",
                format!("{theta} is not a usable base; models use 10000 and above"),
            ));
        }
        let kind = match inner.and_then(|r| r.value("rope_type").or_else(|| r.value("type"))) {
            None => "default",
            Some(Value::String(kind)) => kind.as_str(),
            Some(other) => {
                return Err(self.bad(
                    &format!("{key}.rope_type"),
                    format!("{other} is not a text"),
                ));
            }
        };
        let named = |e: ModelError| match e {
            ModelError::Config {
                path,
                key: k,
                problem,
            } => ModelError::Config {
                path,
                key: format!("{}{key}.{k}", self.within),
                problem,
            },
            other => other,
        };
        let scaling = match (kind, inner) {
            ("default", _) => RotaryScaling::None,
            ("linear", Some(r)) => RotaryScaling::Linear {
                factor: r.positive("factor", None).map_err(named)?,
            },
            ("llama3", Some(r)) => RotaryScaling::Llama3 {
                factor: r.positive("factor", None).map_err(named)?,
                low_freq_factor: r.positive("low_freq_factor", None).map_err(named)?,
                high_freq_factor: r.positive("high_freq_factor", None).map_err(named)?,
                original_positions: r
                    .size("original_max_position_embeddings", None)
                    .map_err(named)?,
            },
            (other, _) => {
                return Err(self.bad(
                    &format!("{key}.rope_type"),
                    format!("`{other}` is not implemented; `default`, `linear` and `llama3` are"),
                ));
            }
        };
        Ok((theta as f32, scaling))
    }
}

/// Returns the shortest decimal that reads back as the same f32, so that 1e-5 is written as such.
pub(crate) fn decimal(value: f32) -> f64 {
    value
        .to_string()
        .parse()
        .expect("a float prints as a float")
}

/// Tests an architecture's reader: `base` is a config that can be read, and each `(key, value, expected)` of `cases`
/// must be refused with an error that names the key and contains `expected`.
#[cfg(test)]
pub(crate) fn check_refusals<T>(
    read: impl Fn(&Reader<'_>) -> Result<T, ModelError>,
    base: &Value,
    cases: &[(&str, Value, &str)],
) {
    let path = Path::new("config.json");
    if let Err(error) = read(&Reader::new(path, base)) {
        panic!("the base is refused: {error}");
    }
    for (key, value, expected) in cases {
        let mut json = base.clone();
        json[key] = value.clone();
        let Err(error) = read(&Reader::new(path, &json)) else {
            panic!("{key}: {value} is not refused");
        };
        let message = error.to_string();
        assert!(
            message.contains(key) && message.contains(expected),
            "{key}: {value}: {message}"
        );
    }
}

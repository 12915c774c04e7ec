//! `config.json` of a checkpoint, read and checked.

use std::path::Path;

use serde_json::Value;

use crate::ModelError;

/// Architectures that are implemented, by their names in `config.json`.
pub const ARCHITECTURES: [&str; 1] = ["CohereForCausalLM"];

/// Geometry of a Cohere model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// Epsilon of the layer norms.
    pub norm_eps: f32,
    /// Base of the rotary angles.
    pub rope_theta: f32,
    /// Factor on the logits.
    pub logit_scale: f32,
    /// Whether the LM head is the embedding.
    pub tied: bool,
    /// Beginning-of-sequence token.
    pub bos: Option<u32>,
    /// End-of-sequence token.
    pub eos: Option<u32>,
}

/// No real model comes near these; a larger value is a damaged or hostile file.
const MAX_SIZE: u64 = 1 << 24;

impl Config {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// Names the file and the key, and what would work.
    pub fn read(path: &Path) -> Result<Config, ModelError> {
        let bytes = std::fs::read(path).map_err(ModelError::io(path))?;
        let json: Value = serde_json::from_slice(&bytes).map_err(|e| ModelError::Config {
            path: path.to_owned(),
            key: "(whole file)".into(),
            problem: format!("not JSON: {e}"),
        })?;
        Reader { path, json: &json }.cohere()
    }

    /// The same as JSON that transformers reads.
    pub fn to_json(&self) -> Value {
        serde_json::json!({
            "architectures": ["CohereForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": self.bos,
            "eos_token_id": self.eos,
            "dtype": "float32",
            "torch_dtype": "float32",
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate_size,
            "layer_norm_eps": decimal(self.norm_eps),
            "logit_scale": decimal(self.logit_scale),
            "max_position_embeddings": self.max_positions,
            "model_type": "cohere",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "pad_token_id": 0,
            "rope_theta": decimal(self.rope_theta),
            "tie_word_embeddings": self.tied,
            "use_cache": true,
            "use_qk_norm": false,
            "vocab_size": self.vocab_size,
        })
    }
}

/// The shortest decimal that reads back as the same f32, so that 1e-5 is written as such.
fn decimal(value: f32) -> f64 {
    value
        .to_string()
        .parse()
        .expect("a float prints as a float")
}

struct Reader<'a> {
    path: &'a Path,
    json: &'a Value,
}

impl Reader<'_> {
    fn cohere(&self) -> Result<Config, ModelError> {
        let found = self
            .json
            .get("architectures")
            .and_then(|a| a.get(0))
            .and_then(Value::as_str);
        match found {
            Some("CohereForCausalLM") => {}
            Some(other) => {
                return Err(ModelError::UnknownArchitecture {
                    path: self.path.to_owned(),
                    found: other.to_owned(),
                    known: ARCHITECTURES.join(", "),
                });
            }
            None => {
                return Err(self.bad(
                    "architectures",
                    format!("missing; expected one of {}", ARCHITECTURES.join(", ")),
                ));
            }
        }
        for (key, works) in [("attention_bias", false), ("use_qk_norm", false)] {
            if let Some(value) = self.json.get(key).filter(|v| !v.is_null())
                && value.as_bool() != Some(works)
            {
                return Err(self.bad(
                    key,
                    format!("{value} is not implemented for Cohere; {works} is"),
                ));
            }
        }
        if let Some(act) = self.json.get("hidden_act").and_then(Value::as_str)
            && act != "silu"
        {
            return Err(self.bad(
                "hidden_act",
                format!("`{act}` is not implemented for Cohere; `silu` is"),
            ));
        }
        let hidden_size = self.size("hidden_size", None)?;
        let heads = self.size("num_attention_heads", None)?;
        let kv_heads = self.size("num_key_value_heads", Some(heads))?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(self.bad(
                "num_key_value_heads",
                format!("{kv_heads} does not divide the {heads} attention heads"),
            ));
        }
        let head_dim = match self.json.get("head_dim").filter(|v| !v.is_null()) {
            Some(_) => self.size("head_dim", None)?,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                return Err(self.bad(
                    "num_attention_heads",
                    format!("{heads} does not divide hidden_size {hidden_size}"),
                ));
            }
        };
        if !head_dim.is_multiple_of(2) {
            return Err(self.bad(
                "head_dim",
                format!("{head_dim} is odd; rotary embedding needs pairs"),
            ));
        }
        let rope = self
            .json
            .get("rope_parameters")
            .or_else(|| self.json.get("rope_scaling"))
            .filter(|v| !v.is_null());
        if let Some(kind) = rope
            .and_then(|r| r.get("rope_type").or_else(|| r.get("type")))
            .and_then(Value::as_str)
            && kind != "default"
        {
            return Err(self.bad(
                "rope_parameters.rope_type",
                format!("`{kind}` is not implemented for Cohere; `default` is"),
            ));
        }
        let theta = match rope.and_then(|r| r.get("rope_theta")) {
            Some(theta) => theta
                .as_f64()
                .ok_or_else(|| self.bad("rope_parameters.rope_theta", "not a number".into()))?,
            // transformers changed its default between major versions, so none is assumed.
            None if self.json.get("rope_theta").is_none() => {
                return Err(self.bad(
                    "rope_theta",
                    "missing; expected here or in rope_parameters".into(),
                ));
            }
            None => self.number("rope_theta", f64::NAN)?,
        };
        if !(theta.is_finite() && theta >= 1.0) {
            return Err(self.bad(
                "rope_theta",
                format!("{theta} is not a usable base; models use 10000 and above"),
            ));
        }
        let logit_scale = self.number("logit_scale", 0.0625)?;
        if !(logit_scale.is_finite() && logit_scale > 0.0) {
            return Err(self.bad("logit_scale", format!("{logit_scale} is not positive")));
        }
        let norm_eps = self.number("layer_norm_eps", 1e-5)?;
        if !(norm_eps.is_finite() && norm_eps >= 0.0) {
            return Err(self.bad(
                "layer_norm_eps",
                format!("{norm_eps} is not a usable epsilon"),
            ));
        }
        let vocab_size = self.size("vocab_size", None)?;
        Ok(Config {
            hidden_size,
            intermediate_size: self.size("intermediate_size", None)?,
            layers: self.size("num_hidden_layers", None)?,
            heads,
            kv_heads,
            head_dim,
            vocab_size,
            max_positions: self.size("max_position_embeddings", Some(8192))?,
            norm_eps: norm_eps as f32,
            rope_theta: theta as f32,
            logit_scale: logit_scale as f32,
            tied: match self.json.get("tie_word_embeddings") {
                None | Some(Value::Null) => true,
                Some(Value::Bool(tied)) => *tied,
                Some(other) => {
                    return Err(self.bad(
                        "tie_word_embeddings",
                        format!("{other} is not true or false"),
                    ));
                }
            },
            bos: self.token("bos_token_id", vocab_size)?,
            eos: self.token("eos_token_id", vocab_size)?,
        })
    }

    fn bad(&self, key: &str, problem: String) -> ModelError {
        ModelError::Config {
            path: self.path.to_owned(),
            key: key.to_owned(),
            problem,
        }
    }

    fn size(&self, key: &str, default: Option<usize>) -> Result<usize, ModelError> {
        match (self.json.get(key).filter(|v| !v.is_null()), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.bad(key, "missing; expected a positive whole number".into())),
            (Some(value), _) => match value.as_u64() {
                Some(n) if (1..=MAX_SIZE).contains(&n) => Ok(n as usize),
                _ => Err(self.bad(
                    key,
                    format!("{value} is not a whole number from 1 to {MAX_SIZE}"),
                )),
            },
        }
    }

    fn number(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        match self.json.get(key).filter(|v| !v.is_null()) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| self.bad(key, format!("{value} is not a number"))),
        }
    }

    fn token(&self, key: &str, vocab_size: usize) -> Result<Option<u32>, ModelError> {
        let value = match self.json.get(key) {
            None | Some(Value::Null) => return Ok(None),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Value {
        Config {
            hidden_size: 8,
            intermediate_size: 16,
            layers: 2,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            vocab_size: 32,
            max_positions: 64,
            norm_eps: 1e-5,
            rope_theta: 10_000.0,
            logit_scale: 0.25,
            tied: true,
            bos: Some(2),
            eos: Some(3),
        }
        .to_json()
    }

    fn read(json: &Value) -> Result<Config, ModelError> {
        Reader {
            path: Path::new("config.json"),
            json,
        }
        .cohere()
    }

    #[test]
    fn written_configs_are_read_back() {
        let config = read(&good()).unwrap();
        assert_eq!(config.to_json(), good());
        assert!((config.norm_eps - 1e-5).abs() < 1e-12);
    }

    #[test]
    fn bad_values_name_their_key() {
        let cases: &[(&str, Value)] = &[
            ("hidden_size", 0.into()),
            ("hidden_size", Value::from(1u64 << 60)),
            ("hidden_size", "8".into()),
            ("num_hidden_layers", (-1).into()),
            ("num_key_value_heads", 3.into()),
            ("vocab_size", Value::Null),
            ("rope_theta", 0.into()),
            ("logit_scale", 0.into()),
            ("bos_token_id", 32.into()),
            ("use_qk_norm", true.into()),
            ("hidden_act", "gelu".into()),
            ("tie_word_embeddings", "yes".into()),
        ];
        for (key, value) in cases {
            let mut json = good();
            json[*key] = value.clone();
            let message = read(&json)
                .expect_err(&format!("{key} = {value}"))
                .to_string();
            assert!(
                message.contains(key) && message.contains("config.json"),
                "{message}"
            );
        }
    }

    #[test]
    fn an_unknown_architecture_lists_those_that_exist() {
        let mut json = good();
        json["architectures"] = serde_json::json!(["MambaForCausalLM"]);
        let message = read(&json).unwrap_err().to_string();
        assert!(
            message.contains("MambaForCausalLM") && message.contains("CohereForCausalLM"),
            "{message}"
        );
    }
}

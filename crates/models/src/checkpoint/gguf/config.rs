//! Translates the settings of a GGUF file into the `config.json` that the architecture reads.
//!
//! Every number in the file is passed on under the name that it has in `config.json`, so that bounds and defaults are
//! defined in one place. Errors are translated back to the names of the file.

use serde_json::{Value, json};

use super::facts::Facts;
use super::metadata::Settings;
use super::names::{self, Names};
use super::rope;
use crate::ModelError;

/// An architecture that GGUF files can hold.
pub(super) struct Family {
    /// The value of `general.architecture`.
    pub name: &'static str,
    /// The names of its tensors.
    pub names: &'static Names,
    config: fn(&Facts<'_>) -> Result<Value, ModelError>,
}

pub(super) const FAMILIES: &[Family] = &[
    family("llama", &names::LLAMA, llama),
    family("qwen2", &names::QWEN, qwen2),
    family("qwen3", &names::QWEN, qwen3),
    family("gemma2", &names::GEMMA, gemma2),
    family("gemma3", &names::GEMMA, gemma3),
    family("command-r", &names::COHERE, command_r),
    family("cohere2", &names::COHERE, cohere2),
    family("gpt2", &names::GPT2, gpt2),
    family("bloom", &names::BLOOM, bloom),
    family("bert", &names::BERT, bert),
];

const fn family(
    name: &'static str,
    names: &'static Names,
    config: fn(&Facts<'_>) -> Result<Value, ModelError>,
) -> Family {
    Family {
        name,
        names,
        config,
    }
}

/// Names in `config.json`, and after the architecture's name in GGUF.
const KEYS: &[(&str, &str)] = &[
    ("hidden_size", "embedding_length"),
    ("intermediate_size", "feed_forward_length"),
    ("num_hidden_layers", "block_count"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("max_position_embeddings", "context_length"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("layer_norm_eps", "attention.layer_norm_epsilon"),
    ("rope_theta", "rope.freq_base"),
    ("rope_scaling.factor", "rope.scaling.factor"),
    ("rope_scaling.rope_type", "rope.scaling.type"),
    ("sliding_window", "attention.sliding_window"),
    ("sliding_window_pattern", "attention.sliding_window_pattern"),
    ("layer_types", "attention.sliding_window_pattern"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
    ("logit_scale", "logit_scale"),
    ("n_embd", "embedding_length"),
    ("n_inner", "feed_forward_length"),
    ("n_layer", "block_count"),
    ("n_head", "attention.head_count"),
    ("n_positions", "context_length"),
    ("seq_length", "context_length"),
    ("layer_norm_epsilon", "attention.layer_norm_epsilon"),
];

/// Settings that would change what is computed and that no architecture here has, with the value that changes nothing.
const WITHOUT: &[(&str, f32)] = &[
    ("expert_count", 0.0),
    ("attention.scale", 0.0),
    ("attention.clamp_kqv", 0.0),
    ("embedding_scale", 1.0),
    ("residual_scale", 1.0),
    ("rope.scaling.attn_factor", 1.0),
];

/// Returns the architecture of a file.
pub(super) fn family_of(settings: &Settings<'_>) -> Result<&'static Family, ModelError> {
    let key = "general.architecture";
    let name = settings.required(key, settings.text(key)?)?;
    FAMILIES.iter().find(|f| f.name == name).ok_or_else(|| {
        let known: Vec<&str> = FAMILIES.iter().map(|f| f.name).collect();
        let problem = format!(
            "`{name}` is not implemented; those that are: {}",
            known.join(", ")
        );
        settings.bad(key, problem)
    })
}

/// Returns the JSON of the `config.json` that corresponds to a file.
pub(super) fn config(family: &Family, facts: &Facts<'_>) -> Result<Value, ModelError> {
    for (key, nothing) in WITHOUT {
        let key = format!("{}.{key}", family.name);
        if let Some(value) = facts.settings.number(&key)?.filter(|v| v != nothing) {
            return Err(facts
                .settings
                .bad(&key, format!("{value} is not implemented")));
        }
    }
    let mut json = (family.config)(facts)?;
    for kind in ["bos", "eos", "pad"] {
        let from = match kind {
            "pad" => "tokenizer.ggml.padding_token_id".to_owned(),
            _ => format!("tokenizer.ggml.{kind}_token_id"),
        };
        if let Some(id) = facts.settings.size(&from)? {
            json[format!("{kind}_token_id")] = json!(id);
        }
    }
    let object = json.as_object_mut().expect("every family makes an object");
    // What a file does not say is for the architecture's defaults.
    object.retain(|key, value| !value.is_null() || MAY_BE_NULL.contains(&key.as_str()));
    Ok(json)
}

/// Keys whose absence means something else than null.
const MAY_BE_NULL: [&str; 2] = ["attn_logit_softcapping", "final_logit_softcapping"];

/// Translates an error of the architecture's reader to the names of the file.
pub(super) fn in_its_names(family: &Family, error: ModelError) -> ModelError {
    match error {
        ModelError::Config { path, key, problem } => {
            let known = KEYS.iter().find(|(json, _)| *json == key);
            let key = match known {
                Some((_, own)) => format!("{}.{own}", family.name),
                None => key,
            };
            ModelError::Config { path, key, problem }
        }
        other => other,
    }
}

impl Facts<'_> {
    /// What all decoders with rotary embedding share.
    fn decoder(&self, architecture: &str) -> Result<Value, ModelError> {
        let head_dim = self.heads()?.head_dim as u64;
        for key in ["attention.value_length", "rope.dimension_count"] {
            if let Some(other) = self.size(key)?.filter(|&n| n != head_dim) {
                let problem = format!(
                    "{other} is not the width {head_dim} of a head; others are not implemented"
                );
                return Err(self.settings.bad(&self.arch(key), problem));
            }
        }
        let scaling = rope::scaling(self)?;
        // Heads that do not share out the width are for the architecture to refuse.
        let divides = self
            .needed("embedding_length")?
            .is_multiple_of(self.needed("attention.head_count")?.max(1));
        let stated = self.size("attention.key_length")?;
        Ok(json!({
            "architectures": [architecture],
            "hidden_size": self.needed("embedding_length")?,
            "intermediate_size": self.needed("feed_forward_length")?,
            "num_hidden_layers": self.needed("block_count")?,
            "num_attention_heads": self.needed("attention.head_count")?,
            "num_key_value_heads": self.size("attention.head_count_kv")?.unwrap_or(self.needed("attention.head_count")?),
            "head_dim": stated.or(divides.then_some(head_dim)),
            "max_position_embeddings": self.needed("context_length")?,
            "vocab_size": self.rows("token_embd.weight")?,
            "tie_word_embeddings": self.tied(),
            "rope_theta": self.theta()?,
            "rope_scaling": scaling,
        }))
    }

    /// [`Facts::decoder`] with root-mean-square norms.
    fn rms_decoder(&self, architecture: &str) -> Result<Value, ModelError> {
        let mut json = self.decoder(architecture)?;
        json["rms_norm_eps"] = json!(self.needed_number("attention.layer_norm_rms_epsilon")?);
        Ok(json)
    }
}

fn llama(facts: &Facts<'_>) -> Result<Value, ModelError> {
    if let Some(window) = facts.size("attention.sliding_window")? {
        let mut json = facts.rms_decoder("MistralForCausalLM")?;
        json["sliding_window"] = json!(window);
        return Ok(json);
    }
    let mut json = facts.rms_decoder("LlamaForCausalLM")?;
    json["attention_bias"] = json!(facts.tensor("blk.0.attn_q.bias").is_some());
    json["mlp_bias"] = json!(facts.tensor("blk.0.ffn_up.bias").is_some());
    Ok(json)
}

fn qwen2(facts: &Facts<'_>) -> Result<Value, ModelError> {
    facts.rms_decoder("Qwen2ForCausalLM")
}

fn qwen3(facts: &Facts<'_>) -> Result<Value, ModelError> {
    facts.rms_decoder("Qwen3ForCausalLM")
}

/// What scores are divided by the root of: the width of a head, but in the 27-billion models, which GGUF tells by
/// their number of blocks, the model's width for each head.
fn query_scalar(facts: &Facts<'_>, largest: u64) -> Result<u64, ModelError> {
    let heads = facts.heads()?;
    Ok(match facts.needed("block_count")? == largest {
        true => facts.needed("embedding_length")? / heads.heads as u64,
        false => heads.head_dim as u64,
    })
}

fn gemma2(facts: &Facts<'_>) -> Result<Value, ModelError> {
    let mut json = facts.rms_decoder("Gemma2ForCausalLM")?;
    json["query_pre_attn_scalar"] = json!(query_scalar(facts, 46)?);
    json["sliding_window"] = json!(facts.size("attention.sliding_window")?.unwrap_or(4096));
    for (key, default) in [
        ("attn_logit_softcapping", 50.0),
        ("final_logit_softcapping", 30.0),
    ] {
        json[key] = json!(facts.number(key)?.unwrap_or(default));
    }
    Ok(json)
}

fn gemma3(facts: &Facts<'_>) -> Result<Value, ModelError> {
    let mut json = facts.rms_decoder("Gemma3ForCausalLM")?;
    json["query_pre_attn_scalar"] = json!(query_scalar(facts, 62)?);
    json["sliding_window"] = json!(facts.needed("attention.sliding_window")?);
    json["final_logit_softcapping"] = json!(facts.number("final_logit_softcapping")?);
    sliding(facts, &mut json, 6)?;
    let local = match facts.number("rope.freq_base_swa")? {
        Some(base) => base,
        None => facts.number("rope.local.freq_base")?.unwrap_or(10_000.0),
    };
    let object = json.as_object_mut().expect("made as one");
    let mut full = match object.remove("rope_scaling") {
        Some(Value::Object(scaling)) => Value::Object(scaling),
        _ => json!({"rope_type": "default"}),
    };
    full["rope_theta"] = object.remove("rope_theta").unwrap_or(Value::Null);
    json["rope_parameters"] = json!({
        "full_attention": full,
        "sliding_attention": {"rope_type": "default", "rope_theta": local},
    });
    Ok(json)
}

/// Which blocks see a window: every so many one does not, or a list of truths.
fn sliding(facts: &Facts<'_>, json: &mut Value, default: u64) -> Result<(), ModelError> {
    let key = facts.arch("attention.sliding_window_pattern");
    match facts.settings.bytes(&key) {
        Ok(Some(list)) => {
            let kind = |&slides: &u8| match slides {
                0 => "full_attention",
                _ => "sliding_attention",
            };
            json["layer_types"] = json!(list.iter().map(kind).collect::<Vec<_>>());
        }
        _ => {
            json["sliding_window_pattern"] = json!(facts.settings.size(&key)?.unwrap_or(default));
        }
    }
    Ok(())
}

fn cohere(facts: &Facts<'_>, architecture: &str) -> Result<Value, ModelError> {
    let mut json = facts.decoder(architecture)?;
    json["layer_norm_eps"] = json!(facts.needed_number("attention.layer_norm_epsilon")?);
    json["logit_scale"] = json!(facts.needed_number("logit_scale")?);
    Ok(json)
}

fn command_r(facts: &Facts<'_>) -> Result<Value, ModelError> {
    let mut json = cohere(facts, "CohereForCausalLM")?;
    json["use_qk_norm"] = json!(facts.tensor("blk.0.attn_q_norm.weight").is_some());
    Ok(json)
}

fn cohere2(facts: &Facts<'_>) -> Result<Value, ModelError> {
    let mut json = cohere(facts, "Cohere2ForCausalLM")?;
    json["sliding_window"] = json!(facts.needed("attention.sliding_window")?);
    sliding(facts, &mut json, 4)?;
    Ok(json)
}

fn gpt2(facts: &Facts<'_>) -> Result<Value, ModelError> {
    Ok(json!({
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": facts.needed("embedding_length")?,
        "n_inner": facts.needed("feed_forward_length")?,
        "n_layer": facts.needed("block_count")?,
        "n_head": facts.needed("attention.head_count")?,
        "n_positions": facts.needed("context_length")?,
        "vocab_size": facts.rows("token_embd.weight")?,
        "layer_norm_epsilon": facts.needed_number("attention.layer_norm_epsilon")?,
        "tie_word_embeddings": facts.tied(),
    }))
}

fn bloom(facts: &Facts<'_>) -> Result<Value, ModelError> {
    Ok(json!({
        "architectures": ["BloomForCausalLM"],
        "hidden_size": facts.needed("embedding_length")?,
        "n_layer": facts.needed("block_count")?,
        "n_head": facts.needed("attention.head_count")?,
        "seq_length": facts.needed("context_length")?,
        "vocab_size": facts.rows("token_embd.weight")?,
        "layer_norm_epsilon": facts.needed_number("attention.layer_norm_epsilon")?,
        "tie_word_embeddings": facts.tied(),
    }))
}

fn bert(facts: &Facts<'_>) -> Result<Value, ModelError> {
    let key = facts.arch("attention.causal");
    if facts.settings.flag(&key)? == Some(true) {
        return Err(facts
            .settings
            .bad(&key, "true is not implemented; false is"));
    }
    Ok(json!({
        "architectures": ["BertModel"],
        "hidden_size": facts.needed("embedding_length")?,
        "intermediate_size": facts.needed("feed_forward_length")?,
        "num_hidden_layers": facts.needed("block_count")?,
        "num_attention_heads": facts.needed("attention.head_count")?,
        "max_position_embeddings": facts.needed("context_length")?,
        "vocab_size": facts.rows("token_embd.weight")?,
        "type_vocab_size": facts.rows("token_types.weight")?,
        "layer_norm_eps": facts.needed_number("attention.layer_norm_epsilon")?,
    }))
}

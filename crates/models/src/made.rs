//! Makes checkpoints of the Cohere architecture: random weights, and a folder that transformers loads.

use std::collections::HashMap;
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};

use crate::ModelError;
use crate::architectures::cohere::{self, Config};
use crate::tokenizer::{SPECIAL, train_bpe};

/// A tensor of a checkpoint: name, shape, values.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// Draws random weights for every tensor of a model, in the order of their names.
///
/// Matrices are drawn from a normal distribution with standard deviation 0.02, which is divided by `√(2 · layers)`
/// for those that write to the residual stream. Gains are 1.
pub fn random_weights(config: &Config, seed: u64) -> Vec<Named> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let residual = 0.02 / (2.0 * config.layers as f32).sqrt();
    let needed = cohere::tensors(config);
    let weights = needed.needed().iter().map(|(name, shape)| {
        let len = shape.iter().product();
        let writes = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
        let values = match (shape.len(), writes) {
            (1, _) => vec![1.0; len],
            (_, true) => normal(&mut rng, len, residual),
            (_, false) => normal(&mut rng, len, 0.02),
        };
        (name.clone(), shape.clone(), values)
    });
    weights.collect()
}

/// Writes a Hugging Face checkpoint folder that transformers loads.
///
/// # Errors
/// A file that cannot be written.
pub fn write_checkpoint(
    folder: &Path,
    config: &Config,
    tokenizer_json: &str,
    tensors: &[(String, Vec<usize>, &[f32])],
) -> Result<(), ModelError> {
    std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(ModelError::io(&path))
    };
    write("config.json", pretty(&config.to_json()))?;
    write("tokenizer.json", tokenizer_json.to_owned())?;
    write(
        "tokenizer_config.json",
        pretty(&serde_json::json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": SPECIAL[0], "unk_token": SPECIAL[1], "bos_token": SPECIAL[2], "eos_token": SPECIAL[3],
            "clean_up_tokenization_spaces": false,
        })),
    )?;
    write(
        "generation_config.json",
        pretty(
            &serde_json::json!({"bos_token_id": config.bos, "eos_token_id": config.eos, "pad_token_id": 0}),
        ),
    )?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(&folder.join("model.safetensors"), tensors, Some(metadata))
}

/// Writes a checkpoint of two small blocks with random weights, and a tokenizer that is trained on `texts`. It serves
/// to try something out without a real model.
///
/// # Errors
/// Texts from which no tokenizer can be trained, or files that cannot be written.
pub fn random_checkpoint<'a>(
    folder: &Path,
    texts: impl Iterator<Item = &'a str> + Send,
    seed: u64,
) -> Result<(), ModelError> {
    let bad = |problem: String| ModelError::BadFile {
        path: folder.join("tokenizer.json"),
        problem,
    };
    let tokenizer = train_bpe(texts, 400).map_err(bad)?;
    let config = Config {
        hidden_size: 16,
        intermediate_size: 32,
        layers: 2,
        heads: 2,
        kv_heads: 2,
        head_dim: 8,
        vocab_size: 400,
        max_positions: 128,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        logit_scale: 1.0,
        tied: true,
        qk_norm: false,
        attention_bias: false,
        bos: Some(2),
        eos: Some(3),
    };
    let tensors = random_weights(&config, seed);
    let tensors = tensors
        .iter()
        .map(|(name, shape, values)| (name.clone(), shape.clone(), values.as_slice()));
    write_checkpoint(folder, &config, &tokenizer, &tensors.collect::<Vec<_>>())
}

fn pretty(json: &serde_json::Value) -> String {
    format!("{json:#}\n")
}

/// Writes f32 tensors to a safetensors file, under a temporary name first.
///
/// # Errors
/// A file that cannot be written.
pub fn write_safetensors(
    path: &Path,
    tensors: &[(String, Vec<usize>, &[f32])],
    metadata: Option<HashMap<String, String>>,
) -> Result<(), ModelError> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
            .expect("shape and values agree by construction");
        (name.clone(), view)
    });
    let bad = |problem: String| ModelError::BadWeights {
        path: path.to_owned(),
        problem,
    };
    let out = safetensors::serialize(views, metadata).map_err(|e| bad(e.to_string()))?;
    interlingua_files::write(path, &out).map_err(ModelError::io(path))
}

fn normal(rng: &mut ChaCha8Rng, len: usize, deviation: f32) -> Vec<f32> {
    // Box and Muller, so that no further crate is needed for one distribution.
    let mut out = Vec::with_capacity(len + 1);
    while out.len() < len {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        out.push((radius * cos) as f32 * deviation);
        out.push((radius * sin) as f32 * deviation);
    }
    out.truncate(len);
    out
}

//! What is worked on: texts as token ids, and checkpoints of random weights.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use interlingua_backend::device::cpu;
use interlingua_data::testbed::{Split, Testbed, TestbedConfig};
use interlingua_data::{BiasOptions, OnBadRow, load_bias};
use interlingua_models::architectures;
use interlingua_models::made::write_safetensors;
use interlingua_models::{Model, Residency};
use serde_json::{Value, json};

/// The id in front of every text.
const START: u32 = 2;

/// Texts as token ids below 8192, each behind a start token.
pub struct Texts {
    /// Both sentences of every pair in four languages, one after the other.
    pub pairs: Vec<Vec<u32>>,
    /// Parallel sentences.
    pub rows: Vec<Vec<u32>>,
    /// The trained checkpoint that reads them, if there is one.
    pub model: Option<PathBuf>,
    /// What they are.
    pub source: &'static str,
}

impl Texts {
    /// Real text where the folder `shared` has it, else the testbed's.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn load(shared: Option<&Path>) -> anyhow::Result<Texts> {
        match shared {
            Some(shared) => Texts::real(shared),
            None => Texts::testbed(),
        }
    }

    fn real(shared: &Path) -> anyhow::Result<Texts> {
        let folder = shared.join("models/reference-lm-4l");
        let model = Model::open(&folder, &cpu(), Residency::Stream)?;
        let read = |text: &str| model.sequence(text).map(|s| s.tokens);
        let file = shared.join("data/derived/crows4_en_fr_de_nl.tsv");
        let (set, _) = load_bias(&file, &BiasOptions::new(&[], OnBadRow::Error))?;
        let mut pairs = Vec::new();
        for pair in &set.pairs {
            pairs.push(read(&pair.more)?);
            pairs.push(read(&pair.less)?);
        }
        let text = std::fs::read_to_string(shared.join("data/derived/tatoeba4_en_fr_de_nl.tsv"))?;
        let mut rows = Vec::new();
        for line in text.lines().skip(1) {
            for cell in line.split('\t').rev().take(4).filter(|c| !c.is_empty()) {
                rows.push(read(cell)?);
            }
        }
        Ok(Texts {
            pairs,
            rows,
            model: Some(folder),
            source: "CrowS-Pairs (1445 pairs in four languages) and Tatoeba",
        })
    }

    fn testbed() -> anyhow::Result<Texts> {
        let testbed = Testbed::new(TestbedConfig::default())?;
        let mut words = HashMap::new();
        let mut read = |text: &str| {
            let ids = text.split_inclusive(' ').map(|word| {
                let next = words.len() as u32 % 8000 + 8;
                *words.entry(word.trim().to_owned()).or_insert(next)
            });
            std::iter::once(START).chain(ids).collect::<Vec<u32>>()
        };
        let mut pairs = Vec::new();
        for category in Testbed::categories() {
            for pair in testbed.minimal_pairs(category, 480, Split::Eval, 0)? {
                for ((_, more), (_, less)) in pair.more.iter().zip(&pair.less) {
                    pairs.push(read(more));
                    pairs.push(read(less));
                }
            }
        }
        let parallel = testbed.parallel(13_000, Split::All, 0)?;
        let rows = (0..parallel.ids.len())
            .flat_map(|i| parallel.columns.iter().map(move |c| c[i].clone()))
            .map(|text| read(&text))
            .collect();
        Ok(Texts {
            pairs,
            rows,
            model: None,
            source: "the testbed's pairs and sentences, one id per word",
        })
    }
}

/// The shape of the trained checkpoint of 6 million parameters.
pub fn cohere_4x256() -> Value {
    cohere(4, 256, 4, 2, 1024, 8192)
}

/// GPT-2 small in Cohere's shape: as many parameters in a block, 12 blocks.
pub fn cohere_12x768() -> Value {
    cohere(12, 768, 12, 12, 2048, 32_768)
}

fn cohere(
    layers: usize,
    width: usize,
    heads: usize,
    kv_heads: usize,
    mlp: usize,
    tokens: usize,
) -> Value {
    json!({
        "architectures": ["CohereForCausalLM"], "model_type": "cohere", "hidden_size": width,
        "intermediate_size": mlp, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": tokens, "max_position_embeddings": 512,
        "layer_norm_eps": 1e-5, "logit_scale": 0.25, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": true, "use_qk_norm": false, "attention_bias": false,
        "bos_token_id": START, "eos_token_id": 3, "pad_token_id": 0,
    })
}

/// BERT base, uncased.
pub fn bert_base() -> Value {
    json!({
        "architectures": ["BertForMaskedLM"], "model_type": "bert", "hidden_size": 768,
        "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "vocab_size": 30_522, "max_position_embeddings": 512, "type_vocab_size": 2,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "position_embedding_type": "absolute",
    })
}

/// Writes a checkpoint of random weights with this `config.json`.
///
/// # Errors
/// A folder that cannot be written.
pub fn write_checkpoint(folder: &Path, config: &Value) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("config.json");
    std::fs::write(&path, format!("{config:#}\n"))?;
    let vocabulary = json!({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    });
    std::fs::write(folder.join("tokenizer.json"), format!("{tokenizer:#}\n"))?;
    let mut noise = Noise::new(1);
    let mut tensors = Vec::new();
    for (name, shape) in architectures::read(&path)?.tensors().needed() {
        let len = shape.iter().product();
        let values: Vec<f32> = match shape.len() {
            1 if name.ends_with(".weight") => vec![1.0; len],
            1 => vec![0.0; len],
            _ => (0..len).map(|_| noise.next() * 0.05).collect(),
        };
        tensors.push((name.clone(), shape.clone(), values));
    }
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, shape, values)| (name.clone(), shape.clone(), values.as_slice()))
        .collect();
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    write_safetensors(&folder.join("model.safetensors"), &tensors, Some(metadata))?;
    Ok(())
}

/// Even numbers from −1 to 1, the same on every machine.
pub struct Noise(u64);

impl Noise {
    /// A stream of its own for every seed.
    pub fn new(seed: u64) -> Noise {
        Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

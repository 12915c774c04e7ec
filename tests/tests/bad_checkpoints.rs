//! Checkpoint folders that are damaged, odd or hostile: one clear error each, in bounded memory.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use interlingua_backend::device::cpu;
use interlingua_models::engine::{Branch, token_log_probs};
use interlingua_models::{Model, Residency, Sequence};
use interlingua_tests::fixtures;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 2] = [
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];

/// A copy of a checkpoint that may be damaged.
struct Copy(tempfile::TempDir);

impl Copy {
    fn of(name: &str) -> Copy {
        let copy = Copy(tempfile::tempdir().unwrap());
        for entry in std::fs::read_dir(fixtures().join("models").join(name)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.0.path().join(entry.file_name())).unwrap();
        }
        copy
    }

    fn at(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.at(file)).unwrap()
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.at(file), bytes).unwrap();
    }

    fn remove(&self, file: &str) {
        std::fs::remove_file(self.at(file)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.at(from), self.at(to)).unwrap();
    }

    /// Changes a JSON file.
    fn json(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut json = serde_json::from_slice(&self.read(file)).unwrap();
        change(&mut json);
        self.write(file, json.to_string());
    }

    /// Sets a key of `config.json`.
    fn config(&self, key: &str, value: Value) {
        self.json("config.json", |json| json[key] = value);
    }

    /// Changes the header of a safetensors file; the data stay.
    fn header(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let bytes = self.read(file);
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut json = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        change(&mut json);
        let header = json.to_string().into_bytes();
        let prefix = (header.len() as u64).to_le_bytes();
        self.write(file, [&prefix, &header[..], &bytes[8 + length..]].concat());
    }

    /// Writes the tensors again: each as `change` makes it, and one more of four bytes.
    fn tensors(&self, change: impl Fn(&str, &[f32]) -> (Dtype, Vec<u8>), extra: (&str, Dtype)) {
        let bytes = self.read(WEIGHTS);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let made: Vec<(String, Vec<usize>, Dtype, Vec<u8>)> = file
            .iter()
            .map(|(name, view)| {
                let (dtype, bytes) = change(name, &floats(view.data()));
                (name.to_owned(), view.shape().to_vec(), dtype, bytes)
            })
            .collect();
        let (name, dtype) = extra;
        let shape = vec![32 / dtype.bitsize()];
        let one_more = TensorView::new(dtype, shape, &[0; 4]).unwrap();
        let views = made.iter().map(|(name, shape, dtype, bytes)| {
            let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
            (name.as_str(), view)
        });
        let all = views.chain([(name, one_more)]);
        self.write(WEIGHTS, safetensors::serialize(all, None).unwrap());
    }

    fn open(&self) -> Result<Model, String> {
        Model::open(self.0.path(), &cpu(), Residency::Auto).map_err(|e| e.to_string())
    }

    /// Why the folder is refused.
    fn refused(&self, case: &str) -> String {
        match self.open() {
            Ok(_) => panic!("{case}: was opened"),
            Err(problem) => problem,
        }
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let values = bytes.chunks_exact(4);
    values
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn as_f32(values: &[f32]) -> (Dtype, Vec<u8>) {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes());
    (Dtype::F32, bytes.collect())
}

/// The upper half of a float, rounded to nearest.
fn as_bf16(values: &[f32]) -> (Dtype, Vec<u8>) {
    let bytes = values
        .iter()
        .flat_map(|x| (((x.to_bits() + 0x8000) >> 16) as u16).to_le_bytes());
    (Dtype::BF16, bytes.collect())
}

/// What is done to the copy of a checkpoint, and what the message must hold.
type Case = (&'static str, fn(&Copy), &'static [&'static str]);

const ONE_FILE: &[Case] = &[
    (
        "nothing here",
        |c| {
            for file in ["config.json", "tokenizer.json", WEIGHTS] {
                c.remove(file);
            }
        },
        &["no `config.json` here", "tokenizer.json"],
    ),
    (
        "no weights",
        |c| c.remove(WEIGHTS),
        &["no `model.safetensors` here"],
    ),
    (
        "pickled weights",
        |c| c.rename(WEIGHTS, "pytorch_model.bin"),
        &[
            "pytorch_model.bin",
            "only pickled weights",
            "save_pretrained",
        ],
    ),
    (
        "empty weights",
        |c| c.write(WEIGHTS, ""),
        &[WEIGHTS, "0 bytes are too few"],
    ),
    (
        "header length of 2^63",
        |c| {
            let mut bytes = c.read(WEIGHTS);
            bytes[..8].copy_from_slice(&(1u64 << 63).to_le_bytes());
            c.write(WEIGHTS, bytes);
        },
        &[WEIGHTS, "header claims 9223372036854775808 bytes"],
    ),
    (
        "one byte short",
        |c| {
            let bytes = c.read(WEIGHTS);
            c.write(WEIGHTS, &bytes[..bytes.len() - 1]);
        },
        &[WEIGHTS, "tensors need", "truncated"],
    ),
    (
        "one byte more",
        |c| c.write(WEIGHTS, [&c.read(WEIGHTS)[..], &[0]].concat()),
        &[WEIGHTS, "tensors need"],
    ),
    (
        "overlapping tensors",
        |c| {
            c.header(WEIGHTS, |h| {
                let other = h["model.layers.0.mlp.up_proj.weight"]["data_offsets"].clone();
                h["model.layers.0.mlp.gate_proj.weight"]["data_offsets"] = other;
            });
        },
        &[WEIGHTS, "model.layers.0.mlp", "damaged"],
    ),
    (
        "2^60 elements",
        |c| {
            c.header(WEIGHTS, |h| {
                h["model.norm.weight"]["shape"] = json!([1u64 << 60])
            })
        },
        &[
            WEIGHTS,
            "`model.norm.weight` of shape [1152921504606846976]",
        ],
    ),
    (
        "2^32 · 2^32 · 2^32 elements",
        |c| {
            c.header(WEIGHTS, |h| {
                h["model.norm.weight"]["shape"] = json!([1u64 << 32, 1u64 << 32, 1u64 << 32]);
            });
        },
        &[WEIGHTS, "`model.norm.weight` of shape"],
    ),
    (
        "no elements",
        |c| {
            c.header(WEIGHTS, |h| {
                h["none"] = json!({"dtype": "F32", "shape": [0, 9], "data_offsets": [0, 0]});
            });
        },
        &["`none` has no place"],
    ),
    (
        "missing tensor",
        |c| {
            c.header(WEIGHTS, |h| {
                let norm = h
                    .as_object_mut()
                    .unwrap()
                    .remove("model.norm.weight")
                    .unwrap();
                h["model.norm.gain"] = norm;
            });
        },
        &["`model.norm.weight` is missing"],
    ),
    (
        "extra tensor",
        |c| c.tensors(|_, x| as_f32(x), ("model.layers.7.extra", Dtype::F32)),
        &["`model.layers.7.extra` has no place"],
    ),
    (
        "transposed tensor",
        |c| {
            c.header(WEIGHTS, |h| {
                let shape = &mut h["model.layers.0.mlp.up_proj.weight"]["shape"];
                shape.as_array_mut().unwrap().reverse();
            });
        },
        &[
            WEIGHTS,
            "`model.layers.0.mlp.up_proj.weight` has shape",
            "its configuration implies",
        ],
    ),
    (
        "8-bit floats",
        |c| {
            let quantised = |name: &str, x: &[f32]| match name {
                "model.norm.weight" => (Dtype::F8_E4M3, vec![0; x.len()]),
                _ => as_f32(x),
            };
            c.tensors(quantised, ("model.norm.weight_scale", Dtype::F32));
        },
        &[
            "`model.norm.weight` is F8_E4M3",
            "f32, f16 and bf16 can be read",
        ],
    ),
    (
        "8-bit integers",
        |c| {
            let quantised = |name: &str, x: &[f32]| match name {
                "model.norm.weight" => (Dtype::I8, vec![0; x.len()]),
                _ => as_f32(x),
            };
            c.tensors(quantised, ("model.norm.SCB", Dtype::F32));
        },
        &["`model.norm.weight` is I8", "f32, f16 and bf16 can be read"],
    ),
    (
        "doubles",
        |c| {
            let wide = |name: &str, x: &[f32]| match name {
                "model.norm.weight" => {
                    let bytes = x.iter().flat_map(|&x| f64::from(x).to_le_bytes());
                    (Dtype::F64, bytes.collect())
                }
                _ => as_f32(x),
            };
            c.tensors(
                wide,
                ("model.layers.0.self_attn.rotary_emb.inv_freq", Dtype::F32),
            );
        },
        &[
            "`model.norm.weight` is F64",
            "f32, f16 and bf16 can be read",
        ],
    ),
    (
        "config: quantised",
        |c| {
            c.config(
                "quantization_config",
                json!({"quant_method": "bitsandbytes"}),
            )
        },
        &[
            "config.json",
            "`quantization_config`",
            "original checkpoint",
        ],
    ),
    (
        "weights are a folder",
        |c| {
            c.remove(WEIGHTS);
            std::fs::create_dir(c.at(WEIGHTS)).unwrap();
        },
        &[WEIGHTS, "not a regular file"],
    ),
    (
        "weights are a pipe",
        |c| {
            c.remove(WEIGHTS);
            let made = std::process::Command::new("mkfifo")
                .arg(c.at(WEIGHTS))
                .status();
            assert!(made.unwrap().success());
        },
        &[WEIGHTS, "not a regular file"],
    ),
    (
        "weights are a device",
        |c| {
            c.remove(WEIGHTS);
            symlink("/dev/zero", c.at(WEIGHTS)).unwrap();
        },
        &[WEIGHTS, "not a regular file"],
    ),
    (
        "weights link to nothing",
        |c| {
            c.remove(WEIGHTS);
            symlink("../../blobs/0123", c.at(WEIGHTS)).unwrap();
        },
        &[WEIGHTS, "leads nowhere", "fetch the file again"],
    ),
    (
        "config links to itself",
        |c| {
            c.remove("config.json");
            symlink("config.json", c.at("config.json")).unwrap();
        },
        &["config.json", "leads nowhere"],
    ),
    (
        "tokenizer is a device",
        |c| {
            c.remove("tokenizer.json");
            symlink("/dev/zero", c.at("tokenizer.json")).unwrap();
        },
        &["tokenizer.json", "not a regular file"],
    ),
    (
        "tokenizer settings are a device",
        |c| symlink("/dev/zero", c.at("tokenizer_config.json")).unwrap(),
        &["tokenizer_config.json", "not a regular file"],
    ),
    (
        "both kinds of checkpoint",
        |c| {
            c.write(
                INDEX,
                r#"{"weight_map":{"model.norm.weight":"model-00001-of-00002.safetensors"}}"#,
            )
        },
        &[INDEX, WEIGHTS, "two checkpoints"],
    ),
    (
        "config: not JSON",
        |c| c.write("config.json", "{"),
        &["config.json", "not JSON"],
    ),
    (
        "config: a list",
        |c| c.write("config.json", "[]"),
        &["config.json", "not a JSON object"],
    ),
    (
        "config: nested a million times",
        |c| c.write("config.json", "{\"a\":".repeat(1 << 19)),
        &["config.json", "recursion limit"],
    ),
    (
        "config: endless",
        |c| {
            let file = std::fs::File::create(c.at("config.json")).unwrap();
            file.set_len(1 << 40).unwrap();
        },
        &["config.json", "longer than 4194304 bytes"],
    ),
    (
        "config: architecture of a million bytes",
        |c| c.config("architectures", json!(["x".repeat(1 << 20)])),
        &["config.json", "is not implemented", "CohereForCausalLM"],
    ),
    (
        "tokenizer: endless",
        |c| {
            let file = std::fs::File::create(c.at("tokenizer.json")).unwrap();
            file.set_len(1 << 40).unwrap();
        },
        &["tokenizer.json", "longer than 134217728 bytes"],
    ),
    (
        "tokenizer: not JSON",
        |c| c.write("tokenizer.json", "{\"version\": "),
        &["tokenizer.json", "cannot be read"],
    ),
    (
        "tokenizer: id beyond the embedding",
        |c| {
            c.json("tokenizer.json", |t| {
                t["model"]["vocab"]["<NEW>"] = json!(1 << 20)
            })
        },
        &["tokenizer.json", "token id 1048576", "vocab_size"],
    ),
    (
        "tokenizer: template with an id beyond the embedding",
        |c| {
            c.json("tokenizer.json", |t| {
                t["post_processor"] = json!({
                    "type": "TemplateProcessing",
                    "single": [
                        {"SpecialToken": {"id": "<S>", "type_id": 0}},
                        {"Sequence": {"id": "A", "type_id": 0}},
                    ],
                    "pair": [],
                    "special_tokens": {"<S>": {"id": "<S>", "ids": [4_000_000], "tokens": ["<S>"]}},
                });
            });
        },
        &["tokenizer.json", "token id 4000000", "vocab_size"],
    ),
    (
        "tokenizer: SentencePiece only",
        |c| c.rename("tokenizer.json", "tokenizer.model"),
        &[
            "tokenizer.model",
            "only a SentencePiece model is here",
            "save_pretrained",
        ],
    ),
    (
        "tokenizer: WordPiece vocabulary only",
        |c| c.rename("tokenizer.json", "vocab.txt"),
        &[
            "vocab.txt",
            "only a WordPiece vocabulary is here",
            "save_pretrained",
        ],
    ),
    (
        "tokenizer: none",
        |c| c.remove("tokenizer.json"),
        &["no `tokenizer.json` here"],
    ),
    (
        "tokenizer settings: not JSON",
        |c| c.write("tokenizer_config.json", "\0"),
        &["tokenizer_config.json", "not a JSON object"],
    ),
    (
        "tokenizer settings: mask token that is none",
        |c| c.write("tokenizer_config.json", r#"{"mask_token": [1]}"#),
        &["tokenizer_config.json", "must be a text"],
    ),
];

const SHARDED: &[Case] = &[
    (
        "shard outside the folder",
        |c| {
            c.json(INDEX, |i| {
                i["weight_map"]["model.norm.weight"] = json!("../model.safetensors")
            })
        },
        &[
            INDEX,
            "`../model.safetensors` of `model.norm.weight`",
            "inside the folder",
        ],
    ),
    (
        "shard by absolute path",
        |c| {
            c.json(INDEX, |i| {
                i["weight_map"]["model.norm.weight"] = json!("/dev/zero")
            })
        },
        &[INDEX, "`/dev/zero`", "inside the folder"],
    ),
    (
        "missing shard",
        |c| c.remove(SHARDS[1]),
        &[INDEX, SHARDS[1], "not in the folder"],
    ),
    (
        "shard that is no safetensors",
        |c| c.write(SHARDS[1], "<html>Not Found</html>"),
        &[SHARDS[1], "header claims"],
    ),
    (
        "shard that is a device",
        |c| {
            c.remove(SHARDS[1]);
            symlink("/dev/zero", c.at(SHARDS[1])).unwrap();
        },
        &[SHARDS[1], "not a regular file"],
    ),
    (
        "shard twice under two names",
        |c| {
            std::fs::copy(c.at(SHARDS[0]), c.at("again.safetensors")).unwrap();
            c.json(INDEX, |i| {
                i["weight_map"]["more"] = json!("again.safetensors")
            });
        },
        &[SHARDS[0], "stands in another shard too"],
    ),
    (
        "tensor that no shard holds",
        |c| c.json(INDEX, |i| i["weight_map"]["more"] = json!(SHARDS[0])),
        &[INDEX, "`more` is in shard", "does not hold it"],
    ),
    (
        "tensor in the other shard",
        |c| {
            c.json(INDEX, |i| {
                let shard = &mut i["weight_map"]["model.norm.weight"];
                let here = usize::from(*shard == SHARDS[1]);
                *shard = json!(SHARDS[1 - here]);
            });
        },
        &[
            INDEX,
            "`model.norm.weight` is in shard",
            "different checkpoints",
        ],
    ),
    (
        "tensor that the index lacks",
        |c| {
            c.json(INDEX, |i| {
                i["weight_map"]
                    .as_object_mut()
                    .unwrap()
                    .remove("model.norm.weight");
            });
        },
        &[INDEX, "does not list tensor `model.norm.weight`"],
    ),
    (
        "endless index",
        |c| {
            let file = std::fs::File::create(c.at(INDEX)).unwrap();
            file.set_len(1 << 40).unwrap();
        },
        &[INDEX, "longer than 67108864 bytes"],
    ),
    (
        "index that is a list",
        |c| c.write(INDEX, "[[]]"),
        &[INDEX, "not a JSON object"],
    ),
];

#[test]
fn every_fault_has_a_clear_error() {
    for (checkpoint, cases) in [("cohere-f32", ONE_FILE), ("cohere-bf16-sharded", SHARDED)] {
        for (case, damage, expected) in cases {
            let copy = Copy::of(checkpoint);
            damage(&copy);
            let message = copy.refused(case);
            for text in *expected {
                assert!(message.contains(text), "{case}: no `{text}` in: {message}");
            }
            assert!(message.len() < 2000, "{case}: {} bytes", message.len());
        }
    }
    check_memory();
}

/// Sizes of zero, below zero, absurd, or no numbers at all.
#[test]
fn sizes_in_the_config_are_checked() {
    let sizes = [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "vocab_size",
    ];
    let bad = [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1u64 << 60),
        json!(u64::MAX),
        json!(1e300),
        json!("12"),
        json!([12]),
        json!({}),
        json!(true),
        json!("9".repeat(1 << 20)),
    ];
    let copy = Copy::of("cohere-f32");
    let good = copy.read("config.json");
    for key in sizes {
        for value in &bad {
            copy.write("config.json", &good);
            copy.config(key, value.clone());
            let message = copy.refused(key);
            let named = message.contains(&format!("config.json: key `{key}`"));
            assert!(named && message.len() < 1000, "{key}: {message:.1000}");
        }
        // Large, but not absurd: the tensors are then of other shapes, unless it is a limit only.
        copy.write("config.json", &good);
        copy.config(key, json!(4096));
        if key != "max_position_embeddings" {
            copy.refused(key);
        }
    }
    let others = [
        ("num_hidden_layers", json!(1 << 24), "from 1 to 4096"),
        ("num_key_value_heads", json!(7), "does not divide"),
        (
            "num_attention_heads",
            json!(16_777_213),
            "num_attention_heads",
        ),
        ("head_dim", json!(1 << 24), "head_dim"),
        ("rope_parameters", json!({"rope_theta": 0}), "rope_theta"),
        ("rope_parameters", json!({"rope_theta": -1e4}), "rope_theta"),
        (
            "rope_parameters",
            json!({"rope_theta": 1e300}),
            "rope_theta",
        ),
        (
            "rope_parameters",
            json!({"rope_theta": "1e4"}),
            "rope_theta",
        ),
        ("rope_parameters", json!([]), "rope_parameters"),
        ("layer_norm_eps", json!(-1e-5), "layer_norm_eps"),
        ("layer_norm_eps", json!(1e300), "layer_norm_eps"),
        ("logit_scale", json!("1"), "logit_scale"),
        ("bos_token_id", json!(1u64 << 40), "bos_token_id"),
        ("bos_token_id", json!(-2), "bos_token_id"),
        ("architectures", json!(null), "architectures"),
        ("architectures", json!([]), "architectures"),
        ("architectures", json!("CohereForCausalLM"), "architectures"),
    ];
    for (key, value, expected) in others {
        copy.write("config.json", &good);
        copy.config(key, value);
        let message = copy.refused(key);
        assert!(message.contains(expected), "{key}: {message}");
    }
    check_memory();
}

/// The Hugging Face cache: a folder of links into a folder of blobs.
#[test]
fn links_to_files_are_followed() {
    for name in ["cohere-f32", "cohere-bf16-sharded"] {
        let blobs = Copy::of(name);
        let snapshot = Copy(tempfile::tempdir().unwrap());
        for (number, entry) in std::fs::read_dir(blobs.0.path()).unwrap().enumerate() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            let blob = format!("{number:040x}");
            blobs.rename(&file, &blob);
            symlink(blobs.at(&blob), snapshot.at(&file)).unwrap();
        }
        snapshot.open().unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn an_index_may_name_the_one_file() {
    let copy = Copy::of("cohere-f32");
    let bytes = copy.read(WEIGHTS);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let map: serde_json::Map<String, Value> = (file.names().into_iter())
        .map(|name| (name.to_owned(), json!(WEIGHTS)))
        .collect();
    copy.write(INDEX, json!({ "weight_map": map }).to_string());
    copy.open().unwrap();
}

/// Types may differ from tensor to tensor; what nobody reads may have any.
#[test]
fn mixed_types_are_read() {
    let plain = Copy::of("cohere-f32");
    let mixed = Copy::of("cohere-f32");
    let by_name = |name: &str, x: &[f32]| {
        if name.contains("mlp") {
            as_bf16(x)
        } else if name.contains("norm") {
            // 1.0, with the exponent of a half-precision float.
            (Dtype::F16, [0x00, 0x3c].repeat(x.len()))
        } else {
            as_f32(x)
        }
    };
    let ones = |name: &str, x: &[f32]| {
        if name.contains("norm") {
            as_f32(&vec![1.0; x.len()])
        } else {
            as_f32(x)
        }
    };
    let buffer = "model.layers.0.self_attn.rotary_emb.inv_freq";
    plain.tensors(ones, (buffer, Dtype::F32));
    mixed.tensors(by_name, (buffer, Dtype::I32));
    let sequences = [Sequence::new(vec![2, 7, 11, 30, 5], 1)];
    let scores = [plain, mixed].map(|copy| {
        let model = copy.open().unwrap();
        let unedited = [Branch::unedited()];
        let all = token_log_probs(&model, &sequences, &unedited, &mut |_, _| {}).unwrap();
        all[0][0].clone()
    });
    for (a, b) in scores[0].iter().zip(&scores[1]) {
        assert!((a - b).abs() < 0.02, "{a} in f32, {b} in mixed types");
    }
    assert_ne!(scores[0], scores[1], "bf16 is coarser");
}

/// All cases together have never taken much memory. (Linux says how much.)
fn check_memory() {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else {
        eprintln!("skipped: the peak of memory, this system does not say it");
        return;
    };
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 1 << 20, "{kib} KiB at the peak");
}

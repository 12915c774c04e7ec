//! Files that nobody should trust, and files in parts.

use std::path::Path;

use interlingua_backend::device::cpu;
use tempfile::TempDir;

use super::container::read;
use super::*;
use crate::checkpoint::Checkpoint;
use crate::{Model, Residency};

/// A GGUF file in the making.
#[derive(Clone, Default)]
struct Maker {
    settings: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, u64)>,
    data: usize,
    version: Option<u32>,
    counts: Option<(u64, u64)>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A value behind its type.
fn typed(kind: u32, value: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], value].concat()
}

fn whole(n: u32) -> Vec<u8> {
    typed(4, &n.to_le_bytes())
}

fn words(text_: &str) -> Vec<u8> {
    typed(8, &text(text_))
}

fn list(kind: u32, values: &[Vec<u8>]) -> Vec<u8> {
    let count = (values.len() as u64).to_le_bytes();
    typed(
        9,
        &[&kind.to_le_bytes()[..], &count, &values.concat()].concat(),
    )
}

impl Maker {
    fn set(mut self, key: &str, value: Vec<u8>) -> Maker {
        self.settings.retain(|(k, _)| k != key);
        self.settings.push((key.to_owned(), value));
        self
    }

    fn without(mut self, key: &str) -> Maker {
        self.settings.retain(|(k, _)| k != key);
        self
    }

    /// Adds a tensor of f32 behind the others; axes as the file has them, the length of a row first.
    fn tensor(mut self, name: &str, axes: &[u64]) -> Maker {
        let offset = (self.data as u64).next_multiple_of(32);
        self.tensors
            .push((name.to_owned(), axes.to_vec(), 0, offset));
        self.data = offset as usize + 4 * axes.iter().product::<u64>() as usize;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.unwrap_or(3).to_le_bytes());
        let counted = (self.tensors.len() as u64, self.settings.len() as u64);
        let (tensors, settings) = self.counts.unwrap_or(counted);
        out.extend(tensors.to_le_bytes());
        out.extend(settings.to_le_bytes());
        for (key, value) in &self.settings {
            out.extend(text(key));
            out.extend(value);
        }
        for (name, axes, kind, offset) in &self.tensors {
            out.extend(text(name));
            out.extend((axes.len() as u32).to_le_bytes());
            out.extend(axes.iter().flat_map(|n| n.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32), 0);
        // Small numbers, none of them the same.
        let data = (0..self.data / 4).flat_map(|i| (i as f32 / 1000.0).to_le_bytes());
        out.extend(data);
        out
    }

    fn write(&self, folder: &TempDir, name: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }

    /// What is wrong with the container.
    fn problem(&self) -> String {
        let bytes = self.bytes();
        read(&bytes[..], bytes.len() as u64).expect_err("it is refused")
    }

    /// What is wrong with the file as a model.
    fn refusal(&self) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = self.write(&folder, "x.gguf");
        let opened = Model::open(&path, &cpu(), Residency::Stream);
        opened.err().expect("it is refused").to_string()
    }
}

/// A Llama of one block that can be opened.
fn llama() -> Maker {
    let tokens: Vec<Vec<u8>> = ["<s>", "a", "b", "ab"].map(text).to_vec();
    let real = |x: f32| typed(6, &x.to_le_bytes());
    let made = Maker::default()
        .set("general.architecture", words("llama"))
        .set("llama.block_count", whole(1))
        .set("llama.embedding_length", whole(4))
        .set("llama.feed_forward_length", whole(6))
        .set("llama.context_length", whole(16))
        .set("llama.attention.head_count", whole(2))
        .set("llama.attention.layer_norm_rms_epsilon", real(1e-5))
        .set("tokenizer.ggml.model", words("gpt2"))
        .set("tokenizer.ggml.pre", words("gpt-2"))
        .set("tokenizer.ggml.tokens", list(8, &tokens))
        .set("tokenizer.ggml.merges", list(8, &[text("a b")]))
        .tensor("token_embd.weight", &[4, 4])
        .tensor("output_norm.weight", &[4])
        .tensor("blk.0.attn_norm.weight", &[4])
        .tensor("blk.0.ffn_norm.weight", &[4]);
    let square = ["attn_q", "attn_k", "attn_v", "attn_output"];
    let made = square.iter().fold(made, |made, part| {
        made.tensor(&format!("blk.0.{part}.weight"), &[4, 4])
    });
    made.tensor("blk.0.ffn_gate.weight", &[4, 6])
        .tensor("blk.0.ffn_up.weight", &[4, 6])
        .tensor("blk.0.ffn_down.weight", &[6, 4])
}

#[test]
fn a_small_file_is_opened_in_both_versions() {
    for version in [2, 3] {
        let folder = tempfile::tempdir().unwrap();
        let maker = Maker {
            version: Some(version),
            ..llama()
        };
        let path = maker.write(&folder, "x.gguf");
        for path in [path.as_path(), folder.path()] {
            let model = Model::open(path, &cpu(), Residency::Stream).unwrap();
            assert_eq!(model.geometry.architecture, "LlamaForCausalLM");
            assert_eq!(model.quantised(), None, "all its weights are f32");
            assert_eq!(model.tokenizer.encode("abba").unwrap(), [3, 2, 1]);
        }
    }
}

#[test]
fn a_window_makes_it_mistral() {
    let folder = tempfile::tempdir().unwrap();
    let maker = llama().set("llama.attention.sliding_window", whole(4));
    let path = maker.write(&folder, "x.gguf");
    let model = Model::open(&path, &cpu(), Residency::Stream).unwrap();
    assert_eq!(model.geometry.architecture, "MistralForCausalLM");
}

/// Rows of the converter's order come back in the architecture's, all at once or one by one.
#[test]
fn rows_of_queries_are_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = llama().write(&folder, "x.gguf");
    let mut weights = Checkpoint::open(&path).unwrap().weights().unwrap();
    let name = "model.layers.0.self_attn.q_proj.weight";
    let all = weights.read(name).unwrap();
    let firsts: Vec<f32> = all.iter().step_by(4).copied().collect();
    let first = firsts[0];
    let near = |x: f32, y: f32| (x - y).abs() < 1e-6;
    // Heads of two rows, each a pair already.
    let expected = [0.0, 0.004, 0.008, 0.012].map(|x| first + x);
    assert!(
        firsts.iter().zip(expected).all(|(a, b)| near(*a, b)),
        "{firsts:?}"
    );
    weights.hold();
    for row in 0..4 {
        assert_eq!(
            weights.read_rows(name, row..row + 1).unwrap(),
            all[4 * row..4 * row + 4]
        );
    }
}

#[test]
fn malformed_containers_are_refused() {
    let huge = (1u64 << 63).to_le_bytes();
    let one = |kind: u32, value: &[u8]| Maker::default().set("x", typed(kind, value));
    let tensor = |axes: &[u64], kind: u32, offset: u64| Maker {
        tensors: vec![("t".into(), axes.to_vec(), kind, offset)],
        data: 64,
        ..Maker::default()
    };
    let counts = |tensors, settings| Maker {
        counts: Some((tensors, settings)),
        ..llama()
    };
    let version = |version| Maker {
        version: Some(version),
        ..llama()
    };
    let alignment = |n| llama().set("general.alignment", whole(n));
    let twice = |maker: Maker| {
        let mut maker = maker;
        maker.settings.push(maker.settings[0].clone());
        maker
    };
    let cases = [
        (version(1), "version 1"),
        (version(4), "version 4; 2 and 3"),
        (version(3u32.swap_bytes()), "big-endian"),
        (counts(u64::MAX, 1), "claims"),
        (counts(1, u64::MAX), "claims"),
        (counts(1 << 19, 11), ""),
        (counts(11, 1 << 14), ""),
        (one(8, &huge), "claims a text of 9223372036854775808 bytes"),
        (one(8, &(1u64 << 20).to_le_bytes()), "truncated"),
        (
            one(8, &[1u64.to_le_bytes().to_vec(), vec![0xff]].concat()),
            "not UTF-8",
        ),
        (one(13, &[0; 8]), "type 13"),
        (one(7, &[2]), "neither false nor true"),
        (
            one(9, &[&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat()),
            "list of lists",
        ),
        (
            one(9, &[&4u32.to_le_bytes()[..], &huge].concat()),
            "claims a list",
        ),
        (
            one(
                9,
                &[&4u32.to_le_bytes()[..], &(1u64 << 20).to_le_bytes()].concat(),
            ),
            "truncated",
        ),
        (
            one(9, &[&99u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat()),
            "list of type 99",
        ),
        (twice(llama()), "stands there twice"),
        (alignment(0), "general.alignment"),
        (alignment(12), "general.alignment"),
        (alignment(1 << 30), "general.alignment"),
        (
            llama().set("general.alignment", words("32")),
            "general.alignment",
        ),
        (tensor(&[], 0, 0), "has 0 axes"),
        (tensor(&[1; 5], 0, 0), "has 5 axes"),
        (tensor(&[0, 4], 0, 0), "an axis of no use"),
        (tensor(&[1 << 62, 1 << 62], 0, 0), "overflows"),
        (tensor(&[1 << 62], 0, 0), "overflows"),
        (tensor(&[1 << 40], 0, 0), "passes the end"),
        (tensor(&[4, 4], 0, u64::MAX - 31), "passes the end"),
        (tensor(&[4, 4], 0, 7), "no multiple of the alignment"),
        (tensor(&[4, 4], 77, 0), "type 77 (unknown)"),
        (tensor(&[256, 1], 10, 0), "Q2_K"),
        (
            tensor(&[33, 2], 2, 0),
            "rows of 33 values, Q4_0 has blocks of 32",
        ),
        (tensor(&[32], 2, 0), "one axis and is Q4_0"),
        (
            llama().tensor("output_norm.weight", &[4]),
            "`output_norm.weight` twice",
        ),
    ];
    for (maker, told) in cases {
        let problem = maker.problem();
        assert!(problem.contains(told), "{problem}\nexpected: {told}");
    }
    let mut overlapping = llama();
    overlapping.tensors[1].3 = 32;
    assert!(overlapping.problem().contains("overlaps"));
    for bytes in [
        &b""[..],
        b"GG",
        b"PK\x03\x04aaaaaaaaaaaaaaaaaaaaaa",
        b"GGUF\x03\0\0\0",
    ] {
        read(bytes, bytes.len() as u64).unwrap_err();
    }
    // Wherever a file ends too soon.
    let bytes = llama().bytes();
    for end in 0..bytes.len() {
        read(&bytes[..end], end as u64).unwrap_err();
    }
}

#[test]
fn settings_that_do_not_fit_are_refused_by_their_names() {
    let few = list(8, &["<s>", "a"].map(text));
    let kinds = |n: i32| list(5, &[n.to_le_bytes().to_vec()]);
    let cases = [
        (
            llama().without("general.architecture"),
            "general.architecture",
        ),
        (
            llama().set("general.architecture", words("mamba")),
            "`mamba` is not implemented; those that are: llama",
        ),
        (llama().without("llama.block_count"), "llama.block_count"),
        (
            llama().set("llama.block_count", whole(0)),
            "`llama.block_count`: 0 is not a whole number",
        ),
        (
            llama().set("llama.block_count", whole(u32::MAX)),
            "`llama.block_count`",
        ),
        (
            llama().set("llama.block_count", words("many")),
            "`llama.block_count`: is not a whole number",
        ),
        (
            llama().set("llama.attention.head_count", whole(3)),
            "3 does not divide the width 4",
        ),
        (
            llama().set("llama.attention.head_count", whole(0)),
            "`llama.attention.head_count`",
        ),
        (
            llama().set(
                "llama.attention.head_count_kv",
                list(5, &[vec![1, 0, 0, 0], vec![2, 0, 0, 0]]),
            ),
            "one for each block",
        ),
        (
            llama().set("llama.attention.head_count", whole(1 << 31)),
            "`llama.attention.head_count`",
        ),
        (
            llama().set("llama.expert_count", whole(8)),
            "`llama.expert_count`: 8 is not implemented",
        ),
        (
            llama().set("llama.rope.dimension_count", whole(1)),
            "rope.dimension_count",
        ),
        (
            llama().set("llama.rope.scaling.type", words("yarn")),
            "yarn",
        ),
        (
            llama().set("tokenizer.ggml.tokens", few.clone()),
            "has 2 entries, the embedding has 4 rows",
        ),
        (
            llama().without("tokenizer.ggml.tokens"),
            "tokenizer.ggml.tokens",
        ),
        (
            llama().set("tokenizer.ggml.token_type", kinds(1)),
            "one for each token",
        ),
        (
            llama().without("tokenizer.ggml.merges"),
            "`tokenizer.ggml.merges`: missing",
        ),
        (
            llama().set("tokenizer.ggml.merges", few),
            "no pair of tokens",
        ),
        (
            llama().set("tokenizer.ggml.merges", list(8, &[text("a zzz")])),
            "do not fit the tokens",
        ),
        (
            llama().set("tokenizer.ggml.pre", words("martian")),
            "`martian` is not implemented; those that are: gpt-2",
        ),
        (llama().without("tokenizer.ggml.pre"), "tokenizer.ggml.pre"),
        (
            llama().set("tokenizer.ggml.model", words("rwkv")),
            "`rwkv` is not implemented",
        ),
        (
            llama().set("tokenizer.ggml.bos_token_id", whole(4)),
            "bos_token_id",
        ),
        (
            llama()
                .set("tokenizer.ggml.model", words("llama"))
                .without("tokenizer.ggml.merges"),
            "tokenizer.ggml.scores",
        ),
        (
            llama().set("tokenizer.ggml.model", words("t5")),
            "tokenizer.ggml.unknown_token_id",
        ),
        (
            llama().tensor("blk.0.ffn_gate_exps.weight", &[4, 4]),
            "`blk.0.ffn_gate_exps.weight` has no place",
        ),
        (
            llama().tensor("rope_freqs.weight", &[1]),
            "rope_freqs.weight",
        ),
    ];
    for (maker, told) in cases {
        let problem = maker.refusal();
        assert!(problem.contains(told), "{problem}\nexpected: {told}");
        assert!(problem.contains("x.gguf"), "{problem}");
    }
}

/// The parts of a split file: the first has the settings, both have tensors.
fn parts() -> [Maker; 2] {
    let small = |n: u16| typed(2, &n.to_le_bytes());
    let of = |number: u16| {
        Maker::default()
            .set("split.no", small(number))
            .set("split.count", small(2))
            .set("split.tensors.count", typed(5, &11i32.to_le_bytes()))
    };
    let whole = llama();
    let mut first = of(0);
    first.settings.extend(whole.settings.clone());
    let mut both = [first, of(1)];
    for (at, (name, axes, ..)) in whole.tensors.iter().enumerate() {
        let to = usize::from(at >= 5);
        both[to] = both[to].clone().tensor(name, axes);
    }
    both
}

#[test]
fn parts_of_a_file_are_found_from_any_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = parts();
    let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    first.write(&folder, names[0]);
    let refused = |path: &Path| match Model::open(path, &cpu(), Residency::Stream) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{} is opened", path.display()),
    };
    let at = |name: &str| folder.path().join(name);
    let problem = refused(&at(names[0]));
    assert!(
        problem.contains("part 2 of 2 is missing") && problem.contains(names[1]),
        "{problem}"
    );
    second.write(&folder, names[1]);
    for path in [at(names[0]), at(names[1]), folder.path().to_owned()] {
        let model = Model::open(&path, &cpu(), Residency::Stream).unwrap();
        assert_eq!(model.weights().files().count(), 2, "{}", path.display());
        assert_eq!(model.weights().names().count(), 11);
    }
    first.write(&folder, names[1]);
    assert!(refused(&at(names[0])).contains("does not say that it is part 2 of 2"));
    let mut short = second;
    short.tensors.pop();
    short.write(&folder, names[1]);
    assert!(refused(&at(names[0])).contains("11, the parts have 10 tensors"));
    let renamed = at("renamed.gguf");
    std::fs::rename(at(names[0]), &renamed).unwrap();
    assert!(refused(&renamed).contains("one of 2 parts"));
}

#[test]
fn a_folder_of_several_files_is_refused_with_their_names() {
    let folder = tempfile::tempdir().unwrap();
    llama().write(&folder, "a.gguf");
    llama().write(&folder, "b.gguf");
    let problem = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(problem.contains("a.gguf, b.gguf"), "{problem}");
    Checkpoint::open(&folder.path().join("b.gguf")).unwrap();
}

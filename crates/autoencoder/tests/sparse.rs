//! Sparse autoencoders of others' layouts against `tests/generators/sparse_golden.py`, and files that are none.
//!
//! `INTERLINGUA_GOLDEN` names a folder of fresh values; the committed ones are read otherwise.

use std::io::Write;
use std::path::{Path, PathBuf};

use interlingua_autoencoder::sparse::{Gate, Sparse, SparseError, Weights};
use interlingua_backend::{DeviceName, from_rows, to_host};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expect {
    width: usize,
    features: usize,
    states: Vec<f32>,
    codes: Vec<f64>,
    rebuilt: Vec<f64>,
}

const KINDS: [(&str, &str); 7] = [
    ("standard", "standard"),
    ("jumprelu", "jumprelu"),
    ("topk", "topk"),
    ("topk-rescaled", "topk"),
    ("topk-old", "topk"),
    ("gated", "gated"),
    ("gemma-scope", "jumprelu"),
];

fn fixture(name: &str) -> PathBuf {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let folder = std::env::var_os("INTERLINGUA_GOLDEN").map_or(committed, PathBuf::from);
    folder.join("sparse").join(name)
}

#[test]
fn features_are_those_of_the_definitions() {
    let device = DeviceName::Cpu.open().unwrap();
    for (name, gate) in KINDS {
        let folder = fixture(name);
        let text = std::fs::read_to_string(folder.join("expect.json")).unwrap();
        let expect: Expect = serde_json::from_str(&text).unwrap();
        let weights = Weights::load(&folder).unwrap();
        assert_eq!(weights.gate.name(), gate);
        let sizes = (expect.width, expect.features);
        assert_eq!(Weights::peek(&folder).unwrap(), sizes);
        let sparse = Sparse::new(weights, &device).unwrap();
        assert_eq!((sparse.width(), sparse.features()), sizes);
        let rows = expect.states.len() / expect.width;
        let codes = sparse.encode(from_rows(expect.states, rows, expect.width, &device));
        let rebuilt = to_host(sparse.decode(codes.clone()));
        let mut on = 0;
        for (what, found, expect) in [
            ("codes", to_host(codes), expect.codes),
            ("rebuilt", rebuilt, expect.rebuilt),
        ] {
            assert_eq!(found.len(), expect.len());
            for (found, expect) in found.iter().zip(expect) {
                let off = (f64::from(*found) - expect).abs();
                assert!(
                    off < 1e-5 * (1.0 + expect.abs()),
                    "{name}, {what}: {found} {expect}"
                );
                on += usize::from(what == "codes" && expect > 0.0);
            }
        }
        assert!(
            on > 5 && on < rows * sizes.1,
            "{name}: {on} features are on"
        );
    }
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in KINDS {
        let weights = Weights::load(&fixture(name)).unwrap();
        let to = folder.path().join(name);
        weights.save(&to).unwrap();
        assert_eq!(Weights::load(&to).unwrap(), weights, "{name}");
        // The file of weights stands for its folder.
        let file = to.join("sae_weights.safetensors");
        assert_eq!(Weights::load(&file).unwrap(), weights, "{name}");
    }
    let archive = fixture("gemma-scope").join("params.npz");
    assert!(matches!(
        Weights::load(&archive).unwrap().gate,
        Gate::JumpRelu(_)
    ));
}

/// A copy of a fixture with its settings changed.
fn with(
    name: &str,
    change: impl Fn(&mut serde_json::Map<String, serde_json::Value>),
) -> SparseError {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (fixture(name), folder.path());
    let weights = "sae_weights.safetensors";
    std::fs::copy(from.join(weights), to.join(weights)).unwrap();
    let text = std::fs::read_to_string(from.join("cfg.json")).unwrap();
    let mut settings = serde_json::from_str(&text).unwrap();
    change(&mut settings);
    let text = serde_json::to_string(&settings).unwrap();
    std::fs::write(to.join("cfg.json"), text).unwrap();
    Weights::load(to).unwrap_err()
}

#[test]
fn settings_that_are_not_known_are_refused() {
    let set = |name: &str, key: &str, value: serde_json::Value| {
        let error = with(name, |settings| {
            settings.insert(key.to_owned(), value.clone());
        });
        error.to_string()
    };
    for (name, key, value, says) in [
        (
            "standard",
            "architecture",
            "transcoder".into(),
            "standard, jumprelu, topk or gated",
        ),
        (
            "standard",
            "activation_fn",
            "tanh-relu".into(),
            "relu or topk",
        ),
        (
            "standard",
            "normalize_activations",
            "layer_norm".into(),
            "layer_norm",
        ),
        (
            "standard",
            "reshape_activations",
            "elsewhere".into(),
            "elsewhere",
        ),
        ("standard", "d_in", 7.into(), "`d_in`"),
        ("standard", "d_sae", "many".into(), "not settings"),
        (
            "standard",
            "architecture",
            "jumprelu".into(),
            "has no `threshold`; there are",
        ),
        ("standard", "architecture", "gated".into(), "has no `r_mag`"),
        ("topk", "k", 0.into(), "from 1 to the 10 features"),
        ("topk", "k", 11.into(), "from 1 to the 10 features"),
        ("topk", "k", serde_json::Value::Null, "without `k`"),
    ] {
        let problem = set(name, key, value);
        assert!(problem.contains(says), "{key}: {problem}");
    }
}

#[test]
fn files_that_are_something_else_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let check = |path: &Path| {
        let problem = Weights::load(path).unwrap_err().to_string();
        // The heads alone show it too, or leave it to the whole.
        let _ = Weights::peek(path);
        problem
    };
    assert!(matches!(
        Weights::load(&at("nothing")),
        Err(SparseError::Io { .. })
    ));
    assert!(check(folder.path()).contains("SAELens"));
    std::fs::write(at("a.npz"), b"PK\x03\x04 no archive").unwrap();
    assert!(check(&at("a.npz")).contains("NumPy"));
    std::fs::write(at("text.txt"), b"text").unwrap();
    assert!(check(&at("text.txt")).contains("params.npz"));
    std::fs::copy(fixture("standard").join("cfg.json"), at("cfg.json")).unwrap();
    for bytes in [
        &b""[..],
        &[255; 8],
        &[20, 0, 0, 0, 0, 0, 0, 0, b'{'],
        &[2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'],
    ] {
        std::fs::write(at("w.safetensors"), bytes).unwrap();
        assert!(Weights::load(&at("w.safetensors")).is_err());
        assert!(Weights::peek(&at("w.safetensors")).is_err());
    }
    // Every cut of an archive, and every byte of its first array's header turned round.
    let whole = std::fs::read(fixture("gemma-scope").join("params.npz")).unwrap();
    for cut in (0..whole.len()).step_by(97) {
        std::fs::write(at("cut.npz"), &whole[..cut]).unwrap();
        check(&at("cut.npz"));
    }
    for flip in 0..160 {
        let mut bytes = whole.clone();
        bytes[flip] ^= 0xff;
        std::fs::write(at("flip.npz"), &bytes).unwrap();
        // A name or a checksum may still be right; what counts is that nothing panics.
        let _ = Weights::load(&at("flip.npz"));
    }
}

/// An archive that says it holds more than it does takes no more memory than what is there.
#[test]
fn an_array_that_claims_too_much_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.npz");
    for (shape, says) in [
        ("(60000, 60000)", "ends before"),
        ("(9999999999, 9999999999)", "too large"),
    ] {
        let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        let stored = zip::write::SimpleFileOptions::default();
        archive.start_file("W_enc.npy", stored).unwrap();
        let head = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = (head.len() as u16).to_le_bytes();
        archive.write_all(b"\x93NUMPY\x01\x00").unwrap();
        archive.write_all(&length).unwrap();
        archive.write_all(head.as_bytes()).unwrap();
        archive.write_all(&[0; 64]).unwrap();
        archive.finish().unwrap();
        let problem = Weights::load(&path).unwrap_err().to_string();
        assert!(problem.contains(says), "{problem}");
    }
}

//! A model whose weights have taken up an edit computes what the model under the edit does.

use std::path::Path;

use interlingua_backend::device::cpu;
use interlingua_edits::{Edit, Hook, Intervention, Matrix, Part, Provenance, Site, Tokens};
use interlingua_models::engine::{Branch, logits};
use interlingua_models::export::{ExportError, Side, folder, gguf, lora, whole, writer};
use interlingua_models::intervene::Steps;
use interlingua_models::{Model, Residency, Sequence};
use interlingua_tests::{CAUSAL, fixtures};
use safetensors::SafeTensors;

fn folder_of(name: &str) -> std::path::PathBuf {
    fixtures().join("models/architectures").join(name)
}

fn open(path: &Path) -> Model {
    Model::open(path, &cpu(), Residency::Resident)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn number(i: usize) -> f64 {
    ((i * 7919 + 13) % 101) as f64 / 50.0 - 1.0
}

/// An oblique erasure of rank 2, strong enough to be seen.
fn erase(width: usize, salt: usize, mean: bool) -> Edit {
    let left = Matrix::from_fn(width, 2, |i, j| 0.4 * number(i * 5 + j + salt));
    let right = Matrix::from_fn(2, width, |i, j| 0.6 * number(i * 31 + j * 3 + salt));
    let centre: Vec<f64> = (0..width).map(|i| number(i + salt)).collect();
    Edit::erase(left, right, mean.then_some(&centre[..])).unwrap()
}

fn made(model: &Model, steps: Vec<(Hook, Tokens, Edit)>) -> Intervention {
    let steps = steps
        .into_iter()
        .map(|(hook, tokens, edit)| (Site::raw(hook, tokens), edit));
    Intervention::new(
        model.geometry.shape(),
        steps.collect(),
        Provenance::default(),
    )
    .unwrap()
}

fn all_logits(model: &Model, branch: &Branch<'_>) -> Vec<f32> {
    let tokens = |salt: u32| {
        (0..9u32)
            .map(|i| (i * i * 3 + i * salt + 2) % model.geometry.vocab_size as u32)
            .collect()
    };
    let sequences = [Sequence::new(tokens(1), 1), Sequence::new(tokens(4), 1)];
    let mut all = Vec::new();
    logits(model, &sequences, branch, &mut |_, _, part| {
        all.extend_from_slice(part);
        Ok(())
    })
    .unwrap();
    all
}

/// Largest difference as a share of the largest value.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1e-6f32, |m, x| m.max(x.abs()));
    a.iter()
        .zip(b)
        .fold(0.0f32, |m, (x, y)| m.max((x - y).abs()))
        / scale
}

/// Every hook point that a weight takes up, with a constant where there is a bias.
fn foldable(model: &Model) -> Vec<(Hook, Tokens, Edit)> {
    let shape = model.geometry.shape();
    let hooks = shape.hooks().into_iter().enumerate();
    hooks
        .filter_map(|(salt, hook)| {
            let writer = writer(model.architecture(), hook).ok()?;
            Some((
                hook,
                Tokens::All,
                erase(shape.width(hook).unwrap(), salt, writer.bias),
            ))
        })
        .collect()
}

#[test]
fn folded_weights_compute_what_the_edit_does_in_every_architecture() {
    for name in CAUSAL {
        let source = folder_of(name);
        let model = open(&source);
        let unedited = all_logits(&model, &Branch::unedited());
        let steps = foldable(&model);
        // Three projections, two inputs, and the head, at least; without BLOOM's joint projections.
        assert!(
            steps.len() > model.geometry.layers * 2,
            "{name}: {}",
            steps.len()
        );
        let together = [steps.clone()];
        let alone = steps.into_iter().map(|step| vec![step]);
        for steps in together.into_iter().chain(alone) {
            let at: Vec<String> = steps.iter().map(|(hook, ..)| hook.to_string()).collect();
            let intervention = made(&model, steps);
            let prepared = Steps::new(&intervention, &model).unwrap();
            let edited = all_logits(&model, &prepared.branch());
            assert!(
                apart(&edited, &unedited) > 1e-3,
                "{name}, {at:?}: the edit is seen"
            );
            let place = tempfile::tempdir().unwrap();
            let out = place.path().join("edited");
            let written = folder::write(&model, &intervention, &out)
                .unwrap_or_else(|e| panic!("{name}, {at:?}: {e}"));
            assert!(!written.tensors.is_empty());
            let exported = open(&out);
            let found = all_logits(&exported, &Branch::unedited());
            let bound = if name.contains("bf16") { 0.05 } else { 2e-5 };
            assert!(
                apart(&found, &edited) < bound,
                "{name}, {at:?}: {}",
                apart(&found, &edited)
            );
            assert_eq!(exported.weights().dtypes(), model.weights().dtypes());
            let files = |folder: &Path| {
                let mut names: Vec<_> = std::fs::read_dir(folder)
                    .unwrap()
                    .map(|e| e.unwrap().file_name())
                    .collect();
                names.sort();
                names
            };
            assert_eq!(files(&out), files(&source), "{name}");
        }
    }
}

/// A GGUF file with the edit in its weights computes what the edit does; all else in it is the source's.
#[test]
fn gguf_files_take_up_edits() {
    let folder = fixtures().join("models/gguf");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let source = entry.unwrap().path();
        let name = source.file_stem().unwrap().to_string_lossy().into_owned();
        if source.extension().is_none_or(|e| e != "gguf") || name.starts_with("bert") {
            continue;
        }
        seen += 1;
        let model = open(&source);
        let g = &model.geometry;
        let parts = [Part::Queries, Part::Heads, Part::Units];
        // A projection with a bias would add a constant, which the file does not take.
        let biased = ["qwen2", "gpt2", "bloom"].contains(&name.as_str());
        let mut hooks: Vec<Hook> = parts[usize::from(biased)..]
            .iter()
            .map(|&part| Hook {
                layer: Some(0),
                part,
            })
            .collect();
        hooks.push(Hook::FINAL_NORM);
        let width = |hook: Hook| g.shape().width(hook).unwrap();
        let steps = hooks.iter().enumerate();
        let steps = steps.map(|(at, &h)| (h, Tokens::All, erase(width(h), at, false)));
        let intervention = made(&model, steps.collect());
        let prepared = Steps::new(&intervention, &model).unwrap();
        let edited = all_logits(&model, &prepared.branch());
        assert!(apart(&edited, &all_logits(&model, &Branch::unedited())) > 1e-3);
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("edited.gguf");
        let written =
            whole::write(&model, &intervention, &out).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(written.tensors.len(), hooks.len(), "{name}");
        let exported = open(&out);
        let found = all_logits(&exported, &Branch::unedited());
        // A tensor of 16 bits that changes is rounded to them again.
        let dtypes = model.weights().dtypes();
        let short = dtypes.iter().any(|d| ["F16", "BF16"].contains(&d.as_str()));
        let bound = if short { 2e-3 } else { 2e-5 };
        assert!(
            apart(&found, &edited) < bound,
            "{name}: {}",
            apart(&found, &edited)
        );
        // Settings are the source's, and so are the tensors that no edit is in.
        let [before, after] = [&source, &out].map(|path| std::fs::read(path).unwrap());
        let word = b"tokenizer.ggml.tokens";
        let at = |bytes: &[u8]| bytes.windows(word.len()).position(|w| w == word).unwrap();
        let (from, to) = (at(&before), at(&after));
        assert_eq!(before[16..from + 200], after[16..to + 200], "{name}");
        for tensor in ["model.embed_tokens.weight", "transformer.wte.weight"] {
            if model.weights().names().any(|n| n == tensor) {
                assert_eq!(
                    exported.weights().read(tensor).unwrap(),
                    model.weights().read(tensor).unwrap()
                );
            }
        }
        // Nothing is replaced.
        let error = whole::write(&model, &intervention, &out).unwrap_err();
        assert!(error.to_string().contains("is there already"), "{error}");
    }
    assert_eq!(seen, 10);
    // A folder is no GGUF file, and a constant has no place.
    let model = open(&folder_of("llama-llama3"));
    let out = folder.join("never.gguf");
    let step = |mean| {
        (
            Hook::FINAL_NORM,
            Tokens::All,
            erase(model.geometry.hidden_size, 1, mean),
        )
    };
    let error = whole::write(&model, &made(&model, vec![step(false)]), &out).unwrap_err();
    assert!(error.to_string().contains("--as hf"), "{error}");
    let model = open(&folder.join("llama.gguf"));
    let step = (
        Hook::FINAL_NORM,
        Tokens::All,
        erase(model.geometry.hidden_size, 1, true),
    );
    let error = whole::write(&model, &made(&model, vec![step]), &out).unwrap_err();
    assert!(error.to_string().contains("constant"), "{error}");
    assert!(!out.exists());
}

/// The adapter's B·A is the difference of the weights.
#[test]
fn adapters_hold_the_difference_of_the_weights() {
    for name in ["gemma3", "gpt2", "llama-llama3"] {
        let model = open(&folder_of(name));
        let steps: Vec<_> = foldable(&model)
            .into_iter()
            .map(|(hook, tokens, edit)| {
                let offset = vec![0.0; edit.offset().len()];
                let edit = Edit::new(
                    edit.dim(),
                    edit.left().clone(),
                    edit.right().clone(),
                    offset,
                )
                .unwrap();
                (hook, tokens, edit)
            })
            // An adapter leaves biases as they are.
            .filter(|(hook, ..)| {
                let writer = writer(model.architecture(), *hook).unwrap();
                !writer.bias || writer.side == Side::Input
            })
            .collect();
        let intervention = made(&model, steps);
        let place = tempfile::tempdir().unwrap();
        let (whole, adapter) = (place.path().join("whole"), place.path().join("adapter"));
        folder::write(&model, &intervention, &whole).unwrap();
        lora::peft(&model, &intervention, "base", &adapter).unwrap();
        let edited = open(&whole);
        let bytes = std::fs::read(adapter.join("adapter_model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let read = |name: &str| -> (Vec<usize>, Vec<f32>) {
            let tensor = tensors.tensor(name).unwrap();
            let numbers = tensor
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b));
            (tensor.shape().to_vec(), numbers.collect())
        };
        let names: Vec<String> = tensors
            .names()
            .iter()
            .filter(|n| n.ends_with("lora_A.weight"))
            .map(|n| n.to_string())
            .collect();
        assert!(names.len() > 3, "{name}: {names:?}");
        for a_name in names {
            let module = a_name
                .strip_prefix("base_model.model.")
                .unwrap()
                .strip_suffix(".lora_A.weight")
                .unwrap();
            let (a_shape, a) = read(&a_name);
            let (b_shape, b) = read(&a_name.replace("lora_A", "lora_B"));
            let (rank, inside, out) = (a_shape[0], a_shape[1], b_shape[0]);
            let weight = format!("{module}.weight");
            let old = match module {
                "lm_head" => model.architecture().head_table().unwrap(),
                _ => weight.clone(),
            };
            let (new, old) = (
                edited.weights().read(&weight).unwrap(),
                model.weights().read(&old).unwrap(),
            );
            let transposed = model.architecture().stores_transposed() && module != "lm_head";
            for i in 0..out {
                for j in 0..inside {
                    let at = if transposed {
                        j * out + i
                    } else {
                        i * inside + j
                    };
                    let product: f32 = (0..rank).map(|k| b[i * rank + k] * a[k * inside + j]).sum();
                    assert!(
                        (new[at] - old[at] - product).abs() < 1e-5,
                        "{name}, {module}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_a_format_cannot_hold_is_refused_with_its_size() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let (gemma, gpt2, llama) = (
        open(&folder_of("gemma3")),
        open(&folder_of("gpt2")),
        open(&folder_of("llama-llama3")),
    );
    let width = |model: &Model| model.geometry.hidden_size;
    let shift = |model: &Model| Edit::shift((0..width(model)).map(number).collect()).unwrap();
    let hf: fn(&Model, &Intervention, &Path) -> Option<ExportError> =
        |m, i, o| folder::write(m, i, o).err();
    let peft: fn(&Model, &Intervention, &Path) -> Option<ExportError> =
        |m, i, o| lora::peft(m, i, "x", o).err();
    let adapter: fn(&Model, &Intervention, &Path) -> Option<ExportError> =
        |m, i, o| lora::gguf(m, i, o).err();
    let vector: fn(&Model, &Intervention, &Path) -> Option<ExportError> =
        |m, i, o| gguf::control_vector(m, i, o).err();
    let cases = [
        (
            hf,
            &gemma,
            Hook::mlp(0),
            Tokens::All,
            erase(width(&gemma), 1, false),
            "a norm stands behind",
        ),
        (
            hf,
            &gemma,
            Hook::output(1),
            Tokens::All,
            shift(&gemma),
            "gguf-control-vector",
        ),
        (
            hf,
            &gemma,
            Hook::FINAL_NORM,
            Tokens::Text,
            erase(width(&gemma), 1, false),
            "--tokens all",
        ),
        (
            hf,
            &gemma,
            Hook::FINAL_NORM,
            Tokens::All,
            erase(width(&gemma), 1, true),
            "constant of norm",
        ),
        (
            hf,
            &llama,
            Hook::mlp(0),
            Tokens::All,
            shift(&llama),
            "constant of norm",
        ),
        (
            peft,
            &gpt2,
            Hook::mlp(0),
            Tokens::All,
            shift(&gpt2),
            "constant of norm",
        ),
        (
            adapter,
            &gemma,
            Hook::FINAL_NORM,
            Tokens::All,
            erase(width(&gemma), 1, false),
            "is its embedding",
        ),
        (
            vector,
            &llama,
            Hook::output(0),
            Tokens::All,
            shift(&llama),
            "first block",
        ),
        (
            vector,
            &llama,
            Hook::mlp(1),
            Tokens::All,
            shift(&llama),
            "not at the output",
        ),
        (
            vector,
            &llama,
            Hook::output(1),
            Tokens::All,
            erase(width(&llama), 1, false),
            "looks at the state",
        ),
        (
            vector,
            &llama,
            Hook::output(1),
            Tokens::Prompt,
            shift(&llama),
            "`prompt`",
        ),
    ];
    for (export, model, hook, tokens, edit, part) in cases {
        let error = export(model, &made(model, vec![(hook, tokens, edit)]), &out)
            .expect(part)
            .to_string();
        assert!(error.contains(part), "{error}");
        assert!(
            std::fs::read_dir(place.path()).unwrap().next().is_none(),
            "{part}: nothing is left"
        );
    }
    let fits = made(
        &llama,
        vec![(Hook::mlp(0), Tokens::All, erase(width(&llama), 1, false))],
    );
    std::fs::create_dir(&out).unwrap();
    for export in [hf, peft, adapter] {
        let error = export(&llama, &fits, &out).expect("refused").to_string();
        assert!(error.contains("is there already"), "{error}");
    }
}

/// The values of both kinds of GGUF files are read back by the header that the format says.
#[test]
fn gguf_files_have_the_header_of_the_format() {
    let model = open(&folder_of("llama-llama3"));
    let place = tempfile::tempdir().unwrap();
    let vector: Vec<f64> = (0..model.geometry.hidden_size).map(number).collect();
    let steer = made(
        &model,
        vec![(
            Hook::output(1),
            Tokens::All,
            Edit::shift(vector.clone()).unwrap(),
        )],
    );
    let path = place.path().join("steer.gguf");
    assert_eq!(gguf::control_vector(&model, &steer, &path).unwrap(), 1);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes[..8], *b"GGUF\x03\0\0\0");
    let has = |word: &[u8]| bytes.windows(word.len()).any(|w| w == word);
    assert!(has(b"controlvector.model_hint") && has(b"direction.1"));
    let values: Vec<f32> = vector.iter().map(|&x| x as f32).collect();
    let raw: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let start = bytes.len() - raw.len().next_multiple_of(32);
    assert_eq!(start % 32, 0);
    assert_eq!(bytes[start..][..raw.len()], raw);
    let path = place.path().join("adapter.gguf");
    let erase = made(
        &model,
        vec![(
            Hook::mlp(0),
            Tokens::All,
            erase(model.geometry.hidden_size, 1, false),
        )],
    );
    assert_eq!(lora::gguf(&model, &erase, &path).unwrap(), 2);
    let bytes = std::fs::read(&path).unwrap();
    let has = |word: &[u8]| bytes.windows(word.len()).any(|w| w == word);
    assert!(
        has(b"adapter.lora.alpha")
            && has(b"blk.0.ffn_down.weight.lora_a")
            && has(b"blk.0.ffn_down.weight.lora_b")
    );
}

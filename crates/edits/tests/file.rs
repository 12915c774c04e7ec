//! The file of an intervention: whole, damaged, of another model, and read by Python.

use std::process::Command;

use interlingua_edits::{
    Edit, EditError, Hook, HookError, Intervention, KEY, Matrix, ModelShape, Provenance, Reinsert,
    Site, Tokens,
};
use proptest::prelude::*;

fn model() -> ModelShape {
    ModelShape {
        architecture: "LlamaForCausalLM".into(),
        layers: 3,
        hidden: 4,
        heads: 3,
        kv_heads: 1,
        head_dim: 2,
        intermediate: 6,
        gated: true,
    }
}

/// An edit of every form of factors.
fn intervention() -> Intervention {
    let numbers = |n: usize| {
        (0..n)
            .map(|i| 0.25 * (i as f64) - 0.5)
            .collect::<Vec<f64>>()
    };
    let left = Matrix::new(4, 2, numbers(8)).unwrap();
    let right = Matrix::new(2, 4, numbers(8)).unwrap();
    let steps = vec![
        (
            Site::raw(Hook::EMBEDDING, Tokens::Prompt),
            Edit::erase(left, right, Some(&[1.0, 0.0, -1.0, 2.0])).unwrap(),
        ),
        (
            Site::raw(Hook::queries(0), Tokens::All),
            Edit::shift(numbers(6)).unwrap().scaled(0.5).unwrap(),
        ),
        (
            Site::raw(Hook::gate(1), Tokens::Text),
            Edit::scale(6, vec![0, 5], vec![0.5, 2.0]).unwrap(),
        ),
        (
            Site {
                space: "latent".into(),
                reinsert: Reinsert::Replace,
                ..Site::raw(Hook::output(1), Tokens::Last)
            },
            Edit::add(9, vec![8], vec![1.0]).unwrap(),
        ),
        (
            Site::raw(Hook::units(2), Tokens::Generated),
            Edit::clamp(6, vec![3], vec![-1.0]).unwrap(),
        ),
        (Site::raw(Hook::FINAL_NORM, Tokens::All), Edit::identity(4)),
    ];
    let provenance = Provenance {
        method: Some("by hand".into()),
        notes: [("b".to_owned(), "2".to_owned()), ("a".into(), "1".into())].into(),
        ..Provenance::default()
    };
    Intervention::new(model(), steps, provenance).unwrap()
}

#[test]
fn an_intervention_comes_back_and_equal_ones_are_equal_bytes() {
    let bytes = intervention().to_bytes().unwrap();
    let back = Intervention::from_bytes(&bytes).unwrap();
    assert_eq!(back, intervention());
    assert_eq!(back.to_bytes().unwrap(), bytes);
    back.check(&model()).unwrap();
    // Another class of the same sizes takes it too.
    let other = ModelShape {
        architecture: "MistralForCausalLM".into(),
        ..model()
    };
    back.check(&other).unwrap();
}

#[test]
fn an_intervention_for_another_model_names_the_size() {
    let narrower = ModelShape {
        hidden: 8,
        ..model()
    };
    let deeper = ModelShape {
        layers: 12,
        ..model()
    };
    for (other, what, expected, found) in [(narrower, "hidden", 4, 8), (deeper, "layers", 3, 12)] {
        let error = intervention().check(&other).unwrap_err();
        assert_eq!(
            error,
            EditError::OtherModel {
                made_for: "LlamaForCausalLM".into(),
                model: "LlamaForCausalLM".into(),
                what,
                expected,
                found,
            }
        );
        assert!(error.to_string().contains(&format!("{what} = {expected}")));
    }
}

fn make(model: ModelShape, steps: Vec<(Hook, usize)>) -> Result<Intervention, EditError> {
    let step = |(hook, dim)| (Site::raw(hook, Tokens::All), Edit::identity(dim));
    Intervention::new(
        model,
        steps.into_iter().map(step).collect(),
        Provenance::default(),
    )
}

#[test]
fn steps_that_do_not_fit_are_refused() {
    let width = make(model(), vec![(Hook::EMBEDDING, 4), (Hook::units(0), 4)]);
    assert_eq!(
        width,
        Err(EditError::SiteWidth {
            step: 2,
            hook: Hook::units(0),
            width: 6,
            dim: 4
        })
    );
    let order = make(model(), vec![(Hook::output(1), 4), (Hook::mlp(1), 4)]);
    assert_eq!(
        order,
        Err(EditError::StepOrder {
            step: 2,
            first: Hook::output(1),
            then: Hook::mlp(1)
        })
    );
    assert!(make(model(), vec![(Hook::mlp(1), 4), (Hook::mlp(1), 4)]).is_ok());
    let beyond = make(model(), vec![(Hook::mlp(3), 4)]);
    assert!(matches!(
        beyond,
        Err(EditError::Hook(HookError::Unknown { layers: 3, .. }))
    ));
    let plain = ModelShape {
        gated: false,
        architecture: "GPT2LMHeadModel".into(),
        ..model()
    };
    let lacks = make(plain, vec![(Hook::gate(1), 6)])
        .unwrap_err()
        .to_string();
    assert!(
        lacks.contains("GPT2LMHeadModel has no `block.1.gate`"),
        "{lacks}"
    );
}

/// The same file with another header entry.
fn with_header(change: impl Fn(String) -> String) -> Vec<u8> {
    let bytes = intervention().to_bytes().unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let mut header = header;
    let entry = header["__metadata__"][KEY].as_str().unwrap().to_owned();
    header["__metadata__"][KEY] = change(entry).into();
    let text = header.to_string();
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend(text.as_bytes());
    out.extend(&bytes[8 + length..]);
    out
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let bytes = intervention().to_bytes().unwrap();
    for end in [0, 5, 100, bytes.len() - 1] {
        let error = Intervention::from_bytes(&bytes[..end]).unwrap_err();
        assert!(
            matches!(error, EditError::NotSafetensors { .. }),
            "{end}: {error}"
        );
    }
    let zip = Intervention::from_bytes(b"PK\x03\x04");
    assert!(matches!(zip, Err(EditError::NotSafetensors { .. })));
    let nothing = Vec::<(String, safetensors::tensor::TensorView<'_>)>::new();
    let foreign = safetensors::serialize(nothing, None).unwrap();
    let foreign = Intervention::from_bytes(&foreign);
    assert!(matches!(foreign, Err(EditError::NotAnIntervention { .. })));

    let newer = with_header(|h| h.replace("\"version\":1", "\"version\":2,\"more\":[]"));
    assert_eq!(
        Intervention::from_bytes(&newer),
        Err(EditError::NewerFormat {
            version: 2,
            known: 1
        })
    );
    for (from, to, told) in [
        ("\"version\":1", "\"version\":0", "no version"),
        (
            "\"format\":\"intervention\"",
            "\"format\":\"edit\"",
            "`edit`",
        ),
        ("\"text\"", "\"texts\"", "texts"),
        ("block.0.queries", "block.0.querys", "block.0.queries"),
        ("block.0.queries", "block.9.queries", "L from 0 to 2"),
        ("\"dim\":9", "\"dim\":8", "outside the edit's dimension 8"),
        (
            "\"hidden\":4",
            "\"hidden\":99999999999",
            "hidden = 99999999999",
        ),
        ("\"gated\":true", "\"gated\":false", "has no gate"),
        ("\"left\":\"units\"", "\"left\":\"dense\"", "2.left"),
        ("\"heads\":3", "\"heads\":2", "`block.0.queries` are 4 wide"),
    ] {
        let changed = with_header(|h| {
            assert!(h.contains(from), "{from} in {h}");
            h.replacen(from, to, 1)
        });
        let error = Intervention::from_bytes(&changed).unwrap_err().to_string();
        assert!(error.contains(told), "{from} → {to}: {error}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Intervention::from_bytes(&bytes);
    }

    #[test]
    fn damaged_bytes_never_panic(at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = intervention().to_bytes().unwrap();
        let i = at.index(bytes.len());
        bytes[i] = to;
        let _ = Intervention::from_bytes(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(Intervention::from_bytes(&bytes).is_err());
    }
}

/// The Python of docs/interventions.md.
fn documented() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/interventions.md");
    let page = std::fs::read_to_string(page).unwrap_or_else(|e| panic!("{page}: {e}"));
    let from = page.find("```python\n").expect("a block of Python") + "```python\n".len();
    let length = page[from..].find("```").expect("an end of the block");
    page[from..from + length].to_owned()
}

/// A Python that has what the page's code imports.
fn python() -> Option<String> {
    let named = std::env::var("INTERLINGUA_PYTHON").ok();
    let candidates = named.into_iter().chain(["python3".to_owned()]);
    candidates.into_iter().find(|python| {
        let tried = Command::new(python)
            .args(["-c", "import numpy, safetensors"])
            .output();
        tried.is_ok_and(|out| out.status.success())
    })
}

#[test]
fn the_documented_python_applies_an_intervention() {
    let Some(python) = python() else {
        println!("skipped: no python3 with numpy and safetensors; INTERLINGUA_PYTHON may name one");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("intervention.safetensors");
    std::fs::write(&path, intervention().to_bytes().unwrap()).unwrap();
    let ask = r#"
import sys
for i, step in enumerate(header["steps"]):
    x = np.arange(2.0 * step["dim"]).reshape(2, step["dim"]) / 3
    print(step["hook"], step["tokens"], *apply(i, x).ravel().tolist())
"#;
    let code = documented() + ask;
    let out = Command::new(&python)
        .args(["-c", &code])
        .current_dir(&folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{errors}");
    let text = String::from_utf8(out.stdout).unwrap();
    let intervention = intervention();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), intervention.steps().len());
    for (line, (site, edit)) in lines.iter().zip(intervention.steps()) {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[..2], [&site.hook.to_string(), site.tokens.name()]);
        let mut states = Matrix::from_fn(2, edit.dim(), |i, j| (i * edit.dim() + j) as f64 / 3.0);
        edit.apply_matrix(&mut states).unwrap();
        assert_eq!(words.len() - 2, states.data().len());
        for (word, expected) in words[2..].iter().zip(states.data()) {
            let found: f64 = word.parse().unwrap();
            assert!((found - expected).abs() < 1e-12, "{line}: {expected}");
        }
    }
}

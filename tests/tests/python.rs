//! The Python of docs/python.md does what the program does.

use std::process::Command;

use interlingua_backend::device::cpu;
use interlingua_edits::{Edit, Hook, Intervention, Matrix, Provenance, Site, Tokens};
use interlingua_models::engine::logits;
use interlingua_models::intervene::Steps;
use interlingua_models::{Model, Residency, Sequence};
use interlingua_tests::fixtures;

/// The blocks of the page that are marked as Python to be run.
fn documented() -> String {
    let page = include_str!("../../docs/python.md");
    let blocks = page.split("```python\n").skip(1);
    let blocks: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 2);
    blocks.concat()
}

#[test]
fn forward_hooks_of_transformers_do_what_the_file_says() {
    let named = std::env::var("INTERLINGUA_PYTHON").ok();
    let python = named
        .into_iter()
        .chain(["python3".to_owned()])
        .find(|python| {
            let tried = Command::new(python)
                .args(["-c", "import numpy, safetensors, torch, transformers"])
                .output();
            tried.is_ok_and(|out| out.status.success())
        });
    let Some(python) = python else {
        println!(
            "skipped: no python3 with torch and transformers; INTERLINGUA_PYTHON may name one"
        );
        return;
    };
    let source = fixtures().join("models/architectures/gemma3");
    let model = Model::open(&source, &cpu(), Residency::Resident).unwrap();
    let d = model.geometry.hidden_size;
    let number = |i: usize| ((i * 7919 + 13) % 101) as f64 / 50.0 - 1.0;
    let left = Matrix::from_fn(d, 2, |i, j| number(i * 5 + j));
    let right = Matrix::from_fn(2, d, |i, j| number(i * 31 + j * 3));
    let mean: Vec<f64> = (0..d).map(number).collect();
    let steps = vec![
        (
            Site::raw(Hook::output(0), Tokens::Text),
            Edit::shift(mean.clone()).unwrap(),
        ),
        (
            Site::raw(Hook::output(1), Tokens::All),
            Edit::clamp(d, vec![1, 5], vec![0.5, -2.0]).unwrap(),
        ),
        (
            Site::raw(Hook::FINAL_NORM, Tokens::Text),
            Edit::erase(left, right, Some(&mean)).unwrap(),
        ),
    ];
    let made = Intervention::new(model.geometry.shape(), steps, Provenance::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("edit.safetensors"),
        made.to_bytes().unwrap(),
    )
    .unwrap();
    let start = model.start_token().unwrap();
    let tokens = vec![start, 7, 9, 7, 12, 5, 3];
    let prepared = Steps::new(&made, &model).unwrap();
    let mut ours = Vec::new();
    logits(
        &model,
        &[Sequence::new(tokens.clone(), 1)],
        &prepared.branch(),
        &mut |_, _, part| {
            ours.extend_from_slice(part);
            Ok(())
        },
    )
    .unwrap();
    let ask = format!(
        "from transformers import AutoModelForCausalLM\n\
         model = AutoModelForCausalLM.from_pretrained({:?}, dtype=torch.float32, attn_implementation='eager').eval()\n\
         attach(model)\n\
         with torch.no_grad():\n    print(*model(torch.tensor([{tokens:?}])).logits.ravel().tolist())\n",
        source.display().to_string()
    );
    let out = Command::new(&python)
        .args(["-c", &(documented() + &ask)])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).unwrap();
    let theirs: Vec<f32> = text
        .split_whitespace()
        .map(|x| x.parse().unwrap())
        .collect();
    assert_eq!(ours.len(), theirs.len());
    let scale = theirs.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    for (a, b) in ours.iter().zip(&theirs) {
        assert!((a - b).abs() <= 1e-4 * scale, "{a} {b}");
    }
}

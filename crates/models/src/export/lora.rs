//! Writes the difference that edits make to weights as low-rank adapters, for PEFT and for llama.cpp.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use interlingua_edits::{Intervention, Matrix};
use interlingua_files::Partial;
use serde_json::json;

use super::fold::{Fold, bias};
use super::folder::lost;
use super::gguf::{self, Tensor, Value, gguf_name, in_gguf};
use super::{ExportError, folds};
use crate::Model;
use crate::file::{Kind, TensorFile};
use crate::weights::LM_HEAD;

/// The difference of one module, B·A with A `[k, in]` and Bᵀ `[k, out]`.
pub(super) struct Difference {
    pub fold: Fold,
    pub a: Matrix,
    pub b: Matrix,
}

/// Returns the differences of all modules, and refuses edits that an adapter cannot hold.
pub(super) fn differences(
    model: &Model,
    intervention: &Intervention,
    format: &'static str,
) -> Result<Vec<Difference>, ExportError> {
    let weights = model.weights();
    let mut all = Vec::new();
    for fold in folds(model, intervention)? {
        let mut constant = bias(&fold, weights)?;
        if fold.bias {
            let old = weights.read(&format!("{}.bias", fold.module))?;
            constant
                .iter_mut()
                .zip(old)
                .for_each(|(new, old)| *new -= f64::from(old));
        }
        lost(&fold, &constant, format)?;
        let (a, b) = fold.ready(weights)?.low_rank()?;
        all.push(Difference { fold, a, b });
    }
    Ok(all)
}

/// Writes a folder that PEFT loads onto the model, with `adapter_config.json` and `adapter_model.safetensors`, and
/// returns the rank.
///
/// # Errors
/// Edits that no weight takes up or that add a constant, a path `out` that exists, or a full disk.
pub fn peft(
    model: &Model,
    intervention: &Intervention,
    base: &str,
    out: &Path,
) -> Result<usize, ExportError> {
    if out.symlink_metadata().is_ok() {
        return Err(ExportError::Exists {
            path: out.to_owned(),
        });
    }
    let all = differences(model, intervention, "a LoRA adapter")?;
    let tied = model.architecture().embedding_table();
    // In transformers, a head that is the embedding is a module of its own all the same.
    let module = |fold: &Fold| match fold.weight() == tied {
        true => LM_HEAD
            .strip_suffix(".weight")
            .unwrap_or(LM_HEAD)
            .to_owned(),
        false => fold.module.clone(),
    };
    let rank = all.iter().map(|d| d.a.rows()).max().unwrap_or(0).max(1);
    let folder = Partial::folder(out).map_err(ExportError::io(out))?;
    let mut tensors = Vec::new();
    let mut values = Vec::new();
    for Difference { fold, a, b } in &all {
        let name = |side: &str| format!("base_model.model.{}.lora_{side}.weight", module(fold));
        tensors.push((name("A"), Kind::F32, vec![rank, a.cols()]));
        values.push(padded(a, rank));
        tensors.push((name("B"), Kind::F32, vec![b.cols(), rank]));
        values.push(columns(b, rank));
    }
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = TensorFile::create(
        &folder.path().join("adapter_model.safetensors"),
        &tensors,
        &metadata,
    )?;
    for (at, values) in values.iter().enumerate() {
        file.write(at, 0, values)?;
    }
    file.finish()?;
    let modules: Vec<String> = all.iter().map(|d| module(&d.fold)).collect();
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        // Their quotient scales the difference.
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": all.iter().any(|d| d.fold.transposed),
        "target_modules": modules,
        "inference_mode": true,
    });
    let path = folder.path().join("adapter_config.json");
    let mut file = std::fs::File::create(&path).map_err(ExportError::io(&path))?;
    file.write_all(format!("{config:#}\n").as_bytes())
        .map_err(ExportError::io(&path))?;
    folder.finish().map_err(ExportError::io(out))?;
    Ok(rank)
}

/// Writes a GGUF adapter that llama.cpp loads with `--lora`, and returns the largest rank.
///
/// # Errors
/// The errors of [`peft`], an LM head that is the embedding (which such a file cannot distinguish), and an
/// architecture that has no GGUF name here.
pub fn gguf(model: &Model, intervention: &Intervention, out: &Path) -> Result<usize, ExportError> {
    let architecture = gguf_name(model)?;
    let all = differences(model, intervention, "a LoRA adapter")?;
    let tied = model.architecture().embedding_table();
    // One factor scales all of them: alpha over the rank of each.
    let rank = all.iter().map(|d| d.a.rows()).max().unwrap_or(0).max(1);
    let mut tensors = Vec::new();
    for Difference { fold, a, b } in &all {
        if fold.weight() == tied {
            return Err(ExportError::Format {
                problem: format!(
                    "the head of this model is its embedding, which a GGUF adapter cannot change for one of the two alone; a rank of {} \
                     would be lost. What would work: a checkpoint folder, where the head becomes a matrix of its own (--as hf), an \
                     adapter of PEFT (--as peft), or an edit at a hook point that a weight of a block takes up",
                    a.rows()
                ),
            });
        }
        let (name, order) = in_gguf(model, &fold.weight())?;
        let (width, out) = (a.cols(), b.cols());
        tensors.push(Tensor {
            name: format!("{name}.lora_a"),
            axes: vec![width as u64, rank as u64],
            values: padded(a, rank),
        });
        let rows = columns(b, rank);
        // The converter to GGUF changes the order of some rows.
        let mut placed = vec![0.0; rows.len()];
        for (row, values) in rows.chunks_exact(rank).enumerate() {
            placed[order(row) * rank..][..rank].copy_from_slice(values);
        }
        tensors.push(Tensor {
            name: format!("{name}.lora_b"),
            axes: vec![rank as u64, out as u64],
            values: placed,
        });
    }
    let settings = [
        ("general.type", Value::Text("adapter")),
        ("general.architecture", Value::Text(architecture)),
        ("adapter.type", Value::Text("lora")),
        ("adapter.lora.alpha", Value::F32(rank as f32)),
    ];
    gguf::write(out, &settings, &tensors)?;
    Ok(rank)
}

/// Rows of f32, with rows of zeros up to `rank`.
fn padded(a: &Matrix, rank: usize) -> Vec<f32> {
    let mut values: Vec<f32> = a.data().iter().map(|&x| x as f32).collect();
    values.resize(rank * a.cols(), 0.0);
    values
}

/// The transposed matrix, `[columns, rank]`.
fn columns(b: &Matrix, rank: usize) -> Vec<f32> {
    let mut values = vec![0.0; b.cols() * rank];
    for j in 0..b.rows() {
        for (i, &x) in b.row(j).iter().enumerate() {
            values[i * rank + j] = x as f32;
        }
    }
    values
}

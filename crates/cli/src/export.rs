//! The subcommand `export`: writes a model with an edit as files that other programs load.

use anyhow::Context;
use interlingua_backend::device::cpu;
use interlingua_models::export::folder::Written;
use interlingua_models::export::{folder, gguf, lora, whole};
use interlingua_models::{Model, Residency};

use crate::flags::{ExportFlags, ExportFormat};
use crate::terminal::{Progress, print, tell};
use crate::{edits, model, output};

/// Writes the files.
///
/// # Errors
/// A model or an edit that cannot be read, a model and an edit that do not fit together, an edit that the format
/// cannot hold exactly, or a path `--out` that exists.
pub fn export(flags: &ExportFlags) -> anyhow::Result<()> {
    let edit = edits::read(&flags.edit)?;
    let source = model::folder(&flags.model, &mut Progress::new())?;
    let out = &flags.out;
    output::check_apart(out, &source)?;
    // Weights are read once, tensor by tensor.
    let model = Model::open(&source, &cpu(), Residency::Stream)?;
    let refused = || format!("{} as {}", flags.edit.display(), name(flags.format));
    let what = match flags.format {
        ExportFormat::Hf => {
            let written = folder::write(&model, &edit, out).with_context(refused)?;
            said(
                &written,
                ", and the head is a matrix of its own now (tie_word_embeddings = false)",
            )
        }
        ExportFormat::Gguf => {
            let written = whole::write(&model, &edit, out).with_context(refused)?;
            said(&written, ", and the head is a matrix of its own now")
        }
        ExportFormat::Peft => {
            let rank = lora::peft(&model, &edit, &flags.model, out).with_context(refused)?;
            format!("an adapter of rank {rank}")
        }
        ExportFormat::GgufLora => {
            let rank = lora::gguf(&model, &edit, out).with_context(refused)?;
            format!("an adapter of rank {rank}")
        }
        ExportFormat::GgufControlVector => {
            let count = gguf::control_vector(&model, &edit, out).with_context(refused)?;
            format!("a control vector of {count} direction(s)")
        }
    };
    if let Some(caveat) = model.caveat() {
        tell(&caveat);
    }
    print(&format!("{}: {what}\n", out.display()))
}

fn said(written: &Written, head: &str) -> String {
    let head = if written.untied { head } else { "" };
    format!(
        "{} tensor(s) changed: {}{head}",
        written.tensors.len(),
        written.tensors.join(", ")
    )
}

fn name(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Hf => "hf",
        ExportFormat::Peft => "peft",
        ExportFormat::Gguf => "gguf",
        ExportFormat::GgufLora => "gguf-lora",
        ExportFormat::GgufControlVector => "gguf-control-vector",
    }
}

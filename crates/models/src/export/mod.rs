//! Exports a model with an intervention as files that other programs load.
//!
//! An edit of the states that one weight writes or reads is a change of that weight. With y = W·x + β, edits of y and
//! of x become:
//!
//! ```text
//! y ↦ y − L(R·y − b)    W ↦ W − L·R·W      β ↦ β − L(R·β − b)
//! x ↦ x − L(R·x − b)    W ↦ W − W·L·R      β ↦ β + W·L·b
//! ```
//!
//! [`folds`] finds these weights. [`folder`] writes them in place of the original ones, and [`whole`] does so in a
//! GGUF file. [`lora`] writes their difference, which has the rank of the edit. [`gguf::control_vector`] writes
//! shifts of the residual stream, which no single weight writes. An edit that a format cannot hold exactly is refused
//! with an error that gives the size of what would be lost.

pub mod beside;
pub mod fold;
pub mod folder;
pub mod gguf;
pub mod lora;
pub mod whole;

use std::path::PathBuf;

use interlingua_edits::{Edit, EditError, Hook, Intervention, Kind, Part, Tokens};

use crate::architectures::Architecture;
use crate::{Model, ModelError};
use fold::Fold;

/// The reason why an intervention cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The checkpoint cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The intervention is for another model, or its edits cannot be combined.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The path of the export exists already.
    #[error("{path}: is there already; choose another name for --out, or remove it")]
    Exists {
        /// The path that exists.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("{path}: {source}")]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// An edit acts on some tokens only, but weights and vectors act on all tokens.
    #[error(
        "step {step} at `{hook}` edits the tokens `{tokens}`; weights act on all tokens alike, so fit the edit with `--tokens all`, or keep the file and use it with --edit",
        tokens = .tokens.name()
    )]
    SomeTokens {
        /// The number of the step, counted from 1.
        step: usize,
        /// The hook of the step.
        hook: Hook,
        /// The tokens that it edits.
        tokens: Tokens,
    },
    /// No single weight writes or reads the states that a step edits.
    #[error(
        "step {step} at `{hook}` cannot be folded into a weight of {architecture}: {why}; the edit has norm {size:.4}, and all of it would be lost. What would work: {instead}"
    )]
    NoWeight {
        /// The number of the step, counted from 1.
        step: usize,
        /// The hook of the step.
        hook: Hook,
        /// The name of the architecture.
        architecture: String,
        /// The reason.
        why: &'static str,
        /// The largest change that the edit makes: the norm of its constant, or of L·R.
        size: f64,
        /// What would work.
        instead: String,
    },
    /// The edit adds a constant, and there is no bias that could hold it.
    #[error(
        "the edit at `{hook}` adds a constant of norm {size:.4} {place}, and {format} has no bias for it there; it would be lost. What would work: an edit without a centre (an erasure of directions alone, such as sentdebias without centring), {instead}"
    )]
    Constant {
        /// The hook of the edit.
        hook: Hook,
        /// The norm of the constant.
        size: f64,
        /// The place to which the constant would be added.
        place: String,
        /// The name of the export format.
        format: &'static str,
        /// What would work.
        instead: &'static str,
    },
    /// A format cannot hold something for another reason.
    #[error("{problem}")]
    Format {
        /// What it cannot hold, how large that is, and what would work.
        problem: String,
    },
}

impl ExportError {
    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> ExportError + '_ {
        move |source| ExportError::Io {
            path: path.to_owned(),
            source,
        }
    }
}

/// The side of a weight on which the states of a hook are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The weight reads the states.
    Input,
    /// The weight writes the states, from this position of its output on.
    Output(usize),
}

/// The weight that writes or reads the states of a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The name of the module in the architecture's tensors, without `.weight` and `.bias`.
    pub module: String,
    /// The side of the weight on which the states are.
    pub side: Side,
    /// Whether the matrix is stored `[in, out]`.
    pub transposed: bool,
    /// Whether the module has a bias.
    pub bias: bool,
}

/// Returns the only weight that writes or reads the states of a hook.
///
/// # Errors
/// The reason why there is no such weight.
pub fn writer(architecture: &dyn Architecture, hook: Hook) -> Result<Writer, &'static str> {
    const RESIDUAL: &str = "it is the residual stream, which all weights before it write together";
    let modules = architecture.modules();
    let needed = architecture.tensors();
    let needed = needed.needed();
    let found = |module: String, side: Side, transposed: bool| {
        let weight = format!("{module}.weight");
        // A model within another has other names in transformers than in its files.
        let name = match needed.contains_key(&weight) {
            true => Some(weight),
            false => needed
                .keys()
                .find(|name| {
                    weight.ends_with(&format!(".{name}")) || name.ends_with(&format!(".{weight}"))
                })
                .cloned(),
        };
        let module = name.and_then(|n| Some(n.strip_suffix(".weight")?.to_owned()));
        let module = module.ok_or("its weight has no name of its own")?;
        Ok(Writer {
            bias: needed.contains_key(&format!("{module}.bias")),
            module,
            side,
            transposed,
        })
    };
    let Some(layer) = hook.block() else {
        if hook != Hook::FINAL_NORM {
            return Err(RESIDUAL);
        }
        let Some(table) = architecture
            .head_table()
            .filter(|_| architecture.geometry().causal)
        else {
            return Err("no head reads it as it is");
        };
        return Ok(Writer {
            module: table.strip_suffix(".weight").unwrap_or(&table).to_owned(),
            side: Side::Input,
            transposed: false,
            bias: false,
        });
    };
    let transposed = architecture.stores_transposed();
    let within = |module: &str| {
        let block = modules.block.replace("{L}", &layer.to_string());
        let prefix = if needed.keys().any(|n| n.starts_with(modules.prefix)) {
            modules.prefix
        } else {
            ""
        };
        format!("{prefix}{block}.{module}")
    };
    let projection = |at: usize| match modules.qkv[at].split_once('[') {
        None => found(within(modules.qkv[at]), Side::Output(0), transposed),
        Some((module, part)) if !part.starts_with("head") => {
            let width = architecture.geometry().hidden_size;
            found(within(module), Side::Output(at * width), transposed)
        }
        Some(_) => Err("its weight holds queries, keys and values of each head in turn"),
    };
    // What the last weight of a part writes is the part's result where no norm follows.
    let last = |weight: &str, of: &str| match weight == of || weight.starts_with(&format!("{of}."))
    {
        true => found(within(weight), Side::Output(0), transposed),
        false => Err("a norm stands behind the weight that writes it"),
    };
    match hook.part {
        Part::Queries => projection(0),
        Part::Keys => projection(1),
        Part::Values => projection(2),
        Part::Heads => found(within(modules.heads), Side::Input, transposed),
        Part::Units => found(within(modules.units), Side::Input, transposed),
        Part::Gate => match modules.gate {
            Some(gate) => found(within(gate), Side::Output(0), transposed),
            None => Err("its MLP has no gate"),
        },
        Part::Projected => found(within(modules.heads), Side::Output(0), transposed),
        Part::Up => found(within(modules.up), Side::Output(0), transposed),
        Part::Down => found(within(modules.units), Side::Output(0), transposed),
        Part::Attention => last(modules.heads, modules.attention),
        Part::Mlp => last(modules.units, modules.mlp),
        _ => Err(RESIDUAL),
    }
}

/// Returns the weights that an intervention changes, in the order of the forward pass, with their edits.
///
/// Edits of the same states are combined into one.
///
/// # Errors
/// A step that is not in the hidden states themselves, that edits only some tokens, or whose hook no single weight
/// writes or reads.
pub fn folds(model: &Model, intervention: &Intervention) -> Result<Vec<Fold>, ExportError> {
    let mut all: Vec<Fold> = Vec::new();
    for (at, hook, edit) in merged(model, intervention)? {
        let writer = writer(model.architecture(), hook).map_err(|why| ExportError::NoWeight {
            step: at + 1,
            hook,
            architecture: model.geometry.architecture.clone(),
            why,
            size: size(&edit),
            instead: instead(model.architecture(), hook, &edit),
        })?;
        match all.iter_mut().find(|fold| fold.module == writer.module) {
            Some(fold) => fold.add(&writer, hook, edit)?,
            None => all.push(Fold::new(&writer, hook, edit)),
        }
    }
    Ok(all)
}

/// Returns the steps, with those at the same hook combined.
pub(crate) fn merged(
    model: &Model,
    intervention: &Intervention,
) -> Result<Vec<(usize, Hook, Edit)>, ExportError> {
    intervention.check(&model.geometry.shape())?;
    let mut all: Vec<(usize, Hook, Edit)> = Vec::new();
    for (at, (site, edit)) in intervention.steps().iter().enumerate() {
        let (step, hook) = (at + 1, site.hook);
        if !site.is_raw() {
            let space = site.space.clone();
            return Err(ModelError::OtherSpace { step, hook, space }.into());
        }
        if site.tokens != Tokens::All {
            let tokens = site.tokens;
            return Err(ExportError::SomeTokens { step, hook, tokens });
        }
        // A method that looks at several places may leave one of them as it is.
        if edit.kind() == Kind::Identity {
            continue;
        }
        match all.last_mut() {
            Some((_, last, first)) if *last == hook => *first = first.then(edit)?,
            _ => all.push((at, hook, edit.clone())),
        }
    }
    Ok(all)
}

/// How large an edit is: the norm of what it adds, or of L·R.
fn size(edit: &Edit) -> f64 {
    if let Some(constant) = edit.constant() {
        return norm(&constant);
    }
    let [left, right] = edit.factors();
    // ‖LᵀR‖² = Σ (L·Lᵀ)(R·Rᵀ), of k × k.
    let (l, r) = (
        left.matmul(&left.transpose()),
        right.matmul(&right.transpose()),
    );
    let sum: f64 = l.data().iter().zip(r.data()).map(|(a, b)| a * b).sum();
    sum.max(0.0).sqrt()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// What would work in place of an edit that cannot be folded.
fn instead(architecture: &dyn Architecture, hook: Hook, edit: &Edit) -> String {
    let mut ways = Vec::new();
    if let Some(layer) = hook.block() {
        let near = [
            Hook::attention(layer),
            Hook::projected(layer),
            Hook::mlp(layer),
            Hook::down(layer),
            Hook::heads(layer),
            Hook::units(layer),
        ];
        let near: Vec<String> = near
            .into_iter()
            .filter(|hook| writer(architecture, *hook).is_ok())
            .map(|hook| format!("`{hook}`"))
            .collect();
        if !near.is_empty() {
            ways.push(format!("an edit fitted at {}", near.join(" or ")));
        }
    }
    if edit.constant().is_some() && hook.part == Part::Output && hook.block() > Some(0) {
        ways.push("a GGUF control vector (--as gguf-control-vector)".into());
    }
    ways.push("the edit file itself with --edit".into());
    ways.join(", ")
}

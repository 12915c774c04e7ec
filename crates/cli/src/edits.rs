//! Reads intervention files and applies them to models; it also implements the subcommand `show`.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use interlingua_edits::{Edit, Factor, Intervention, Site};
use interlingua_models::intervene::Steps;
use interlingua_models::{Model, input};

use crate::terminal::print;

/// The largest size of an intervention file in bytes; real interventions are far smaller.
pub(crate) const MAX_FILE: u64 = 1 << 30;

/// Units of an edit that are listed by number.
const LISTED: usize = 8;

/// Reads an intervention file.
///
/// # Errors
/// A file that is missing, cut off, of a newer version or not an intervention; the error names the file.
pub fn read(path: &Path) -> anyhow::Result<Intervention> {
    let bytes = input::read(path, MAX_FILE)?;
    Intervention::from_bytes(&bytes).with_context(|| path.display().to_string())
}

/// Reads the steps of a file for a model; there are none if no file is named.
///
/// # Errors
/// The errors of [`read`], and a file that was made for models of another shape or that acts in a space whose maps it
/// does not hold.
pub fn steps(path: Option<&Path>, model: &Model) -> anyhow::Result<Steps> {
    match path {
        None => Ok(Steps::none()),
        Some(path) => Steps::new(&read(path)?, model).with_context(|| path.display().to_string()),
    }
}

/// Describes an intervention file: what it does, from what it was fitted, and for which model.
///
/// # Errors
/// The errors of [`read`].
pub fn show(path: &Path) -> anyhow::Result<()> {
    print(&describe(&read(path)?))
}

/// Describes an intervention in words.
pub fn describe(intervention: &Intervention) -> String {
    let mut out = String::new();
    let m = intervention.model();
    let gate = if m.gated { "with" } else { "without" };
    let _ = writeln!(
        out,
        "for a model of {} blocks of {} ({}): {} heads of {}, {} key and value heads, an MLP of {} {gate} a gate",
        m.layers, m.hidden, m.architecture, m.heads, m.head_dim, m.kv_heads, m.intermediate
    );
    let p = &intervention.provenance;
    let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "not said".to_owned());
    let _ = writeln!(out, "method  {}", said(&p.method));
    let _ = writeln!(out, "weights {}", said(&p.weights));
    for (key, value) in &p.notes {
        let _ = writeln!(out, "{key:<7} {value}");
    }
    let steps = intervention.steps();
    let _ = writeln!(
        out,
        "\n{} step(s), in the order of the forward pass",
        steps.len()
    );
    for (at, (site, edit)) in steps.iter().enumerate() {
        let _ = writeln!(out, "{:>3}. {}", at + 1, step(site, edit));
    }
    if steps.iter().any(|(site, _)| !site.is_raw()) {
        let _ = writeln!(
            out,
            "\nThe file does not hold the maps of a space other than `raw`, so it cannot be loaded; its experiment runs it."
        );
    }
    out
}

/// One step in words.
fn step(site: &Site, edit: &Edit) -> String {
    let kind = edit.kind().name();
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let what = match (edit.left(), edit.right()) {
        (Factor::Units(units, _), _) => {
            let mut listed: Vec<String> = units.iter().take(LISTED).map(u32::to_string).collect();
            if units.len() > LISTED {
                listed.push("…".into());
            }
            format!("{kind} {} unit(s): {}", units.len(), listed.join(", "))
        }
        (_, Factor::Zero) => {
            let constant = edit.constant().unwrap_or_default();
            format!("{kind} by a vector of norm {:.4}", norm(&constant))
        }
        _ => format!("{kind} of rank {}", edit.rank()),
    };
    let space = match site.is_raw() {
        true => String::new(),
        false => format!(
            ", in the space `{}`, put back as {}",
            site.space,
            site.reinsert.name()
        ),
    };
    format!(
        "{:<20} {what}, on {} tokens, {} wide{space}",
        site.hook.to_string(),
        site.tokens.name(),
        edit.dim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use interlingua_edits::{Hook, Matrix, ModelShape, Provenance, Tokens};

    fn shape() -> ModelShape {
        ModelShape {
            architecture: "LlamaForCausalLM".into(),
            layers: 2,
            hidden: 4,
            heads: 2,
            kv_heads: 1,
            head_dim: 2,
            intermediate: 6,
            gated: true,
        }
    }

    #[test]
    fn every_kind_of_step_is_described() {
        let basis = Matrix::new(1, 4, vec![1.0, 0.0, 0.0, 0.0]).unwrap();
        let steps = vec![
            (
                Site::raw(Hook::units(0), Tokens::All),
                Edit::clamp(6, vec![3], vec![0.5]).unwrap(),
            ),
            (
                Site::raw(Hook::output(0), Tokens::Text),
                Edit::shift(vec![3.0, 0.0, 4.0, 0.0]).unwrap(),
            ),
            (
                Site::raw(Hook::FINAL_NORM, Tokens::Last),
                Edit::projection(&basis).unwrap(),
            ),
        ];
        let provenance = Provenance {
            method: Some("leace".into()),
            notes: [("languages".to_owned(), "en, fr".to_owned())].into(),
            ..Provenance::default()
        };
        let text = describe(&Intervention::new(shape(), steps, provenance).unwrap());
        for part in [
            "2 blocks of 4 (LlamaForCausalLM)",
            "method  leace",
            "weights not said",
            "languages en, fr",
            "block.0.units        clamp 1 unit(s): 3, on all tokens, 6 wide",
            "block.0.output       shift by a vector of norm 5.0000, on text tokens",
            "final_norm           erase of rank 1, on last tokens",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

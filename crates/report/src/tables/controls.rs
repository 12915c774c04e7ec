//! The table of the controls, which should have no effect.

use super::{Cell, Table, words};
use crate::role::{Control, Role};
use crate::text::Format;
use crate::view::{Judged, View};

/// Makes the table of what each control stands for and what it did.
pub fn controls(view: &View) -> Table {
    let mut table = Table::new(
        "controls",
        "Controls",
        "What each comparison stands for, and its numbers. A result counts only if it beats these.",
        &[
            ("Control", None),
            ("Space", None),
            ("What it shows", None),
            ("|gap|, other languages", Some(Format::Plain)),
            (view.cost_title(), Some(Format::Ratio)),
            ("Retrieval top-1", Some(Format::Share)),
        ],
    );
    let lens = view.main_lens().cloned().unwrap_or_default();
    if let Some(base) = view.base_abs_gap(&lens, None) {
        table.rows.push(vec![
            words("Unedited"),
            words("raw"),
            words("The model as it is: the bias there is to remove."),
            Cell::Number(Some(base)),
            Cell::Number(None),
            Cell::Number(view.alignment("retrieval_top1", "raw")),
        ]);
    }
    for variant in &view.variants {
        let is_unaligned = variant.space == "latent-unaligned";
        let shows = match variant.role {
            Role::AutoencoderOnly => {
                "Encoded and decoded with nothing erased: what the autoencoder alone does to bias and to the language model."
            }
            Role::Control(Control::Random) if variant.role.method(&variant.method).is_some() => {
                "A random edit of the same kind and size: a vector of equal length, or as many units."
            }
            Role::Control(Control::Random) if is_unaligned => {
                "A random subspace of the same rank in the latent space of an autoencoder trained without alignment."
            }
            Role::Control(Control::Random) => {
                "A random subspace of the same rank: removing any directions at all, not these."
            }
            Role::Control(Control::Shuffled) => {
                "The same method fitted on shuffled labels: directions that vary, but say nothing of the groups."
            }
            _ if is_unaligned => {
                "The same method in an autoencoder trained without the alignment term: what the detour alone brings."
            }
            _ => continue,
        };
        let gap = view.mean_abs_gap(&lens, variant, None, Judged::Others);
        if gap.is_none() {
            continue;
        }
        table.rows.push(vec![
            words(variant.title()),
            words(variant.site()),
            words(shows),
            Cell::Number(gap),
            Cell::Number(view.perplexity_ratio(&lens, variant, None)),
            Cell::Number(if is_unaligned {
                view.alignment("retrieval_top1", &variant.space)
            } else {
                None
            }),
        ]);
    }
    if let Some(centred) = view.alignment("retrieval_top1", "centred") {
        table.rows.push(vec![
            words("Centred"),
            words("centred"),
            words("Raw states minus each language's mean: how much alignment takes no learning at all."),
            Cell::Number(None),
            Cell::Number(None),
            Cell::Number(Some(centred)),
        ]);
    }
    table
}

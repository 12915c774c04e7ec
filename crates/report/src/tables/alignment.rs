//! The tables of the spaces' alignment, over all language directions and by direction, and of the autoencoders'
//! losses.

use super::{Cell, Table, or_dash, words};
use crate::text::Format;
use crate::view::{Estimate, View};

const ALIGNMENT: [(&str, &str, Format); 7] = [
    ("retrieval_top1", "Retrieval top-1", Format::Share),
    ("retrieval_top1_csls", "Top-1, CSLS", Format::Share),
    ("cosine_margin", "Cosine margin", Format::Gap),
    ("mexa", "MEXA", Format::Share),
    ("linear_cka", "Linear CKA", Format::Plain),
    ("rbf_cka", "RBF CKA", Format::Plain),
    ("procrustes_residual", "Procrustes residual", Format::Plain),
];

/// Makes the table of the alignment of each space, averaged over all language directions.
pub fn alignment(view: &View) -> Table {
    let mut columns = vec![("Space", None)];
    columns.extend(ALIGNMENT.map(|(_, title, format)| (title, Some(format))));
    let note = "Held-out translations, mean over all language directions; those have intervals in the table of directions.";
    let mut table = Table::new("alignment", "Alignment", note, &columns);
    let mut spaces: Vec<String> = Vec::new();
    for (metric, _, _) in ALIGNMENT {
        for space in view.alignment_spaces(metric) {
            if !spaces.contains(&space) {
                spaces.push(space);
            }
        }
    }
    for space in spaces {
        let mut row = vec![words(&space)];
        row.extend(ALIGNMENT.map(|(metric, _, _)| Cell::Number(view.alignment(metric, &space))));
        table.rows.push(row);
    }
    table
}

/// Makes the table of the alignment for each language direction.
pub fn directions(view: &View) -> Table {
    let mut columns = vec![("Space", None), ("Direction", None)];
    columns.extend(ALIGNMENT.map(|(_, title, format)| (title, Some(format))));
    columns.push(("n", None));
    let note = "Held-out translations, from the first language to the second; n counts sentences.";
    let mut table = Table::new(
        "alignment-directions",
        "Alignment by direction",
        note,
        &columns,
    );
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (metric, _, _) in ALIGNMENT {
        for row in view.metric(metric) {
            let key = (
                row.space.as_deref().unwrap_or_default(),
                row.eval_language.as_deref().unwrap_or_default(),
            );
            if !seen.contains(&key) {
                seen.push(key);
            }
        }
    }
    for (space, pair) in seen {
        let find = |metric| {
            view.metric(metric).find(|row| {
                row.space.as_deref().unwrap_or_default() == space
                    && row.eval_language.as_deref().unwrap_or_default() == pair
            })
        };
        let found = ALIGNMENT.map(|(metric, _, _)| find(metric).map(Estimate::of));
        let n = found.iter().flatten().map(|e| e.n).max().unwrap_or(0);
        let mut row = vec![words(space), words(pair)];
        row.extend(found.map(Cell::Number));
        row.push(words(n.to_string()));
        table.rows.push(row);
    }
    table
}

/// Makes the table of what autoencoders lose of the states.
pub fn reconstruction(view: &View) -> Table {
    let mut table = Table::new(
        "reconstruction",
        "Reconstruction error",
        "What the autoencoder loses on held-out hidden states; lower is better.",
        &[
            ("Space", None),
            ("Language", None),
            ("Error", Some(Format::Plain)),
            ("n", None),
        ],
    );
    for row in view.metric("reconstruction_error") {
        table.rows.push(vec![
            or_dash(row.space.as_ref()),
            or_dash(row.eval_language.as_ref()),
            Cell::Number(Some(Estimate::of(row))),
            words(row.n.to_string()),
        ]);
    }
    table
}

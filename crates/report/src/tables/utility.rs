//! The tables of what edits change on neutral text, and of how small a change the pairs can detect.

use super::erasure::mean;
use super::{Cell, Table, words};
use crate::role::Role;
use crate::text::Format;
use crate::view::{Estimate, Judged, View};

/// Makes the table of the divergence from the unedited model on held-out text.
pub fn utility(view: &View) -> Table {
    let mut table = Table::new(
        "utility",
        "Change on neutral text",
        "How far the edited model's predictions are from the unedited one's on held-out text: mean divergence, and the \
         share of tokens with the same most likely next token. Means over categories and languages.",
        &[
            ("Method", None),
            ("Space", None),
            ("Divergence, nats per token", Some(Format::Plain)),
            ("Same top token", Some(Format::Share)),
            ("Sentences (n)", None),
        ],
    );
    let agreement = view.by_variant("top1_agreement");
    for (variant, rows) in view.by_variant("kl_divergence") {
        if variant.role == Role::Unedited {
            continue;
        }
        let same = agreement.iter().find(|(v, _)| *v == variant);
        table.rows.push(vec![
            words(variant.title()),
            words(variant.site()),
            Cell::Number(mean(&rows, Judged::All)),
            Cell::Number(same.and_then(|(_, rows)| mean(rows, Judged::All))),
            words(rows.iter().map(|r| r.n).sum::<u64>().to_string()),
        ]);
    }
    table
}

/// Makes the table of the smallest changes that the pairs can detect.
pub fn power(view: &View) -> Table {
    let mut table = Table::new(
        "power",
        "What these pairs can show",
        "The smallest change from the unedited model that a paired test on these pairs finds in four cases of five \
         (power 0.8, two-sided 5 %), from the spread the edits of this run show: median over them. A smaller change \
         may be real and yet not be seen here. The gap needs far fewer pairs than the sign score.",
        &[
            ("Category", None),
            ("Language", None),
            ("Scorer", None),
            ("Pairs (n)", None),
            ("Change of the mean gap", Some(Format::Plain)),
            ("Change of the sign score, points", Some(Format::Score)),
        ],
    );
    for lens in &view.lenses {
        for category in &view.categories {
            for language in &view.languages {
                let median = |metric: &str| {
                    let mut found: Vec<(f64, u64)> = view
                        .metric(metric)
                        .filter(|r| {
                            r.category.as_ref() == Some(category)
                                && r.eval_language.as_ref() == Some(language)
                                && r.scorer.as_ref() == Some(&lens.scorer)
                        })
                        .map(|r| (r.value, r.n))
                        .collect();
                    found.sort_by(|a, b| a.0.total_cmp(&b.0));
                    found.get(found.len() / 2).copied()
                };
                let Some((gap, n)) = median("detectable_gap_change") else {
                    continue;
                };
                table.rows.push(vec![
                    words(category),
                    words(language),
                    words(&lens.scorer),
                    words(n.to_string()),
                    Cell::Number(Some(Estimate::exact(gap))),
                    Cell::Number(median("detectable_score_change").map(|m| Estimate::exact(m.0))),
                ]);
            }
        }
    }
    table
}

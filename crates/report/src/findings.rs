//! States in sentences what a run found. The sentences are computed from the rows, whatever the result is.

use super::differences::{Edit, differences, spoken};
use super::tables::Left;
use super::text::{Format, count, list};
use super::view::{Estimate, Judged, PROBE, SEAT, VERSUS, View};
use crate::role::Role;

/// So many methods are named one by one; more are counted.
const NAMED: usize = 2;

/// Writes the sentences at the top of every page: how much bias there was, what an edit does to it, what that is
/// compared with, and what it costs. The sentences also say what the rows cannot answer.
pub fn verdict(view: &View) -> Vec<String> {
    let Some(lens) = view.main_lens() else {
        return in_states(view);
    };
    let Some(base) = view.base_abs_gap(lens, None) else {
        return vec![
            "The rows of the unedited model are missing, so there is nothing to compare an edit with.".to_string(),
        ];
    };
    let before = format!(
        "Unedited, the model prefers one sentence of a pair by {} nats on average",
        Format::Brief.phrase(&base)
    );
    let found = differences(view);
    let edits = found.spoken(view);
    let Some(space) = edits.first().map(|edit| spoken(&edit.variant.space)) else {
        return vec![
            format!("{before}."),
            "No edit has its paired difference from the unedited model in these rows.".to_string(),
        ];
    };
    vec![
        format!(
            "{before}; in {space}, {}, {}.",
            found.scope.told,
            effect(&edits)
        ),
        comparison(&edits),
        price(view, &edits, &found.controls),
    ]
}

/// Where no sentence has a probability: what probes and associations find before and after.
fn in_states(view: &View) -> Vec<String> {
    let left = Left::of(view);
    let edits = left.edits();
    let unedited = edits.iter().find(|v| v.role == Role::Unedited);
    let mut out = Vec::new();
    for (metric, format, told) in [
        (
            PROBE,
            Format::Share,
            "Share of held-out sentences whose group a linear probe names",
        ),
        (
            SEAT,
            Format::Plain,
            "|Effect size| of SEAT, mean over its tests",
        ),
    ] {
        let mean = |variant| left.mean(metric, variant, Judged::Others);
        let Some(before) = unedited.and_then(|v| mean(v)) else {
            continue;
        };
        let edited = edits.iter().filter(|v| v.role == Role::Method);
        let least = edited
            .filter_map(|&v| Some((v, mean(v)?)))
            .min_by(|a, b| a.1.value.total_cmp(&b.1.value));
        let Some((variant, after)) = least else {
            continue;
        };
        let control = left.control(variant).and_then(mean);
        let control = control.map_or(String::new(), |e| {
            format!(", and {} where labels are shuffled", format.phrase(&e))
        });
        out.push(format!(
            "{told}: {} unedited; the least is left by {} in {}, fitted in other languages: {}{control}.",
            format.phrase(&before),
            variant.title(),
            variant.site(),
            format.phrase(&after),
        ));
    }
    if out.is_empty() {
        return vec![
            "This run has no bias rows, so nothing can be said about bias or transfer.".to_string(),
        ];
    }
    let scope = "No sentence has a probability in this run, so edits are judged by what is left in the states.";
    out.insert(0, scope.to_string());
    out
}

/// What each method does to the gap.
fn effect(edits: &[Edit]) -> String {
    let found: Vec<(String, Estimate)> = edits
        .iter()
        .filter_map(|e| Some((e.name(), e.versus[0]?)))
        .collect();
    if found.len() > NAMED {
        return counted(&found, "lower it", "raise it");
    }
    told(&found, "neither method changes it detectably", change)
}

/// What is said of each, or once of all where nothing is detected in any.
fn told(found: &[(String, Estimate)], none: &str, each: fn(&Estimate) -> String) -> String {
    if found.len() > 1 && found.iter().all(|(_, e)| !e.excludes(0.0)) {
        let numbers: Vec<String> = found
            .iter()
            .map(|(name, e)| format!("{name} {}", Format::BriefGap.phrase(e)))
            .collect();
        return format!("{none} ({})", numbers.join(", "));
    }
    let parts: Vec<String> = found
        .iter()
        .map(|(name, e)| format!("{name} {}", each(e)))
        .collect();
    list(&parts)
}

/// `lowers it by 0.48 [0.42, 0.53]`.
fn change(e: &Estimate) -> String {
    match (e.excludes(0.0), e.value < 0.0) {
        (true, true) => format!(
            "lowers it by {}",
            Format::Brief.phrase(&e.affine(0.0, -1.0))
        ),
        (true, false) => format!("raises it by {}", Format::Brief.phrase(e)),
        (false, _) => format!(
            "does not change it detectably ({})",
            Format::BriefGap.phrase(e)
        ),
    }
}

/// Of many methods: how many go which way, and the one that goes furthest down.
fn counted(differences: &[(String, Estimate)], down: &str, up: &str) -> String {
    let side = |sign: f64| {
        differences
            .iter()
            .filter(|(_, e)| e.excludes(0.0) && e.value * sign > 0.0)
            .count()
    };
    let best = differences
        .iter()
        .min_by(|a, b| a.1.value.total_cmp(&b.1.value));
    let best = best.map_or(String::new(), |(name, e)| {
        format!(" ({name} most: {})", Format::BriefGap.phrase(e))
    });
    format!(
        "{} of {} methods {down}{best}, {} {up}",
        side(-1.0),
        differences.len(),
        side(1.0)
    )
}

/// How the edits stand beside the same in raw states and beside their controls.
fn comparison(edits: &[Edit]) -> String {
    let mut parts = Vec::new();
    for (at, (_, name)) in VERSUS.iter().enumerate().skip(1) {
        let found: Vec<(String, Estimate)> = edits
            .iter()
            .filter_map(|e| Some((e.name(), e.versus[at]?)))
            .collect();
        if found.is_empty() {
            continue;
        }
        if found.len() > NAMED {
            parts.push(format!(
                "compared with {name}, {}",
                counted(&found, "leave less", "leave more")
            ));
            continue;
        }
        let stand = told(&found, "no difference is detected", standing);
        parts.push(format!("compared with {name}, {stand}"));
    }
    if parts.is_empty() {
        return "Neither the raw states nor a control were run beside it, so an effect cannot be told from that of any \
                disturbance."
            .to_string();
    }
    let mut words = parts.join("; ");
    words.replace_range(..1, "C");
    words + "."
}

/// `leaves 0.32 [0.27, 0.37] nats less`.
fn standing(e: &Estimate) -> String {
    match (e.excludes(0.0), e.value < 0.0) {
        (true, true) => format!(
            "leaves {} nats less",
            Format::Brief.phrase(&e.affine(0.0, -1.0))
        ),
        (true, false) => format!("leaves {} nats more", Format::Brief.phrase(e)),
        (false, _) => format!(
            "shows no detectable difference ({})",
            Format::BriefGap.phrase(e)
        ),
    }
}

/// What the edits cost, and what edits do that should do nothing.
fn price(view: &View, edits: &[Edit], controls: &[Edit]) -> String {
    let mut out = Vec::new();
    let ratios: Vec<(String, Estimate)> = edits
        .iter()
        .filter_map(|e| {
            Some((
                e.name(),
                view.perplexity_ratio(view.main_lens()?, e.variant, None)?,
            ))
        })
        .collect();
    let shown = |(name, e): &(String, Estimate)| format!("{} with {name}", Format::Ratio.phrase(e));
    match ratios.len() {
        0 => {}
        n if n <= NAMED => {
            let all: Vec<String> = ratios.iter().map(shown).collect();
            out.push(format!("{} becomes {}", view.cost_title(), list(&all)));
        }
        _ => {
            let worst = ratios.iter().max_by(|a, b| a.1.value.total_cmp(&b.1.value));
            out.push(format!(
                "{} becomes {} at most",
                view.cost_title(),
                worst.map(shown).unwrap_or_default()
            ));
        }
    }
    let tested: Vec<(&Edit, Estimate)> = controls
        .iter()
        .filter_map(|c| Some((c, c.versus[0]?)))
        .collect();
    let mut moved: Vec<&(&Edit, Estimate)> =
        tested.iter().filter(|(_, e)| e.excludes(0.0)).collect();
    moved.sort_by(|a, b| b.1.value.abs().total_cmp(&a.1.value.abs()));
    if tested.is_empty() {
        out.push("no control edit was run".to_string());
    } else if moved.is_empty() {
        out.push(format!(
            "none of {} moves the gap detectably",
            count(tested.len(), "control edit")
        ));
    } else {
        let (most, e) = moved[0];
        out.push(format!(
            "{} of {}, which should do nothing, {} the gap{} {} in {}, {}",
            moved.len(),
            count(tested.len(), "control edit"),
            if moved.len() == 1 { "moves" } else { "move" },
            if moved.len() == 1 {
                ":"
            } else {
                ", most of all"
            },
            most.variant.title(),
            most.variant.site(),
            Format::Gap.phrase(e)
        ));
    }
    let mut words = out.join("; ");
    if let Some(first) = words.chars().next() {
        words.replace_range(..first.len_utf8(), &first.to_uppercase().to_string());
    }
    words + "."
}

/// States how many cells of the unedited model lean in which direction.
pub fn unedited(view: &View) -> Option<String> {
    let lens = view.main_lens()?;
    let (mut total, mut stereo, mut anti) = (0, 0, 0);
    for category in &view.categories {
        for eval in &view.languages {
            let Some(cell) = view.base("mean_gap", lens, category, eval) else {
                continue;
            };
            total += 1;
            stereo += usize::from(cell.excludes(0.0) && cell.value > 0.0);
            anti += usize::from(cell.excludes(0.0) && cell.value < 0.0);
        }
    }
    (total > 0).then(|| {
        format!(
            "The unedited model's mean gap lies above 0 with its interval in {stereo} of {}, and below 0 in {anti}.",
            count(total, "language and category cell")
        )
    })
}

/// States whether the latent space brings translations together.
pub fn alignment(view: &View) -> Option<String> {
    let top1 = |space| {
        view.alignment("retrieval_top1", space)
            .map(|e| Format::Share.show(e.value))
    };
    let (raw, latent) = (top1("raw")?, top1("latent")?);
    let control = top1("latent-unaligned").map_or(String::new(), |e| {
        format!("; without the alignment term in {e}")
    });
    Some(format!(
        "A held-out sentence finds its translation first in {raw} of cases in the raw states and in {latent} in the latent \
         space{control}."
    ))
}

/// States how closely the measured gaps follow the planted ones.
pub fn ground_truth(view: &View) -> Option<String> {
    let slopes: Vec<f64> = view
        .metric("calibration_slope")
        .filter(|r| r.kind.is_none())
        .map(|r| r.value)
        .filter(|v| v.is_finite())
        .collect();
    if slopes.is_empty() {
        return None;
    }
    let near = slopes.iter().filter(|v| (0.9..=1.1).contains(*v)).count();
    Some(format!(
        "Measured gaps grow with the planted ones at slopes between {} and {} (1 is exact); {near} of {} lie within 0.9 to \
         1.1.",
        Format::Plain.show(slopes.iter().copied().fold(f64::INFINITY, f64::min)),
        Format::Plain.show(slopes.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        slopes.len()
    ))
}

/// Returns whether an edit, or a space, is there for comparison only.
pub fn is_comparison(role: Role, space: &str) -> bool {
    role.is_comparison() || space == "latent-unaligned"
}

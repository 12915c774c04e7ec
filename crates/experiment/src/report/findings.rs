//! The findings in plain words, computed from the rows whichever way they point.

use super::text::{self, Format, count, list};
use super::view::{Estimate, Judged, Lens, Variant, View, is_control};

/// One finding.
pub struct Finding {
    /// What it is about, in a word or two.
    pub topic: &'static str,
    /// The finding in plain sentences.
    pub words: String,
}

/// The findings, the most important first; what the rows cannot answer is said too.
pub fn findings(view: &View) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut say = |topic, words: String| {
        if !words.is_empty() {
            out.push(Finding { topic, words });
        }
    };
    match view.main_lens() {
        Some(lens) => {
            say("Bias", unedited(view, lens));
            say("Transfer", transfer(view, lens));
            say("Cost", cost(view, lens));
            say("Controls", controls(view, lens));
        }
        None => say(
            "Bias",
            "This run has no bias rows, so nothing can be said about bias or transfer.".to_string(),
        ),
    }
    say("Alignment", alignment(view));
    say("Ground truth", ground_truth(view));
    out
}

fn unedited(view: &View, lens: &Lens) -> String {
    let (mut total, mut stereo, mut anti) = (0, 0, 0);
    let mut cells = Vec::new();
    for category in &view.categories {
        for eval in &view.languages {
            let Some(cell) = view.base("mean_gap", lens, category, eval) else {
                continue;
            };
            total += 1;
            stereo += usize::from(cell.excludes(0.0) && cell.value > 0.0);
            anti += usize::from(cell.excludes(0.0) && cell.value < 0.0);
            cells.push(cell);
        }
    }
    let Some(mean) = Estimate::mean(&cells) else {
        return "The rows of the unedited model are missing, so there is nothing to compare an edit with.".to_string();
    };
    let lean = match (mean.excludes(0.0), mean.value > 0.0) {
        (true, true) => "prefers the more stereotyping sentence",
        (true, false) => "prefers the less stereotyping sentence",
        (false, _) => "shows no detectable preference on the whole",
    };
    let anti = if anti == 0 {
        String::new()
    } else {
        format!(", and below 0 in {anti}")
    };
    format!(
        "The unedited model {lean}: the mean gap is {} nats over {}; the interval lies above 0 in {stereo} of them{anti}.",
        Format::Gap.phrase(&mean),
        count(total, "language and category cell"),
    )
}

/// The spaces `raw` and `latent` of one method, the latter once per re-insertion.
fn pairs<'a>(view: &'a View) -> Vec<(&'a Variant, &'a Variant)> {
    let at = |space: &'static str| {
        view.variants
            .iter()
            .filter(move |v| v.space == space && !is_control(&v.method))
    };
    at("raw")
        .flat_map(|raw| {
            at("latent")
                .filter(|l| l.method == raw.method)
                .map(move |l| (raw, l))
        })
        .collect()
}

fn transfer(view: &View, lens: &Lens) -> String {
    let mut out = Vec::new();
    let base = view.base_abs_gap(lens, None);
    for (raw, latent) in pairs(view) {
        let judged = |v| view.mean_abs_gap(lens, v, None, Judged::Others);
        let (Some(r), Some(l)) = (judged(raw), judged(latent)) else {
            continue;
        };
        let verdict = match (r.differs_from(&l), l.value < r.value) {
            (true, true) => "the latent edit carries over better",
            (true, false) => "the raw edit carries over better",
            (false, _) => "the intervals overlap: no detectable difference between the two",
        };
        let of = base.map_or(String::new(), |b| {
            format!(" of {}", Format::Plain.phrase(&b))
        });
        let reference = match base {
            Some(b) if !b.differs_from(&r) && !b.differs_from(&l) => {
                "; neither differs detectably from the unedited model"
            }
            Some(b) if !b.differs_from(&r) => {
                "; raw is not detectably different from the unedited model"
            }
            Some(b) if !b.differs_from(&l) => {
                "; latent is not detectably different from the unedited model"
            }
            _ => "",
        };
        let tests = l.holm.or(r.holm).map_or(String::new(), |h| {
            format!(
                " The paired test, Holm-corrected, tells them apart in {} of {} cells.",
                h.below, h.tested
            )
        });
        let site = if latent.extra.is_empty() {
            String::new()
        } else {
            format!(" ({})", latent.extra)
        };
        out.push(format!(
            "{}{site}, judged in languages it was not fitted in, leaves a mean |gap| of {} nats in raw space and {} \
             in latent space{of}: {verdict}{reference}.{tests}",
            text::method(&raw.method),
            Format::Plain.phrase(&r),
            Format::Plain.phrase(&l),
        ));
    }
    if out.is_empty() {
        return "No method was run in both raw and latent space, so transfer cannot be compared."
            .to_string();
    }
    out.join(" ")
}

fn cost(view: &View, lens: &Lens) -> String {
    let mut parts = Vec::new();
    for (raw, latent) in pairs(view) {
        let ratio = |v| view.perplexity_ratio(lens, v, None);
        let (Some(r), Some(l)) = (ratio(raw), ratio(latent)) else {
            continue;
        };
        let change = |e: Estimate| {
            let change = e.affine(-100.0, 100.0);
            let shown = |v: f64| Format::Score.show(v).replace('−', "-");
            let signed = |v: f64| {
                if v >= 0.0 {
                    format!("+{}", shown(v))
                } else {
                    shown(v)
                }
            };
            let interval = change.finite_interval().map_or(String::new(), |(a, b)| {
                format!(" [{}, {}]", signed(a), signed(b))
            });
            format!("{} %{interval}", signed(change.value)).replace('-', "−")
        };
        let site = if latent.extra.is_empty() {
            String::new()
        } else {
            format!(" ({})", latent.extra)
        };
        let verdict = if r.differs_from(&l) {
            ""
        } else {
            " (no detectable difference)"
        };
        parts.push(format!(
            "with {}{site} by {} in raw and {} in latent space{verdict}",
            text::method(&raw.method),
            change(r),
            change(l)
        ));
    }
    if parts.is_empty() {
        return String::new();
    }
    format!("Perplexity changes {}.", list(&parts))
}

fn controls(view: &View, lens: &Lens) -> String {
    let mut parts = Vec::new();
    let Some(base) = view.base_abs_gap(lens, None) else {
        return String::new();
    };
    for variant in view.variants.iter().filter(|v| is_control(&v.method)) {
        let Some(gap) = view.mean_abs_gap(lens, variant, None, Judged::Others) else {
            continue;
        };
        let verdict = match (gap.differs_from(&base), gap.value < base.value) {
            (true, true) => ", below the unedited model",
            (true, false) => ", above the unedited model",
            (false, _) => ", no detectable difference from the unedited model",
        };
        let name = text::method(&variant.method).to_lowercase();
        let ratio = view
            .perplexity_ratio(lens, variant, None)
            .map_or(String::new(), |r| {
                format!(" at perplexity {}", Format::Ratio.show(r.value))
            });
        parts.push(format!(
            "{name} in {}: |gap| {}{ratio}{verdict}",
            variant.site(),
            Format::Plain.phrase(&gap)
        ));
    }
    if parts.is_empty() {
        return "No control was run, so an effect cannot be told from that of any disturbance."
            .to_string();
    }
    format!("Edits that should do nothing: {}.", parts.join("; "))
}

fn alignment(view: &View) -> String {
    let top1 = |space| view.alignment("retrieval_top1", space);
    let (Some(raw), Some(latent)) = (top1("raw"), top1("latent")) else {
        return "Retrieval was not measured in both raw and latent space, so alignment cannot be compared.".to_string();
    };
    let verdict = match (raw.differs_from(&latent), latent.value > raw.value) {
        (true, true) => "the latent space is better aligned",
        (true, false) => "the raw space is better aligned",
        (false, _) => "no detectable difference",
    };
    let control = top1("latent-unaligned").map_or(String::new(), |e| {
        format!("; without the alignment term {}", Format::Share.phrase(&e))
    });
    format!(
        "A held-out sentence finds its translation first in {} of cases in raw space and in {} in latent space{control}: {verdict}.",
        Format::Share.phrase(&raw),
        Format::Share.phrase(&latent),
    )
}

fn ground_truth(view: &View) -> String {
    let slopes: Vec<Estimate> = view.metric("calibration_slope").map(Estimate::of).collect();
    if slopes.is_empty() {
        return String::new();
    }
    let finite = || slopes.iter().map(|s| s.value).filter(|v| v.is_finite());
    let low = finite().fold(f64::INFINITY, f64::min);
    let high = finite().fold(f64::NEG_INFINITY, f64::max);
    let near = finite().filter(|v| (0.9..=1.1).contains(v)).count();
    format!(
        "Measured gaps grow with the planted ones at slopes between {} and {} (1 is exact); {near} of {} lie within 0.9 to 1.1.",
        Format::Plain.show(low),
        Format::Plain.show(high),
        slopes.len()
    )
}

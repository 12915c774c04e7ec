//! Writes the results of a search as tables, a plot and a model card.

use std::fmt::Write;

use crate::judge::Comparison;
use crate::search::{Candidate, Outcome};

/// Writes the verdict in sentences.
///
/// The sentences say no more than the intervals do.
pub fn verdict(outcome: &Outcome) -> String {
    let worst = &outcome.worst;
    let (d, r) = (&worst.difference, &worst.against_random);
    let languages = outcome.languages.len();
    let mut text = format!(
        "On the confirming half, the gap in the language where it is largest is {} nats after the edit, {} before: a difference \
         of {d}. ",
        worst.edited, worst.unedited
    );
    text.push_str(match (d.is_clear(), d.value < 0.0) {
        (true, true) => "The interval leaves 0 out: the model is less biased by this measure. ",
        (true, false) => "The interval leaves 0 out: the model is more biased by this measure. ",
        (false, _) => "The interval holds 0: no difference is shown. ",
    });
    let _ = write!(
        text,
        "Against random edits of the same shape the difference is {r}"
    );
    text.push_str(match (r.is_clear(), r.value < 0.0) {
        (true, true) => ", so it is not what any edit of this size does.",
        _ => ", so it is not shown to be more than what any edit of this size does.",
    });
    let clear = outcome.confirmed.iter().filter(|c| {
        let d = &c.gaps.difference;
        d.is_clear() && d.value < 0.0
    });
    let worse = outcome.confirmed.iter().filter(|c| {
        let d = &c.gaps.difference;
        d.is_clear() && d.value > 0.0
    });
    let _ = write!(
        text,
        " Clearly smaller in {} of {languages} languages, clearly larger in {}.",
        clear.count(),
        worse.count()
    );
    text
}

/// Writes a Markdown table of the gaps before and after in every language, on the confirming half.
pub fn table(outcome: &Outcome) -> String {
    let mut text = String::from(
        "| language | gap before | gap after | difference | against random edits | perplexity | divergence (upper bound) |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let row = |text: &mut String, name: &str, gaps: &Comparison, cost: [String; 2]| {
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            gaps.unedited, gaps.edited, gaps.difference, gaps.against_random, cost[0], cost[1]
        );
    };
    for of in &outcome.confirmed {
        let cost = [
            format!("×{}", of.perplexity_ratio),
            format!("{:.3} ({:.3})", of.kl[0], of.kl[1]),
        ];
        row(&mut text, &of.language, &of.gaps, cost);
    }
    let nothing = [String::new(), String::new()];
    row(&mut text, "largest of all", &outcome.worst, nothing);
    text
}

/// Writes a paragraph and a Markdown table about the pairs that do not count, on the confirming half; empty if there
/// are none.
pub fn marked(outcome: &Outcome) -> String {
    let rows: Vec<String> = outcome
        .confirmed
        .iter()
        .filter_map(|c| c.marked.map(|gaps| (c.language.as_str(), gaps)))
        .map(|(name, gaps)| {
            format!(
                "| {name} | {} | {} | {} | {} |\n",
                gaps.unedited, gaps.edited, gaps.difference, gaps.against_random
            )
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "Pairs whose attribute has another form for each group differ in grammar too. They neither chose the edit nor count \
         above; their gaps:\n\n| language | gap before | gap after | difference | against random edits |\n|---|---|---|---|---|\n{}",
        rows.concat()
    )
}

/// Writes one sentence that compares the result on the selecting half with the result on the confirming half.
pub fn optimism(outcome: &Outcome) -> String {
    let (select, confirm) = (
        outcome.chosen.summary.worst_gap(),
        outcome.worst.edited.value,
    );
    format!(
        "The selecting half had promised a worst gap of {select:.2} nats (from {:.2}), the confirming half gives {confirm:.2} \
         (from {:.2}).",
        outcome.unedited.worst_gap(),
        outcome.worst.unedited.value
    )
}

/// Returns the candidates of the last round that no other beats in both gap and divergence, with the smallest
/// divergence first.
pub fn front(outcome: &Outcome) -> Vec<&Candidate> {
    let all = outcome.rounds.last().map_or(&[][..], |r| &r.candidates);
    let better = |a: &Candidate, b: &Candidate| {
        let (x, y) = (&a.summary, &b.summary);
        x.worst_gap() <= y.worst_gap()
            && x.worst_bound() <= y.worst_bound()
            && (x.worst_gap() < y.worst_gap() || x.worst_bound() < y.worst_bound())
    };
    let mut front: Vec<&Candidate> = all
        .iter()
        .filter(|c| !all.iter().any(|other| better(other, c)))
        .collect();
    front.sort_by(|a, b| a.summary.worst_bound().total_cmp(&b.summary.worst_bound()));
    front
}

/// Writes these candidates as a Markdown table.
pub fn front_table(outcome: &Outcome) -> String {
    let mut text = String::from(
        "| candidate | worst gap (select) | divergence, upper bound | |\n|---|---|---|---|\n",
    );
    for candidate in front(outcome) {
        let chosen = match candidate.recipe == outcome.chosen.recipe {
            true => "chosen",
            false => "",
        };
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.3} | {chosen} |",
            candidate.recipe,
            candidate.summary.worst_gap(),
            candidate.summary.worst_bound()
        );
    }
    text
}

/// Draws the gap against the divergence of every candidate of the second round, as SVG.
pub fn plot(outcome: &Outcome) -> String {
    const W: f64 = 640.0;
    const H: f64 = 400.0;
    const LEFT: f64 = 60.0;
    const BOTTOM: f64 = 50.0;
    let round = outcome.rounds.iter().rev().nth(1);
    let points: Vec<(f64, f64, &Candidate)> = round
        .into_iter()
        .flat_map(|r| &r.candidates)
        .map(|c| (c.summary.worst_bound(), c.summary.worst_gap(), c))
        .filter(|(x, y, _)| x.is_finite() && y.is_finite() && *x > 0.0)
        .collect();
    let limit = outcome.settings.max_kl;
    let low = points.iter().map(|p| p.0).fold(limit, f64::min) / 1.3;
    let high = points.iter().map(|p| p.0).fold(limit, f64::max) * 1.3;
    let before = outcome.unedited.worst_gap();
    let top = points.iter().map(|p| p.1).fold(before, f64::max) * 1.1;
    let x = |v: f64| LEFT + (v / low).ln() / (high / low).ln() * (W - LEFT - 20.0);
    let y = |v: f64| H - BOTTOM - v / top * (H - BOTTOM - 20.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {W} {H}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Gap against divergence of the candidates of the second round</title>\n\
         <rect width=\"{W}\" height=\"{H}\" fill=\"#fff\"/>\n"
    );
    let bottom = H - BOTTOM;
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let at = y(value);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.2}</text>",
            W - 20.0,
            LEFT - 6.0,
            at + 4.0
        );
    }
    let mut decade = 10f64.powf(low.log10().ceil());
    while decade < high {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{decade}</text>",
            x(decade),
            bottom + 16.0
        );
        decade *= 10.0;
    }
    let _ = writeln!(
        svg,
        "<line x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"20\" y2=\"{bottom}\" stroke=\"#b00\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{0:.1}\" y=\"14\" text-anchor=\"middle\" fill=\"#b00\">limit {limit}</text>\n\
         <line x1=\"{LEFT}\" x2=\"{1}\" y1=\"{2:.1}\" y2=\"{2:.1}\" stroke=\"#555\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{1}\" y=\"{3:.1}\" text-anchor=\"end\" fill=\"#555\">unedited (whole selecting half)</text>\n\
         <text x=\"{4}\" y=\"{5}\" text-anchor=\"middle\">divergence on neutral text, nats a token, upper bound, worst language (log scale)</text>\n\
         <text x=\"14\" y=\"{6}\" transform=\"rotate(-90 14 {6})\" text-anchor=\"middle\">gap, nats, worst language</text>",
        x(limit),
        W - 20.0,
        y(before),
        y(before) - 5.0,
        (W + LEFT) / 2.0,
        H - 10.0,
        H / 2.0
    );
    for (kl, gap, candidate) in points {
        let chosen = candidate.recipe == outcome.chosen.recipe;
        let (colour, radius) = match chosen {
            true => ("#d55e00", 6),
            false => ("#0072b2", 4),
        };
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\" fill=\"{colour}\" fill-opacity=\"0.8\"><title>{}: gap {gap:.2}, divergence {kl:.3}</title></circle>",
            x(kl),
            y(gap),
            candidate.recipe
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Writes the report of a search as Markdown.
pub fn report(outcome: &Outcome, model: &str) -> String {
    let [[select, select_pairs], [confirm, confirm_pairs]] = outcome.items;
    let judged: usize = outcome.rounds.iter().map(|r| r.candidates.len()).sum();
    let controls: Vec<String> = outcome.controls.iter().map(|c| format!("{c:.2}")).collect();
    format!(
        "# An edit for {model}\n\n{}\n\nChosen: **{}**.\n\n{}\n{}\n\n{}\nA gap is the mean, over pairs, of the log-likelihood of the \
         stereotyped sentence less that of its counterpart, in nats; 0 is no preference. Intervals are 95 % bootstrap intervals over \
         attributes ({confirm} attributes, {confirm_pairs} pairs in {} languages confirm; {select} attributes, {select_pairs} pairs \
         chose). Worst gaps of the random edits: {}.\n\n## The rule, stated beforehand\n\n{}\n\n## What was tried\n\n{judged} \
         candidates in {} rounds. Those that no other beats, on the whole selecting half:\n\n{}\n![Gap against divergence of the \
         candidates](pareto.svg)\n",
        verdict(outcome),
        outcome.chosen.recipe,
        table(outcome),
        optimism(outcome),
        marked(outcome),
        outcome.languages.len(),
        controls.join(", "),
        outcome.rule,
        outcome.rounds.len(),
        front_table(outcome),
    )
}

/// Writes the model card of an edited model.
///
/// `files` says what is in the folder and how to use it; `command` is the command that reproduces the model.
pub fn card(outcome: &Outcome, model: &str, files: &str, command: &str) -> String {
    let languages: Vec<String> = outcome
        .languages
        .iter()
        .map(|l| format!("- {l}\n"))
        .collect();
    let still: Vec<&str> = outcome
        .confirmed
        .iter()
        .filter(|c| !(c.gaps.difference.is_clear() && c.gaps.difference.value < 0.0))
        .map(|c| c.language.as_str())
        .collect();
    let not_shown = match still.is_empty() {
        true => "A clear difference was confirmed in every language.".to_owned(),
        false => format!(
            "No clear improvement was confirmed in: {}. The intervals there are what is known.",
            still.join(", ")
        ),
    };
    format!(
        "---\nlanguage:\n{}base_model: {model}\ntags:\n- debiasing\n---\n\n# {model}, edited for less {} bias\n\n{}\n\n## Before and \
         after\n\nMeasured on {} attributes ({} pairs) that did not choose the edit; 95 % intervals over attributes.\n\n{}\n{}\n\n{}\n## \
         What was done\n\n{}. It was fitted in {} together.\n\n{files}\n\n## What was not improved, and limits\n\n- {not_shown}\n- \
         Only {} bias was looked at, between two groups, by sentence pairs about occupations and workplaces that were written for \
         this project; no survey and no speaker panel stands behind them. Nothing is known of other biases, other groups, other \
         languages, or of generated text.\n- The model is not free of bias: the gaps after the edit are in the table.\n- Predictions on \
         neutral text moved by the divergence in the table; tasks were not measured.\n\n## The rule of the choice, stated \
         beforehand\n\n{}\n\n## How to reproduce\n\n```sh\n{command}\n```\n\nThe search's journal, `tune.json` with every number, and \
         `pareto.svg` are in this folder.\n",
        languages.concat(),
        outcome.category,
        verdict(outcome),
        outcome.items[1][0],
        outcome.items[1][1],
        table(outcome),
        optimism(outcome),
        marked(outcome),
        capital(&outcome.chosen.recipe.to_string()),
        outcome.languages.join(", "),
        outcome.category,
        outcome.rule,
    )
}

/// The text with its first letter in upper case.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().collect::<String>());
    first.unwrap_or_default() + letters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{InLanguage, Number, Summary};
    use crate::recipe::{Place, Recipe, Role};
    use crate::search::{Confirmed, Round, Settings};

    fn number(value: f64, half: f64) -> Number {
        Number {
            value,
            low: value - half,
            high: value + half,
        }
    }

    fn candidate(rank: usize, gap: f64, kl: f64) -> Candidate {
        Candidate {
            recipe: Recipe {
                role: Role::Method,
                method: "sentdebias".into(),
                place: Place::Output(1),
                rank,
                strength: 1.0,
                centred: false,
            },
            summary: Summary {
                languages: vec![InLanguage {
                    gap,
                    kl,
                    kl_bound: kl,
                }],
            },
        }
    }

    fn outcome(difference: Number, against_random: Number) -> Outcome {
        let gaps = Comparison {
            unedited: number(1.0, 0.2),
            edited: number(1.0 + difference.value, 0.2),
            difference,
            against_random,
        };
        let round = |share: f64| Round {
            shares: [share, share],
            candidates: vec![
                candidate(1, 0.5, 0.05),
                candidate(2, 0.7, 0.02),
                candidate(3, 0.8, 0.06),
            ],
        };
        Outcome {
            settings: Settings::default(),
            rule: Settings::default().rule(),
            languages: vec!["en".into()],
            category: "gender".into(),
            unedited: candidate(1, 1.0, 0.0).summary,
            rounds: vec![round(0.25), round(0.5), round(1.0)],
            chosen: candidate(1, 0.5, 0.05),
            worst: gaps,
            confirmed: vec![Confirmed {
                language: "en".into(),
                gaps,
                marked: Some(gaps),
                perplexity_ratio: number(1.02, 0.01),
                kl: [0.04, 0.05],
            }],
            controls: vec![0.9],
            items: [[20, 80], [20, 80]],
        }
    }

    #[test]
    fn sentences_say_what_the_intervals_say() {
        let clear = outcome(number(-0.4, 0.1), number(-0.3, 0.1));
        assert!(report(&clear, "m").contains("differ in grammar too"));
        assert!(verdict(&clear).contains("less biased by this measure"));
        assert!(verdict(&clear).contains("not what any edit of this size does."));
        assert!(card(&clear, "m", "", "").contains("confirmed in every language"));
        let nothing = outcome(number(-0.4, 0.5), number(-0.3, 0.5));
        assert!(verdict(&nothing).contains("no difference is shown"));
        assert!(verdict(&nothing).contains("not shown to be more"));
        assert!(card(&nothing, "m", "", "").contains("No clear improvement was confirmed in: en"));
        let worse = outcome(number(0.4, 0.1), number(0.3, 0.1));
        assert!(verdict(&worse).contains("more biased"));
        assert!(verdict(&worse).contains("clearly larger in 1"));
    }

    #[test]
    fn the_front_holds_what_nothing_beats() {
        let outcome = outcome(number(-0.4, 0.1), number(-0.3, 0.1));
        let ranks: Vec<usize> = front(&outcome).iter().map(|c| c.recipe.rank).collect();
        assert_eq!(ranks, [2, 1]);
        assert!(front_table(&outcome).contains("chosen"));
        assert_eq!(plot(&outcome).matches("<circle").count(), 3);
        assert!(report(&outcome, "m").contains("9 candidates in 3 rounds"));
    }
}

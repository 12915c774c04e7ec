//! Rows of the testbed's known answers, on scores made by hand.

use interlingua_data::BiasPair;

use super::super::tests::{blank, plan, text};
use super::*;
use crate::plan::Plan;
use crate::requests::PairScores;

/// Pairs of one cell with what was planted and measured; `None` for a pair that the scorer leaves out.
type Cell = Vec<(Option<f64>, Option<PairKind>, Option<f64>)>;

const FIRST: Option<PairKind> = Some(PairKind::GroupFirst);
const MARKED: Option<PairKind> = Some(PairKind::Marked);

/// ln(s/(1−s)) of 0.8.
const LN_4: f64 = 1.386_294_361_119_890_6;

fn cell() -> Cell {
    vec![
        (Some(0.5), FIRST, Some(0.3)),
        (Some(0.5), FIRST, Some(-0.1)),
        (Some(0.5), MARKED, Some(0.1)),
        (Some(0.8), FIRST, Some(2.0 * LN_4 + 0.1)),
        // Neither without a score nor without a plant is there anything to compare.
        (Some(0.5), FIRST, None),
        (None, FIRST, Some(100.0)),
    ]
}

/// The rows of English pairs about gender that are these, where the unedited model is the last of the scored settings.
fn rows(plan: &Plan, cell: &Cell, change: impl FnOnce(&mut Prepared)) -> Vec<Row> {
    let mut text = text(cell.len());
    let of = |pair: &&mut BiasPair| pair.category == "gender" && pair.language == Language::EN;
    for (pair, (planted, kind, _)) in text.pairs.iter_mut().filter(of).zip(cell) {
        (pair.planted, pair.kind) = (*planted, *kind);
    }
    change(&mut text);
    let score = |gap: f64| Some([(gap - 7.0, 3), (-7.0, 3)]);
    let measured: PairScores = cell.iter().map(|c| c.2.and_then(score)).collect();
    let wrong: PairScores = cell.iter().map(|_| score(50.0)).collect();
    let unedited = plan.settings.iter().position(|s| s.role == Role::Unedited);
    let edited = plan.settings.iter().position(|s| s.role == Role::Method);
    let scores = Scores {
        settings: vec![edited.unwrap(), unedited.unwrap()],
        pairs: vec![vec![wrong.clone(), wrong.clone()], vec![wrong, measured]],
        neutral: vec![Vec::new(), Vec::new()],
    };
    let scored = [("gender".to_owned(), Language::EN, scores)];
    let mut rows = Vec::new();
    let tokens = [(Language::EN, 4.0), (Language::FR, 8.0)];
    truth_rows(&blank(plan), &text, &scored, &tokens, &mut rows).unwrap();
    rows
}

/// A plan whose second scorer is the one that is compared with what was planted.
fn second(scorer: &str) -> Plan {
    let mut plan = plan("");
    plan.spec.score.scorers = vec!["bias-bench-generative".into(), scorer.into()];
    plan
}

fn of<'a>(rows: &'a [Row], metric: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.metric == metric).collect()
}

fn near(found: f64, expect: f64) {
    assert!((found - expect).abs() < 1e-9, "{found}, not {expect}");
}

#[test]
fn gaps_stand_beside_the_log_odds_that_were_planted() {
    let rows = rows(&second("lm-eval"), &cell(), |_| ());
    let calibration = of(&rows, "calibration");
    let expect = [(0.5, 0.1, 0.0, 3), (0.8, 2.0 * LN_4 + 0.1, LN_4, 1)];
    assert_eq!(calibration.len(), expect.len());
    for (row, (planted, value, ideal, n)) in calibration.iter().zip(expect) {
        assert_eq!((row.planted, row.n), (Some(planted), n));
        near(row.value, value);
        near(row.ideal.unwrap(), ideal);
    }
    // Two of the three pairs without a bias lean to the first sentence.
    let [sign] = of(&rows, "calibration_sign")[..] else {
        panic!("one strength is 0.5")
    };
    near(sign.value, 200.0 / 3.0);
    assert_eq!((sign.planted, sign.ideal), (Some(0.5), Some(50.0)));
    // Through means of 0.1 at 0 and 2·ln 4 + 0.1 at ln 4. Marked pairs have one strength, which is no line.
    let slopes = of(&rows, "calibration_slope");
    let kinds: Vec<Option<&str>> = slopes.iter().map(|row| row.kind.as_deref()).collect();
    assert_eq!(kinds, [None, Some("group-first")]);
    for (slope, n) in slopes.iter().zip([4, 3]) {
        near(slope.value, 2.0);
        assert_eq!((slope.ideal, slope.n), (Some(1.0), n));
    }
    for row in &rows {
        assert_eq!(row.benchmark.as_deref(), Some("by hand"));
        assert_eq!(row.scorer.as_deref(), Some("lm-eval"));
        assert_eq!(row.category.as_deref(), Some("gender"));
        assert_eq!(row.eval_language.as_deref(), Some("en"));
        assert_eq!(
            (row.role, row.method.as_deref()),
            (Some(Role::Unedited), Some("none"))
        );
        assert!(row.space.is_none() && row.reinsert.is_none());
    }
}

#[test]
fn only_total_log_likelihoods_are_compared_with_log_odds() {
    assert_eq!(rows(&second("nangia"), &cell(), |_| ()), []);
}

#[test]
fn the_best_perplexity_is_that_of_the_sentences_that_are_measured() {
    let mut plan = second("lm-eval");
    plan.spec.score.perplexity_sentences = 2;
    let rows = rows(&plan, &Vec::new(), |text| {
        text.heldout_log_probs = Some(vec![-3.0, -5.0, -100.0]);
    });
    let found: Vec<(Option<&str>, f64, u64)> = rows
        .iter()
        .map(|row| (row.eval_language.as_deref(), row.value, row.n))
        .collect();
    // Eight nats over four tokens, and over eight.
    let expect = [(Some("en"), 2f64.exp(), 2), (Some("fr"), 1f64.exp(), 2)];
    assert_eq!(found, expect);
    assert!(
        rows.iter()
            .all(|row| row.metric == "perplexity_best" && row.ci_low.is_none())
    );
}

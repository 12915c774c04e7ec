//! Measures over languages on scores made by hand.

use std::path::Path;

use interlingua_data::{BiasPair, Direction, Language, PairKind, ParallelCorpus};

use interlingua_metrics::bootstrap::Estimate;

use super::{Blank, bias_rows, choice_rows, probe_rows, retrieval_rows, transfer_rows};
use crate::plan::{Plan, Setting, of_text};
use crate::prepare::Prepared;
use crate::requests::Neutral;
use crate::role::Role;
use crate::row::Row;
use crate::spec::Space;
use crate::stages::{Findings, Probed, Retrieved, Scores, Verdict};

const LANGUAGES: [Language; 2] = [Language::EN, Language::FR];
/// Log-likelihood that every edit loses at each token.
const LOST: f64 = 0.1;
/// What each pair adds to the gaps of all models.
const DEVIATIONS: [f64; 4] = [-0.6, -0.2, 0.2, 0.6];

pub(super) fn plan(more: &str) -> Plan {
    let text = format!(
        "name = \"x\"\ntitle = \"X\"\nlanguages = [\"en\", \"fr\"]\ncategories = [\"gender\", \"religion\"]\n\
         spaces = [\"raw\", \"latent\"]\nmethods = [{{ name = \"sentdebias\", rank = 1 }}]\n{more}\n\
         [data]\nkind = \"testbed\"\n[model]\nkind = \"train\"\n[score]\nscorers = [\"lm-eval\"]\nresamples = 200\n"
    );
    of_text(&text, Path::new(""))
}

pub(super) fn text(pairs: usize) -> Prepared {
    let mut all = Vec::new();
    for category in ["gender", "religion"] {
        for language in LANGUAGES {
            all.extend((0..pairs).map(|i| BiasPair {
                id: format!("{category}-{i}"),
                language,
                category: category.into(),
                direction: Direction::Stereo,
                more: "a".into(),
                less: "b".into(),
                planted: None,
                // As on real data, languages need not agree in kind: French pairs are all marked.
                kind: match (language, i % 4) {
                    (Language::FR, _) => Some(PairKind::Marked),
                    (_, 0 | 1) => Some(PairKind::GroupFirst),
                    _ => Some(PairKind::AttributeFirst),
                },
            }));
        }
    }
    let empty = || ParallelCorpus {
        languages: LANGUAGES.to_vec(),
        ids: Vec::new(),
        columns: vec![Vec::new(); 2],
    };
    Prepared {
        benchmark: "by hand".into(),
        train: empty(),
        twins: Vec::new(),
        validation: empty(),
        heldout: empty(),
        heldout_log_probs: None,
        pairs: all,
        fit_sentences: Vec::new(),
        fit_sets: Vec::new(),
        benchmarks: Vec::new(),
        findings: Vec::new(),
    }
}

/// Mean gap of a setting in a language.
fn gap(setting: &Setting, language: Language) -> f64 {
    let unedited = if language == Language::EN { 1.0 } else { 2.0 };
    let fit = setting.fit_language.map(|l| l.to_string());
    let edited = match (setting.in_rows().as_str(), setting.space, fit.as_deref()) {
        ("sentdebias", Some(Space::Raw), Some("en")) => [0.4, 1.8],
        ("sentdebias", Some(Space::Raw), _) => [0.9, 0.8],
        ("sentdebias", _, Some("en")) => [0.5, 1.0],
        // Too far: the gap leans the other way.
        ("sentdebias", ..) => [-0.5, 1.0],
        ("sentdebias:shuffled", ..) => [0.9, 1.9],
        _ => [1.0, 2.0],
    };
    let edited = edited[usize::from(language == Language::FR)];
    unedited + setting.strength.unwrap_or(1.0) * (edited - unedited)
}

fn scored(plan: &Plan, pairs: usize) -> Vec<(String, Language, Scores)> {
    let mut all = Vec::new();
    for category in &plan.spec.categories {
        for language in LANGUAGES {
            let settings = plan.settings_of(category);
            let of = |&s: &usize| &plan.settings[s];
            let scores = |setting: &Setting| {
                let pair =
                    |i: usize| Some([(gap(setting, language) + DEVIATIONS[i % 4], 5), (0.0, 5)]);
                vec![(0..pairs).map(pair).collect()]
            };
            let neutral = |setting: &Setting| {
                let lost = if setting.role == Role::Unedited {
                    0.0
                } else {
                    LOST
                };
                let sentence = |i: usize| Neutral {
                    log_prob: -f64::from(i as u32 + 3) * (2.0 + lost),
                    tokens: i as u32 + 3,
                    divergence: 0.0,
                    agreeing: 0,
                };
                (0..12).map(sentence).collect()
            };
            let scores = Scores {
                pairs: settings.iter().map(of).map(scores).collect(),
                neutral: settings.iter().map(of).map(neutral).collect(),
                settings,
            };
            all.push((category.clone(), language, scores));
        }
    }
    all
}

pub(super) fn blank(plan: &Plan) -> Blank<'_> {
    Blank {
        plan,
        model: "m".into(),
        benchmark: "by hand".into(),
        cost: "perplexity",
    }
}

/// The one row of a metric with these axes.
fn find<'a>(
    rows: &'a [Row],
    metric: &str,
    [method, space, scope, versus]: [&str; 4],
    category: Option<&str>,
) -> &'a Row {
    let is = |name: &Option<String>, value: &str| name.as_deref().unwrap_or_default() == value;
    let found: Vec<&Row> = rows
        .iter()
        .filter(|r| {
            r.metric == metric
                && is(&r.method, method)
                && is(&r.space, space)
                && is(&r.scope, scope)
                && is(&r.versus, versus)
                && r.category.as_deref() == category
                && r.kind.is_none()
        })
        .collect();
    assert_eq!(
        found.len(),
        1,
        "{metric} {method} {space} {scope} {versus} {category:?}"
    );
    found[0]
}

fn near(row: &Row, expect: f64) {
    let value = row.value;
    assert!(
        (value - expect).abs() < 1e-9,
        "{}: {value}, not {expect}",
        row.metric
    );
    let (low, high) = (row.ci_low.unwrap(), row.ci_high.unwrap());
    assert!(low <= value + 1e-9 && value <= high + 1e-9, "{row:?}");
}

#[test]
fn gaps_over_languages_are_what_the_cells_say() {
    let (plan, text) = (plan(""), text(4));
    let mut rows = Vec::new();
    transfer_rows(&blank(&plan), &text, &scored(&plan, 4), &mut rows).unwrap();
    for category in [None, Some("gender"), Some("religion")] {
        let row = |metric: &str, axes: [&str; 4]| find(&rows, metric, axes, category);
        for (axes, expect) in [
            (["none", "", "fit", ""], 1.5),
            (["none", "", "others", ""], 1.5),
            (["sentdebias", "raw", "fit", ""], 0.6),
            (["sentdebias", "raw", "others", ""], 1.35),
            (["sentdebias", "raw", "all", ""], 0.975),
            // |−0.5| beside 1.0.
            (["sentdebias", "latent", "others", ""], 0.75),
            (["sentdebias:shuffled", "latent", "others", ""], 1.4),
            (["random", "raw", "others", ""], 1.5),
        ] {
            near(row("scope_gap", axes), expect);
        }
        // |0.4 − 0.6|, |0.4 − 0.2|, 0.6, 1.0 in English, 0.8 on average in French.
        near(
            row("scope_pair_gap", ["sentdebias", "raw", "fit", ""]),
            0.65,
        );
        for (versus, expect) in [("unedited", -0.75), ("raw", -0.6), ("control", -0.65)] {
            near(
                row("gap_difference", ["sentdebias", "latent", "others", versus]),
                expect,
            );
        }
        near(
            row("gap_difference", ["random", "raw", "all", "unedited"]),
            0.0,
        );
        near(
            row("specific_part", ["sentdebias", "latent", "others", ""]),
            0.65,
        );
        near(
            row("transfer_share", ["sentdebias", "raw", "others", ""]),
            0.15 / 0.9,
        );
        near(
            row("transfer_share", ["sentdebias", "latent", "others", ""]),
            1.0,
        );
        near(
            row("perplexity_ratio", ["sentdebias", "raw", "others", ""]),
            LOST.exp(),
        );
    }
    let unedited = find(&rows, "scope_gap", ["none", "", "all", ""], Some("gender"));
    assert_eq!((unedited.n, unedited.ideal), (4, Some(0.0)));
    // Every pair differs by the same: no draw can change the difference, though it changes both gaps.
    let difference = find(
        &rows,
        "gap_difference",
        ["sentdebias", "raw", "fit", "unedited"],
        None,
    );
    let width = |r: &Row| r.ci_high.unwrap() - r.ci_low.unwrap();
    assert!(width(difference) < 1e-9 && width(unedited) > 0.5);
    let strange =
        |r: &Row| r.metric == "transfer_share" && r.method.as_deref() != Some("sentdebias");
    assert!(
        !rows.iter().any(strange),
        "controls have no share that transfers"
    );
    assert!(rows.iter().all(|r| r.scope.as_deref() != Some("left-out")));
}

/// A scope has the cells of a kind that have pairs of it, and no others.
#[test]
fn kinds_of_pairs_have_rows_of_their_own() {
    let (plan, text) = (plan(""), text(4));
    let mut rows = Vec::new();
    transfer_rows(&blank(&plan), &text, &scored(&plan, 4), &mut rows).unwrap();
    let of = |kind: &str, scope: &str| {
        let mut rows = rows.iter();
        let row = rows.find(|r| {
            r.metric == "scope_gap"
                && r.method.as_deref() == Some("sentdebias")
                && r.space.as_deref() == Some("raw")
                && r.scope.as_deref() == Some(scope)
                && r.kind.as_deref() == Some(kind)
                && r.category.is_none()
        });
        row.map(|r| (r.value, r.n)).expect("a row of the kind")
    };
    let near = |(value, n): (f64, u64), expect: f64, items: u64| {
        assert!(
            (value - expect).abs() < 1e-9 && n == items,
            "{value} of {n}, not {expect} of {items}"
        );
    };
    // French alone has marked pairs: fitted in French, judged there; fitted in English, judged in French.
    near(of("marked", "fit"), 0.8, 8);
    near(of("marked", "others"), 1.8, 8);
    // The first two pairs in English: 0.4 − 0.4 and 0.9 − 0.4.
    near(of("group-first", "fit"), 0.0, 4);
    near(of("group-first", "others"), 0.5, 4);
    near(of("attribute-first", "fit"), 0.8, 4);
}

/// Two categories with pairs of their own: the interval of their mean is narrower than either.
#[test]
fn the_interval_of_a_mean_is_not_the_mean_of_the_ends() {
    let (plan, text) = (plan(""), text(40));
    let mut rows = Vec::new();
    transfer_rows(&blank(&plan), &text, &scored(&plan, 40), &mut rows).unwrap();
    let width = |category| {
        let row = find(&rows, "scope_gap", ["none", "", "all", ""], category);
        row.ci_high.unwrap() - row.ci_low.unwrap()
    };
    let ratio = width(None) / (0.5 * (width(Some("gender")) + width(Some("religion"))));
    assert!((0.6..0.82).contains(&ratio), "{ratio}, about √½");
}

#[test]
fn chosen_points_are_judged_together_on_other_pairs() {
    let (plan, text) = (plan("strengths = [0.5, 1.0]"), text(40));
    let mut rows = Vec::new();
    // An edit costs exp(0.1), more than the default allows.
    let mut strict = plan.clone();
    strict.spec.choose.max_cost = 1.05;
    let notes = choice_rows(&blank(&strict), &text, &scored(&strict, 40), &mut rows).unwrap();
    assert!(
        notes
            .iter()
            .all(|n| n.contains("none of 2 operating points")),
        "{notes:?}"
    );
    let mut plan = plan;
    plan.spec.choose.max_cost = 1.2;
    rows.clear();
    let notes = choice_rows(&blank(&plan), &text, &scored(&plan, 40), &mut rows).unwrap();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes.iter().all(|n| n.contains("strength 1 was chosen")),
        "{notes:?}"
    );
    let row = |metric: &str, axes: [&str; 4]| find(&rows, metric, axes, None);
    let difference = row(
        "operating_difference",
        ["sentdebias", "raw", "fit", "unedited"],
    );
    near(difference, -0.9);
    let pairs = difference.n;
    assert!(pairs > 10 && pairs < 70, "{pairs} of 80 pairs are judged");
    assert_eq!(
        row("operating_scope_gap", ["none", "", "others", ""]).n,
        pairs
    );
    let raw = row(
        "operating_difference",
        ["sentdebias", "latent", "others", "raw"],
    );
    assert!(
        (raw.value - -0.6).abs() < 0.15 && raw.ci_high.unwrap() < 0.0,
        "{raw:?}"
    );
}

/// One category and language: what the scores say is what the rows say.
#[test]
fn a_cell_has_the_gap_and_the_perplexity_of_its_scores() {
    let (plan, text) = (plan(""), text(4));
    let scored = scored(&plan, 4);
    let (category, language, scores) = &scored[1];
    assert_eq!((category.as_str(), *language), ("gender", Language::FR));
    let pairs = text.pairs_of(category, *language);
    let mut rows = Vec::new();
    bias_rows(&blank(&plan), *language, &pairs, scores, &mut rows).unwrap();
    for (at, &index) in scores.settings.iter().enumerate() {
        let setting = &plan.settings[index];
        let of = |metric: &str| -> Vec<&Row> {
            let is = |row: &&Row| {
                row.metric == metric
                    && row.method.as_deref() == Some(setting.in_rows().as_str())
                    && row.space.as_deref() == setting.space.map(Space::name)
                    && row.fit_language == setting.fit_language.map(|l| l.to_string())
            };
            rows.iter().filter(is).collect()
        };
        let gap = of("mean_gap");
        assert_eq!(gap.len(), 1, "setting {at}");
        near(gap[0], self::gap(setting, Language::FR));
        assert_eq!((gap[0].n, gap[0].ideal), (4, Some(0.0)));
        assert_eq!(gap[0].eval_language.as_deref(), Some("fr"));
        // The tests are of what was fitted, against the same fit in the raw states, which a raw edit has not.
        let latent = setting.space.is_some_and(|space| space != Space::Raw)
            && setting.fit_language.is_some();
        assert_eq!(gap[0].p_value.is_some(), latent, "{gap:?}");
        let lost = match setting.role == Role::Unedited {
            true => 0.0,
            false => LOST,
        };
        near(of("perplexity")[0], f64::exp(2.0 + lost));
    }
}

fn estimate(value: f64) -> Estimate {
    Estimate {
        ci_low: Some(value - 0.1),
        ci_high: Some(value + 0.1),
        ..Estimate::point(value, 40)
    }
}

#[test]
fn probes_say_their_chance_and_bits_only_where_they_were_asked_for() {
    let plan = plan("");
    let probed = |setting: usize, bits: Option<f64>| Probed {
        setting,
        hook: "block.0.output".into(),
        found: Verdict {
            kind: "linear".into(),
            accuracy: estimate(0.75),
            chance: 0.5,
            bits,
            converged: true,
        },
    };
    let mut rows = Vec::new();
    let found = [probed(0, None), probed(1, Some(0.4))];
    probe_rows(&blank(&plan), Language::FR, &found, &mut rows);
    let facts: Vec<(&str, f64, Option<f64>)> = rows
        .iter()
        .map(|r| (r.metric.as_str(), r.value, r.ideal))
        .collect();
    let accuracy = ("probe_accuracy_linear", 0.75, Some(0.5));
    let bits = ("probe_codelength_linear", 0.4, Some(1.0));
    assert_eq!(facts, [accuracy, accuracy, bits]);
    for (row, setting) in rows.iter().zip([0, 1, 1]) {
        let setting = &plan.settings[setting];
        assert_eq!(row.method.as_deref(), Some(setting.in_rows().as_str()));
        assert_eq!(row.hook.as_deref(), Some("block.0.output"));
        assert_eq!(row.eval_language.as_deref(), Some("fr"));
        assert_eq!(row.n, 40);
    }
}

#[test]
fn retrieval_names_both_languages_and_the_hook_point_it_looks_at() {
    let plan = plan("[retrieval]\nhooks = [\"block.0.output\"]\n");
    let setting = plan.settings.len() - 1;
    let found = Findings {
        hook: 0,
        languages: [1, 0],
        both: estimate(0.6),
        change: estimate(0.2),
        query: estimate(0.5),
        answer: estimate(0.4),
        margin: estimate(0.3),
        cosine: estimate(0.8),
        cka: estimate(0.7),
        cka_shifted: estimate(0.1),
    };
    let retrieved = [Retrieved {
        setting,
        found: vec![found],
    }];
    let mut rows = Vec::new();
    retrieval_rows(&blank(&plan), &retrieved, &mut rows);
    let facts: Vec<(&str, f64)> = rows.iter().map(|r| (r.metric.as_str(), r.value)).collect();
    let expect = [
        ("retrieval_edited", 0.6),
        ("retrieval_change", 0.2),
        ("retrieval_query_edited", 0.5),
        ("retrieval_answer_edited", 0.4),
        ("retrieval_margin", 0.3),
        ("retrieval_cosine", 0.8),
        ("retrieval_cka", 0.7),
        ("retrieval_cka_shifted", 0.1),
    ];
    assert_eq!(facts, expect);
    for row in &rows {
        assert_eq!(row.eval_language.as_deref(), Some("fr-en"));
        assert_eq!(
            row.benchmark.as_deref(),
            Some("held-out translations at block.0.output")
        );
        // Where the edit is, not where its effect is looked at.
        assert_eq!(row.hook, plan.settings[setting].hook);
        let is_change = row.metric == "retrieval_change";
        assert_eq!(row.versus.as_deref() == Some("unedited"), is_change);
    }
}

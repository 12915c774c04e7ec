//! Tests of the whole report on a small run.

mod files;

use std::collections::BTreeSet;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::text::{Format, escape};
use super::view::{Estimate, Judged, Lens, View};
use super::*;
use crate::role::{Control, Role};
use crate::row::EditAxes;

fn row(metric: &str, value: f64) -> Row {
    Row {
        metric: metric.to_string(),
        value,
        ci_low: Some(value - 0.125),
        ci_high: Some(value + 0.125),
        n: 40,
        seed: 3,
        model: "m".to_string(),
        experiment: "e".to_string(),
        ..Row::default()
    }
}

/// The role of an edit whose rows have this method.
fn role_of(method: &str) -> Role {
    match method {
        "none" => Role::Unedited,
        "random" => Role::Control(Control::Random),
        "inlp:shuffled" => Role::Control(Control::Shuffled),
        _ => Role::Method,
    }
}

fn bias_row(method: &str, space: &str, fit: &str, eval: &str, value: f64) -> Row {
    let named = |name: &str| (!name.is_empty()).then(|| name.to_string());
    Row {
        scorer: named("lm-eval"),
        benchmark: named("b"),
        category: named("gender"),
        eval_language: named(eval),
        edit: EditAxes {
            role: Some(role_of(method)),
            method: named(method),
            space: named(space),
            fit_language: named(fit),
            ..EditAxes::default()
        },
        ..row("mean_gap", value)
    }
}

/// A row of a mean over the cells of a scope.
fn scoped(metric: &str, method: &str, space: &str, versus: &str, scope: &str, value: f64) -> Row {
    let named = |name: &str| (!name.is_empty()).then(|| name.to_string());
    Row {
        metric: metric.to_string(),
        category: None,
        versus: named(versus),
        scope: named(scope),
        eval_language: None,
        ..bias_row(method, space, "", "", value)
    }
}

/// Paired differences of the small run: the latent edit leaves `ahead` less than the raw one.
fn differences(ahead: f64) -> Vec<Row> {
    let difference = |method: &str, space: &str, versus: &str, scope: &str, value: f64| {
        scoped("gap_difference", method, space, versus, scope, value)
    };
    vec![
        scoped("scope_gap", "none", "", "", "all", 1.0),
        scoped("scope_gap", "inlp", "latent", "", "others", 0.5),
        difference("inlp", "raw", "unedited", "others", -0.2),
        difference("inlp", "raw", "control", "others", -0.2),
        difference("inlp", "latent", "unedited", "others", -0.2 - ahead),
        difference("inlp", "latent", "raw", "others", -ahead),
        difference("inlp", "latent", "control", "others", -ahead),
        difference("random", "latent", "unedited", "all", -0.01),
        difference("inlp:shuffled", "latent", "unedited", "others", -0.25),
    ]
}

/// Two languages, one method in two spaces, perplexity, alignment, calibration.
fn small_run() -> Vec<Row> {
    let mut rows = differences(0.3);
    for eval in ["en", "fr"] {
        rows.push(bias_row("none", "", "", eval, 1.0));
        for fit in ["en", "fr"] {
            let is_own = fit == eval;
            rows.push(bias_row(
                "inlp",
                "raw",
                fit,
                eval,
                if is_own { 0.25 } else { 1.0 },
            ));
            rows.push(Row {
                p_value: Some(0.001),
                p_holm: Some(0.004),
                p_bh: Some(0.002),
                ..bias_row(
                    "inlp",
                    "latent",
                    fit,
                    eval,
                    if is_own { 0.25 } else { -0.5 },
                )
            });
            for space in ["raw", "latent"] {
                rows.push(Row {
                    metric: "perplexity".to_string(),
                    scorer: None,
                    benchmark: None,
                    category: None,
                    ..bias_row("inlp", space, fit, eval, 22.0)
                });
            }
        }
        rows.push(Row {
            metric: "perplexity".to_string(),
            scorer: None,
            benchmark: None,
            category: None,
            ..bias_row("none", "", "", eval, 20.0)
        });
        rows.push(Row {
            metric: "calibration".to_string(),
            planted: Some(0.75),
            ..bias_row("none", "", "", eval, 1.125)
        });
    }
    for (space, value) in [("raw", 0.125), ("latent", 0.75)] {
        for pair in ["en-fr", "fr-en"] {
            rows.push(Row {
                edit: EditAxes {
                    space: Some(space.to_string()),
                    ..EditAxes::default()
                },
                eval_language: Some(pair.to_string()),
                ..row("retrieval_top1", value)
            });
        }
    }
    rows
}

fn small_info() -> RunInfo {
    RunInfo {
        title: "A small run".to_string(),
        synthetic: true,
        timings: vec![StageTiming {
            name: "score".to_string(),
            seconds: 1.5,
            cached: false,
        }],
        projections: vec![Projection {
            space: "raw".to_string(),
            points: vec![
                ProjectionPoint {
                    language: "en".to_string(),
                    sentence: 0,
                    x: 0.0,
                    y: 1.0,
                },
                ProjectionPoint {
                    language: "fr".to_string(),
                    sentence: 0,
                    x: f64::NAN,
                    y: 1.0,
                },
            ],
        }],
        ..RunInfo::default()
    }
}

/// Reads markup to its end: every element closed, no script, nothing from outside.
fn check_markup(markup: &str) {
    // The only elements of the page that HTML leaves open.
    let mut closed = markup.replace("<!DOCTYPE html>", "");
    for (at, _) in markup
        .match_indices("<meta ")
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let at = at - (markup.len() - closed.len());
        let end = at + closed[at..].find('>').unwrap();
        closed.replace_range(end..end, "/");
    }
    let mut reader = Reader::from_str(&closed);
    reader.config_mut().check_end_names = true;
    let mut depth = 0i32;
    let mut ids = BTreeSet::new();
    loop {
        let event = reader
            .read_event()
            .unwrap_or_else(|e| panic!("not well formed at byte {}: {e}", reader.error_position()));
        let element = match &event {
            Event::Start(element) => {
                depth += 1;
                element
            }
            Event::Empty(element) => element,
            Event::End(_) => {
                depth -= 1;
                continue;
            }
            Event::Eof => break,
            _ => continue,
        };
        assert_ne!(element.name().as_ref(), b"script", "the page has a script");
        for attribute in element.attributes() {
            let attribute = attribute.expect("a well-formed attribute");
            let key = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
            let value = String::from_utf8_lossy(&attribute.value).into_owned();
            assert!(!key.starts_with("on"), "an event handler: {key}={value}");
            if key == "src" || key.ends_with("href") {
                // A place on the page, or a file of the run folder.
                let inside =
                    value.starts_with('#') || !value.contains(':') && !value.starts_with('/');
                assert!(inside, "a reference to outside: {key}={value}");
            }
            if key == "id" {
                assert!(ids.insert(value.clone()), "id {value} occurs twice");
            }
        }
    }
    assert_eq!(depth, 0, "elements left open");
    let lower = markup.to_lowercase();
    assert!(
        !lower.contains("url(") && !lower.contains("@import"),
        "a style that loads something"
    );
}

#[test]
fn pages_and_plots_are_well_formed_and_closed_to_the_outside() {
    let (info, rows) = (small_info(), small_run());
    check_markup(&html(&info, &rows, &[]));
    let drawn = plots(&info, &rows);
    let names: Vec<&str> = drawn.iter().map(|(name, _)| name.as_str()).collect();
    for name in [
        "forest.svg",
        "projection.svg",
        "retrieval.svg",
        "trade-off.svg",
        "calibration.svg",
    ] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    for (_, svg) in &drawn {
        check_markup(svg);
        assert!(
            svg.contains("Synthetic data"),
            "a plot of a synthetic run does not say so"
        );
    }
}

#[test]
fn a_run_without_rows_says_what_is_missing() {
    let page = html(&RunInfo::default(), &[], &[]);
    check_markup(&page);
    for words in [
        "no bias rows",
        "gap_difference",
        "not in this run",
        "Maps by category",
        "Calibration",
    ] {
        assert!(page.contains(words), "the page does not say: {words}");
    }
    assert!(terminal_summary(&RunInfo::default(), &[]).contains("No bias rows"));
    assert!(markdown(&RunInfo::default(), &[]).contains("No rows of this run belong here"));
}

/// An encoder without a head has probes and associations, and no pair.
#[test]
fn a_run_without_scorers_says_what_is_left_in_the_states() {
    let of = |metric: &str, method: &str, fit: &str, eval: &str, value: f64| Row {
        metric: metric.to_string(),
        ..bias_row(
            method,
            if method == "none" { "" } else { "raw" },
            fit,
            eval,
            value,
        )
    };
    let mut rows = Vec::new();
    for eval in ["en", "fr"] {
        rows.push(of("probe_accuracy_linear", "none", "", eval, 0.95));
        for fit in ["en", "fr"] {
            let left = if fit == eval { 0.5 } else { 0.75 };
            rows.push(of("probe_accuracy_linear", "leace", fit, eval, left));
            rows.push(of(
                "probe_accuracy_linear",
                "leace:shuffled",
                fit,
                eval,
                0.9,
            ));
        }
    }
    rows.push(of("seat_effect", "none", "", "en", 1.0));
    rows.push(of("seat_effect", "leace", "en", "en", 0.0625));
    // The sign of an effect does not count.
    rows.push(of("seat_effect", "leace", "fr", "en", -0.5));
    let page = headline(&small_info(), &rows).replace('\u{a0}', " ");
    for words in [
        "No sentence has a probability in this run",
        "names: 95 %",
        "the least is left by LEACE in raw, fitted in other languages: 75 %",
        "90 %",
        "| LEACE | raw | 50 % [38 %, 62 %] | 75 % [62 %, 88 %] |",
        "0.062 [0.000, 0.188] | 0.500 [0.375, 0.625]",
    ] {
        assert!(page.contains(words), "no {words:?} in {page}");
    }
    let shown = terminal_summary(&small_info(), &rows);
    assert!(
        !shown.contains("No bias rows") && shown.contains("LEACE"),
        "{shown}"
    );
    let page = html(&small_info(), &rows, &[]);
    check_markup(&page);
    assert!(page.contains("What is left in the states"));
}

#[test]
fn one_missing_metric_or_baseline_does_not_break_the_rest() {
    for metric in ["mean_gap", "perplexity", "retrieval_top1", "calibration"] {
        let rows: Vec<Row> = small_run()
            .into_iter()
            .filter(|r| r.metric != metric)
            .collect();
        check_markup(&html(&small_info(), &rows, &[]));
    }
    let rows: Vec<Row> = small_run()
        .into_iter()
        .filter(|r| r.role != Some(Role::Unedited))
        .collect();
    let page = html(&small_info(), &rows, &[]);
    check_markup(&page);
    assert!(page.contains("rows of the unedited model are missing"));
}

#[test]
fn numbers_that_are_not_finite_are_shown_as_not_available() {
    let mut rows = small_run();
    for (index, row) in rows.iter_mut().enumerate() {
        row.value = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][index % 3];
        row.ci_low = Some(f64::NAN);
        row.ci_high = Some(f64::INFINITY);
    }
    let page = html(&small_info(), &rows, &[]);
    check_markup(&page);
    assert!(page.contains("n/a"));
    for word in ["NaN", ">inf", "-inf", "−inf"] {
        assert!(!page.contains(word), "the page says {word}");
    }
    for (_, svg) in plots(&small_info(), &rows) {
        assert!(!svg.contains("NaN") && !svg.contains("inf\""));
    }
    assert!(!terminal_summary(&small_info(), &rows).contains("NaN"));
    write_all(
        tempfile::tempdir().unwrap().path(),
        &small_info(),
        &rows,
        &[],
        &[],
    )
    .unwrap();
}

#[test]
fn names_cannot_break_the_page() {
    let bad = "<script>alert('x')</script> & \"quoted\" \u{1}|`";
    let rows: Vec<Row> = small_run()
        .into_iter()
        .map(|row| Row {
            scorer: row.scorer.map(|_| bad.to_string()),
            category: row.category.map(|_| bad.to_string()),
            edit: EditAxes {
                method: (row.edit.method).map(|m| if m == "none" { m } else { bad.to_string() }),
                ..row.edit
            },
            eval_language: row.eval_language.map(|l| l + bad),
            model: bad.to_string(),
            ..row
        })
        .collect();
    let mut info = small_info();
    info.title = bad.to_string();
    info.notice = bad.to_string();
    info.settings = vec![(bad.to_string(), bad.to_string())];
    info.digests = info.settings.clone();
    info.caveats = vec![bad.to_string()];
    info.projections[0].points[0].language = bad.to_string();
    let page = html(&info, &rows, &[]);
    check_markup(&page);
    assert!(page.contains("&lt;script&gt;"));
    for (_, svg) in plots(&info, &rows) {
        check_markup(&svg);
    }
    assert!(!markdown(&info, &rows).contains("<script>"));
    assert_eq!(escape("a<b & \"c\""), "a&lt;b &amp; &quot;c&quot;");
}

#[test]
fn means_are_those_of_the_cells() {
    let (info, rows) = (small_info(), small_run());
    let view = View::new(&info, &rows);
    let lens = view.main_lens().unwrap().clone();
    assert_eq!(
        lens,
        Lens {
            benchmark: "b".to_string(),
            scorer: "lm-eval".to_string(),
            model: "m".to_string()
        }
    );
    let check = |site: &str, judged, expect: f64| {
        let variant = view.variants.iter().find(|v| v.site() == site).unwrap();
        let found = view.mean_abs_gap(&lens, variant, None, judged).unwrap();
        assert_eq!((found.value, found.n), (expect, 80), "{site} {judged:?}");
    };
    check("raw", Judged::Own, 0.25);
    check("raw", Judged::Others, 1.0);
    check("latent", Judged::Others, 0.5);
    let latent = view.variants.iter().find(|v| v.space == "latent").unwrap();
    let others = view
        .mean_abs_gap(&lens, latent, None, Judged::Others)
        .unwrap();
    assert_eq!(
        others.interval,
        Some((0.375, 0.625)),
        "that of the row about all cells"
    );
    let own = view.mean_abs_gap(&lens, latent, None, Judged::Own).unwrap();
    assert_eq!(
        own.interval, None,
        "the mean of two intervals is not that of the mean"
    );
    let ratio = view.perplexity_ratio(&lens, latent, None).unwrap();
    assert!((ratio.value - 1.1).abs() < 1e-12);
}

#[test]
fn the_verdict_follows_the_intervals_of_differences() {
    let check = |ahead: f64, expect: &[&str]| {
        let mut rows: Vec<Row> = small_run()
            .into_iter()
            .filter(|r| r.metric != "gap_difference")
            .collect();
        rows.extend(
            differences(ahead)
                .into_iter()
                .filter(|r| r.metric == "gap_difference"),
        );
        let pages = [
            markdown(&small_info(), &rows),
            headline(&small_info(), &rows),
            html(&small_info(), &rows, &[]),
            terminal_summary(&small_info(), &rows).replace('\n', " "),
        ];
        for page in pages {
            // Markdown escapes brackets, so only the words are looked for.
            for words in expect {
                assert!(
                    page.contains(words),
                    "ahead {ahead}: no {words:?} in\n{page}"
                );
            }
        }
    };
    check(
        0.3,
        &["INLP lowers it by 0.50", "INLP leaves 0.30", "nats less"],
    );
    check(
        0.1,
        &[
            "INLP lowers it by 0.30",
            "INLP shows no detectable difference (−0.10",
        ],
    );
    check(
        -0.5,
        &["INLP raises it by 0.30", "INLP leaves 0.50", "nats more"],
    );
    // Controls that move are said out loud.
    check(
        0.3,
        &[
            "1 of 2 control edits, which should do nothing, moves the gap: INLP, shuffled labels in latent, −0.250",
        ],
    );
}

#[test]
fn the_terminal_begins_with_what_was_found() {
    let text = terminal_summary(&small_info(), &small_run());
    assert!(
        text.starts_with("Unedited, the model prefers one sentence of a pair by 1.00"),
        "{text}"
    );
    assert!(text.contains("−0.50*"), "{text}");
}

#[test]
fn the_picture_has_every_comparison_and_tells_what_stands() {
    let (info, rows) = (small_info(), small_run());
    let figure = super::differences::forest(&View::new(&info, &rows)).unwrap();
    assert_eq!(figure.panels.len(), 1, "controls have no panel");
    let body = &figure.panels[0].body;
    for versus in [
        "the unedited model",
        "the same edit in the raw states",
        "its matched control",
    ] {
        assert!(
            body.contains(&format!("from {versus}")),
            "nothing about {versus}"
        );
    }
    // Three comparisons of the latent edit, two of the raw one, each with its interval.
    assert_eq!(body.matches("class=\"whisker").count(), 5);
    let place = |space: &str| body.find(&format!(">{space}<")).unwrap();
    assert!(
        place("latent") < place("raw"),
        "what changes most stands on top"
    );
    // Every interval of the latent edit, and of the raw one, lies left of 0.
    assert_eq!(
        body.matches("class=\"ink strong\" text-anchor=\"start\"")
            .count(),
        2
    );
    let behind: Vec<Row> = differences(0.05);
    let figure = super::differences::forest(&View::new(&info, &behind)).unwrap();
    assert_eq!(
        figure.panels[0]
            .body
            .matches("class=\"ink strong\" text-anchor=\"start\"")
            .count(),
        1
    );
}

#[test]
fn measures_of_transfer_have_a_table() {
    let mut rows = small_run();
    rows.push(scoped(
        "transfer_share",
        "inlp",
        "latent",
        "",
        "others",
        0.75,
    ));
    rows.push(scoped(
        "specific_part",
        "inlp",
        "latent",
        "",
        "others",
        0.25,
    ));
    let mut of_all = scoped("scope_gap", "inlp", "latent", "", "all", 0.125);
    of_all.edit.fit_language = Some("all".to_string());
    rows.push(of_all);
    rows.push(Row {
        kind: Some("marked".to_string()),
        ..scoped("scope_gap", "inlp", "latent", "", "others", 0.875)
    });
    let tables = super::tables(&small_info(), &rows);
    let text = |id: &str| tables.iter().find(|t| t.id == id).unwrap().markdown();
    let line = "| INLP | latent | 75\u{a0}% [62\u{a0}%,\u{a0}88\u{a0}%] | +0.250 [+0.125,\u{a0}+0.375] | – | 0.125";
    assert!(text("transfer").contains(line), "{}", text("transfer"));
    assert!(
        text("kinds").contains("| marked | INLP | latent | – | others | 0.875"),
        "{}",
        text("kinds")
    );
    // What is about one kind, or about a joint fit, is in no mean over fits.
    let summary = text("summary");
    assert!(
        summary.contains("| INLP | latent | 0.250 | 0.500 [0.375,"),
        "{summary}"
    );
}

#[test]
fn a_sweep_is_told_by_the_points_that_were_chosen() {
    let mut rows = small_run();
    rows.extend(differences(-0.9).into_iter().map(|row| Row {
        metric: row.metric.replace("gap_difference", "operating_difference"),
        ..row
    }));
    let text = terminal_summary(&small_info(), &rows).replace('\n', " ");
    assert!(text.contains("INLP raises it by 0.70"), "{text}");
}

#[test]
fn the_pairs_that_changed_most_are_shown_with_their_sentences() {
    let item = |pair: &str, method: &str, fit: Option<&str>, gap: f64| Item {
        pair: pair.to_string(),
        score_more: gap,
        scorer: "lm-eval".to_string(),
        category: "gender".to_string(),
        eval_language: "fr".to_string(),
        edit: EditAxes {
            role: Some(role_of(method)),
            method: Some(method.to_string()),
            fit_language: fit.map(String::from),
            space: fit.map(|_| "latent".to_string()),
            ..EditAxes::default()
        },
        ..Item::default()
    };
    let mut items = Vec::new();
    for (pair, before, after) in [
        ("a", 2.0, -0.5),
        ("b", 1.0, 1.25),
        ("c", -3.0, -0.25),
        ("d", 1.0, 1.0),
    ] {
        items.push(item(pair, "none", None, before));
        // A fit in the language of the judgement does not count; the others count with their mean.
        items.push(item(pair, "inlp", Some("fr"), 0.0));
        items.push(item(pair, "inlp", Some("en"), after - 0.5));
        items.push(item(pair, "inlp", Some("de"), after + 0.5));
    }
    let mut info = small_info();
    info.pairs = ["a", "b", "c", "d"]
        .map(|id| PairText {
            id: id.to_string(),
            category: "gender".to_string(),
            language: "fr".to_string(),
            more: format!("Elle est {id} ici."),
            less: "Il est là ici.".to_string(),
        })
        .to_vec();
    let rows = small_run();
    let changes = super::changed::changed(&View::new(&info, &rows), &items).unwrap();
    let found: Vec<(&str, f64, f64)> = changes
        .iter()
        .map(|c| (c.pair.id.as_str(), c.before, c.after))
        .collect();
    assert_eq!(
        found,
        [("c", -3.0, -0.25), ("a", 2.0, -0.5), ("b", 1.0, 1.25)]
    );
    let page = html(&info, &rows, &changes);
    check_markup(&page);
    assert!(
        page.contains("<mark>Elle</mark> est <mark>c</mark> ici.")
            && page.contains("<mark>Il</mark> est <mark>là</mark>"),
        "no sentences, or the wrong words are marked"
    );
    assert!(page.contains("−3.00 → −0.25"));
}

#[test]
fn absolute_intervals_start_at_zero_when_they_cross_it() {
    let check = |interval, expect| {
        let estimate = Estimate {
            value: -0.5,
            interval: Some(interval),
            n: 1,
            cells: 1,
            holm: None,
        };
        assert_eq!(estimate.abs().interval, Some(expect));
    };
    check((-1.0, 0.25), (0.0, 1.0));
    check((-1.0, -0.25), (0.25, 1.0));
    check((0.25, 1.0), (0.25, 1.0));
}

#[test]
fn numbers_read_well() {
    let check = |format: Format, value, expect: &str| assert_eq!(format.show(value), expect);
    check(Format::Gap, 0.1234, "+0.123");
    check(Format::Gap, -0.1234, "−0.123");
    check(Format::Gap, -0.0001, "0.000");
    check(Format::Plain, -0.0001, "0.000");
    check(Format::Share, 0.256, "26\u{a0}%");
    check(Format::Ratio, 1.25, "×1.250");
    check(Format::Perplexity, 12345.6, "12346");
    check(Format::Score, f64::NAN, "n/a");
    check(Format::Score, f64::INFINITY, "n/a");
}

#[test]
fn the_terminal_summary_keeps_its_width() {
    let long = "a-method-with-a-name-that-never-ends".to_string();
    let rows: Vec<Row> = small_run()
        .into_iter()
        .map(|row| Row {
            edit: EditAxes {
                method: (row.edit.method).map(|m| if m == "none" { m } else { long.clone() }),
                ..row.edit
            },
            ..row
        })
        .collect();
    let text = terminal_summary(&small_info(), &rows);
    assert!(text.contains("Unedited") && text.contains("latent"));
    for line in text.lines() {
        assert!(
            line.chars().count() <= 100,
            "{} wide: {line}",
            line.chars().count()
        );
    }
}

#[test]
fn blocks_stand_in_their_own_order() {
    let at = |hook: &str| {
        let row = bias_row("leace", "raw", "en", "fr", 0.5);
        let hook = Some(hook.to_string());
        Row {
            edit: EditAxes { hook, ..row.edit },
            ..row
        }
    };
    let rows = ["block.12.output", "block.6.output", "block.9.output"].map(at);
    let tables = super::tables(&small_info(), &rows);
    let summary = tables.iter().find(|t| t.id == "summary").unwrap();
    let text = summary.markdown();
    let found: Vec<usize> = [6, 9, 12]
        .map(|block| text.find(&format!("block.{block}.output")).unwrap())
        .to_vec();
    assert!(found.is_sorted(), "{text}");
}

#[test]
fn an_operating_point_is_shown_beside_the_unedited_model() {
    let operating = |method: &str, value: f64| {
        let is_edited = method != "none";
        let space = if is_edited { "raw" } else { "" };
        let row = bias_row(method, space, "en", "fr", value);
        Row {
            metric: "operating_gap".to_string(),
            edit: EditAxes {
                hook: is_edited.then(|| "block.1.output".to_string()),
                rank: is_edited.then_some(2),
                strength: is_edited.then_some(1.5),
                fit_language: row.edit.fit_language.filter(|_| is_edited),
                ..row.edit
            },
            ..row
        }
    };
    let rows = [operating("none", 2.0), operating("leace", -0.5)];
    let tables = super::tables(&small_info(), &rows);
    let table = tables.iter().find(|t| t.id == "operating-points").unwrap();
    let text = table.markdown();
    let lines: Vec<&str> = text.lines().filter(|l| l.starts_with("| ")).collect();
    assert!(lines[2].starts_with("| Unedited |"), "{text}");
    assert!(
        lines[3].starts_with("| LEACE | raw | block.1.output | 2 | 1.5 | – | 0.500"),
        "{text}"
    );
    assert!(lines[3].contains("| 75\u{a0}%"), "{text}");
    assert!(!text.contains("No edit of this run"), "{text}");
    // Where nothing is within the limit, the unedited model alone is there, and the report says why.
    let tables = super::tables(&small_info(), &rows[..1]);
    let table = tables.iter().find(|t| t.id == "operating-points").unwrap();
    assert!(
        table
            .markdown()
            .contains("No edit of this run stays within")
    );
    let mut rows = small_run();
    rows.push(operating("none", 2.0));
    let page = super::markdown(&small_info(), &rows);
    assert!(page.contains("No edit of this run stays within"), "{page}");
    assert!(page.contains("## Summary"), "{page}");
}

//! A sweep over hook points, ranks and strengths with probes and a further benchmark: every row that
//! it promises is there, and numbers that are known come out as they must.

#[expect(dead_code, reason = "copies are for faults")]
mod tiny;
mod tree;

use std::collections::BTreeSet;

use serde_json::Value;
use tiny::Tiny;

/// A SEAT test that all of the tiny model's words are in.
const SEAT: &str = r#"{"targ1": {"category": "He", "examples": ["he sees books", "he has trees"]},
 "targ2": {"category": "She", "examples": ["she sees books", "she has trees"]},
 "attr1": {"category": "Things", "examples": ["lamps", "doors"]},
 "attr2": {"category": "Animals", "examples": ["the cat", "the dog"]}}"#;

fn rows() -> Vec<Value> {
    let tiny = Tiny::new();
    tiny.write("data/seat/tiny.jsonl", SEAT.as_bytes());
    tiny.replace(
        "tiny.toml",
        "hook = \"final_norm\"\nmethods = [{ name = \"sentdebias\", rank = 1 }, { name = \"inlp\", rank = 1 }]",
        "hook = [\"block.*.output\", \"final_norm\"]\nstrengths = [0.5, 1.0]\n\
         methods = [{ name = \"sentdebias\", rank = [1, 2] }, { name = \"leace\", rank = 1 }]",
    );
    tiny.replace(
        "tiny.toml",
        "spaces = [\"raw\", \"latent\"]",
        "spaces = [\"raw\", \"latent\", \"cca\"]",
    );
    tiny.append(
        "tiny.toml",
        "[probe]\nkinds = [\"linear\"]\ncodelength = true\n[choose]\nmax_cost = 1000.0\n\
         [[benchmarks]]\nkind = \"seat\"\npath = \"seat\"\ntests.gender = [\"tiny\"]\n",
    );
    tiny.more_text();
    rows_of(&tiny)
}

/// The rows of a run.
fn rows_of(tiny: &Tiny) -> Vec<Value> {
    let output = tiny.reproduce(&[]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let results = tiny.results();
    let (_, bytes) = results
        .iter()
        .find(|(name, _)| name.ends_with("rows.jsonl"))
        .expect("a run folder has rows");
    let text = String::from_utf8(bytes.clone()).expect("rows are text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a row"))
        .collect()
}

/// Every column but those of the number itself: what tells a row from all others.
fn axes(row: &Value) -> String {
    const NUMBER: [&str; 8] = [
        "value", "ci_low", "ci_high", "n", "ideal", "p_value", "p_holm", "p_bh",
    ];
    let mut row = row.as_object().expect("a row is an object").clone();
    row.retain(|column, _| !NUMBER.contains(&column.as_str()));
    Value::Object(row).to_string()
}

fn check_distinct(rows: &[Value]) {
    let mut seen = BTreeSet::new();
    for row in rows {
        assert!(
            seen.insert(axes(row)),
            "two rows have the axes {}",
            axes(row)
        );
    }
}

#[test]
fn methods_of_one_name_and_rank_differ_in_their_parameters() {
    let tiny = Tiny::new();
    tiny.replace(
        "tiny.toml",
        "{ name = \"inlp\", rank = 1 }",
        "{ name = \"inlp\", rank = 1 }, { name = \"inlp\", rank = 1, params = { c = 0.01, tolerance = 1e-10 } }",
    );
    let rows = rows_of(&tiny);
    check_distinct(&rows);
    let gaps = of(&rows, "mean_gap", "inlp");
    let with = |params: Value| gaps.iter().filter(|r| r["params"] == params).count();
    // Fit languages × spaces × evaluation languages, of each.
    assert_eq!(gaps.len(), 2 * 4 * 2 * 4);
    assert_eq!(with(Value::Null), gaps.len() / 2);
    assert_eq!(with("c=0.01".into()), gaps.len() / 2);
}

fn of<'a>(rows: &'a [Value], metric: &'a str, method: &'a str) -> Vec<&'a Value> {
    let is = |row: &&Value| row["metric"] == metric && row["method"] == method;
    rows.iter().filter(is).collect()
}

#[test]
fn a_sweep_gives_every_row_it_promises() {
    let rows = rows();
    check_distinct(&rows);
    let layers = 2;
    let (languages, spaces, strengths) = (4, 3, 2);

    // hook points × ranks × strengths × fit languages × spaces × evaluation languages
    let cells = (layers + 1) * strengths * languages * spaces * languages;
    assert_eq!(of(&rows, "mean_gap", "sentdebias").len(), 2 * cells);
    assert_eq!(of(&rows, "mean_gap", "leace").len(), cells);
    let hooks: BTreeSet<&str> = of(&rows, "mean_gap", "leace")
        .iter()
        .filter_map(|r| r["hook"].as_str())
        .collect();
    assert_eq!(hooks.len(), layers + 1);

    // The unedited model is itself: no divergence, every token agreed on, no cost.
    for (metric, expect) in [
        ("kl_divergence", 0.0),
        ("top1_agreement", 1.0),
        ("operating_cost", 1.0),
    ] {
        let found = of(&rows, metric, "none");
        assert_eq!(found.len(), languages, "{metric}");
        for row in found {
            assert_eq!(row["value"].as_f64(), Some(expect), "{row}");
        }
    }
    assert!(
        of(&rows, "kl_divergence", "leace")
            .iter()
            .all(|r| r["value"].as_f64().is_some_and(|v| v >= 0.0))
    );

    // One operating point per method and space, in all fit and evaluation languages.
    for (method, points) in [("sentdebias", spaces), ("leace", spaces)] {
        let chosen = of(&rows, "operating_gap", method);
        assert_eq!(chosen.len(), points * languages * languages, "{method}");
        for space in ["raw", "latent", "cca"] {
            let of_space = chosen.iter().filter(|r| r["space"] == space);
            let places: BTreeSet<String> = of_space
                .map(|r| format!("{} {} {}", r["hook"], r["rank"], r["strength"]))
                .collect();
            assert_eq!(places.len(), 1, "{method} in {space}: {places:?}");
        }
        // Half the pairs choose, the others are judged: fewer than all, and the same everywhere.
        let counts: BTreeSet<u64> = chosen.iter().filter_map(|r| r["n"].as_u64()).collect();
        let all = of(&rows, "mean_gap", method)[0]["n"].as_u64().unwrap();
        assert!(
            counts.len() == 1 && counts.iter().all(|&n| n < all),
            "{counts:?} of {all}"
        );
    }

    // Probes see the unedited model at every hook point, and each edit at its own, in every language
    // with enough sentences that nothing was fitted on.
    let probed = of(&rows, "probe_accuracy_linear", "none");
    let tried = probed.len() / (layers + 1);
    assert!(tried >= 1 && probed.len() == tried * (layers + 1));
    let of_edits = cells / languages * tried;
    assert_eq!(of(&rows, "probe_accuracy_linear", "leace").len(), of_edits);
    for row in probed {
        let value = row["value"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&value) && row["ideal"] == 0.5, "{row}");
    }
    assert_eq!(
        of(&rows, "probe_codelength_linear", "leace").len(),
        of_edits
    );

    // SEAT is English, under every setting.
    let effects = of(&rows, "seat_effect", "leace");
    assert_eq!(effects.len(), cells / languages);
    assert!(effects.iter().all(|r| {
        let p = r["p_value"].as_f64().unwrap();
        r["value"].as_f64().unwrap().abs() <= 2.0 && p > 0.0 && p <= 1.0
    }));
}

//! Edits of other kinds than erasers go the whole road: a shift, a clamp of units that are wider than the residual stream,
//! and two hook points in one pass.

#[expect(dead_code, reason = "copies are for faults")]
mod tiny;
mod tree;

use std::collections::BTreeMap;

use interlingua_edits::{Hook, Intervention, Kind, norm};
use serde_json::Value;
use tiny::Tiny;

const HIDDEN: usize = 24;
const INTERMEDIATE: usize = 36;
const LANGUAGES: usize = 4;
const TWO: &str = "block.0.output+block.1.output";

/// Rows of the run, settings of its plan, and the interventions by their number.
struct Run {
    rows: Vec<Value>,
    settings: Vec<Value>,
    interventions: BTreeMap<usize, Intervention>,
    tables: String,
}

fn run() -> Run {
    let tiny = Tiny::new();
    tiny.replace(
        "tiny.toml",
        "hook = \"final_norm\"\nmethods = [{ name = \"sentdebias\", rank = 1 }, { name = \"inlp\", rank = 1 }]",
        &format!(
            "hook = [\"block.0.output\", \"block.1.units\", \"{TWO}\"]\n\
             methods = [{{ name = \"steering\", strength = [1.0, 4.0] }}, {{ name = \"mean-shift\" }}, \
             {{ name = \"clamp-units\", units = [2, 30], spaces = [\"raw\"] }}, {{ name = \"leace\", rank = 1 }}]"
        ),
    );
    // Units are wider than states, so they have more to clamp; states of the residual stream have no 30.
    let output = tiny.reproduce(&[]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        errors.contains("30 is more than the 24 dimensions of space `raw` at block.0.output"),
        "{errors}"
    );
    tiny.replace("tiny.toml", "units = [2, 30]", "units = [2, 20]");
    tiny.more_text();
    let output = tiny.reproduce(&[]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let results = tiny.results();
    let file = |end: &str| {
        let found = results.iter().find(|(name, _)| name.ends_with(end));
        String::from_utf8(found.expect("a file of the run").1.clone()).unwrap()
    };
    let plan: Value = serde_json::from_str(&file("plan.json")).unwrap();
    let interventions = results.iter().filter_map(|(name, bytes)| {
        let (_, number) = name.split_once("/interventions/")?;
        let number = number.trim_end_matches(".safetensors").parse().unwrap();
        Some((number, Intervention::from_bytes(bytes).unwrap()))
    });
    Run {
        rows: file("rows.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        settings: plan["settings"].as_array().unwrap().clone(),
        interventions: interventions.collect(),
        tables: file("tables/controls.md"),
    }
}

impl Run {
    fn rows(&self, metric: &str, method: &str, hook: &str) -> Vec<&Value> {
        let is = |row: &&Value| {
            (
                row["metric"].as_str(),
                row["method"].as_str(),
                row["hook"].as_str(),
            ) == (Some(metric), Some(method), Some(hook))
        };
        self.rows.iter().filter(is).collect()
    }

    /// The interventions of a role and method in raw states at a place and a strength, in the order of the fit languages.
    fn of(&self, role: &str, method: &str, hook: &str, strength: f64) -> Vec<&Intervention> {
        let is = |(at, _): &(usize, &Value)| {
            let s = &self.settings[*at];
            (&s["role"], &s["method"], &s["hook"]) == (&role.into(), &method.into(), &hook.into())
                && s["space"] == "raw"
                && s["strength"] == strength
        };
        let found = self.settings.iter().enumerate().filter(is);
        found.map(|(at, _)| &self.interventions[&at]).collect()
    }
}

#[test]
fn shifts_clamps_and_two_hook_points_go_the_whole_road() {
    let run = run();
    for hook in ["block.0.output", "block.1.units", TWO] {
        // strengths or sizes × fit languages × spaces × evaluation languages
        for (method, expect) in [
            ("steering", 2 * LANGUAGES * 2 * LANGUAGES),
            ("mean-shift", LANGUAGES * 2 * LANGUAGES),
            ("clamp-units", 2 * LANGUAGES * LANGUAGES),
            ("leace", LANGUAGES * 2 * LANGUAGES),
        ] {
            let found = run.rows("mean_gap", method, hook);
            assert_eq!(found.len(), expect, "{method} at {hook}");
            assert!(found.iter().all(|row| row["role"] == "method"));
            let (units, rank) = (&found[0]["units"], &found[0]["rank"]);
            match method {
                "clamp-units" => assert!(units.is_u64() && rank.is_null()),
                "leace" => assert!(units.is_null() && *rank == 1),
                _ => assert!(units.is_null() && rank.is_null()),
            }
            // Each has its two controls, and is measured against them.
            let random = match method {
                "leace" => "random".to_owned(),
                _ => format!("{method}:random"),
            };
            for control in [&random, &format!("{method}:shuffled")] {
                assert!(!run.rows("mean_gap", control, hook).is_empty(), "{control}");
            }
            let differences = run.rows("gap_difference", method, hook);
            assert!(
                differences.iter().any(|row| row["versus"] == "control"),
                "{method}"
            );
        }
    }
    // The edits do something, and two in one pass something else than one.
    let gaps = |method: &str, hook: &str| -> Vec<f64> {
        let rows = run.rows("mean_gap", method, hook);
        rows.iter()
            .map(|row| row["value"].as_f64().unwrap())
            .collect()
    };
    let is_unedited = |row: &&Value| row["metric"] == "mean_gap" && row["role"] == "unedited";
    let unedited = run.rows.iter().filter(is_unedited);
    let unedited: Vec<f64> = unedited.map(|row| row["value"].as_f64().unwrap()).collect();
    assert_eq!(unedited.len(), LANGUAGES);
    for method in ["steering", "clamp-units", "leace"] {
        assert_ne!(
            gaps(method, "block.0.output"),
            gaps(method, TWO),
            "{method}"
        );
        assert!(
            gaps(method, TWO).iter().all(|gap| !unedited.contains(gap)),
            "{method}"
        );
    }
    // Probes look at one hook point alone.
    assert!(
        !run.rows("probe_accuracy_linear", "steering", "block.1.units")
            .is_empty()
    );
    assert!(
        run.rows("probe_accuracy_linear", "steering", TWO)
            .is_empty()
    );
    for words in [
        "Steering, at random",
        "Expert units, at random",
        "Expert units, shuffled labels",
    ] {
        assert!(run.tables.contains(words), "{words}:\n{}", run.tables);
    }
}

#[test]
fn controls_are_of_the_kind_and_size_of_the_edit() {
    let run = run();
    for (hook, width, steps) in [("block.1.units", INTERMEDIATE, 1), (TWO, HIDDEN, 2)] {
        let once = run.of("method", "steering", hook, 1.0);
        assert_eq!(once.len(), LANGUAGES);
        let far = run.of("method", "steering", hook, 4.0);
        let drawn = run.of("random", "steering", hook, 4.0);
        for ((once, far), drawn) in once.iter().zip(far).zip(drawn) {
            let vectors = |i: &Intervention| -> Vec<Vec<f64>> {
                let steps = i.steps().iter();
                steps.map(|(_, edit)| edit.constant().unwrap()).collect()
            };
            assert_eq!(far.steps().len(), steps);
            for ((one, four), drawn) in vectors(once).iter().zip(vectors(far)).zip(vectors(drawn)) {
                assert_eq!(one.len(), width);
                assert!((4.0 * norm(one) - norm(&four)).abs() < 1e-9 * norm(&four));
                assert!((norm(&drawn) - norm(&four)).abs() < 1e-9 * norm(&four));
                assert!(drawn != four);
            }
        }
        for (role, method) in [("method", "clamp-units"), ("random", "clamp-units")] {
            let found = run.of(role, method, hook, 1.0);
            assert_eq!(found.len(), 2 * LANGUAGES);
            for (at, intervention) in found.iter().enumerate() {
                for (_, edit) in intervention.steps() {
                    assert_eq!((edit.kind(), edit.dim()), (Kind::Clamp, width));
                    assert_eq!(edit.rank(), if at < LANGUAGES { 2 } else { 20 });
                }
            }
        }
    }
    // Steps are in the order of the pass.
    let two = run.of("method", "steering", TWO, 1.0)[0];
    let hooks: Vec<Hook> = two.steps().iter().map(|(site, _)| site.hook).collect();
    assert_eq!(hooks, [Hook::output(0), Hook::output(1)]);
}

/// A random change of weights is dense, as an erasure is, but is no subspace: it is not made around the mean of a
/// language, which is not even known where sentences alone are captured.
#[test]
fn changes_of_weights_have_a_random_control_of_their_form() {
    let tiny = Tiny::new();
    tiny.replace(
        "tiny.toml",
        "hook = \"final_norm\"\nmethods = [{ name = \"sentdebias\", rank = 1 }, { name = \"inlp\", rank = 1 }]",
        "hook = \"blocks.*.gate + final_norm\"\nmethods = [{ name = \"model-surgery\", units = 5 }]",
    );
    tiny.replace(
        "tiny.toml",
        "spaces = [\"raw\", \"latent\"]",
        "spaces = [\"raw\"]",
    );
    tiny.append("tiny.toml", "[probe]\nkinds = []\n");
    tiny.more_text();
    let output = tiny.reproduce(&[]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let results = tiny.results();
    let (_, rows) = results
        .iter()
        .find(|(name, _)| name.ends_with("rows.jsonl"))
        .unwrap();
    let rows = String::from_utf8(rows.clone()).unwrap();
    for method in [
        "model-surgery",
        "model-surgery:random",
        "model-surgery:shuffled",
    ] {
        assert!(
            rows.contains(&format!("\"method\":\"{method}\"")),
            "{method}"
        );
    }
}

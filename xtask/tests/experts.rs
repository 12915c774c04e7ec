//! Methods that look at several hook points at once go the whole road: units of all blocks are ranked together, vectors lead from one
//! language to another, and maps are fitted on what earlier ones leave.

#[expect(dead_code, reason = "copies are for faults")]
mod tiny;
mod tree;

use interlingua_edits::{Edit, Intervention, Kind, norm};
use serde_json::Value;
use tiny::Tiny;

const LANGUAGES: usize = 4;
const UNITS: &str = "blocks.*.units";
const TWO: &str = "block.0.output+block.1.output";
/// Units that are ranked together: two blocks of 36.
const ALL: usize = 72;

/// Rows of a run, settings of its plan, and the edits of each that has some.
struct Run {
    rows: Vec<Value>,
    settings: Vec<Value>,
    edits: Vec<Vec<Edit>>,
}

/// Outputs of all linear maps of two blocks.
const LINEAR: &str = "blocks.*.linear";

/// A run at these places with these methods, which looks for translations after every block.
fn asked(hooks: &str, methods: &[String]) -> Tiny {
    let tiny = Tiny::new();
    tiny.replace(
        "tiny.toml",
        "spaces = [\"raw\", \"latent\"]\nhook = \"final_norm\"\nmethods = [{ name = \"sentdebias\", rank = 1 }, { name = \"inlp\", rank = 1 }]",
        &format!(
            "spaces = [\"raw\"]\nhook = [{hooks}]\nmethods = [{}]",
            methods.join(", ")
        ),
    );
    tiny.append(
        "tiny.toml",
        "[retrieval]\nhooks = [\"block.*.output\"]\nrows = 12\n",
    );
    tiny
}

fn spec(units: usize) -> Tiny {
    let about_languages = "contrast = \"languages\"";
    let methods = [
        format!(
            "{{ name = \"clamp-units\", units = {units}, params = {{ scope = \"all\", {about_languages} }} }}"
        ),
        format!("{{ name = \"aura\", params = {{ {about_languages} }} }}"),
        "{ name = \"damp\", units = 6, params = { factor = 0.0 } }".to_owned(),
        "{ name = \"lape\", units = 40, params = { filter = 0.3, active = 0.3 } }".to_owned(),
        "{ name = \"language-steering\", strength = [1.0, 2.0], params = { toward = \"en\" } }"
            .to_owned(),
        "{ name = \"surgical-steering\" }".to_owned(),
        "{ name = \"linear-act\" }".to_owned(),
    ];
    asked(&format!("\"{UNITS}\", \"{TWO}\""), &methods)
}

fn run(tiny: &Tiny) -> Run {
    let output = tiny.reproduce(&[]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let results = tiny.results();
    let file = |end: &str| {
        let found = results.iter().find(|(name, _)| name.ends_with(end));
        String::from_utf8(found.expect("a file of the run").1.clone()).unwrap()
    };
    let plan: Value = serde_json::from_str(&file("plan.json")).unwrap();
    let settings = plan["settings"].as_array().unwrap().clone();
    let mut edits = vec![Vec::new(); settings.len()];
    for (name, bytes) in &results {
        if let Some((_, number)) = name.split_once("/interventions/") {
            let at: usize = number.trim_end_matches(".safetensors").parse().unwrap();
            let intervention = Intervention::from_bytes(bytes).unwrap();
            // The file says what the fit found, ties at the cut among it.
            let counted = intervention.provenance.notes.contains_key("fit tied");
            assert_eq!(counted, counts_ties(&settings[at]), "{}", settings[at]);
            edits[at] = intervention.steps().iter().map(|s| s.1.clone()).collect();
        }
    }
    Run {
        rows: file("rows.jsonl")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
        settings,
        edits,
    }
}

/// Whether a setting is of a method that counts ties, or of its control that is fitted as it is.
fn counts_ties(setting: &Value) -> bool {
    let counts = ["damp", "clamp-units"].map(Value::from);
    setting["role"] != "random" && counts.contains(&setting["method"])
}

impl Run {
    /// The edits of a role and method at a place, in the order of the fit languages.
    fn of(&self, role: &str, method: &str, hook: &str) -> Vec<&[Edit]> {
        let is = |(_, s): &(usize, &Value)| {
            (&s["role"], &s["method"], &s["hook"]) == (&role.into(), &method.into(), &hook.into())
                && s["strength"] == 1.0
        };
        let found = self.settings.iter().enumerate().filter(is);
        found.map(|(at, _)| self.edits[at].as_slice()).collect()
    }

    fn count(&self, metric: &str, method: &str, hook: Option<&str>) -> usize {
        let is = |row: &&Value| {
            row["metric"] == metric && row["method"] == method && row["hook"].as_str() == hook
        };
        self.rows.iter().filter(is).count()
    }
}

/// The units of the published code: whatever linear maps write, ranked together over all blocks.
#[test]
fn all_linear_outputs_are_ranked_together_and_controls_have_as_many_at_each() {
    let method = "{ name = \"clamp-units\", units = 40, params = { scope = \"all\", contrast = \"languages\" } }";
    let run = run(&asked(&format!("\"{LINEAR}\""), &[method.to_owned()]));
    let found = run.of("method", "clamp-units", LINEAR);
    let drawn = run.of("random", "clamp-units", LINEAR);
    assert_eq!((found.len(), drawn.len()), (LANGUAGES, LANGUAGES));
    let mut widths = Vec::new();
    for (found, drawn) in found.iter().zip(drawn) {
        let of = |edits: &[Edit]| -> Vec<[usize; 2]> {
            edits.iter().map(|e| [e.dim(), e.rank()]).collect()
        };
        assert_eq!(of(found), of(drawn));
        assert_eq!(found.iter().map(Edit::rank).sum::<usize>(), 40);
        let with_some = found.iter().filter(|e| e.rank() > 0);
        widths.extend(with_some.map(Edit::dim));
    }
    // Not of one kind of map alone.
    widths.sort_unstable();
    widths.dedup();
    assert!(widths.len() > 1, "{widths:?}");
    // Before, after, and with one side edited, after every block in both directions.
    let pairs = LANGUAGES * (LANGUAGES - 1);
    for metric in [
        "retrieval_edited",
        "retrieval_change",
        "retrieval_query_edited",
        "retrieval_answer_edited",
    ] {
        let rows = run.count(metric, "clamp-units", Some(LINEAR));
        assert_eq!(rows, LANGUAGES * 2 * pairs, "{metric}");
        assert_eq!(run.count(metric, "none", None), 2 * pairs, "{metric}");
    }
}

#[test]
fn units_of_all_blocks_and_vectors_between_languages_go_the_whole_road() {
    let run = run(&spec(6));
    let ranks = |edits: &[Edit]| -> Vec<usize> { edits.iter().map(Edit::rank).collect() };
    for (hook, method) in [UNITS, TWO]
        .into_iter()
        .flat_map(|hook| ["clamp-units", "aura", "damp", "lape"].map(|method| (hook, method)))
    {
        let found = run.of("method", method, hook);
        let drawn = run.of("random", method, hook);
        assert_eq!(
            (found.len(), drawn.len()),
            (LANGUAGES, LANGUAGES),
            "{method}"
        );
        for (found, drawn) in found.iter().zip(drawn) {
            assert_eq!(found.len(), 2);
            // As many random units in each block.
            assert_eq!(ranks(found), ranks(drawn), "{method} at {hook}");
            let changed: usize = ranks(found).iter().sum();
            match method {
                "clamp-units" => assert_eq!(changed, 6),
                "damp" => assert!((1..=6).contains(&changed)),
                _ => assert!((1..ALL).contains(&changed), "{method}: {changed}"),
            }
        }
        assert_ne!(
            found[0], found[1],
            "{method}: each language has units of its own"
        );
    }
    // Toward English, English stays where it is.
    let steered = run.of("method", "language-steering", TWO);
    for (language, edits) in steered.iter().enumerate() {
        for edit in *edits {
            assert_eq!(edit.kind(), Kind::Shift);
            assert_eq!(norm(&edit.constant().unwrap()) == 0.0, language == 0);
        }
    }
    // In front toward what all share, behind away from it.
    for surgical in run.of("method", "surgical-steering", TWO) {
        let [front, behind] = [0, 1].map(|at: usize| surgical[at].constant().unwrap());
        assert!(norm(&front) > 0.0 && norm(&behind) > 0.0 && front != behind);
    }
    assert_eq!(run.of("method", "linear-act", TWO).len(), LANGUAGES);
}

#[test]
fn edits_of_several_blocks_are_judged_by_text_and_by_translations() {
    let run = run(&spec(6));
    let methods = [
        "clamp-units",
        "aura",
        "damp",
        "lape",
        "surgical-steering",
        "linear-act",
    ];
    let pairs = LANGUAGES * (LANGUAGES - 1);
    for hook in [UNITS, TWO] {
        for method in methods {
            let all = LANGUAGES * LANGUAGES;
            assert_eq!(run.count("mean_gap", method, Some(hook)), all, "{method}");
            assert_eq!(run.count("perplexity", method, Some(hook)), all, "{method}");
            // Fit languages × hook points that are looked at × ordered pairs.
            let looked_at = LANGUAGES * 2 * pairs;
            for metric in [
                "retrieval_edited",
                "retrieval_change",
                "retrieval_query_edited",
            ] {
                assert_eq!(run.count(metric, method, Some(hook)), looked_at, "{method}");
            }
        }
    }
    assert_eq!(run.count("retrieval_edited", "none", None), 2 * pairs);
    // Where nothing is edited nothing changes, and edits change something.
    let changes = |method: &str| -> Vec<f64> {
        let of = |row: &&Value| row["metric"] == "retrieval_change" && row["method"] == method;
        let rows = run.rows.iter().filter(of);
        rows.map(|row| row["value"].as_f64().unwrap()).collect()
    };
    assert!(changes("none").iter().all(|change| *change == 0.0));
    assert!(
        changes("surgical-steering")
            .iter()
            .any(|change| *change != 0.0)
    );
    // Sentences alone are looked at: no space, no map of languages.
    let top1 = |row: &&Value| row["metric"] == "retrieval_top1";
    assert_eq!(run.rows.iter().filter(top1).count(), 0);
}

#[test]
fn more_units_than_all_blocks_have_are_refused() {
    let output = spec(ALL + 1).reproduce(&[]);
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        errors.contains("clamp-units: 73 units is outside 1..=72"),
        "{errors}"
    );
}

//! Retrieval between states that are made by hand.

use std::path::Path;

use interlingua_edits::Edit;

use super::super::made::{WIDTH, edited, model, text, with_runner, without};
use super::*;
use crate::plan::{Plan, Setting, of_text};
use crate::role::Role;

/// The last coordinate is what a language adds: it hides from `a` that `x` is its translation.
const WORDS: [(&str, [f32; WIDTH]); 6] = [
    ("a", [1.0, 0.0, 0.0, 0.0]),
    ("b", [0.0, 1.0, 0.0, 0.0]),
    ("c", [0.0, 0.0, 1.0, 0.0]),
    ("x", [1.0, 0.0, 0.0, 3.0]),
    ("y", [3.0, 4.0, 0.0, 0.0]),
    ("z", [0.0, 0.0, 1.0, 0.0]),
];
const LANGUAGES: [Language; 2] = [Language::EN, Language::FR];
const COLUMNS: [&[&str]; 2] = [&["a", "b", "c"], &["x", "y", "z"]];

fn plan(more: &str, out: &Path) -> Plan {
    let text = format!(
        "name = \"x\"\ntitle = \"X\"\nlanguages = [\"en\", \"fr\"]\ncategories = [\"gender\"]\nspaces = [\"raw\"]\n\
         hook = \"block.0.output\"\nmethods = [{{ name = \"sentdebias\", rank = 1 }}]\n{more}\n[data]\n\
         kind = \"testbed\"\n[model]\nkind = \"train\"\nlayers = 1\nhidden_size = 4\nheads = 1\nkv_heads = 1\n\
         intermediate_size = 4\n[score]\nscorers = [\"lm-eval\"]\nresamples = 100\n"
    );
    of_text(&text, out)
}

/// Methods take the last coordinate away, and controls do nothing.
fn edits(setting: &Setting) -> Option<Vec<Edit>> {
    match setting.role {
        Role::Unedited => None,
        Role::Method => Some(vec![without([0.0, 0.0, 0.0, 1.0])]),
        _ => Some(vec![Edit::identity(WIDTH)]),
    }
}

fn retrieved(plan: &Plan, columns: &[&[&str]]) -> (Vec<Retrieved>, Option<[usize; 2]>) {
    let model = model(&plan.options.out, &WORDS, plan);
    let edited = edited(&model, plan, [0.0; WIDTH], edits);
    let text = text(&LANGUAGES, columns);
    with_runner(plan, |run| {
        let found = retrieval_stage(run, &edited, &text, "gender").unwrap();
        let computed = run.timings.first().and_then(|timing| timing.computed);
        (found, computed)
    })
}

/// ‖XᵀY‖² / (‖XᵀX‖·‖YᵀY‖) of centred columns.
fn cka(x: &[[f64; WIDTH]], y: &[[f64; WIDTH]]) -> f64 {
    let centred = |rows: &[[f64; WIDTH]]| -> Vec<[f64; WIDTH]> {
        let mean = |j: usize| rows.iter().map(|r| r[j]).sum::<f64>() / rows.len() as f64;
        let means: [f64; WIDTH] = std::array::from_fn(mean);
        let row = |r: &[f64; WIDTH]| std::array::from_fn(|j| r[j] - means[j]);
        rows.iter().map(row).collect()
    };
    let (x, y) = (centred(x), centred(y));
    let square = |a: &[[f64; WIDTH]], b: &[[f64; WIDTH]]| {
        let mut sum = 0.0;
        for i in 0..WIDTH {
            for j in 0..WIDTH {
                sum += a
                    .iter()
                    .zip(b)
                    .map(|(p, q)| p[i] * q[j])
                    .sum::<f64>()
                    .powi(2);
            }
        }
        sum
    };
    square(&x, &y) / (square(&x, &x) * square(&y, &y)).sqrt()
}

fn near(found: Estimate, expect: f64) {
    let value = found.value;
    assert!((value - expect).abs() < 1e-6, "{value}, not {expect}");
    assert_eq!(found.n, 3);
}

#[test]
fn hits_are_counted_with_either_side_edited_and_with_both() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan("[retrieval]\nhooks = [\"block.0.output\"]\n", folder.path());
    let (found, computed) = retrieved(&plan, &COLUMNS);
    // No edit, that of all methods, and that of all controls.
    assert_eq!(computed, Some([3, 3]));
    assert_eq!(found.len(), plan.settings.len());
    for retrieved in &found {
        let role = plan.settings[retrieved.setting].role;
        let [there, back] = &retrieved.found[..] else {
            panic!("two ways between two languages")
        };
        assert_eq!((there.hook, back.hook), (0, 0));
        assert_eq!((there.languages, back.languages), ([0, 1], [1, 0]));
        // Unedited, `a` is nearer to `y` (3/5) than to `x` (1/√10), so two of three find theirs; from the other side all do.
        let [before, after] = [2.0 / 3.0, 1.0];
        let edited = role == Role::Method;
        let share = if edited { after } else { before };
        near(there.both, share);
        near(there.change, share - before);
        // The queries have nothing in the last coordinate, so that only the candidates are changed.
        near(there.query, before);
        near(there.answer, share);
        for all in [back.both, back.query, back.answer] {
            near(all, 1.0);
        }
        near(back.change, 0.0);
        let own = [if edited { 1.0 } else { 1.0 / 10f64.sqrt() }, 0.8, 1.0];
        let cosine = own.iter().sum::<f64>() / 3.0;
        // Of the six other pairs only `a` and `y` are not at right angles.
        let margin = cosine - 0.6 / 6.0;
        let x = [
            [1.0, 0.0, 0.0, 0.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ];
        let last = if edited { 0.0 } else { 3.0 };
        let y = [
            [1.0, 0.0, 0.0, last],
            [3.0, 4.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0],
        ];
        let rotated = |by: usize| {
            let mut y = y;
            y.rotate_left(by);
            cka(&x, &y)
        };
        // Five shifts of three rows: by ½, 1, 1½, 2 and 2½ rows, rounded down, and by one at least.
        let shifted = (3.0 * rotated(1) + 2.0 * rotated(2)) / 5.0;
        for way in [there, back] {
            near(way.cosine, cosine);
            near(way.margin, margin);
            near(way.cka, cka(&x, &y));
            near(way.cka_shifted, shifted);
        }
    }
    assert_eq!(retrieved(&plan, &COLUMNS), (found, Some([0, 3])));
}

#[test]
fn no_more_rows_are_read_than_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(
        "[retrieval]\nhooks = [\"block.0.output\"]\nrows = 3\n",
        folder.path(),
    );
    let (three, _) = retrieved(&plan, &COLUMNS);
    let columns: [&[&str]; 2] = [&["a", "b", "c", "a"], &["x", "y", "z", "b"]];
    // The fourth row is not read, so what was computed is found again.
    assert_eq!(retrieved(&plan, &columns), (three, Some([0, 3])));
}

#[test]
fn without_hook_points_nothing_is_retrieved() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan("", folder.path());
    assert_eq!(retrieved(&plan, &COLUMNS), (Vec::new(), None));
}

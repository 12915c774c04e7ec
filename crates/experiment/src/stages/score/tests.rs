//! Scores of a model whose predictions are computed by hand.

use std::path::Path;

use interlingua_data::{BiasPair, Direction, Language};
use interlingua_edits::Edit;

use super::super::made::{WIDTH, edited, model, with_runner, without};
use super::*;
use crate::plan::{Plan, Setting, of_text};
use crate::role::{Control, Role};

/// The direction of the pronouns, whose length is 2.
const U: [f32; WIDTH] = [1.0, 1.0, -1.0, -1.0];
/// The same with length 1.
const UNIT: [f64; WIDTH] = [0.5, 0.5, -0.5, -0.5];
/// A direction at right angles to it.
const OTHER: [f64; WIDTH] = [0.5, -0.5, 0.5, -0.5];
const WORDS: [(&str, [f32; WIDTH]); 4] = [
    ("he", U),
    ("she", [-1.0, -1.0, 1.0, 1.0]),
    ("doctor", [3.0, 1.0, -1.0, -3.0]),
    ("nurse", [-1.0, -3.0, 3.0, 1.0]),
];
/// The logits of the eight tokens after `he`: those of special tokens are 0, and those of the words ¼·E·U. After `she` each has
/// the other sign, and after the start token, whose state is zero, all are 0.
const AFTER_HE: [f64; 8] = [0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 2.0, -2.0];

fn plan(more: &str, out: &Path) -> Plan {
    let text = format!(
        "name = \"x\"\ntitle = \"X\"\nlanguages = [\"en\", \"fr\"]\ncategories = [\"gender\"]\nspaces = [\"raw\"]\n\
         hook = \"block.0.output\"\nmethods = [{{ name = \"sentdebias\", rank = 1 }}]\n{more}\n[data]\n\
         kind = \"testbed\"\n[model]\nkind = \"train\"\nlayers = 1\nhidden_size = 4\nheads = 1\nkv_heads = 1\n\
         intermediate_size = 4\n"
    );
    of_text(&text, out)
}

/// The method and the random control remove the direction of the pronouns; the shuffled control does nothing.
fn edits(setting: &Setting) -> Option<Vec<Edit>> {
    match setting.role {
        Role::Unedited => None,
        Role::Method | Role::Control(Control::Random) => Some(vec![without(UNIT)]),
        _ => Some(vec![Edit::identity(WIDTH)]),
    }
}

fn pair() -> BiasPair {
    BiasPair {
        id: "1".into(),
        language: Language::EN,
        category: "gender".into(),
        direction: Direction::Stereo,
        more: "he doctor".into(),
        less: "she doctor".into(),
        planted: None,
        kind: None,
    }
}

/// The scores, and how many edits were computed of how many different ones.
fn scores(
    plan: &Plan,
    mean: [f64; WIDTH],
    edits: impl Fn(&Setting) -> Option<Vec<Edit>>,
) -> (Scores, [usize; 2]) {
    let model = model(&plan.options.out, &WORDS, plan);
    let edited = edited(&model, plan, mean, edits);
    let (pair, neutral) = (pair(), ["he nurse".to_owned()]);
    with_runner(plan, |run| {
        let found = score_stage(run, &edited, "gender", Language::EN, &[&pair], &neutral).unwrap();
        (found, run.timings[0].computed.unwrap())
    })
}

fn near(found: f64, expect: f64) {
    assert!((found - expect).abs() < 3e-4, "{found}, not {expect}");
}

/// The position of the first setting of a role.
fn of(plan: &Plan, role: Role) -> usize {
    let mut settings = plan.settings.iter();
    settings.position(|s| s.role == role).unwrap()
}

const SCORE: &str = "[score]\nscorers = [\"lm-eval\"]";

#[test]
fn scores_and_divergences_are_those_of_the_logits() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(SCORE, folder.path());
    // Around a mean of U/2, each state keeps what it has beside the direction, and has U/2 along it.
    let mean = UNIT;
    let (found, _) = scores(&plan, mean, edits);
    let exp = |l: &f64| l.exp();
    let sum: f64 = AFTER_HE.iter().map(exp).sum();
    let (log_sum, log_eight) = (sum.ln(), 8f64.ln());
    let start = -log_eight;
    let expect = [
        (
            Role::Unedited,
            [start + 2.0 - log_sum, start - 2.0 - log_sum],
        ),
        (Role::Method, [2.0 * start; 2]),
        (
            Role::Control(Control::Shuffled),
            [start + 2.0 - log_sum, start - 2.0 - log_sum],
        ),
        // All states are U/2, and the last norm makes U of it, behind the start token too.
        (
            Role::Control(Control::Random),
            [1.0 + 2.0 - 2.0 * log_sum, -1.0 + 2.0 - 2.0 * log_sum],
        ),
    ];
    assert_eq!(found.settings, (0..plan.settings.len()).collect::<Vec<_>>());
    for (role, [more, less]) in expect {
        let scorers = &found.pairs[of(&plan, role)];
        assert_eq!((scorers.len(), scorers[0].len()), (1, 1));
        let sides = scorers[0][0].unwrap();
        near(sides[0].0, more);
        near(sides[1].0, less);
        assert_eq!(sides.map(|side| side.1), [2, 2]);
    }
    let neutral = |role: Role| found.neutral[of(&plan, role)][0];
    let unedited = neutral(Role::Unedited);
    near(unedited.log_prob, start - 2.0 - log_sum);
    near(unedited.divergence, 0.0);
    assert_eq!((unedited.tokens, unedited.agreeing), (2, 2));
    let method = neutral(Role::Method);
    near(method.log_prob, 2.0 * start);
    // Of the prediction after `he` from the uniform one: ln 8 minus its entropy. The start token is as it was.
    let mean_logit: f64 = AFTER_HE.iter().map(|l| l.exp() / sum * l).sum();
    near(method.divergence, log_eight - (log_sum - mean_logit));
    assert_eq!((method.tokens, method.agreeing), (2, 1));
}

#[test]
fn a_start_token_that_is_left_is_not_edited() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(
        &format!("special_tokens = \"left\"\n{SCORE}"),
        folder.path(),
    );
    let (found, _) = scores(&plan, UNIT, edits);
    let log_sum = AFTER_HE.iter().map(|l| l.exp()).sum::<f64>().ln();
    let sides = found.pairs[of(&plan, Role::Control(Control::Random))][0][0].unwrap();
    for side in sides {
        near(side.0, -(8f64.ln()) + 2.0 - log_sum);
    }
}

#[test]
fn only_edits_that_are_new_are_computed() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(SCORE, folder.path());
    // Unedited, the removal, the identity, and the removal around the mean; the languages of the fit share theirs.
    let (first, computed) = scores(&plan, UNIT, edits);
    assert_eq!(computed, [4, 4]);
    let (again, computed) = scores(&plan, UNIT, edits);
    assert_eq!((again, computed), (first.clone(), [0, 4]));
    let french = |setting: &Setting| match setting.fit_language.and_then(|on| on.one()) {
        Some(Language::FR) if setting.role == Role::Method => Some(vec![without(OTHER)]),
        _ => edits(setting),
    };
    let (more, computed) = scores(&plan, UNIT, french);
    assert_eq!(computed, [1, 5]);
    for (at, setting) in plan.settings.iter().enumerate() {
        let is_new = french(setting) != edits(setting);
        assert_eq!(more.pairs[at] != first.pairs[at], is_new, "{setting:?}");
    }
    // The control stands around another mean now, and is all that is another edit.
    let (_, computed) = scores(&plan, UNIT.map(|v| v / 2.0), edits);
    assert_eq!(computed, [1, 4]);
}

#[test]
fn without_scorers_the_model_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = plan(SCORE, folder.path());
    plan.spec.score.scorers.clear();
    let (found, _) = scores(&plan, UNIT, edits);
    assert_eq!(found.settings.len(), plan.settings.len());
    assert!(found.pairs.iter().all(Vec::is_empty));
    assert!(found.neutral.iter().all(Vec::is_empty));
}

//! Tests fits on states that are made by hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use interlingua_data::{Language, ParallelCorpus};
use interlingua_debias::Reduce;
use interlingua_edits::{Edit, Factor, Kind, ModelShape, norm};
use interlingua_models::store::{Store, Writer};

use super::material::Again;
use super::{Edits, Material, RowStates, Runner, SiteStates, fit_stage};
use crate::cache::Cache;
use crate::plan::{Plan, Setting, of_text};
use crate::prepare::{FitSet, Prepared};
use crate::role::{Control, Role};
use crate::spec::Spec;
use interlingua_spaces::Spaces;

const WIDTH: usize = 6;
const LANGUAGES: [Language; 2] = [Language::EN, Language::FR];
/// Sentences of a language; every third names no group.
const SENTENCES: usize = 30;
/// The unit that is high where `he` is named.
const EXPERT: usize = 3;
/// The unit that is high in French.
const FRENCH: usize = 4;

fn plan(methods: &str, out: &Path) -> Plan {
    let text = format!(
        "name = \"x\"\ntitle = \"X\"\nlanguages = [\"en\", \"fr\"]\ncategories = [\"gender\"]\nspaces = [\"raw\"]\n\
         hook = [\"block.0.output\", \"block.1.output + block.0.output\"]\nmethods = [{methods}]\n\
         [data]\nkind = \"testbed\"\n[model]\nkind = \"train\"\nlayers = 2\nhidden_size = {WIDTH}\nheads = 1\n\
         kv_heads = 1\nintermediate_size = 8\n[score]\nscorers = [\"lm-eval\"]\n"
    );
    of_text(&text, out)
}

fn class(sentence: usize) -> usize {
    sentence % 3
}

/// The state of a sentence at a hook point.
fn state(sentence: usize, hook: usize) -> Vec<f32> {
    let mut state: Vec<f32> = (0..WIDTH)
        .map(|j| ((sentence * 7 + j * 3 + hook) % 5) as f32 * 0.1)
        .collect();
    state[0] += [0.0, 2.0, 1.0][class(sentence)] * (1 + hook) as f32;
    state[FRENCH] += if sentence >= SENTENCES { 3.0 } else { 0.0 };
    state[EXPERT] += if class(sentence) == 0 { 5.0 } else { 0.0 };
    state
}

fn text() -> Prepared {
    let empty = || ParallelCorpus {
        languages: LANGUAGES.to_vec(),
        ids: Vec::new(),
        columns: vec![Vec::new(); 2],
    };
    let set = |(at, language): (usize, Language)| {
        let own = at * SENTENCES..(at + 1) * SENTENCES;
        FitSet {
            language,
            category: "gender".into(),
            groups: vec!["he".into(), "she".into()],
            tuples: own.clone().step_by(3).map(|s| vec![s, s + 1]).collect(),
            classes: own.map(|s| (s, class(s))).collect(),
            probe: Vec::new(),
        }
    };
    Prepared {
        benchmark: "by hand".into(),
        train: ParallelCorpus {
            ids: (0..SENTENCES).map(|row| row.to_string()).collect(),
            columns: (0..2)
                .map(|at| {
                    (0..SENTENCES)
                        .map(|row| format!("{}", at * SENTENCES + row))
                        .collect()
                })
                .collect(),
            ..empty()
        },
        twins: Vec::new(),
        validation: empty(),
        heldout: empty(),
        heldout_log_probs: None,
        pairs: Vec::new(),
        fit_sentences: (0..2 * SENTENCES)
            .map(|s| (LANGUAGES[s / SENTENCES], s.to_string()))
            .collect(),
        fit_sets: LANGUAGES.into_iter().enumerate().map(set).collect(),
        benchmarks: Vec::new(),
        findings: Vec::new(),
    }
}

/// The states of all sentences at a hook point.
fn states(folder: &Path, hook: usize) -> SiteStates {
    let count = 2 * SENTENCES;
    let path = folder.join(format!("states-{hook}.safetensors"));
    let mut writer = Writer::create(&path, WIDTH, vec![1; count]).unwrap();
    for sentence in 0..count {
        writer.write(sentence, &state(sentence, hook)).unwrap();
    }
    writer.finish().unwrap();
    let store = || Store::open(&path).unwrap();
    let by = || BTreeMap::from([(Reduce::Mean, (store(), format!("d{hook}")))]);
    SiteStates {
        width: WIDTH,
        rows: Some(RowStates {
            train: store(),
            validation: store(),
            heldout: store(),
        }),
        keys: ["a", "b", "c", "d"].map(|key| format!("{key}{hook}")),
        fit: by(),
        parallel: by(),
    }
}

/// Fits everything of a plan: the edits, and how many fits were computed, of how many.
fn fitted(plan: &Plan) -> (Edits, [usize; 2]) {
    fitted_with(plan, &|_, _, _, _| panic!("no fit looks at edited states"))
}

/// The same, with what the model gives under edits.
fn fitted_with(plan: &Plan, again: Again<'_>) -> (Edits, [usize; 2]) {
    let folder = plan.options.out.join("states");
    std::fs::create_dir_all(&folder).unwrap();
    let captured = vec![states(&folder, 0), states(&folder, 1)];
    let of_hook = Arc::new(Spaces::raw(WIDTH, &plan.device));
    let spaces = vec![of_hook.clone(), of_hook];
    let shape = ModelShape {
        architecture: "any".into(),
        layers: 2,
        hidden: WIDTH,
        heads: 1,
        kv_heads: 1,
        head_dim: WIDTH,
        intermediate: 8,
        gated: true,
    };
    let mut run = Runner {
        plan,
        cache: Cache::open(&plan.options.out.join("cache")).unwrap(),
        listener: &mut |_| {},
        timings: Vec::new(),
    };
    let from = Material {
        text: &text(),
        captured: &captured,
        spaces: &spaces,
        again,
        weights: &|_, _| panic!("no fit looks at weights"),
    };
    let fits = fit_stage(&mut run, &shape, &from).unwrap();
    assert_eq!(fits.notes.len(), plan.settings.len());
    (fits.edits, run.timings[0].computed.unwrap())
}

/// The edits of the setting of a role, method, place, language and strength.
fn of<'a>(plan: &Plan, edits: &'a Edits, is: impl Fn(&Setting) -> bool) -> &'a [Edit] {
    let mut places = (0..edits.len()).filter(|&at| is(&plan.settings[at]));
    let at = places.next().expect("a setting");
    edits[at].as_deref().unwrap()
}

/// Mean of `she` minus mean of `he` in English.
fn difference(hook: usize) -> Vec<f64> {
    let mean = |group: usize, j: usize| {
        let rows: Vec<usize> = (0..SENTENCES).filter(|&s| class(s) == group).collect();
        let sum: f64 = rows.iter().map(|&s| f64::from(state(s, hook)[j])).sum();
        sum / rows.len() as f64
    };
    (0..WIDTH).map(|j| mean(1, j) - mean(0, j)).collect()
}

fn close(found: &[f64], expect: &[f64]) -> bool {
    found.len() == expect.len() && found.iter().zip(expect).all(|(a, b)| (a - b).abs() < 1e-9)
}

const METHODS: &str = "{ name = \"steering\", strength = [1.0, -2.0] }, \
    { name = \"clamp-units\", units = 1, params = { reduce = \"mean\" } }";

#[test]
fn shifts_and_clamps_and_places_of_two_hook_points_are_fitted() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(METHODS, folder.path());
    let (edits, _) = fitted(&plan);
    let two = "block.0.output+block.1.output";
    let setting = |method: &'static str, role: Role, place: &'static str, strength: f64| {
        of(&plan, &edits, move |s: &Setting| {
            (s.method.as_deref(), s.role, s.hook.as_deref()) == (Some(method), role, Some(place))
                && s.fit_language
                    .is_some_and(|l| l.one() == Some(Language::EN))
                && s.strength == Some(strength)
        })
    };
    let random = Role::Control(Control::Random);
    for (strength, place) in [(1.0, "block.0.output"), (-2.0, two)] {
        let found = setting("steering", Role::Method, place, strength);
        let drawn = setting("steering", random, place, strength);
        assert_eq!(
            (found.len(), drawn.len()),
            (1 + usize::from(place == two), found.len())
        );
        for (hook, (edit, drawn)) in found.iter().zip(drawn).enumerate() {
            let vector = edit.constant().unwrap();
            let expect: Vec<f64> = difference(hook).iter().map(|v| strength * v).collect();
            assert!(close(&vector, &expect), "{vector:?} {expect:?}");
            assert_eq!(drawn.kind(), Kind::Shift);
            let drawn = drawn.constant().unwrap();
            assert!((norm(&drawn) - norm(&expect)).abs() < 1e-9);
            assert!(!close(&drawn, &expect));
        }
    }
    for place in ["block.0.output", two] {
        for edit in setting("clamp-units", Role::Method, place, 1.0) {
            let Factor::Units(units, _) = edit.left() else {
                panic!("a clamp changes units")
            };
            assert_eq!(units[..], [EXPERT as u32]);
            assert!(edit.offset()[0] >= 5.0);
        }
        for edit in setting("clamp-units", random, place, 1.0) {
            assert_eq!((edit.kind(), edit.rank()), (Kind::Clamp, 1));
        }
    }
}

#[test]
fn a_method_that_is_added_is_all_that_is_fitted() {
    let folder = tempfile::tempdir().unwrap();
    let first = plan(METHODS, folder.path());
    let (before, counts) = fitted(&first);
    // Methods × roles × languages × hook points: both places share the fit at the first.
    assert_eq!(counts, [2 * 3 * 2 * 2; 2]);
    assert_eq!(fitted(&first).1, [0, counts[1]]);

    let more = format!("{{ name = \"leace\", rank = 1 }}, {METHODS}");
    let second = plan(&more, folder.path());
    let (after, counts) = fitted(&second);
    // LEACE and its shuffled control in two languages, and one random subspace, at two hook points.
    assert_eq!(counts, [(2 * 2 + 1) * 2, 2 * 3 * 2 * 2 + (2 * 2 + 1) * 2]);
    for (at, setting) in first.settings.iter().enumerate() {
        let is = |s: &Setting| {
            Setting {
                method_index: setting.method_index,
                ..s.clone()
            } == *setting
        };
        let place = second.settings.iter().position(is).unwrap();
        assert_eq!(before[at], after[place], "{setting:?}");
    }
    // The cache does not say what a fit gives: made anew it is the same.
    let fresh = tempfile::tempdir().unwrap();
    assert_eq!(fitted(&plan(&more, fresh.path())).0, after);
}

#[test]
fn every_random_draw_is_another_subspace() {
    let folder = tempfile::tempdir().unwrap();
    let one = plan("{ name = \"leace\", rank = 1 }", folder.path());
    let spec = Spec {
        random_draws: 3,
        ..one.spec.clone()
    };
    let three = Plan::new(spec, one.options.clone()).unwrap();
    let random = |plan: &Plan| -> Vec<(usize, Vec<Edit>)> {
        let (edits, _) = fitted(plan);
        let settings = plan.settings.iter().zip(edits);
        settings
            .filter(|(s, _)| {
                s.role == Role::Control(Control::Random) && s.hook == one.settings[1].hook
            })
            .map(|(s, edits)| (s.draw, edits.unwrap()))
            .collect()
    };
    let (alone, drawn) = (random(&one), random(&three));
    assert_eq!(
        drawn.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(alone[..], drawn[..1], "the first draw is that of one alone");
    assert_ne!(drawn[0].1, drawn[1].1);
    assert_ne!(drawn[0].1, drawn[2].1);
    assert_ne!(drawn[1].1, drawn[2].1);
}

#[test]
fn other_evidence_is_another_fit() {
    let folder = tempfile::tempdir().unwrap();
    let (_, [_, all]) = fitted(&plan(METHODS, folder.path()));
    let other = METHODS.replace("reduce = \"mean\"", "reduce = \"mean\", value = \"rest\"");
    let (_, [computed, _]) = fitted(&plan(&other, folder.path()));
    assert_eq!(computed, all / 2, "a parameter of one of two methods");
    let seed = plan(METHODS, folder.path());
    let (_, [computed, _]) = fitted(&Plan {
        spec: Spec {
            seed: 2,
            ..seed.spec.clone()
        },
        ..seed
    });
    assert_eq!(computed, all, "another seed");
}

#[test]
fn units_of_several_hook_points_are_ranked_together() {
    let folder = tempfile::tempdir().unwrap();
    let methods = "{ name = \"clamp-units\", units = 3, languages = [\"each\"], \
        params = { reduce = \"mean\", scope = \"all\", contrast = \"languages\" } }, \
        { name = \"clamp-units\", units = 1, params = { reduce = \"mean\", scope = \"all\" } }";
    let plan = plan(methods, folder.path());
    let (edits, [computed, wanted]) = fitted(&plan);
    // Methods × roles × languages × places: a fit over two hook points is one.
    assert_eq!([computed, wanted], [2 * 3 * 2 * 2; 2]);
    assert_eq!(fitted(&plan).1, [0, wanted]);
    let two = "block.0.output+block.1.output";
    let setting = |role: Role, units: usize, language: Language| {
        of(&plan, &edits, move |s: &Setting| {
            (s.role, s.units(), s.hook.as_deref()) == (role, Some(units), Some(two))
                && s.fit_language.is_some_and(|l| l.one() == Some(language))
        })
    };
    // The French unit of both hook points, and one that ties with all others.
    let french = setting(Role::Method, 3, Language::FR);
    let units: Vec<Vec<u32>> = french
        .iter()
        .map(|edit| match edit.left() {
            Factor::Units(units, _) => units.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(units[0][0], FRENCH as u32);
    assert_eq!(units[1][0], FRENCH as u32);
    assert_eq!(units.concat().len(), 3);
    assert!(french.iter().all(|edit| edit.offset()[0] >= 3.0));
    let drawn = setting(Role::Control(Control::Random), 3, Language::FR);
    for (drawn, edit) in drawn.iter().zip(french) {
        assert_eq!(drawn.rank(), edit.rank());
    }
    // With labels that say nothing, the unit is held at another value or is another one.
    assert_ne!(
        setting(Role::Control(Control::Shuffled), 3, Language::FR),
        french
    );
    // One unit in all: the other hook point is left as it is.
    let he = setting(Role::Method, 1, Language::EN);
    assert_eq!((he[0].rank(), he[1].kind()), (1, Kind::Identity));
}

#[test]
fn a_chain_sees_what_its_earlier_edits_leave() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(
        "{ name = \"linear-act\", params = { map = \"mean\" } }",
        folder.path(),
    );
    let asked = std::sync::Mutex::new(Vec::new());
    // At the second hook point nothing is left of what the groups differ in.
    let (edits, _) = fitted_with(&plan, &|site, reduce, sentences, earlier| {
        assert_eq!((site, reduce, earlier.len()), (1, Reduce::Mean, 1));
        assert_eq!((earlier[0].0, earlier[0].1.kind()), (0, Kind::Clamp));
        asked.lock().unwrap().push(sentences.len());
        let row = |at: usize| (0..WIDTH).map(move |j| 10.0 + ((at * 3 + j) % 7) as f32);
        Ok((0..sentences.len()).flat_map(row).collect())
    });
    // Method and its controls in two languages; at one hook point alone there is nothing before it.
    assert_eq!(*asked.lock().unwrap(), [SENTENCES; 6]);
    let two = "block.0.output+block.1.output";
    let found = of(&plan, &edits, |s: &Setting| {
        (s.role, s.hook.as_deref()) == (Role::Method, Some(two))
    });
    let zero = |edit: &Edit| {
        let mut zero = interlingua_debias::Matrix::zeros(1, WIDTH);
        edit.apply_matrix(&mut zero).unwrap();
        zero.at(0, 0)
    };
    // From what the model has left, about 13, to what the other group has in the unedited model.
    assert!(zero(&found[0]) > 1.0 && zero(&found[1]) < -5.0);
}

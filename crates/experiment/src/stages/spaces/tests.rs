//! Spaces of states that are made by hand.

use std::path::Path;

use interlingua_data::Language;
use interlingua_spaces::sparse::Tier;

use super::super::Timing;
use super::super::made::{self, with_runner};
use super::*;
use crate::plan::{Plan, of_text};

const WIDTH: usize = 2;
/// The token states of the training rows in English; a French state is further by `FURTHER`.
const ROWS: [&[[f32; WIDTH]]; 4] = [
    &[[1.0, 0.0]],
    &[[3.0, 0.0], [5.0, 2.0]],
    &[[0.0, 1.0]],
    &[[0.0, 3.0]],
];
const FURTHER: [f32; WIDTH] = [10.0, -10.0];

fn plan(spaces: &str, hooks: &str, more: &str, out: &Path) -> Plan {
    let text = format!(
        "name = \"x\"\ntitle = \"X\"\nlanguages = [\"en\", \"fr\"]\ncategories = [\"gender\"]\nspaces = [{spaces}]\n\
         hook = [{hooks}]\nmethods = [{{ name = \"sentdebias\", rank = 1 }}]\n[data]\nkind = \"testbed\"\n[model]\n\
         kind = \"train\"\nlayers = 1\nhidden_size = 8\nheads = 1\nkv_heads = 1\nintermediate_size = 8\n\
         [score]\nscorers = [\"lm-eval\"]\n{more}"
    );
    of_text(&text, out)
}

fn site(folder: &Path, hook: usize, rows: &[Vec<f32>]) -> SiteStates {
    let mut languages = rows.to_vec();
    languages.extend(rows.iter().map(|row| {
        let further = row.iter().zip(FURTHER.iter().cycle());
        further.map(|(x, more)| x + more).collect()
    }));
    made::site(folder, hook, WIDTH, &languages)
}

fn by_hand(folder: &Path, hook: usize) -> SiteStates {
    let rows = ROWS.iter().map(|row| row.concat());
    site(folder, hook, &rows.collect::<Vec<_>>())
}

type Found = (Vec<Arc<Spaces>>, Digests, Vec<Timing>);

fn spaces(plan: &Plan, captured: &Captured) -> Found {
    with_runner(plan, |run| {
        let (spaces, digests) = spaces_stage(run, captured, &[]).unwrap();
        (spaces, digests, std::mem::take(&mut run.timings))
    })
}

fn near(found: &[f64], expect: [f64; WIDTH]) {
    assert_eq!(found.len(), WIDTH);
    for (found, expect) in found.iter().zip(expect) {
        assert!((found - expect).abs() < 1e-6, "{found}, not {expect}");
    }
}

#[test]
fn means_are_those_of_tokens_in_each_space() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(
        "\"raw\", \"centred\"",
        "\"block.0.output\"",
        "",
        folder.path(),
    );
    let captured = vec![by_hand(folder.path(), 0)];
    let (found, digests, _) = spaces(&plan, &captured);
    assert_eq!((found.len(), digests), (1, Vec::new()));
    // Five tokens sum to (9, 6).
    near(found[0].mean(Space::Raw, Language::EN), [1.8, 1.2]);
    near(found[0].mean(Space::Raw, Language::FR), [11.8, -8.8]);
    // Sentences, not tokens, say where a language is: (1, 0), (4, 1), (0, 1) and (0, 3) are around (1.25, 1.25).
    for language in [Language::EN, Language::FR] {
        near(found[0].mean(Space::Centred, language), [0.55, -0.05]);
    }
    let entered = found[0].enter(Space::Centred, Language::FR, vec![10.0, -10.0]);
    assert_eq!(entered.unwrap(), [-1.25, -1.25]);
    assert_eq!(found[0].key(Space::Raw), "raw");
    let of_keys = |captured: &Captured| spaces(&plan, captured).0[0].key(Space::Centred).to_owned();
    let mut others = vec![by_hand(folder.path(), 0)];
    assert_eq!(of_keys(&others), of_keys(&captured));
    others[0].keys[0] = "of other states".into();
    assert_ne!(of_keys(&others), of_keys(&captured));
}

#[test]
fn where_sentences_alone_are_looked_at_there_is_the_raw_space_alone() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan("\"raw\"", "\"block.0.output\"", "", folder.path());
    let mut captured = vec![by_hand(folder.path(), 0)];
    captured[0].rows = None;
    let (found, digests, _) = spaces(&plan, &captured);
    let names: Vec<Space> = found[0].all().map(|(name, _)| name).collect();
    assert_eq!((names, digests), (vec![Space::Raw], Vec::new()));
    assert!(found[0].means.is_empty());
}

#[test]
fn autoencoders_are_trained_once_and_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[autoencoder]\nlatent = 2\nhidden = 4\nbatch = 8\nsteps = 4\neval_every = 2\n";
    let latent = "\"raw\", \"latent\", \"latent-unaligned\"";
    let first = plan(
        latent,
        "\"block.0.output\", \"embedding\"",
        text,
        folder.path(),
    );
    let rows: Vec<Vec<f32>> = (0..24)
        .map(|row| vec![(row % 5) as f32, (row * 3 % 7) as f32])
        .collect();
    let captured = vec![site(folder.path(), 0, &rows), site(folder.path(), 1, &rows)];
    let (before, digests, timings) = spaces(&first, &captured);
    let stages = |timings: &[Timing]| -> Vec<(String, bool)> {
        let stages = timings.iter();
        stages.map(|t| (t.stage.clone(), t.cached)).collect()
    };
    let together = "train autoencoder, train autoencoder without alignment";
    let expect =
        ["block.0.output", "embedding"].map(|hook| (format!("{together} at {hook}"), false));
    assert_eq!(stages(&timings), expect);
    let names: Vec<&str> = digests.iter().map(|(name, _)| name.as_str()).collect();
    let expect = [
        "autoencoder (latent at block.0.output)",
        "autoencoder (latent-unaligned at block.0.output)",
        "autoencoder (latent at embedding)",
        "autoencoder (latent-unaligned at embedding)",
    ];
    assert_eq!(names, expect);
    let mut keys: Vec<&String> = digests.iter().map(|(_, key)| key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4);
    // What is in the cache is what was trained.
    let (after, again, timings) = spaces(&first, &captured);
    assert_eq!(again, digests);
    assert!(
        timings.iter().all(|t| t.cached) && timings.len() == 4,
        "{timings:?}"
    );
    let point = |spaces: &Spaces, space: Space| {
        let entered = spaces.enter(space, Language::EN, vec![1.0, 2.0]);
        entered.unwrap()
    };
    for (before, after) in before.iter().zip(&after) {
        for space in [Space::Latent, Space::LatentUnaligned] {
            assert_eq!(point(before, space), point(after, space));
        }
        assert_ne!(
            point(before, Space::Latent),
            point(before, Space::LatentUnaligned)
        );
    }
    // One more space is all that is trained.
    let more = format!("{latent}, \"latent-shared\"");
    let second = plan(&more, "\"block.0.output\"", text, folder.path());
    let (_, _, timings) = spaces(&second, &vec![site(folder.path(), 0, &rows)]);
    let expect = [
        ("train autoencoder", true),
        ("train autoencoder without alignment", true),
        ("train shared autoencoder", false),
    ];
    assert_eq!(
        stages(&timings),
        expect.map(|(name, cached)| (name.to_owned(), cached))
    );
}

#[test]
fn each_latent_space_leaves_out_what_it_is_there_to_leave_out() {
    let typed = Config {
        alignment_weight: 0.5,
        cross_reconstruction_weight: 0.25,
        ..Config::default()
    };
    assert_eq!(config(Space::Latent, &typed), typed);
    let shared = config(Space::LatentShared, &typed);
    assert_eq!(shared.sharing, Sharing::Shared);
    assert_ne!(typed.sharing, Sharing::Shared);
    assert_eq!(
        Config {
            sharing: typed.sharing,
            ..shared
        },
        typed
    );
    let unaligned = config(Space::LatentUnaligned, &typed);
    assert_eq!(unaligned.alignment_weight, 0.0);
    assert_eq!(unaligned.cross_reconstruction_weight, 0.0);
    assert!(typed.linear && !unaligned.linear);
    assert_eq!(unaligned.sharing, typed.sharing);
}

/// Each of three features reads one coordinate, or their sum.
fn weights() -> Weights {
    Weights {
        width: 2,
        features: 3,
        encoder: vec![1.0, 0.0, 1.0, 0.0, 1.0, 1.0],
        encoder_bias: vec![0.0, 0.0, -1.0],
        decoder: vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        decoder_bias: vec![0.0; 2],
        centred: false,
        gate: Gate::Relu,
    }
}

#[test]
fn a_sparse_autoencoder_of_a_file_is_known_by_what_it_computes() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan("\"raw\", \"sae\"", "\"block.0.output\"", "", folder.path());
    let captured = vec![by_hand(folder.path(), 0)];
    let of = |name: &str, tier: Tier, weights: &Weights| {
        let file = folder.path().join(name);
        weights.save(&file).unwrap();
        let mut plan = plan.clone();
        plan.spec.sae.file = Some(file.to_str().unwrap().to_owned());
        plan.spec.sae.tier = tier;
        let (found, digests, timings) = spaces(&plan, &captured);
        assert!(timings.is_empty(), "nothing is trained: {timings:?}");
        assert_eq!(digests[0].0, "sparse autoencoder");
        assert_eq!(digests[0].1, found[0].key(Space::Sae));
        (found[0].clone(), digests[0].1.clone())
    };
    let (found, key) = of("one", Tier::Constant, &weights());
    // max(0, x), max(0, y), max(0, x + y − 1).
    let entered = found.enter(Space::Sae, Language::EN, vec![2.0, -3.0, 1.0, 2.0]);
    assert_eq!(entered.unwrap(), [2.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
    // English tokens are (1, 0), (3, 0), (5, 2), (0, 1) and (0, 3).
    let mean = found.mean(Space::Sae, Language::EN);
    for (found, expect) in mean
        .iter()
        .zip([9.0 / 5.0, 6.0 / 5.0, (2.0 + 6.0 + 2.0) / 5.0])
    {
        assert!((found - expect).abs() < 1e-6, "{mean:?}");
    }
    assert_eq!(of("two", Tier::Constant, &weights()).1, key);
    assert_ne!(of("one", Tier::PerToken, &weights()).1, key);
    let other = Weights {
        encoder_bias: vec![0.0, 0.0, -2.0],
        ..weights()
    };
    assert_ne!(of("one", Tier::Constant, &other).1, key);
}

#[test]
fn every_number_of_a_sparse_autoencoder_is_in_its_digest() {
    let change = |change: fn(&mut Weights)| {
        let mut changed = weights();
        change(&mut changed);
        digest(&changed)
    };
    let thresholds = |values: [f32; 3]| Gate::JumpRelu(values.to_vec());
    let mut all = vec![
        digest(&weights()),
        change(|w| w.encoder[5] = 2.0),
        change(|w| w.encoder_bias[0] = 2.0),
        change(|w| w.decoder[5] = 2.0),
        change(|w| w.decoder_bias[1] = 2.0),
        change(|w| w.centred = true),
        change(|w| w.gate = Gate::TopK(1)),
        change(|w| w.gate = Gate::TopK(2)),
    ];
    let gates = [
        thresholds([0.0; 3]),
        thresholds([0.0, 0.0, 1.0]),
        Gate::Gated {
            scale: vec![1.0; 3],
            bias: vec![2.0; 3],
        },
        Gate::Gated {
            scale: vec![2.0; 3],
            bias: vec![1.0; 3],
        },
    ];
    all.extend(gates.map(|gate| digest(&Weights { gate, ..weights() })));
    assert_eq!(digest(&weights()), all[0]);
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

//! A model, a runner and edits that tests of the stages make by hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use interlingua_data::{Language, ParallelCorpus};
use interlingua_edits::{Edit, Matrix};
use interlingua_models::architectures::cohere::Config;
use interlingua_models::made::{random_weights, write_checkpoint};
use interlingua_models::store::{Store, Writer};
use interlingua_models::tokenizer::SPECIAL;
use interlingua_models::{Hook, Model, Residency};
use interlingua_spaces::Spaces;

use super::{Edited, RowStates, Runner, SiteStates};
use crate::cache::Cache;
use crate::plan::{Plan, Setting};
use crate::prepare::Prepared;
use crate::progress::Event;
use crate::spec::Space;

/// The width of the states of the model.
pub const WIDTH: usize = 4;

/// A model of one block that writes nothing, so that the state of a token is its row of the embedding. The logits are
/// ¼·E·norm(state), and the rows of special tokens are zero.
pub fn model(folder: &Path, words: &[(&str, [f32; WIDTH])], plan: &Plan) -> Model {
    let vocab_size = SPECIAL.len() + words.len();
    let config = Config {
        hidden_size: WIDTH,
        intermediate_size: WIDTH,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: WIDTH,
        vocab_size,
        max_positions: 16,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        logit_scale: 0.25,
        tied: true,
        qk_norm: false,
        attention_bias: false,
        bos: Some(2),
        eos: Some(3),
    };
    let mut tensors = random_weights(&config, 1);
    for (name, shape, values) in &mut tensors {
        if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
            values.fill(0.0);
        }
        if shape[..] == [vocab_size, WIDTH] {
            let rows = words.iter().flat_map(|(_, row)| row).copied();
            *values = std::iter::repeat_n(0.0, SPECIAL.len() * WIDTH)
                .chain(rows)
                .collect();
        }
    }
    let names = SPECIAL.iter().chain(words.iter().map(|(name, _)| name));
    let vocab: serde_json::Map<_, _> = names
        .enumerate()
        .map(|(at, name)| ((*name).to_owned(), at.into()))
        .collect();
    let special: Vec<_> = SPECIAL
        .iter()
        .enumerate()
        .map(|(id, content)| {
            serde_json::json!({
                "id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false,
            })
        })
        .collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": special, "normalizer": null, "post_processor": null, "decoder": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": SPECIAL[1]},
    });
    let tensors = tensors
        .iter()
        .map(|(name, shape, values)| (name.clone(), shape.clone(), values.as_slice()));
    let folder = folder.join("model");
    write_checkpoint(
        &folder,
        &config,
        &tokenizer.to_string(),
        &tensors.collect::<Vec<_>>(),
    )
    .unwrap();
    Model::open(&folder, &plan.device, Residency::Resident).unwrap()
}

/// The model with the edits that `of` gives to each setting, and the raw space alone at every hook point. `mean` is the mean of all
/// tokens.
pub fn edited<'a>(
    model: &'a Model,
    plan: &Plan,
    mean: [f64; WIDTH],
    of: impl Fn(&Setting) -> Option<Vec<Edit>>,
) -> Edited<'a> {
    let mut spaces = Spaces::raw(WIDTH, &plan.device);
    for &language in &plan.spec.languages {
        spaces.means.insert((Space::Raw, language), mean.to_vec());
    }
    let spaces = Arc::new(spaces);
    let hooks = plan.hooks.iter();
    Edited {
        model,
        model_key: "by hand".into(),
        hooks: hooks.map(|name| Hook::parse(name, 1).unwrap()).collect(),
        sites: plan.hooks.iter().map(|_| spaces.clone()).collect(),
        edits: plan.settings.iter().map(of).collect(),
        upstream: String::new(),
    }
}

/// The removal of one direction, which has length 1.
pub fn without(direction: [f64; WIDTH]) -> Edit {
    Edit::projection(&Matrix::from_rows(&[direction.to_vec()], WIDTH)).unwrap()
}

/// Runs something with a cache in the folder of the plan.
pub fn with_runner<T>(plan: &Plan, work: impl FnOnce(&mut Runner<'_>) -> T) -> T {
    let listener = &mut |_: Event| {};
    work(&mut Runner {
        plan,
        cache: Cache::open(&plan.options.out.join("cache")).unwrap(),
        listener,
        timings: Vec::new(),
    })
}

/// A store of sequences of states of one width.
pub fn store(path: &Path, width: usize, sequences: &[Vec<f32>]) -> Store {
    let lengths = sequences.iter().map(|states| states.len() / width);
    let mut writer = Writer::create(path, width, lengths.collect::<Vec<_>>()).unwrap();
    for (at, states) in sequences.iter().enumerate() {
        writer.write(at, states).unwrap();
    }
    writer.finish().unwrap()
}

/// States of a hook point: the same rows of each language to train on, to validate with and held out.
pub fn site(folder: &Path, hook: usize, width: usize, sequences: &[Vec<f32>]) -> SiteStates {
    let store = |name: &str| store(&folder.join(format!("{name}-{hook}")), width, sequences);
    SiteStates {
        width,
        rows: Some(RowStates {
            train: store("train"),
            validation: store("validation"),
            heldout: store("heldout"),
        }),
        keys: ["a", "b", "c", "d"].map(|key| format!("{key}{hook}")),
        fit: BTreeMap::new(),
        parallel: BTreeMap::new(),
    }
}

/// Text with held-out rows alone: one column for each language.
pub fn text(languages: &[Language], heldout: &[&[&str]]) -> Prepared {
    let corpus = |columns: Vec<Vec<String>>| ParallelCorpus {
        languages: languages.to_vec(),
        ids: (0..columns[0].len()).map(|row| row.to_string()).collect(),
        columns,
    };
    let empty = || corpus(vec![Vec::new(); languages.len()]);
    let owned = |column: &&[&str]| column.iter().map(|s| (*s).to_owned()).collect();
    Prepared {
        benchmark: "by hand".into(),
        train: empty(),
        twins: Vec::new(),
        validation: empty(),
        heldout: corpus(heldout.iter().map(owned).collect()),
        heldout_log_probs: None,
        pairs: Vec::new(),
        fit_sentences: Vec::new(),
        fit_sets: Vec::new(),
        benchmarks: Vec::new(),
        findings: Vec::new(),
    }
}

//! Hooks inside a block, and edits of some tokens.

use interlingua_backend::Tensor;
use interlingua_backend::device::cpu;
use interlingua_edits::{HookError, Tokens};
use interlingua_models::engine::{OnTokens, RowInfo, StateEdit, capture_branches, token_log_probs};
use interlingua_models::masked::{MaskRequest, masked_log_probs};
use interlingua_models::{Branch, Capture, Hook, Model, ModelError, Pooling, Residency, Sequence};
use interlingua_tests::fixtures;

fn open(name: &str) -> Model {
    let folder = fixtures().join("models/architectures").join(name);
    Model::open(&folder, &cpu(), Residency::Resident).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Stretches and moves every state.
struct Map(f32, f32);

impl StateEdit for Map {
    fn apply(&self, h: Tensor<2>, _: &RowInfo<'_>) -> Tensor<2> {
        h * self.0 + self.1
    }
}

/// All states of each sequence at a hook, under one branch.
fn states(
    model: &Model,
    sequences: &[Sequence],
    branch: &Branch<'_>,
    hook: Hook,
) -> Result<Vec<Vec<f32>>, ModelError> {
    let mut out = vec![Vec::new(); sequences.len()];
    let pooling = Pooling::All;
    capture_branches(
        model,
        sequences,
        std::slice::from_ref(branch),
        &[Capture { hook, pooling }],
        &mut |_, _, s, rows| {
            out[s] = rows.to_vec();
            Ok(())
        },
        &mut |_, _| {},
    )?;
    Ok(out)
}

fn near(a: &[Vec<f32>], b: &[Vec<f32>], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a.len(), b.len(), "{what}");
        let scale = b.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() <= 2e-5 * scale, "{what}: {x} {y}");
        }
    }
}

/// Mistral's projections have no bias, and its heads no norm: what an edit does further on is known.
#[test]
fn edits_inside_a_block_do_what_the_formulas_say() {
    let model = open("mistral");
    let sequences = [
        Sequence::new(vec![1, 7, 9, 7, 30, 12], 1),
        Sequence::new(vec![1, 7, 11], 1),
    ];
    let (double, nothing) = (Map(2.0, 0.0), Map(0.0, 0.0));
    let at = |branch: &Branch<'_>, hook| states(&model, &sequences, branch, hook).unwrap();
    let times = |factor: f32, states: Vec<Vec<f32>>| -> Vec<Vec<f32>> {
        let of = |row: Vec<f32>| row.iter().map(|x| x * factor).collect();
        states.into_iter().map(of).collect()
    };
    let unedited = Branch::unedited();
    for layer in 0..2 {
        let doubled = |hook| Branch::edited(hook, &double);
        for (edited, read, factor) in [
            (Hook::values(layer), Hook::heads(layer), 2.0),
            (Hook::heads(layer), Hook::attention(layer), 2.0),
            (Hook::units(layer), Hook::mlp(layer), 2.0),
            (Hook::projected(layer), Hook::attention(layer), 2.0),
            (Hook::up(layer), Hook::units(layer), 2.0),
            (Hook::down(layer), Hook::mlp(layer), 2.0),
        ] {
            let expected = times(factor, at(&unedited, read));
            near(&at(&doubled(edited), read), &expected, &format!("{edited}"));
        }
        for (edited, read) in [
            (Hook::units(layer), Hook::mlp(layer)),
            (Hook::gate(layer), Hook::units(layer)),
            (Hook::values(layer), Hook::attention(layer)),
        ] {
            let found = at(&Branch::edited(edited, &nothing), read);
            assert!(found.iter().flatten().all(|x| *x == 0.0), "{edited}");
        }
        // Scores are products of queries and keys.
        let keys = at(&doubled(Hook::keys(layer)), Hook::FINAL_NORM);
        let queries = at(&doubled(Hook::queries(layer)), Hook::FINAL_NORM);
        near(&keys, &queries, "queries and keys");
        assert_ne!(keys, at(&unedited, Hook::FINAL_NORM));
        // The same edits in a scoring pass, whose last block is asked for few rows.
        for hook in [Hook::keys(layer), Hook::values(layer), Hook::units(layer)] {
            let branch = [doubled(hook)];
            let found = token_log_probs(&model, &sequences, &branch, &mut |_, _| {}).unwrap();
            for (sequence, found) in sequences.iter().zip(&found[0]) {
                let alone = std::slice::from_ref(sequence);
                let alone = token_log_probs(&model, alone, &branch, &mut |_, _| {}).unwrap();
                near(&alone[0], std::slice::from_ref(found), &format!("{hook}"));
            }
        }
    }
}

#[test]
fn a_part_that_an_architecture_lacks_is_named() {
    let sequences = [Sequence::new(vec![5, 6], 0)];
    let double = Map(2.0, 0.0);
    for (name, class) in [
        ("gpt2", "GPT2LMHeadModel"),
        ("bloom", "BloomForCausalLM"),
        ("bert-mlm", "BertForMaskedLM"),
        ("xlm-roberta-model", "XLMRobertaModel"),
        ("distilbert-mlm", "DistilBertForMaskedLM"),
    ] {
        let model = open(name);
        let hook = Hook::gate(0);
        assert!(!model.geometry.hooks().contains(&hook));
        let read = states(&model, &sequences, &Branch::unedited(), hook);
        let edited = Branch::edited(hook, &double);
        let edited = states(&model, &sequences, &edited, Hook::FINAL_NORM);
        for error in [read.unwrap_err(), edited.unwrap_err()] {
            assert!(matches!(error, ModelError::Hook(HookError::Lacks { .. })));
            let message = error.to_string();
            let told = format!("{class} has no `block.0.gate`");
            assert!(
                message.contains(&told) && message.contains("block.0.units"),
                "{message}"
            );
        }
    }
}

/// Edits the rows at some places of one sequence that is computed alone.
struct AtPlaces {
    places: Vec<bool>,
    map: Map,
}

impl StateEdit for AtPlaces {
    fn apply(&self, h: Tensor<2>, rows: &RowInfo<'_>) -> Tensor<2> {
        let device = h.device();
        let [count, _] = h.dims();
        assert_eq!(rows.positions().len(), count);
        let chosen: Vec<f32> = (rows.positions().iter())
            .map(|&place| f32::from(u8::from(self.places[place as usize])))
            .collect();
        let chosen = interlingua_backend::from_rows(chosen, count, 1, &device);
        let change = self.map.apply(h.clone(), rows) - h.clone();
        h + change * chosen
    }

    fn reads_rows(&self) -> bool {
        true
    }
}

/// Places of a sequence that a set of tokens means, written out.
fn meant(tokens: Tokens, sequence: &Sequence, opening: usize) -> Vec<bool> {
    let end = sequence.tokens.len() - sequence.closing;
    let opening = opening.min(sequence.context);
    let of = |i: usize| match tokens {
        Tokens::All => true,
        Tokens::Text => (opening..end).contains(&i),
        Tokens::Last => i + 1 == end,
        Tokens::Prompt => (opening..sequence.context).contains(&i),
        Tokens::Generated => (sequence.context..end).contains(&i),
    };
    (0..sequence.tokens.len()).map(of).collect()
}

/// Sequences that share beginnings, words and all tokens, in roles of their own.
fn sequences(model: &Model) -> (Vec<Sequence>, usize) {
    let (before, after): (Vec<u32>, Vec<u32>) = if model.geometry.causal {
        (model.start_token().into_iter().collect(), Vec::new())
    } else {
        let (before, after) = model.tokenizer.around();
        (before.to_vec(), after.to_vec())
    };
    let of = |text: &[u32], given: usize| Sequence {
        tokens: [&before, text, &after].concat(),
        context: before.len() + given,
        closing: after.len(),
    };
    let all = vec![
        of(&[7, 8, 9, 10], 0),
        of(&[7, 8, 9, 10, 11, 12], 0),
        of(&[7, 8, 9, 10, 11, 12], 3),
        of(&[7, 8, 7, 8, 7], 2),
        of(&[7, 8, 9, 10], 0),
        of(&[7, 8, 9, 10], 2),
        of(&[12, 7], 1),
    ];
    (all, before.len())
}

fn log_probs(model: &Model, sequences: &[Sequence], branch: Branch<'_>) -> Vec<Vec<f32>> {
    let branch = [branch];
    if model.geometry.causal {
        return token_log_probs(model, sequences, &branch, &mut |_, _| {})
            .unwrap()
            .remove(0);
    }
    let requests: Vec<_> = sequences.iter().cloned().map(MaskRequest::text).collect();
    masked_log_probs(model, &requests, &branch, &mut |_, _| {})
        .unwrap()
        .remove(0)
}

/// Every set of tokens at every hook, all sequences in one pass, against each sequence alone with its
/// places written out.
#[test]
fn every_set_of_tokens_is_what_each_sentence_has_alone() {
    for name in [
        "cohere",
        "llama-llama3",
        "gemma2",
        "gpt2",
        "bert-mlm",
        "xlm-roberta-mlm",
    ] {
        let model = open(name);
        let (sequences, opening) = sequences(&model);
        for hook in model.geometry.hooks() {
            for tokens in Tokens::ALL {
                let what = format!("{name}, {hook}, {}", tokens.name());
                let edit = OnTokens {
                    edit: Map(1.5, 0.3),
                    tokens,
                };
                let branch = Branch::edited(hook, &edit);
                let together = states(&model, &sequences, &branch, Hook::FINAL_NORM).unwrap();
                let scores = log_probs(&model, &sequences, branch);
                for (at, sequence) in sequences.iter().enumerate() {
                    let plain = AtPlaces {
                        places: meant(tokens, sequence, opening),
                        map: Map(1.5, 0.3),
                    };
                    let (branch, one) =
                        (Branch::edited(hook, &plain), std::slice::from_ref(sequence));
                    let alone = states(&model, one, &branch, Hook::FINAL_NORM).unwrap();
                    near(&together[at..=at], &alone, &what);
                    near(&scores[at..=at], &log_probs(&model, one, branch), &what);
                }
            }
        }
    }
}

/// The sets are different ones, and what is not meant keeps its states to the bit.
#[test]
fn tokens_that_are_not_meant_keep_their_states() {
    let model = open("llama-llama3");
    let (sequences, opening) = sequences(&model);
    let hook = Hook::output(0);
    let unedited = states(&model, &sequences, &Branch::unedited(), hook).unwrap();
    let width = model.geometry.hidden_size;
    for tokens in Tokens::ALL {
        let edit = OnTokens {
            edit: Map(1.5, 0.3),
            tokens,
        };
        let found = states(&model, &sequences, &Branch::edited(hook, &edit), hook).unwrap();
        for ((found, before), sequence) in found.iter().zip(&unedited).zip(&sequences) {
            let rows = found.chunks(width).zip(before.chunks(width));
            for ((found, before), edited) in rows.zip(meant(tokens, sequence, opening)) {
                assert_eq!(found != before, edited, "{}", tokens.name());
            }
        }
    }
}

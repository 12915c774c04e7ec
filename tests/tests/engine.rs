//! The engine under interventions: captured states, divergence, and low-rank edits at the head.
//!
//! Everything is held against what can be computed from single calls: states against edits applied
//! by hand, comparisons against whole rows of logits in `f64`.

use interlingua_backend::device::cpu;
use interlingua_backend::{Precision, Tensor, from_rows, to_host};
use interlingua_models::engine::{
    Comparison, LowRank, RowInfo, StateEdit, capture_branches, compare, logits, token_log_probs,
};
use interlingua_models::masked::{MaskRequest, masked_compare, masked_log_probs};
use interlingua_models::parity::every_state;
use interlingua_models::{
    Branch, Budget, Capture, Hook, Model, ModelError, Pooling, Residency, Sequence,
};
use interlingua_tests::fixtures;

fn open(name: &str, residency: Residency) -> Model {
    let folder = fixtures().join("models/architectures").join(name);
    Model::open(&folder, &cpu(), residency).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Sequences of tokens that every tiny checkpoint has; some share their beginning.
fn sequences() -> Vec<Sequence> {
    let lists: [&[u32]; 5] = [
        &[2, 9, 10, 11, 12, 7],
        &[2, 9, 10, 13],
        &[2, 20, 8],
        &[2, 9, 10, 11, 12, 7],
        &[6, 5],
    ];
    let sequence = |tokens: &&[u32]| Sequence::new(tokens.to_vec(), 1);
    lists.iter().map(sequence).collect()
}

fn noise(rows: usize, cols: usize, seed: u64, size: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size
    };
    (0..rows * cols).map(|_| next()).collect()
}

/// `h − (h·right − offset)·left`, which says so or not.
struct Erase {
    change: LowRank,
    tells: bool,
}

impl Erase {
    fn new(width: usize, rank: usize, seed: u64, tells: bool) -> Erase {
        let matrix = |rows, cols, seed| from_rows(noise(rows, cols, seed, 0.5), rows, cols, &cpu());
        Erase {
            change: LowRank {
                right: matrix(width, rank, seed),
                offset: matrix(1, rank, seed + 1),
                left: matrix(rank, width, seed + 2),
            },
            tells,
        }
    }
}

impl StateEdit for Erase {
    fn apply(&self, h: Tensor<2>, _: &RowInfo<'_>) -> Tensor<2> {
        self.change.apply(h)
    }

    fn low_rank(&self) -> Option<LowRank> {
        self.tells.then(|| self.change.clone())
    }
}

/// Multiplies every state.
struct Scale(f32);

impl StateEdit for Scale {
    fn apply(&self, h: Tensor<2>, _: &RowInfo<'_>) -> Tensor<2> {
        h * self.0
    }
}

fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 1e-5 * scale, "{what}: {a} against {b}");
    }
}

/// `[branch][hook][sequence]`, every token of [`sequences`].
fn states(model: &Model, branches: &[Branch<'_>]) -> Vec<Vec<Vec<Vec<f32>>>> {
    states_of(model, &sequences(), branches)
}

fn states_of(
    model: &Model,
    sequences: &[Sequence],
    branches: &[Branch<'_>],
) -> Vec<Vec<Vec<Vec<f32>>>> {
    states_at(model, sequences, branches, &model.geometry.hooks())
}

fn states_at(
    model: &Model,
    sequences: &[Sequence],
    branches: &[Branch<'_>],
    hooks: &[Hook],
) -> Vec<Vec<Vec<Vec<f32>>>> {
    let captures: Vec<Capture> = hooks
        .iter()
        .map(|&hook| Capture {
            hook,
            pooling: Pooling::All,
        })
        .collect();
    let mut out = vec![vec![vec![Vec::new(); sequences.len()]; hooks.len()]; branches.len()];
    capture_branches(
        model,
        sequences,
        branches,
        &captures,
        &mut |b, c, s, rows| {
            let place = &mut out[b][c][s];
            assert!(place.is_empty(), "delivered once");
            *place = rows.to_vec();
            Ok(())
        },
        &mut |_, _| {},
    )
    .unwrap();
    out
}

/// Where two captures of the same model differ, by hook point.
fn differing(a: &[Vec<Vec<f32>>], b: &[Vec<Vec<f32>>]) -> Vec<bool> {
    a.iter().zip(b).map(|(a, b)| a != b).collect()
}

#[test]
fn states_change_from_the_edit_on_and_not_before() {
    for (name, residency) in [
        ("cohere", Residency::Resident),
        ("llama-llama3", Residency::Stream),
        ("bert-mlm", Residency::Stream),
    ] {
        let spilled = Budget {
            bytes: 500,
            ..Budget::default()
        };
        let model = open(name, residency).with_budget(spilled);
        let hooks = model.geometry.hooks();
        let double = Scale(2.0);
        let mut branches: Vec<Branch<'_>> = hooks
            .iter()
            .map(|&hook| Branch::edited(hook, &double))
            .collect();
        branches.push(Branch::unedited());
        let found = states(&model, &branches);
        let unedited = every_state(&model, &sequences()).unwrap();
        assert_eq!(found[hooks.len()], unedited, "{name}: unedited in company");
        for (at, hook) in hooks.iter().enumerate() {
            let of_branch = &found[at];
            // At the hook point itself: the edit of the unedited state.
            for (found, before) in of_branch[at].iter().zip(&unedited[at]) {
                let expected: Vec<f32> = before.iter().map(|x| x * 2.0).collect();
                assert_eq!(found, &expected, "{name}: {hook}");
            }
            let changed = differing(of_branch, &unedited);
            assert!(changed[..at].iter().all(|c| !c), "{name}: before {hook}");
            assert!(*changed.last().unwrap(), "{name}: {hook} reaches the end");
            // The same as this branch alone.
            assert_eq!(
                &states(&model, &[Branch::edited(*hook, &double)])[0],
                of_branch,
                "{name}: {hook} alone"
            );
        }
    }
}

/// What the first block does with a token alone is done once for all its copies.
#[test]
fn copies_of_a_token_have_the_states_that_each_has_alone() {
    let together: Vec<Sequence> = (5..12)
        .map(|first| Sequence::new(vec![first, 13, 14, 15, 13, first + 1], 1))
        .collect();
    let mut seen = 0;
    for entry in std::fs::read_dir(fixtures().join("models/architectures")).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_dir() {
            continue;
        }
        seen += 1;
        let name = entry.file_name().into_string().unwrap();
        let model = open(&name, Residency::Resident);
        let double = Scale(2.0);
        let mut branches = vec![Branch::unedited()];
        for hook in [Hook::EMBEDDING, Hook::input(0), Hook::mlp(0)] {
            branches.push(Branch::edited(hook, &double));
        }
        // States inside the first block are of every row, so they are not asked for.
        let mut hooks = model.geometry.hooks();
        hooks.retain(|hook| !hook.part.is_inside());
        let found = states_at(&model, &together, &branches, &hooks);
        for (at, sequence) in together.iter().enumerate() {
            let sequence = std::slice::from_ref(sequence);
            let alone = states_at(&model, sequence, &branches, &hooks);
            for (b, hooks) in found.iter().enumerate() {
                for (h, sequences) in hooks.iter().enumerate() {
                    let (found, alone) = (&sequences[at], &alone[b][h][0]);
                    assert_eq!(found.len(), alone.len());
                    let scale = alone.iter().fold(1.0f32, |m, x| m.max(x.abs()));
                    for (x, y) in found.iter().zip(alone) {
                        assert!(
                            (x - y).abs() <= 1e-5 * scale,
                            "{name}, branch {b}, hook {h}: {x} {y}"
                        );
                    }
                }
            }
        }
    }
    assert!(seen > 15, "{seen} architectures");
}

#[test]
fn two_edits_of_a_branch_follow_each_other_wherever_they_lie() {
    let model = open("cohere", Residency::Resident);
    let hooks = model.geometry.hooks();
    let double = Scale(2.0);
    let one = |hook: &Hook| Branch::edited(*hook, &double);
    // All pairs in one pass, in which nobody wants the unedited states.
    let mut pairs = Vec::new();
    for (second, after) in hooks.iter().enumerate() {
        pairs.extend(hooks[..second].iter().enumerate().map(|(first, before)| {
            let mut branch = one(before);
            branch.edits.push((*after, &double as &dyn StateEdit));
            (first, second, branch)
        }));
    }
    let branches: Vec<Branch<'_>> = pairs.iter().map(|p| p.2.clone()).collect();
    let found = states(&model, &branches);
    let single: Vec<_> = hooks
        .iter()
        .map(|hook| states(&model, &[one(hook)]).remove(0))
        .collect();
    for ((first, second, branch), found) in pairs.iter().zip(&found) {
        let what = format!("{} and {}", hooks[*first], hooks[*second]);
        assert_eq!(found[..*second], single[*first][..*second], "{what}");
        for (found, before) in found[*second].iter().zip(&single[*first][*second]) {
            let expected: Vec<f32> = before.iter().map(|x| x * 2.0).collect();
            assert_eq!(found, &expected, "{what}");
        }
        let alone = states(&model, std::slice::from_ref(branch)).remove(0);
        assert_eq!(found, &alone, "{what} alone");
    }
}

#[test]
fn pooled_states_of_branches_leave_out_the_context() {
    let model = open("cohere", Residency::Resident);
    let double = Scale(2.0);
    let branches = [Branch::unedited(), Branch::edited(Hook::input(1), &double)];
    let hook = Hook::FINAL_NORM;
    let captures = [Pooling::Mean, Pooling::Tokens].map(|pooling| Capture { hook, pooling });
    let all = states(&model, &branches);
    let width = model.geometry.hidden_size;
    let mut seen = 0;
    capture_branches(
        &model,
        &sequences(),
        &branches,
        &captures,
        &mut |b, c, s, rows| {
            seen += 1;
            let tokens = &all[b].last().unwrap()[s][width..];
            if c == 1 {
                assert_eq!(rows, tokens);
                return Ok(());
            }
            let count = (tokens.len() / width) as f64;
            for (i, found) in rows.iter().enumerate() {
                let column = tokens.iter().skip(i).step_by(width);
                let sum: f64 = column.map(|&x| f64::from(x)).sum();
                assert!((f64::from(*found) - sum / count).abs() < 1e-6);
            }
            Ok(())
        },
        &mut |_, _| {},
    )
    .unwrap();
    assert_eq!(seen, 2 * 2 * sequences().len());
}

/// Log-probabilities, in `f64`, of whole rows of logits: `[sequence][token][vocabulary]`.
fn all_log_probs(model: &Model, edit: Option<&dyn StateEdit>) -> Vec<Vec<Vec<f64>>> {
    let sequences = sequences();
    let vocabulary = model.geometry.vocab_size;
    // An edit at the final norm is applied to the states that `logits` would use.
    let mut rows: Vec<Vec<f32>> = sequences
        .iter()
        .map(|s| vec![0.0; s.tokens.len() * vocabulary])
        .collect();
    let mut fill = |s: usize, first: usize, part: &[f32]| {
        let cols = part.len() / sequences[s].tokens.len();
        for (row, part) in rows[s]
            .chunks_exact_mut(vocabulary)
            .zip(part.chunks_exact(cols))
        {
            row[first..first + cols].copy_from_slice(part);
        }
    };
    match edit {
        None => logits(
            model,
            &sequences,
            &Branch::unedited(),
            &mut |s, first, part| {
                fill(s, first, part);
                Ok(())
            },
        )
        .unwrap(),
        Some(edit) => {
            let branch = [Branch::edited(Hook::FINAL_NORM, edit)];
            let found = states(model, &branch);
            let (head, table) = model.head().unwrap();
            let width = model.geometry.hidden_size;
            table
                .slices(model.weights(), &model.device, &mut |first, slice| {
                    for (s, states) in found[0].last().unwrap().iter().enumerate() {
                        let h = from_rows(states.clone(), states.len() / width, width, &cpu());
                        let [cols, _] = slice.dims();
                        let bias = head.bias.as_ref().map(|b| &b[first..first + cols]);
                        let h = head.transform(h);
                        let part = interlingua_backend::ops::logits(h, slice, bias, head.logits);
                        fill(s, first, &to_host(part));
                    }
                    Ok(())
                })
                .unwrap();
        }
    }
    rows.iter()
        .map(|rows| rows.chunks_exact(vocabulary).map(log_softmax).collect())
        .collect()
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let max = row.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
    let sum: f64 = row.iter().map(|x| f64::from(x - max).exp()).sum();
    let log_sum = f64::from(max) + sum.ln();
    row.iter().map(|&x| f64::from(x) - log_sum).collect()
}

fn first_best(row: &[f64]) -> usize {
    let max = row.iter().fold(f64::NEG_INFINITY, |m, x| m.max(*x));
    row.iter().position(|&x| x == max).unwrap()
}

fn check_comparison(found: Comparison, p: &[f64], q: &[f64], target: u32, what: &str) {
    let kl: f64 = p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum();
    let log_prob = q[target as usize];
    assert!(
        (f64::from(found.kl) - kl).abs() < 2e-6 * kl.max(1.0),
        "{what}: {found:?} against {kl}"
    );
    assert!(
        (f64::from(found.log_prob) - log_prob).abs() < 1e-5 * log_prob.abs().max(1.0),
        "{what}: {found:?} against {log_prob}"
    );
    assert_eq!(found.agree, first_best(p) == first_best(q), "{what}");
}

#[test]
fn comparisons_are_those_of_whole_rows_of_logits() {
    // Plain, scaled, capped, biased, and with the embedding as head.
    for name in ["cohere", "gemma2", "gpt2", "llama-llama3", "bloom"] {
        for residency in [Residency::Resident, Residency::Stream] {
            let model = open(name, residency);
            let width = model.geometry.hidden_size;
            let direct = Erase::new(width, 1, 5, false);
            let told = Erase::new(width, 1, 5, true);
            let scale = Scale(-1.5);
            let edits: [Option<&dyn StateEdit>; 4] =
                [None, Some(&direct), Some(&told), Some(&scale)];
            let branches = edits.map(|edit| match edit {
                Some(edit) => Branch::edited(Hook::FINAL_NORM, edit),
                None => Branch::unedited(),
            });
            let sequences = sequences();
            let found = compare(&model, &sequences, &branches, &mut |_, _| {}).unwrap();
            let scores = token_log_probs(&model, &sequences, &branches, &mut |_, _| {}).unwrap();
            let p = all_log_probs(&model, None);
            let mut changed = 0;
            for (b, edit) in edits.into_iter().enumerate() {
                let q = all_log_probs(&model, edit);
                for (s, sequence) in sequences.iter().enumerate() {
                    assert_eq!(found[b][s].len(), sequence.tokens.len() - 1);
                    let log_probs: Vec<f32> = found[b][s].iter().map(|c| c.log_prob).collect();
                    close(&log_probs, &scores[b][s], name);
                    for (i, &comparison) in found[b][s].iter().enumerate() {
                        let what = format!("{name} {residency}, branch {b}, token {i} of {s}");
                        let target = sequence.tokens[i + 1];
                        check_comparison(comparison, &p[s][i], &q[s][i], target, &what);
                        if b == 0 {
                            assert!(comparison.kl == 0.0 && comparison.agree, "{what}");
                        }
                        changed += usize::from(!comparison.agree);
                    }
                }
            }
            assert!(changed > 0, "{name}: some arg max changes");
        }
    }
}

#[test]
fn an_edit_inside_the_model_is_compared_with_the_unedited_states() {
    let model = open("cohere", Residency::Stream);
    let sequences = sequences();
    let (still, double) = (Scale(1.0), Scale(2.0));
    // No unedited branch is asked for, and both fork at once.
    let branches = [&still, &double].map(|e| Branch::edited(Hook::EMBEDDING, e));
    let found = compare(&model, &sequences, &branches, &mut |_, _| {}).unwrap();
    let scores = token_log_probs(&model, &sequences, &branches, &mut |_, _| {}).unwrap();
    let flat = |b: usize| found[b].iter().flatten();
    assert!(flat(0).all(|c| c.kl == 0.0 && c.agree));
    assert!(flat(1).all(|c| c.kl > 1e-6), "an edit that does something");
    for (b, scores) in scores.iter().enumerate() {
        let log_probs: Vec<f32> = flat(b).map(|c| c.log_prob).collect();
        close(&log_probs, &scores.concat(), "log-probabilities");
    }
}

#[test]
fn masked_models_are_compared_too() {
    let model = open("bert-mlm", Residency::Resident);
    let sequence = Sequence {
        tokens: vec![2, 9, 10, 11, 3],
        context: 1,
        closing: 1,
    };
    let requests = [
        MaskRequest {
            sequence: sequence.clone(),
            places: vec![3, 1],
        },
        MaskRequest {
            sequence,
            places: vec![],
        },
    ];
    // Told to be of low rank, but the head transforms the states: scored from the states themselves.
    let width = model.geometry.hidden_size;
    let (told, direct) = (
        Erase::new(width, 1, 3, true),
        Erase::new(width, 1, 3, false),
    );
    let branches = [
        Branch::unedited(),
        Branch::edited(Hook::FINAL_NORM, &told),
        Branch::edited(Hook::FINAL_NORM, &direct),
    ];
    let found = masked_compare(&model, &requests, &branches, &mut |_, _| {}).unwrap();
    let scores = masked_log_probs(&model, &requests, &branches, &mut |_, _| {}).unwrap();
    assert_eq!(found[1], found[2]);
    assert!(found[0][0].iter().all(|c| c.kl == 0.0 && c.agree));
    assert!(found[1][0].iter().all(|c| c.kl > 1e-6));
    for (found, scores) in found.iter().zip(&scores) {
        assert_eq!([found[0].len(), found[1].len()], [2, 0]);
        for (comparison, score) in found[0].iter().zip(&scores[0]) {
            assert_eq!(comparison.log_prob, *score);
        }
    }
}

#[test]
fn hook_points_and_shapes_that_do_not_fit_are_refused() {
    let model = open("cohere", Residency::Resident);
    let (double, wrong) = (Scale(2.0), Erase::new(3, 1, 1, true));
    let beyond = Hook::mlp(model.geometry.layers);
    let run = |branch: Branch<'_>| {
        token_log_probs(&model, &sequences(), &[branch], &mut |_, _| {}).unwrap_err()
    };
    let message = run(Branch::edited(beyond, &double)).to_string();
    assert!(message.contains("final_norm"), "{message}");
    let error = run(Branch::edited(Hook::FINAL_NORM, &wrong));
    assert!(matches!(error, ModelError::LowRankShape { .. }), "{error}");
    let captures = [Capture {
        hook: beyond,
        pooling: Pooling::All,
    }];
    let none = [Branch::unedited()];
    let error = capture_branches(
        &model,
        &sequences(),
        &none,
        &captures,
        &mut |_, _, _, _| Ok(()),
        &mut |_, _| {},
    );
    assert!(matches!(error, Err(ModelError::Hook(_))));
    let infinite = Scale(f32::INFINITY);
    let error = compare(
        &model,
        &sequences(),
        &[Branch::edited(Hook::FINAL_NORM, &infinite)],
        &mut |_, _| {},
    );
    assert!(matches!(error, Err(ModelError::NotFiniteOutput { .. })));
    // Nobody to run for is no error.
    assert!(
        compare(&model, &sequences(), &[], &mut |_, _| {})
            .unwrap()
            .is_empty()
    );
}

#[test]
fn products_of_bfloat16_are_near_those_of_f32_and_known_as_such() {
    for (name, residency) in [
        ("cohere", Residency::Resident),
        ("gpt2", Residency::Stream),
        ("bloom", Residency::Resident),
    ] {
        let (exact, rounded) = (open(name, residency), open(name, residency));
        // Whatever was loaded before is loaded anew.
        let scores = |model: &Model| {
            let none = [Branch::unedited()];
            token_log_probs(model, &sequences(), &none, &mut |_, _| {}).unwrap()
        };
        let expected = scores(&exact);
        assert_eq!(expected, scores(&rounded));
        let rounded = rounded.with_precision(Precision::Bf16).unwrap();
        let found = scores(&rounded);
        assert_ne!(expected, found, "{name}");
        for (x, y) in expected[0].iter().flatten().zip(found[0].iter().flatten()) {
            assert!((x - y).abs() < 0.2, "{name}: {x} {y}");
        }
        let digests = [&exact, &rounded].map(|m| m.digest().unwrap());
        assert_ne!(digests[0], digests[1]);
        let memory = [&exact, &rounded].map(|m| m.weight_memory(residency));
        assert!(memory[1] < memory[0], "{memory:?}");
        let back = rounded.with_precision(Precision::F32).unwrap();
        assert_eq!(expected, scores(&back));
    }
}

#[test]
fn a_sink_that_fails_stops_the_run() {
    let model = open("cohere", Residency::Resident);
    for hook in model.geometry.hooks() {
        let captures = [Capture {
            hook,
            pooling: Pooling::All,
        }];
        let mut calls = 0;
        let stopped = capture_branches(
            &model,
            &sequences(),
            &[Branch::unedited()],
            &captures,
            &mut |_, _, _, _| {
                calls += 1;
                Err(ModelError::NotFiniteOutput { index: 77 })
            },
            &mut |_, _| {},
        );
        assert!(matches!(
            stopped,
            Err(ModelError::NotFiniteOutput { index: 77 })
        ));
        assert_eq!(calls, 1, "{hook}");
    }
}

//! Text that is read token by token is read as all at once.

use interlingua_backend::device::cpu;
use interlingua_backend::to_host;
use interlingua_edits::{Edit, Hook, Intervention, Provenance, Site, Tokens};
use interlingua_models::engine::{Branch, Next, Session, logits, token_log_probs};
use interlingua_models::generate::{Choice, Options, generate};
use interlingua_models::intervene::Steps;
use interlingua_models::{Model, ModelError, Residency, Sequence};
use interlingua_tests::{CAUSAL, fixtures};

fn open(name: &str) -> Model {
    let folder = fixtures().join("models/architectures").join(name);
    let model = Model::open(&folder, &cpu(), Residency::Resident);
    let model = model.unwrap_or_else(|e| panic!("{name}: {e}"));
    model.ready().unwrap()
}

/// Two texts of several lengths, behind the start token.
fn texts(model: &Model) -> Vec<Vec<u32>> {
    let start = model.start_token().unwrap_or(1);
    let vocabulary = model.geometry.vocab_size as u32;
    let text = |length: u32, salt: u32| {
        let token = |i: u32| (i * i * 7 + i * salt + 3) % vocabulary;
        [vec![start], (0..length).map(token).collect()].concat()
    };
    let most = (model.max_tokens() as u32 - 1).min(19);
    vec![text(most, 5), text(most.min(9), 11)]
}

fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= 2e-5 * scale, "{what}: {a} {b}");
    }
}

/// The tokens of a text from a place on, and their roles where the first `given` are a prompt.
fn next(model: &Model, text: &[u32], given: usize, range: std::ops::Range<usize>) -> Next {
    let roles = model.roles(&Sequence::new(text.to_vec(), given));
    Next {
        tokens: text[range.clone()].to_vec(),
        roles: roles[range].to_vec(),
    }
}

#[test]
fn cached_steps_give_the_logits_of_the_whole_text() {
    for name in CAUSAL {
        let model = open(name);
        let texts = texts(&model);
        let vocabulary = model.geometry.vocab_size;
        let sequences: Vec<Sequence> = texts.iter().map(|t| Sequence::new(t.clone(), 1)).collect();
        let mut whole = vec![Vec::new(); texts.len()];
        for (text, logits) in texts.iter().zip(&mut whole) {
            logits.resize(text.len() * vocabulary, 0.0);
        }
        logits(
            &model,
            &sequences,
            &Branch::unedited(),
            &mut |s, first, part| {
                let columns = part.len() / texts[s].len();
                for (row, values) in part.chunks_exact(columns).enumerate() {
                    whole[s][row * vocabulary + first..][..columns].copy_from_slice(values);
                }
                Ok(())
            },
        )
        .unwrap();
        let unedited = Branch::unedited();
        let mut session = Session::new(&model, &unedited, texts.len()).unwrap();
        // A prompt of several tokens, a few tokens at once, then one after the other; the short text ends earlier.
        let mut places = vec![0; texts.len()];
        let mut live: Vec<usize> = (0..texts.len()).collect();
        for step in [4, 2].into_iter().chain(std::iter::repeat(1)) {
            live.retain(|&t| places[t] + step <= texts[t].len());
            if live.is_empty() {
                break;
            }
            let nexts: Vec<Next> = live
                .iter()
                .map(|&t| next(&model, &texts[t], 1, places[t]..places[t] + step))
                .collect();
            let found = to_host(session.read(&nexts).unwrap());
            for (found, &t) in found.chunks_exact(vocabulary).zip(&live) {
                places[t] += step;
                let expected = &whole[t][(places[t] - 1) * vocabulary..][..vocabulary];
                close(
                    found,
                    expected,
                    &format!("{name}, text {t}, {} tokens", places[t]),
                );
            }
            let keep: Vec<bool> = live.iter().map(|&t| places[t] < texts[t].len()).collect();
            session.retain(&keep);
            live.retain(|&t| places[t] < texts[t].len());
        }
        assert!(
            places.iter().zip(&texts).all(|(p, t)| *p == t.len()),
            "{name}"
        );
    }
}

#[test]
fn edits_act_on_the_tokens_that_their_set_names() {
    for name in ["gemma3", "cohere", "bloom"] {
        let model = open(name);
        let shape = model.geometry.shape();
        let text = &texts(&model)[0];
        let given = 6;
        let vocabulary = model.geometry.vocab_size;
        for tokens in [Tokens::All, Tokens::Text, Tokens::Prompt, Tokens::Generated] {
            let steps = [
                Hook::values(0),
                Hook::output(0),
                Hook::mlp(1),
                Hook::FINAL_NORM,
            ]
            .map(|hook| {
                let width = shape.width(hook).unwrap();
                let vector = (0..width).map(|i| (i % 5) as f64 - 1.5).collect();
                (Site::raw(hook, tokens), Edit::shift(vector).unwrap())
            });
            let made =
                Intervention::new(shape.clone(), steps.to_vec(), Provenance::default()).unwrap();
            let steps = Steps::new(&made, &model).unwrap();
            let branch = steps.branch();
            let sequence = Sequence::new(text.clone(), given);
            let whole = token_log_probs(
                &model,
                &[sequence],
                std::slice::from_ref(&branch),
                &mut |_, _| {},
            );
            let whole = &whole.unwrap()[0][0];
            let mut session = Session::new(&model, &branch, 1).unwrap();
            let mut place = 0;
            let mut found = Vec::new();
            while place + 1 < text.len() {
                let step = if place == 0 { given } else { 1 };
                let read = session.read(&[next(&model, text, given, place..place + step)]);
                let logits = to_host(read.unwrap());
                place += step;
                let largest = logits.iter().fold(f32::MIN, |m, x| m.max(*x));
                let sum: f64 = logits.iter().map(|x| f64::from(x - largest).exp()).sum();
                let of = logits[text[place] as usize];
                found.push((f64::from(of - largest) - sum.ln()) as f32);
                assert_eq!(logits.len(), vocabulary);
            }
            close(&found, whole, &format!("{name}, {}", tokens.name()));
        }
    }
}

#[test]
fn a_prompt_goes_on_alike_alone_and_among_others() {
    let model = open("gemma3");
    let prompts: Vec<Sequence> = texts(&model)
        .iter()
        .flat_map(|text| [3, 5].map(|n| Sequence::new(text[..n].to_vec(), 1)))
        .collect();
    let sample = Choice::Sample {
        temperature: 1.3,
        top_p: 0.9,
        seed: 4,
    };
    for choice in [Choice::Greedy, sample] {
        let run = |prompts: &[Sequence], batch| {
            let options = Options {
                choice,
                new_tokens: 7,
                stop: vec![3, 5, 9, 11],
                batch,
            };
            generate(
                &model,
                prompts,
                &Branch::unedited(),
                &options,
                &mut |_, _| {},
            )
            .unwrap()
        };
        let together = run(&prompts, 16);
        assert_eq!(together, run(&prompts, 1), "{choice:?}");
        assert_eq!(together[..1], run(&prompts[..1], 1), "{choice:?}");
        assert!(
            together
                .iter()
                .all(|t| t.ended != (t.tokens.len() == 7 && !t.ended))
        );
    }
}

#[test]
fn what_cannot_be_generated_is_refused() {
    let folder = |name: &str| fixtures().join("models/architectures").join(name);
    let streamed = Model::open(&folder("gemma3"), &cpu(), Residency::Stream).unwrap();
    let unedited = Branch::unedited();
    let told =
        |found: Result<Session<'_, '_>, ModelError>| found.err().expect("refused").to_string();
    assert!(told(Session::new(&streamed, &unedited, 1)).contains("--residency resident"));
    let masked = open("bert-mlm");
    assert!(told(Session::new(&masked, &unedited, 1)).contains("no causal model"));
    let model = open("gemma3");
    let prompt = [Sequence::new(vec![2; 4], 1)];
    let most = model.max_tokens();
    for (choice, new_tokens, part) in [
        (Choice::Greedy, most, "longer than"),
        (
            Choice::Sample {
                temperature: 0.0,
                top_p: 1.0,
                seed: 1,
            },
            1,
            "temperature",
        ),
        (
            Choice::Sample {
                temperature: 1.0,
                top_p: 1.5,
                seed: 1,
            },
            1,
            "likeliest",
        ),
    ] {
        let options = Options {
            choice,
            new_tokens,
            ..Options::default()
        };
        let found = generate(&model, &prompt, &unedited, &options, &mut |_, _| {});
        let error = found.expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}

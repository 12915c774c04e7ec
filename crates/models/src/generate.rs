//! Generates text after prompts, with or without edits.
//!
//! The prompts are read once. After that every step reads one token of each text, with the keys and values of the
//! tokens before it kept in a [`Session`]. An edit acts on its set of tokens: those of the prompt count as given,
//! those that were generated do not. The last token is the last of the prompt at first, and then each token as it is
//! read.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use interlingua_backend::to_host;

use crate::engine::{Branch, Next, Session};
use crate::{Model, ModelError, Sequence};
use interlingua_edits::Role;

/// Tokens of prompts that are read at once.
const PROMPT_TOKENS: usize = 4096;

/// The way in which the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Choice {
    /// The most likely token; of equally likely ones, the first.
    #[default]
    Greedy,
    /// A token that is drawn from the probabilities.
    Sample {
        /// The positive number by which logits are divided.
        temperature: f64,
        /// The share of probability, in (0, 1], that the most likely tokens must have together; only these are drawn
        /// from.
        top_p: f64,
        /// The seed of the random numbers. Each prompt has a random stream of its own, so its text does not depend on
        /// the other prompts.
        seed: u64,
    },
}

/// The options of text generation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// The way in which a token is chosen.
    pub choice: Choice,
    /// The largest number of tokens for each prompt.
    pub new_tokens: usize,
    /// The tokens after which a text ends.
    pub stop: Vec<u32>,
    /// The number of prompts that are continued together.
    pub batch: usize,
}

/// The text that was generated after a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Generated {
    /// The token ids, including the token that ended the text.
    pub tokens: Vec<u32>,
    /// Whether a token of [`Options::stop`] ended the text.
    pub ended: bool,
}

impl Generated {
    /// Returns the text that came after the prompt, without the token that ended it.
    ///
    /// # Errors
    /// Tokens that the tokenizer cannot turn into text.
    pub fn text(&self, model: &Model, prompt: &Sequence) -> Result<String, ModelError> {
        let written = &self.tokens[..self.tokens.len() - usize::from(self.ended)];
        // Some tokenizers drop a space at the beginning of what they decode.
        let decode = |ids: &[u32]| {
            let text = model.tokenizer.decode(ids);
            text.ok_or_else(|| ModelError::Generation {
                problem: format!("the tokenizer cannot turn {} tokens into text", ids.len()),
            })
        };
        let whole = decode(&[&prompt.tokens, written].concat())?;
        match whole.strip_prefix(&decode(&prompt.tokens)?) {
            Some(rest) => Ok(rest.to_owned()),
            None => decode(written),
        }
    }
}

/// Continues each of the prompts by itself.
///
/// `progress` is called with the number of tokens that are done and the largest possible number.
///
/// # Errors
/// A prompt that leaves no room for new tokens, a temperature or a share that is out of range, and the errors of
/// [`Session::new`] and [`Session::read`].
pub fn generate(
    model: &Model,
    prompts: &[Sequence],
    branch: &Branch<'_>,
    options: &Options,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Generated>, ModelError> {
    check(model, prompts, options)?;
    let total = prompts.len() * options.new_tokens;
    let mut all = vec![Generated::default(); prompts.len()];
    let mut from = 0;
    while from < prompts.len() {
        let mut rows = 0;
        let fits = prompts[from..]
            .iter()
            .take(options.batch.max(1))
            .take_while(|prompt| {
                rows += prompt.tokens.len();
                rows <= PROMPT_TOKENS
            });
        let to = from + fits.count().max(1);
        let mut done = from * options.new_tokens;
        batch(
            model,
            from..to,
            prompts,
            branch,
            options,
            &mut all,
            &mut || {
                done += 1;
                progress(done.min(total), total);
            },
        )?;
        progress(to * options.new_tokens, total);
        from = to;
    }
    Ok(all)
}

/// Refuses what cannot be generated.
fn check(model: &Model, prompts: &[Sequence], options: &Options) -> Result<(), ModelError> {
    let bad = |problem: String| Err(ModelError::Generation { problem });
    if let Choice::Sample {
        temperature, top_p, ..
    } = options.choice
    {
        if !(temperature.is_finite() && temperature > 0.0) {
            return bad(format!(
                "a temperature of {temperature} is not positive; without one the likeliest token is taken"
            ));
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return bad(format!(
                "a share of {top_p} for the likeliest tokens is not above 0 and at most 1"
            ));
        }
    }
    let most = model.max_tokens();
    for (index, prompt) in prompts.iter().enumerate() {
        let length = prompt.tokens.len();
        if length + options.new_tokens > most {
            let problem = format!(
                "has {length} tokens, and with {} new ones it would be longer than the {most} that the model takes",
                options.new_tokens
            );
            return Err(ModelError::Sequence { index, problem });
        }
    }
    Ok(())
}

/// Goes on with the prompts of a range, side by side.
fn batch(
    model: &Model,
    range: std::ops::Range<usize>,
    prompts: &[Sequence],
    branch: &Branch<'_>,
    options: &Options,
    all: &mut [Generated],
    one_more: &mut dyn FnMut(),
) -> Result<(), ModelError> {
    let mut session = Session::new(model, branch, range.len())?;
    let mut choosers: Vec<Chooser> = range
        .clone()
        .map(|at| Chooser::new(options.choice, at))
        .collect();
    let mut live: Vec<usize> = range.collect();
    let mut next: Vec<Next> = live.iter().map(|&at| prompt(model, &prompts[at])).collect();
    while !live.is_empty() && options.new_tokens > 0 {
        let logits = session.read(&next)?;
        let [_, vocabulary] = logits.dims();
        let logits = to_host(logits);
        next.clear();
        let mut keep = Vec::with_capacity(live.len());
        for ((&at, chooser), logits) in live
            .iter()
            .zip(&mut choosers)
            .zip(logits.chunks_exact(vocabulary))
        {
            // Without a way out in between, several are looked at a time.
            if logits.iter().fold(false, |found, x| found | x.is_nan()) {
                return Err(ModelError::NotFiniteOutput { index: at });
            }
            let token = chooser.choose(logits);
            let text = &mut all[at];
            text.tokens.push(token);
            text.ended = options.stop.contains(&token);
            one_more();
            let goes_on = !text.ended && text.tokens.len() < options.new_tokens;
            keep.push(goes_on);
            if goes_on {
                next.push(Next {
                    tokens: vec![token],
                    roles: vec![WRITTEN],
                });
            }
        }
        session.retain(&keep);
        let mut of = keep.iter();
        choosers.retain(|_| *of.next().expect("one for each"));
        let mut of = keep.iter();
        live.retain(|_| *of.next().expect("one for each"));
    }
    Ok(())
}

/// A token that was generated, when it is read: the last of the text so far.
const WRITTEN: Role = Role {
    special: false,
    given: false,
    last: true,
};

/// All tokens of a prompt are given.
fn prompt(model: &Model, prompt: &Sequence) -> Next {
    let given = Sequence::new(prompt.tokens.clone(), prompt.tokens.len());
    Next {
        roles: model.roles(&given),
        tokens: given.tokens,
    }
}

/// Chooses the tokens of one text.
struct Chooser {
    choice: Choice,
    random: Option<ChaCha8Rng>,
}

impl Chooser {
    fn new(choice: Choice, prompt: usize) -> Chooser {
        let random = match choice {
            Choice::Greedy => None,
            Choice::Sample { seed, .. } => {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                random.set_stream(prompt as u64);
                Some(random)
            }
        };
        Chooser { choice, random }
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        match (self.choice, &mut self.random) {
            (
                Choice::Sample {
                    temperature, top_p, ..
                },
                Some(random),
            ) => draw(logits, temperature, top_p, random.random()),
            _ => likeliest(logits),
        }
    }
}

/// The first of the largest.
fn likeliest(logits: &[f32]) -> u32 {
    // Several lanes, so that no comparison waits for the one before.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = logits.as_chunks::<16>();
    for chunk in chunks {
        for (lane, logit) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, *logit);
        }
    }
    let max = lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, larger);
    let best = logits.iter().position(|&logit| logit == max);
    best.unwrap_or(0) as u32
}

/// The token at a place in [0, 1) among the likeliest ones that together have the probability `top_p`.
fn draw(logits: &[f32], temperature: f64, top_p: f64, place: f64) -> u32 {
    let max = f64::from(logits[likeliest(logits) as usize]);
    let weight = |logit: f32| ((f64::from(logit) - max) / temperature).exp();
    let total: f64 = logits.iter().map(|&l| weight(l)).sum();
    // All tokens below this together have less than 1 − top_p, so none of them is among the likeliest.
    let least = (1.0 - top_p) / logits.len() as f64 * total;
    let mut likely: Vec<(u32, f64)> = (0..)
        .zip(logits)
        .map(|(token, &logit)| (token, weight(logit)))
        .filter(|(_, weight)| *weight >= least)
        .collect();
    likely.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut sum = 0.0;
    let taken = likely.iter().take_while(|(_, weight)| {
        let before = sum;
        sum += weight;
        before < top_p * total
    });
    let taken = taken.count();
    let sum: f64 = likely[..taken].iter().map(|(_, weight)| weight).sum();
    let mut left = place * sum;
    for (token, weight) in &likely[..taken] {
        left -= weight;
        if left < 0.0 {
            return *token;
        }
    }
    likely[taken - 1].0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_tokens_are_drawn_by_their_probabilities() {
        let logits: Vec<f32> = [0.1f32, 0.5, 0.15, 0.25].map(f32::ln).to_vec();
        for (top_p, place, expect) in [
            (1.0, 0.0, 1),
            (1.0, 0.49, 1),
            (1.0, 0.51, 3),
            (1.0, 0.76, 2),
            (1.0, 0.95, 0),
            // The two likeliest have 0.75, the three likeliest 0.9.
            (0.7, 0.6, 1),
            (0.7, 0.7, 3),
            (0.7, 0.999, 3),
            (0.8, 0.999, 2),
            (0.4, 0.999, 1),
        ] {
            assert_eq!(draw(&logits, 1.0, top_p, place), expect, "{top_p} {place}");
        }
        // Cold, the likeliest alone is drawn.
        assert_eq!(draw(&logits, 0.01, 1.0, 0.999), 1);
        assert_eq!(likeliest(&[1.0, 3.0, 3.0]), 1);
    }
}

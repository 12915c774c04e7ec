//! Tokenises the training text.

use std::collections::BTreeMap;

use interlingua_data::Language;
use interlingua_models::Tokenizer;

use super::record::TextSize;
use super::spec::PretrainSpec;
use super::text::{LeftOut, Sentence, Text};
use super::{BOS, EOS};
use crate::TrainingError;

/// The tokenised training text.
pub(super) struct Corpus {
    /// The token ids of each sentence with start and end token.
    pub sequences: Vec<Vec<u32>>,
    pub sizes: Vec<TextSize>,
    pub left_out: LeftOut,
}

/// Tokenises all sentences, and repeats them as the language balance demands.
pub(super) fn tokenise(
    spec: &PretrainSpec,
    text: &Text,
    tokenizer: &Tokenizer,
) -> Result<Corpus, TrainingError> {
    let mut left_out = text.left_out;
    let encoded = encode(tokenizer, &text.train)?;
    let mut kept: BTreeMap<Language, Vec<(usize, Vec<u32>)>> = BTreeMap::new();
    for (at, ids) in encoded.into_iter().enumerate() {
        let sequence: Vec<u32> = [BOS].into_iter().chain(ids).chain([EOS]).collect();
        // The last token is only predicted.
        if sequence.len() - 1 > spec.model.max_positions {
            left_out.too_long += 1;
        } else {
            let language = text.train[at].language;
            kept.entry(language).or_default().push((at, sequence));
        }
    }
    let largest = kept.values().map(Vec::len).max().unwrap_or(0) as f64;
    let (mut sequences, mut sizes) = (Vec::new(), Vec::new());
    for (language, sentences) in kept {
        let repeats = (largest / sentences.len() as f64).powf(1.0 - spec.data.balance);
        let mut by_source: BTreeMap<usize, TextSize> = BTreeMap::new();
        for (nth, (at, sequence)) in sentences.into_iter().enumerate() {
            let sentence = &text.train[at];
            let size = by_source
                .entry(sentence.source)
                .or_insert_with(|| TextSize {
                    source: text.sources[sentence.source].clone(),
                    language,
                    sentences: 0,
                    characters: 0,
                    tokens: 0,
                    repeats,
                });
            size.sentences += 1;
            size.characters += sentence.text.chars().count();
            size.tokens += sequence.len() - 1;
            // Of a repetition of 2.4, two in five sentences are there three times, evenly spread.
            let until = |n: usize| (n as f64 * repeats).round() as usize;
            for _ in until(nth)..until(nth + 1) {
                sequences.push(sequence.clone());
            }
        }
        sizes.extend(by_source.into_values());
    }
    if sequences.is_empty() {
        return Err(TrainingError::value(
            "model.max_positions",
            format!("no sentence fits into {}", spec.model.max_positions),
        ));
    }
    Ok(Corpus {
        sequences,
        sizes,
        left_out,
    })
}

/// Token ids of sentences, in their order, on all cores.
fn encode(tokenizer: &Tokenizer, sentences: &[Sentence]) -> Result<Vec<Vec<u32>>, TrainingError> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let part = sentences.len().div_ceil(threads).max(1);
    let parts = std::thread::scope(|scope| {
        let workers: Vec<_> = sentences
            .chunks(part)
            .map(|part| {
                scope.spawn(move || {
                    let ids = part.iter().map(|s| tokenizer.encode(&s.text));
                    ids.collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("encoding does not panic"))
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(parts.concat())
}

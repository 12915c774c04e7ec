//! Reads training text and held-out text, and makes sure that nothing held out is trained on in any language.
//!
//! Rows with the same English sentence form a group, and a hash of that sentence decides whether the group is held
//! out. If a translation of a held-out sentence also occurs in another group, that group is not trained on in any
//! language. Sentences are compared without case, punctuation and spacing.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use interlingua_data::manifest::sha256_of;
use interlingua_data::{Language, Manifest, ParallelOptions, load_parallel};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Options;
use super::spec::{PretrainSpec, TextSpec};
use crate::TrainingError;

/// A sentence with its language and the index of its source among `Text::sources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The language of the sentence.
    pub language: Language,
    /// The index of its source.
    pub source: usize,
    /// The text of the sentence.
    pub text: String,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataFile {
    /// The name of the file under the data folder.
    pub file: String,
    /// The sha256 of its bytes.
    pub sha256: String,
    /// The size in bytes.
    pub bytes: u64,
    /// The data set, if a manifest knows the file.
    pub data_set: Option<String>,
    /// The licence, from the recipe or the manifest.
    pub licence: Option<String>,
    /// The conditions of the licence, from the manifest.
    pub licence_note: String,
}

/// The amount of text that was left out of the training, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeftOut {
    /// The number of rows that could not be read.
    pub unreadable_rows: u64,
    /// The number of sentences that are identical to an earlier one.
    pub duplicates: usize,
    /// The number of sentences of groups that share a sentence with a held-out group.
    pub near_held_out: usize,
    /// The number of sentences with more tokens than the model can take.
    pub too_long: usize,
}

/// The text of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    /// The names of the sources.
    pub sources: Vec<String>,
    /// The sentences to train on, in the order of the files.
    pub train: Vec<Sentence>,
    /// The sentences to evaluate on, in random order.
    pub held_out: Vec<Sentence>,
    /// The amount of text that was left out.
    pub left_out: LeftOut,
    /// The number of rows that were read, by entry of the recipe's `[[text]]`.
    pub rows: Vec<u64>,
}

/// Lists the files of all sources with their hashes.
///
/// # Errors
/// A source that does not exist, or a file that cannot be read.
pub fn files(spec: &PretrainSpec, options: &Options) -> Result<Vec<DataFile>, TrainingError> {
    let mut all: Vec<DataFile> = Vec::new();
    for (at, text) in spec.text.iter().enumerate() {
        let found = files_of(&options.data_dir.join(&text.file));
        if found.is_empty() {
            return Err(missing(at, text, options));
        }
        for path in found {
            let file = path
                .strip_prefix(&options.data_dir)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            if all.iter().all(|known| known.file != file) {
                all.push(data_file(file, &path, text, &options.manifests)?);
            }
        }
    }
    Ok(all)
}

/// Makes the error for a text of the recipe that is missing, with what would bring it.
pub fn missing(at: usize, text: &TextSpec, options: &Options) -> TrainingError {
    TrainingError::value(
        format!("text[{at}].file"),
        format!(
            "{} does not exist; say where the data are with --data-dir ({})",
            options.data_dir.join(&text.file).display(),
            Manifest::remedy(&text.file, &options.manifests)
        ),
    )
}

fn data_file(
    file: String,
    path: &Path,
    text: &TextSpec,
    manifests: &[Manifest],
) -> Result<DataFile, TrainingError> {
    let sha256 = sha256_of(path)?;
    let manifest = manifests
        .iter()
        .find(|m| m.files.iter().any(|f| f.sha256 == sha256));
    Ok(DataFile {
        file,
        sha256,
        bytes: std::fs::metadata(path)
            .map_err(TrainingError::io(path))?
            .len(),
        data_set: manifest.map(|m| m.name.clone()),
        licence: text
            .licence
            .clone()
            .or_else(|| manifest.map(|m| m.licence.clone())),
        licence_note: manifest.map_or_else(String::new, |m| m.licence_note.clone()),
    })
}

/// Returns the file itself, the files of a folder, or the files whose names begin with a prefix; sorted.
pub(super) fn files_of(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let prefix = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let (folder, prefix) = if path.is_dir() {
        (Some(path), String::new())
    } else {
        (path.parent(), prefix + ".")
    };
    let entries = folder.and_then(|f| std::fs::read_dir(f).ok());
    let mut found: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| {
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            p.is_file() && name.starts_with(&prefix)
        })
        .collect();
    found.sort();
    found
}

/// Reads all sources and splits them.
///
/// # Errors
/// Files that cannot be read, or a language without training text or held-out text.
pub fn read(spec: &PretrainSpec, data_dir: &Path) -> Result<Text, TrainingError> {
    let mut sources: Vec<String> = Vec::new();
    let mut left_out = LeftOut::default();
    let mut rows = Vec::new();
    // Sentences with their group; of a group, the share that is held out.
    let mut all: Vec<(Sentence, u32)> = Vec::new();
    let mut groups: HashMap<String, u32> = HashMap::new();
    let mut held: Vec<bool> = Vec::new();
    for text in &spec.text {
        let source = match sources.iter().position(|s| *s == text.name) {
            Some(known) => known,
            None => {
                sources.push(text.name.clone());
                sources.len() - 1
            }
        };
        let options = ParallelOptions {
            format: text.format,
            limit: text.rows,
            ..ParallelOptions::new(&text.languages, spec.data.on_bad_row)
        };
        let (corpus, report) = load_parallel(&data_dir.join(&text.file), &options)?;
        left_out.unreadable_rows += report.rows_skipped;
        rows.push(corpus.len() as u64);
        let pivot = corpus
            .languages
            .iter()
            .position(|l| *l == Language::EN)
            .unwrap_or(0);
        let first = all.len();
        for sentence in &corpus.columns[pivot] {
            let key = bare(sentence);
            let next = groups.len() as u32;
            let share = text.held_out;
            let group = *groups.entry(key).or_insert_with_key(|key| {
                held.push(draw(spec.seed, key) < share);
                next
            });
            all.push((
                Sentence {
                    language: corpus.languages[pivot],
                    source,
                    text: sentence.clone(),
                },
                group,
            ));
        }
        for (column, language) in corpus.columns.into_iter().zip(corpus.languages) {
            if language == all[first].0.language {
                continue;
            }
            for (row, text) in column.into_iter().enumerate() {
                let group = all[first + row].1;
                all.push((
                    Sentence {
                        language,
                        source,
                        text,
                    },
                    group,
                ));
            }
        }
    }
    let (train, held_out) = split(all, held, &mut left_out, spec.seed);
    let text = Text {
        sources,
        train,
        held_out,
        left_out,
        rows,
    };
    for language in spec.languages() {
        let has = |part: &[Sentence]| part.iter().any(|s| s.language == language);
        if !has(&text.train) {
            return Err(TrainingError::value(
                "text",
                format!(
                    "no training text in `{language}` is left; take more rows or lower held_out"
                ),
            ));
        }
        if !has(&text.held_out) {
            return Err(TrainingError::value(
                "text.held_out",
                format!(
                    "no sentence in `{language}` is held out; raise the share or take more rows"
                ),
            ));
        }
    }
    Ok(text)
}

/// Training and held-out sentences, each once.
fn split(
    all: Vec<(Sentence, u32)>,
    held: Vec<bool>,
    left_out: &mut LeftOut,
    seed: u64,
) -> (Vec<Sentence>, Vec<Sentence>) {
    let held_keys: HashSet<String> = all
        .iter()
        .filter(|(_, group)| held[*group as usize])
        .map(|(s, _)| bare(&s.text))
        .collect();
    let mut near = vec![false; held.len()];
    for (sentence, group) in &all {
        if held_keys.contains(&bare(&sentence.text)) {
            near[*group as usize] = true;
        }
    }
    // All that stands beside a held-out sentence anywhere is a translation of one.
    let near_keys: HashSet<String> = all
        .iter()
        .filter(|(_, group)| near[*group as usize])
        .map(|(s, _)| bare(&s.text))
        .collect();
    let (mut train, mut held_out) = (Vec::new(), Vec::new());
    let mut seen: HashSet<(Language, String)> = HashSet::new();
    let mut judged: HashSet<(Language, String)> = HashSet::new();
    for (sentence, group) in all {
        let key = bare(&sentence.text);
        if key.is_empty() {
            continue;
        }
        if held[group as usize] {
            if judged.insert((sentence.language, key)) {
                held_out.push(sentence);
            }
        } else if near_keys.contains(&key) {
            left_out.near_held_out += 1;
        } else if seen.insert((sentence.language, sentence.text.clone())) {
            train.push(sentence);
        } else {
            left_out.duplicates += 1;
        }
    }
    // Files may be sorted by length; a beginning of the held-out text must be a fair sample of it.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(u64::MAX);
    held_out.shuffle(&mut rng);
    (train, held_out)
}

/// A sentence without case, punctuation and spacing.
fn bare(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// A number from 0 to 1 that a seed and a key decide.
fn draw(seed: u64, key: &str) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(key.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes) as f64 / 2f64.powi(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(language: Language, text: &str) -> Sentence {
        Sentence {
            language,
            source: 0,
            text: text.to_owned(),
        }
    }

    #[test]
    fn no_duplicate_and_no_translation_of_a_held_out_sentence_is_trained_on() {
        let (en, fr, de) = (Language::EN, Language::FR, Language::DE);
        // Group 0 is held out. Group 1 shares its French; group 2 shares the German of group 1.
        let rows = [
            (en, "Go!", 0),
            (fr, "Va !", 0),
            (en, "Move.", 1),
            (fr, "va", 1),
            (de, "Beweg dich.", 1),
            (en, "Stir yourself.", 2),
            (de, "Beweg dich!", 2),
            (en, "Rain fell.", 3),
            (fr, "La pluie tombait.", 3),
            (en, "Rain fell.", 3),
        ];
        let all = rows
            .iter()
            .map(|(l, t, g)| (sentence(*l, t), *g))
            .collect::<Vec<_>>();
        let mut left_out = LeftOut::default();
        let (train, held_out) = split(all, vec![true, false, false, false], &mut left_out, 1);
        let texts = |part: &[Sentence]| {
            let mut texts: Vec<String> = part.iter().map(|s| s.text.clone()).collect();
            texts.sort();
            texts
        };
        assert_eq!(texts(&held_out), ["Go!", "Va !"]);
        assert_eq!(
            texts(&train),
            ["La pluie tombait.", "Rain fell.", "Stir yourself."]
        );
        assert_eq!((left_out.duplicates, left_out.near_held_out), (1, 4));
    }

    #[test]
    fn the_draw_is_even_and_depends_on_the_seed() {
        let share = |seed| {
            let drawn = (0..2000).filter(|i| draw(seed, &format!("s{i}")) < 0.1);
            drawn.count()
        };
        assert!((150..250).contains(&share(1)), "{}", share(1));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }
}

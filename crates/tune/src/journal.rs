//! The journal of a search, which records every evaluation in one line, so that a killed search can be resumed.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::TuneError;
use crate::judge::Answers;

/// Largest journal that is read.
const MOST_BYTES: u64 = 1 << 30;

/// First line: which search this is.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    search: String,
}

/// Any other line: what one candidate was asked and what came out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    candidate: String,
    answers: Answers,
}

/// The answers that are known, on disk and in memory.
pub struct Journal {
    path: PathBuf,
    file: std::fs::File,
    known: HashMap<String, Answers>,
}

impl Journal {
    /// Opens the journal of a search, or begins it. A last line that a kill cut off is removed.
    ///
    /// # Errors
    /// A file that cannot be read or written, that belongs to another search, or that is damaged in the middle.
    pub fn open(path: &Path, search: &str) -> Result<Journal, TuneError> {
        let text = match std::fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(TuneError::io(path)(e)),
            Ok(meta) if !meta.is_file() || meta.len() > MOST_BYTES => {
                return Err(TuneError::Journal {
                    path: path.to_owned(),
                    line: 0,
                    problem: "is not a journal: not a regular file, or longer than 1 GiB".into(),
                });
            }
            Ok(_) => std::fs::read_to_string(path).map_err(TuneError::io(path))?,
        };
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let bad = |line: usize, problem: String| TuneError::Journal {
            path: path.to_owned(),
            line: line + 1,
            problem,
        };
        let mut known = HashMap::new();
        for (at, line) in text[..whole].lines().enumerate() {
            if at == 0 {
                let header: Header =
                    serde_json::from_str(line).map_err(|e| bad(at, e.to_string()))?;
                if header.search != search {
                    return Err(bad(
                        at,
                        "is the journal of another search (other model, text, settings or seed)"
                            .into(),
                    ));
                }
                continue;
            }
            let entry: Entry = serde_json::from_str(line).map_err(|e| bad(at, e.to_string()))?;
            known.insert(entry.key, entry.answers);
        }
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).append(true).open(path);
        let file = file.map_err(TuneError::io(path))?;
        file.set_len(whole as u64).map_err(TuneError::io(path))?;
        let mut journal = Journal {
            path: path.to_owned(),
            file,
            known,
        };
        if whole == 0 {
            journal.append(&Header {
                search: search.to_owned(),
            })?;
        }
        Ok(journal)
    }

    /// Returns the answers under a key, if they are known.
    pub fn get(&self, key: &str) -> Option<&Answers> {
        self.known.get(key)
    }

    /// Adds answers to the journal.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn keep(
        &mut self,
        key: &str,
        candidate: String,
        answers: Answers,
    ) -> Result<(), TuneError> {
        self.append(&Entry {
            key: key.to_owned(),
            candidate,
            answers: answers.clone(),
        })?;
        self.known.insert(key.to_owned(), answers);
        Ok(())
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), TuneError> {
        let mut text = serde_json::to_string(line).expect("plain data");
        text.push('\n');
        // One call, so that a kill leaves a part of one line at most.
        self.file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.flush())
            .map_err(TuneError::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Cost;

    fn answers(gap: f64) -> Answers {
        Answers {
            pairs: vec![gap, -0.1],
            neutral: vec![vec![Cost {
                kl: 1e-3,
                log_prob: -7.25,
                tokens: 4,
            }]],
        }
    }

    #[test]
    fn a_cut_line_is_forgotten_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path, "s").unwrap();
        journal.keep("a", "first".into(), answers(0.1)).unwrap();
        journal.keep("b", "second".into(), answers(0.2)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        // Killed anywhere in the last line.
        let last = text.trim_end().rfind('\n').unwrap() + 1;
        for end in [last, last + 1, text.len() - 1] {
            std::fs::write(&path, &text[..end]).unwrap();
            let mut again = Journal::open(&path, "s").unwrap();
            assert_eq!(again.get("a"), Some(&answers(0.1)));
            assert_eq!(again.get("b"), None);
            again.keep("b", "second".into(), answers(0.2)).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn another_search_or_damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path, "s").unwrap();
        journal.keep("a", "first".into(), answers(0.1)).unwrap();
        let error = |search: &str| Journal::open(&path, search).err().unwrap().to_string();
        assert!(error("t").contains("another search"), "{}", error("t"));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("pairs", "pears", 1)).unwrap();
        assert!(error("s").contains("line 2"), "{}", error("s"));
        // What is kept of it is left as it was.
        assert!(std::fs::read_to_string(&path).unwrap().contains("pears"));
    }
}

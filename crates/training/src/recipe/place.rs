//! The folders and files of a run.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::card::model_card;
use super::record::{Log, Record};
use crate::progress::{Event, Listener};
use crate::{Trainer, TrainingError, write_atomically};

/// The folders and files of a run.
pub(super) struct Place {
    pub folder: PathBuf,
    pub making: PathBuf,
    pub checkpoint: PathBuf,
}

impl Place {
    pub fn new(out: &Path, name: &str) -> Place {
        let making = out.join(format!("{name}.making"));
        Place {
            folder: out.join(name),
            checkpoint: making.join("checkpoint.safetensors"),
            making,
        }
    }

    /// Reads the record of the finished run, if it exists and was made from the same settings.
    pub fn finished(&self, key: &str) -> Result<Option<Record>, TrainingError> {
        if !self.folder.exists() {
            return Ok(None);
        }
        let path = self.folder.join("training.json");
        let other = |why: String| {
            TrainingError::value(
                "name",
                format!(
                    "{} is there already and {why}; choose another --out or another name, or move the folder away",
                    self.folder.display()
                ),
            )
        };
        let bytes =
            std::fs::read(&path).map_err(|e| other(format!("has no training.json ({e})")))?;
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|e| other(format!("its training.json cannot be read ({e})")))?;
        if record.key == key {
            self.clear()?;
            Ok(Some(record))
        } else {
            Err(other(
                "was made with other settings, text, device or version of this program".into(),
            ))
        }
    }

    /// Waits until no other run works in the working folder, which is created if it is missing.
    pub fn turn(&self, listener: Listener<'_>) -> Result<File, TrainingError> {
        let note = format!(
            "another run is making {}; waiting for it",
            self.folder.display()
        );
        interlingua_files::turn(&self.making, &mut || {
            listener(Event::Note(note.clone()));
        })
        .map_err(TrainingError::io(&self.making))
    }

    /// Prepares the working folder, which belongs to this run alone, and returns whether there is a checkpoint to
    /// resume from.
    pub fn begin(&self, key: &str, resume: bool) -> Result<bool, TrainingError> {
        let settings = self.making.join("key");
        let begun = self.checkpoint.is_file();
        if begun && !resume {
            return Err(TrainingError::value(
                "name",
                format!(
                    "{} holds a half-done run; continue it with --resume, choose another --out, or delete the folder",
                    self.making.display()
                ),
            ));
        }
        if begun {
            interlingua_files::sweep(&self.making).map_err(TrainingError::io(&self.making))?;
            let known = std::fs::read_to_string(&settings).map_err(TrainingError::io(&settings))?;
            if known != key {
                return Err(TrainingError::value(
                    "name",
                    format!(
                        "{} holds a half-done run of other settings, text, device or version of this program, which \
                         cannot be continued; choose another --out or another name, or delete the folder",
                        self.making.display()
                    ),
                ));
            }
            return Ok(true);
        }
        // The folder itself is locked, and stays.
        let entries = std::fs::read_dir(&self.making).map_err(TrainingError::io(&self.making))?;
        for entry in entries {
            let path = entry.map_err(TrainingError::io(&self.making))?.path();
            interlingua_files::remove(&path).map_err(TrainingError::io(&path))?;
        }
        write_atomically(&settings, key.as_bytes())?;
        Ok(false)
    }

    fn log_path(&self, step: usize) -> PathBuf {
        self.making.join(format!("log-{step}.json"))
    }

    pub fn log(&self, step: usize) -> Result<Log, TrainingError> {
        let path = self.log_path(step);
        let bytes = std::fs::read(&path).map_err(TrainingError::io(&path))?;
        serde_json::from_slice(&bytes).map_err(|e| TrainingError::State {
            path,
            problem: e.to_string(),
        })
    }

    /// Saves the state after a step.
    pub fn save(&self, trainer: &Trainer, log: &Log) -> Result<(), TrainingError> {
        // The log goes first: whichever checkpoint a kill leaves, its log is there.
        let path = self.log_path(trainer.steps_done());
        let bytes = serde_json::to_vec(log).expect("a log is plain data");
        write_atomically(&path, &bytes)?;
        trainer.save_checkpoint(&self.checkpoint)?;
        for old in logs(&self.making) {
            if old != path {
                std::fs::remove_file(&old).map_err(TrainingError::io(&old))?;
            }
        }
        Ok(())
    }

    /// Writes the record and the model card, renames the folder, and removes what only an unfinished run needs.
    pub fn finish(&self, record: &Record) -> Result<(), TrainingError> {
        let json = serde_json::to_value(record).expect("a record is plain data");
        write_atomically(
            &self.making.join("README.md"),
            model_card(record).as_bytes(),
        )?;
        write_atomically(
            &self.making.join("training.json"),
            format!("{json:#}\n").as_bytes(),
        )?;
        std::fs::rename(&self.making, &self.folder).map_err(TrainingError::io(&self.folder))?;
        self.clear()
    }

    /// Removes from the finished folder what a kill after its rename may have left there.
    fn clear(&self) -> Result<(), TrainingError> {
        let mut left = logs(&self.folder);
        left.extend(["key", "checkpoint.safetensors"].map(|name| self.folder.join(name)));
        for path in left.into_iter().filter(|p| p.is_file()) {
            std::fs::remove_file(&path).map_err(TrainingError::io(&path))?;
        }
        Ok(())
    }
}

/// Logs of checkpoints in a folder.
fn logs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|p| {
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("log-") && name.ends_with(".json")
        })
        .collect()
}

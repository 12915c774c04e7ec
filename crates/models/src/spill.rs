//! Stores hidden states between two blocks: in memory up to a budget, and beyond it on disk.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use interlingua_backend::{Device, Tensor, from_rows, to_host};

use crate::ModelError;

/// The amount of memory that the hidden states of a pass may take, and the folder for the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// The number of bytes that states may take in memory.
    pub bytes: u64,
    /// The folder of the file that takes the rest. The file has no name and vanishes with the process.
    pub folder: PathBuf,
}

impl Default for Budget {
    /// No bound.
    fn default() -> Budget {
        Budget {
            bytes: u64::MAX,
            folder: std::env::temp_dir(),
        }
    }
}

/// Parses an amount of memory such as `4GiB`, `500MB` or `1048576`.
///
/// # Errors
/// Any other text; the message says what would work.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "" | "B" => 1u64,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    match number.parse::<f64>() {
        Ok(n) if factor > 0 && n > 0.0 => Ok((n * factor as f64) as u64),
        _ => Err(format!(
            "`{text}` is no amount of memory; write 4GiB, 500MB or a number of bytes"
        )),
    }
}

/// The states of all slots.
pub(crate) struct States<'a> {
    budget: &'a Budget,
    device: &'a Device,
    held: u64,
    slots: Vec<Slot>,
    /// Where each slot lies in the file once it has been there: offset and bytes.
    places: Vec<Option<(u64, u64)>>,
    file: Option<File>,
    length: u64,
    /// The number of bytes that were written to the file so far.
    pub spilled: u64,
}

enum Slot {
    Empty,
    Memory(Tensor<2>),
    Disk { rows: usize, cols: usize },
}

fn bytes([rows, cols]: [usize; 2]) -> u64 {
    rows as u64 * cols as u64 * 4
}

impl<'a> States<'a> {
    pub fn new(slots: usize, budget: &'a Budget, device: &'a Device) -> States<'a> {
        States {
            budget,
            device,
            held: 0,
            slots: (0..slots).map(|_| Slot::Empty).collect(),
            places: vec![None; slots],
            file: None,
            length: 0,
            spilled: 0,
        }
    }

    /// Fills a slot, replacing what was there.
    pub fn put(&mut self, slot: usize, states: Tensor<2>) -> Result<(), ModelError> {
        self.clear(slot);
        let dims = states.dims();
        if self.held + bytes(dims) <= self.budget.bytes {
            self.held += bytes(dims);
            self.slots[slot] = Slot::Memory(states);
            return Ok(());
        }
        let place = match self.places[slot] {
            Some((at, room)) if room >= bytes(dims) => at,
            _ => {
                let at = self.length;
                self.length += bytes(dims);
                self.places[slot] = Some((at, bytes(dims)));
                at
            }
        };
        let io = ModelError::io(&self.budget.folder);
        let values = to_host(states);
        let raw: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        if self.file.is_none() {
            let file = tempfile::tempfile_in(&self.budget.folder)
                .map_err(ModelError::io(&self.budget.folder))?;
            self.file = Some(file);
        }
        let file = self.file.as_ref().expect("made just above");
        file.write_all_at(&raw, place).map_err(io)?;
        self.spilled += raw.len() as u64;
        self.slots[slot] = Slot::Disk {
            rows: dims[0],
            cols: dims[1],
        };
        Ok(())
    }

    fn clear(&mut self, slot: usize) {
        if let Slot::Memory(states) = std::mem::replace(&mut self.slots[slot], Slot::Empty) {
            self.held -= bytes(states.dims());
        }
    }

    /// Returns the content of a slot, which stays filled.
    pub fn get(&self, slot: usize) -> Result<Option<Tensor<2>>, ModelError> {
        let rows = match &self.slots[slot] {
            Slot::Empty => return Ok(None),
            Slot::Memory(states) => states.dims()[0],
            Slot::Disk { rows, .. } => *rows,
        };
        self.rows(slot, &(0..rows))
    }

    /// Returns some rows of a slot, which stays filled; no other rows are read.
    pub fn rows(&self, slot: usize, rows: &Range<usize>) -> Result<Option<Tensor<2>>, ModelError> {
        match &self.slots[slot] {
            Slot::Empty => Ok(None),
            Slot::Memory(states) if states.dims()[0] == rows.len() => Ok(Some(states.clone())),
            Slot::Memory(states) => Ok(Some(states.clone().narrow(0, rows.start, rows.len()))),
            Slot::Disk { cols, .. } => {
                let (at, _) = self.places[slot].expect("written before");
                let mut raw = vec![0; bytes([rows.len(), *cols]) as usize];
                self.file
                    .as_ref()
                    .expect("written before")
                    .read_exact_at(&mut raw, at + bytes([rows.start, *cols]))
                    .map_err(ModelError::io(&self.budget.folder))?;
                let (chunks, _) = raw.as_chunks::<4>();
                let values = chunks.iter().map(|b| f32::from_le_bytes(*b)).collect();
                Ok(Some(from_rows(values, rows.len(), *cols, self.device)))
            }
        }
    }

    /// Returns the content of a slot and empties it.
    pub fn take(&mut self, slot: usize) -> Result<Option<Tensor<2>>, ModelError> {
        let states = self.get(slot)?;
        self.clear(slot);
        self.slots[slot] = Slot::Empty;
        Ok(states)
    }
}

#[cfg(test)]
mod tests {
    use interlingua_backend::device::cpu;

    use super::*;

    #[test]
    fn amounts_of_memory_are_read() {
        for (text, bytes) in [("4GiB", 4u64 << 30), ("1.5 MB", 1_500_000), ("77", 77)] {
            assert_eq!(parse_bytes(text), Ok(bytes));
        }
        for text in ["", "GiB", "4 parsecs", "-1MB", "0", "1e3kB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn states_beyond_the_budget_come_back_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        let device = cpu();
        let budget = Budget {
            bytes: 40,
            folder: folder.path().to_owned(),
        };
        let mut states = States::new(3, &budget, &device);
        let tensor = |x: f32, rows: usize| from_rows(vec![x; rows * 2], rows, 2, &device);
        for slot in 0..3 {
            states.put(slot, tensor(slot as f32, 3)).unwrap();
        }
        assert_eq!(states.spilled, 48, "one of three fits into 40 bytes");
        for round in 1..4 {
            for slot in 0..3 {
                let before = states.take(slot).unwrap().unwrap();
                assert!(states.get(slot).unwrap().is_none());
                states.put(slot, before + 10.0).unwrap();
                let now = to_host(states.get(slot).unwrap().unwrap());
                assert_eq!(now, [slot as f32 + 10.0 * round as f32; 6]);
            }
        }
        // Another size finds its place too.
        states.put(2, tensor(7.0, 1)).unwrap();
        states.put(1, tensor(8.0, 9)).unwrap();
        assert_eq!(to_host(states.get(1).unwrap().unwrap()), [8.0; 18]);
        assert_eq!(to_host(states.get(2).unwrap().unwrap()), [7.0; 2]);
        // Some rows, from memory and from disk.
        let counted = || from_rows((0..24).map(|x| x as f32).collect(), 12, 2, &device);
        states
            .put(0, from_rows(vec![1.0, 2.0, 3.0, 4.0], 2, 2, &device))
            .unwrap();
        states.put(1, counted()).unwrap();
        for (slot, rows, expected) in [(0, 1..2, [3.0, 4.0]), (1, 5..6, [10.0, 11.0])] {
            let part = states.rows(slot, &rows).unwrap().unwrap();
            assert_eq!(to_host(part), expected);
        }
    }
}

//! Stores the results of many settings in few cache entries, so that only what is missing is computed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Runner;
use crate::ExperimentError;
use crate::cache::Found;

/// The results of a group of settings by their keys, with the positions of the keys that have no result yet.
pub struct Pack<T> {
    stage: &'static str,
    group: String,
    /// The results that are known.
    pub known: BTreeMap<String, T>,
    /// The positions of keys without a result, one for each different key.
    pub missing: Vec<usize>,
    /// The number of different keys.
    pub wanted: usize,
}

impl<T: Serialize + DeserializeOwned + Clone> Pack<T> {
    /// Looks up these keys in the cache.
    pub fn open(
        run: &mut Runner<'_>,
        stage: &'static str,
        group: String,
        keys: &[String],
    ) -> Result<Pack<T>, ExperimentError> {
        let mut known = BTreeMap::new();
        for path in run.cache.packs(stage, &group, ".json")? {
            let found: Found<BTreeMap<String, T>> = run.cache.read(&path)?;
            if matches!(found, Found::Damaged(_)) {
                run.cache.remove(&path)?;
            }
            known.extend(run.usable(found).unwrap_or_default());
        }
        let mut seen = BTreeSet::new();
        let missing = keys.iter().enumerate().filter(|(_, key)| {
            let first = seen.insert(*key);
            first && !known.contains_key(*key)
        });
        let missing = missing.map(|(at, _)| at).collect();
        Ok(Pack {
            stage,
            group,
            missing,
            wanted: seen.len(),
            known,
        })
    }

    /// Stores the results of the keys that had none, in the order of [`Pack::missing`].
    pub fn add(
        &mut self,
        run: &Runner<'_>,
        keys: &[String],
        results: Vec<T>,
    ) -> Result<(), ExperimentError> {
        let keys = self.missing.drain(..).map(|at| keys[at].clone());
        let new: BTreeMap<String, T> = keys.zip(results).collect();
        if !new.is_empty() {
            let path = run.cache.pack(self.stage, &self.group, new.keys(), ".json");
            run.cache.write(&path, &new)?;
        }
        self.known.extend(new);
        Ok(())
    }

    /// Returns the results of all keys, in their order.
    pub fn all(&self, keys: &[String]) -> Vec<T> {
        keys.iter().map(|key| self.known[key].clone()).collect()
    }
}

//! Computes means over cells with common resamples, for families of settings in every scope and category.

use std::collections::BTreeMap;

use interlingua_data::{BiasPair, Language};
use interlingua_metrics::crows::{self, Scorer};
use interlingua_metrics::joint::{Draws, Resampled};

use super::Blank;
use super::bias::{pair_scores, unedited};
use super::scopes::{Families, Scope};
use crate::ExperimentError;
use crate::prepare::Prepared;
use crate::stages::Scores;

/// All scores of a run, each with its category and language.
pub type Scored = [(String, Language, Scores)];

/// The pairs and held-out sentences that a measurement uses.
#[derive(Clone, Copy)]
pub struct Looks<'a> {
    /// Returns whether it uses a pair.
    pub pair: &'a dyn Fn(&BiasPair) -> bool,
    /// Returns whether it uses a held-out sentence, given by its number.
    pub sentence: &'a dyn Fn(usize) -> bool,
}

impl Looks<'_> {
    /// Uses everything.
    pub const EVERYTHING: Looks<'static> = Looks {
        pair: &|_| true,
        sentence: &|_| true,
    };
}

/// A number with its draws, and the number of items that it is computed from.
pub type Number = (Resampled, usize);

/// The sum over the cells of one family, scope and category.
struct Sum {
    sum: Resampled,
    cells: f64,
    items: usize,
}

/// The values of families in every scope and category.
pub struct Measured {
    /// The draws that all numbers share.
    pub draws: Draws,
    sums: BTreeMap<(usize, Scope), BTreeMap<usize, Sum>>,
}

impl Measured {
    fn new(draws: &Draws) -> Measured {
        Measured {
            draws: draws.clone(),
            sums: BTreeMap::new(),
        }
    }

    /// Returns the number of a family: the mean over cells in one category, or over all categories that have cells.
    pub fn of(&self, family: usize, scope: Scope, category: Option<usize>) -> Option<Number> {
        let sums = self.sums.get(&(family, scope))?;
        let chosen = || {
            sums.iter()
                .filter(|(c, _)| category.is_none_or(|only| only == **c))
        };
        let categories = chosen().count() as f64;
        if categories == 0.0 {
            return None;
        }
        let mut mean = self.draws.zero();
        for (_, of) in chosen() {
            mean.add(&of.sum, 1.0 / (of.cells * categories));
        }
        Some((mean, chosen().map(|(_, of)| of.items).sum()))
    }
}

/// One setting in one language: what a number is measured on before it is averaged.
struct Cell {
    setting: usize,
    language: Language,
    category: usize,
    items: usize,
}

/// Sums per item of each setting, and what they are divided by.
struct Columns {
    settings: Vec<usize>,
    /// As many for every setting, and one more, by which sums are divided.
    columns: Vec<Vec<f64>>,
}

/// The scores of a run, and the part of them that is used.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The facts that hold for the whole run.
    pub blank: &'a Blank<'a>,
    /// The text of the run, which has the pairs.
    pub text: &'a Prepared,
    /// The scores of the pairs.
    pub scored: &'a Scored,
    /// The families of the plan.
    pub families: &'a Families,
    /// The items that are used.
    pub looks: Looks<'a>,
}

impl Source<'_> {
    /// Returns |mean gap| and mean per-pair |gap| of some families; `None` if no pair is used.
    pub fn gaps(
        &self,
        which: usize,
        families: &[usize],
    ) -> Result<Option<[Measured; 2]>, ExperimentError> {
        let scorer = crows::by_name(&self.blank.plan.spec.score.scorers[which])
            .map_err(|e| ExperimentError::plan("score.scorers", e.to_string()))?;
        let items = self.pair_items();
        let filled: Vec<usize> = (0..items.len()).filter(|&c| !items[c].is_empty()).collect();
        if filled.is_empty() {
            return Ok(None);
        }
        let sizes: Vec<usize> = filled.iter().map(|&c| items[c].len()).collect();
        let failed = || ExperimentError::metric("gaps over languages");
        let draws = Draws::new(&sizes, self.blank.bootstrap()).map_err(failed())?;
        let mut found = [Measured::new(&draws), Measured::new(&draws)];
        for (at, (category, language, _)) in self.scored.iter().enumerate() {
            let category = self.category(category);
            let Some(sample) = filled.iter().position(|&f| f == category) else {
                continue;
            };
            let columns = self.pair_columns(at, which, scorer, families, &items[category])?;
            let sums = draws.sums(sample, &columns.columns).map_err(failed())?;
            // A language without a pair that counts has no cell.
            let Some((count, sums)) = sums.split_last().filter(|(count, _)| count.value > 0.0)
            else {
                continue;
            };
            for (&setting, sums) in columns.settings.iter().zip(sums.chunks_exact(2)) {
                let cell = Cell {
                    setting,
                    language: *language,
                    category,
                    items: items[category].len(),
                };
                self.spread(&mut found[0], &cell, &sums[0].over(count).size());
                self.spread(&mut found[1], &cell, &sums[1].over(count));
            }
        }
        Ok(Some(found))
    }

    /// Returns the perplexity of some families as a multiple of the unedited model's; `None` if no sentence is used.
    pub fn costs(&self, families: &[usize]) -> Result<Option<Measured>, ExperimentError> {
        let failed = || ExperimentError::metric("perplexity over languages");
        let rows = self
            .scored
            .iter()
            .map(|(.., s)| s.neutral.first().map_or(0, Vec::len));
        let rows = rows.max().unwrap_or(0);
        let kept: Vec<usize> = (0..rows)
            .filter(|&row| (self.looks.sentence)(row))
            .collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let draws = Draws::new(&[kept.len()], self.blank.bootstrap()).map_err(failed())?;
        let mut found = Measured::new(&draws);
        for (at, (category, language, _)) in self.scored.iter().enumerate() {
            let columns = self.cost_columns(at, families, &kept);
            let sums = draws.sums(0, &columns.columns).map_err(failed())?;
            let Some((tokens, sums)) = sums.split_last().filter(|(t, _)| t.value > 0.0) else {
                continue;
            };
            for (&setting, lost) in columns.settings.iter().zip(sums) {
                let cell = Cell {
                    setting,
                    language: *language,
                    category: self.category(category),
                    items: kept.len(),
                };
                self.spread(&mut found, &cell, &lost.over(tokens).map(f64::exp));
            }
        }
        Ok(Some(found))
    }

    fn category(&self, name: &str) -> usize {
        let mut categories = self.blank.plan.spec.categories.iter();
        let place = categories.position(|c| c == name);
        place.expect("scores are of the plan's categories")
    }

    /// The pair ids of each category, numbered: what is drawn. Pairs with one id are one observation, in every language.
    fn pair_items(&self) -> Vec<BTreeMap<&str, usize>> {
        let categories = self.blank.plan.spec.categories.iter();
        let mut items: Vec<BTreeMap<&str, usize>> = categories.map(|_| BTreeMap::new()).collect();
        for (category, language, _) in self.scored {
            let ids = &mut items[self.category(category)];
            for pair in self.text.pairs_of(category, *language) {
                if (self.looks.pair)(pair) {
                    ids.insert(&pair.id, 0);
                }
            }
        }
        for ids in &mut items {
            ids.values_mut()
                .enumerate()
                .for_each(|(at, place)| *place = at);
        }
        items
    }

    /// Sums of gaps and of |gaps| for every setting, then the number of pairs, by item.
    fn pair_columns(
        &self,
        at: usize,
        which: usize,
        scorer: &Scorer,
        families: &[usize],
        items: &BTreeMap<&str, usize>,
    ) -> Result<Columns, ExperimentError> {
        let (category, language, scores) = &self.scored[at];
        let pairs = self.text.pairs_of(category, *language);
        let (mut settings, mut columns) = (Vec::new(), Vec::new());
        let mut counts = vec![0.0; items.len()];
        for (&setting, of_setting) in scores.settings.iter().zip(&scores.pairs) {
            if !families.contains(&self.families.of_setting[setting]) {
                continue;
            }
            let (found, _) = pair_scores(&of_setting[which], &pairs);
            let gaps = crows::gaps(scorer, &found)
                .map_err(ExperimentError::metric("gaps over languages"))?;
            let scored = pairs.iter().zip(&of_setting[which]);
            let scored = scored.filter(|(_, score)| score.is_some());
            let (mut gap, mut size) = (vec![0.0; items.len()], vec![0.0; items.len()]);
            // Which pairs a scorer leaves out depends on their texts, not on the setting.
            counts.fill(0.0);
            for ((pair, _), value) in scored.zip(gaps) {
                if (self.looks.pair)(pair) {
                    let item = items[pair.id.as_str()];
                    gap[item] += value;
                    size[item] += value.abs();
                    counts[item] += 1.0;
                }
            }
            settings.push(setting);
            columns.extend([gap, size]);
        }
        columns.push(counts);
        Ok(Columns { settings, columns })
    }

    /// Log-likelihood lost for every setting, then the number of tokens, by sentence.
    fn cost_columns(&self, at: usize, families: &[usize], kept: &[usize]) -> Columns {
        let scores = &self.scored[at].2;
        let base = &scores.neutral[unedited(self.blank.plan, scores)];
        let (mut settings, mut columns) = (Vec::new(), Vec::<Vec<f64>>::new());
        let rows = || {
            kept.iter()
                .filter_map(|&row| base.get(row).map(|base| (row, base)))
        };
        for (&setting, edited) in scores.settings.iter().zip(&scores.neutral) {
            if families.contains(&self.families.of_setting[setting]) {
                settings.push(setting);
                columns.push(
                    rows()
                        .map(|(row, base)| base.log_prob - edited[row].log_prob)
                        .collect(),
                );
            }
        }
        columns.push(rows().map(|(_, base)| f64::from(base.tokens)).collect());
        for column in &mut columns {
            column.resize(kept.len(), 0.0);
        }
        Columns { settings, columns }
    }

    /// Adds a cell to every scope that has it.
    fn spread(&self, measured: &mut Measured, cell: &Cell, value: &Resampled) {
        let family = self.families.of_setting[cell.setting];
        let setting = &self.blank.plan.settings[cell.setting];
        for scope in Scope::ALL {
            let times = self.families.times(scope, setting, cell.language);
            if times > 0.0 {
                let of = measured.sums.entry((family, scope)).or_default();
                let of = of.entry(cell.category).or_insert_with(|| Sum {
                    sum: measured.draws.zero(),
                    cells: 0.0,
                    items: cell.items,
                });
                of.sum.add(value, times);
                of.cells += times;
            }
        }
    }
}

//! The evidence for fits: sentences with their classes, and their states at the hooks of a place.

use std::collections::HashSet;

use interlingua_data::Language;
use interlingua_debias::{Contrast, Demand, Evidence, FitData, FitError, Kind, Matrix, Reduce};
use interlingua_edits::Edit;

use super::material::{Beside, Fit, Material};
use super::states::parallel_rows;
use crate::ExperimentError;
use crate::fit_on::FitOn;
use crate::prepare::{FitSet, Prepared};
use crate::role::{Control, Role};
use crate::spec::Space;

/// The states of the sentences of a fit at its hooks, in the form in which a method asks for them.
pub(super) struct At<'a> {
    pub(super) fit: &'a Fit<'a>,
    pub(super) from: &'a Material<'a>,
    pub(super) demand: Demand,
    pub(super) sentences: Sentences,
    pub(super) dims: Vec<usize>,
    /// The error of the last pass that failed.
    pub(super) failed: Option<ExperimentError>,
}

/// Adds the states of a sentence, and says how many there are.
type Read<'a> = &'a mut dyn FnMut(usize, &mut Vec<f32>) -> Result<usize, ExperimentError>;

impl At<'_> {
    /// The data of a site, with the states of a sentence from `read`.
    fn data(&self, site: usize, read: Read<'_>) -> Result<FitData, ExperimentError> {
        let spaces = &self.from.spaces[self.fit.sites[site]];
        let all = &self.sentences;
        let mut data = FitData {
            neutral: all.neutral,
            classes: all.classes.clone(),
            ..FitData::default()
        };
        let mut vectors = Vec::new();
        for (at, (language, examples)) in all.of.iter().enumerate() {
            let mut states_of = Vec::with_capacity(examples.len() * spaces.width);
            for example in examples {
                // One vector, or one for each token.
                for _ in 0..read(example.sentence, &mut states_of)? {
                    data.label.push(example.class);
                    data.tuple.push(example.set);
                    if self.demand.contrast == Contrast::Groups {
                        data.language.push(at);
                    }
                }
            }
            vectors.extend(spaces.enter(self.fit.space, *language, states_of)?);
        }
        data.x = Matrix::from_f32(data.label.len(), self.dims[site], &vectors)
            .map_err(|e| self.fit.failed(e.into()))?;
        match self.fit.setting.role == Role::Control(Control::Shuffled) {
            true => {
                let shuffled = data.shuffled(self.fit.plan.spec.seed);
                shuffled.map_err(|e| self.fit.failed(e))
            }
            false => Ok(data),
        }
    }

    /// States of the sentences that the fit reads, in the order in which it reads them, under earlier edits.
    fn under_edits(&self, site: usize, earlier: &[Edit]) -> Result<FitData, ExperimentError> {
        let (plan, text) = (self.fit.plan, self.from.text);
        let (reduce, space) = (self.demand.reduce, self.fit.space);
        if reduce == Reduce::Tokens || space != Space::Raw {
            return Err(ExperimentError::plan(
                "methods.spaces",
                "a method that learns from states under earlier edits takes one vector of a sentence, in spaces = [\"raw\"]",
            ));
        }
        let all: Vec<&String> = match self.demand.contrast {
            Contrast::Groups => text.fit_sentences.iter().map(|(_, s)| s).collect(),
            Contrast::Languages => {
                let rows = parallel_rows(plan, text);
                let columns = text.train.columns.iter();
                columns.flat_map(|column| &column[..rows]).collect()
            }
        };
        let examples = || self.sentences.of.iter().flat_map(|(_, examples)| examples);
        let texts: Vec<String> = examples().map(|e| all[e.sentence].clone()).collect();
        let at = self.fit.sites[site];
        let edits: Vec<(usize, Edit)> = self
            .fit
            .sites
            .iter()
            .copied()
            .zip(earlier.iter().cloned())
            .collect();
        let states = (self.from.again)(at, reduce, &texts, &edits)?;
        let width = self.from.spaces[at].width;
        // They are read in the order in which they were asked for.
        let mut rows = states.chunks_exact(width);
        self.data(site, &mut |_, out| {
            let row = rows.next().map_or(&[][..], |row| row);
            out.extend_from_slice(row);
            Ok(1)
        })
    }

    /// Weights beside the states of a site, which are no others in another space.
    fn weights(&mut self, site: usize, beside: Beside) -> Result<Matrix, FitError> {
        if self.fit.space != Space::Raw {
            return Err(FitError::NoWeights {
                site,
                reason: format!("in space `{}` there are none", self.fit.space.name()),
            });
        }
        let found = (self.from.weights)(self.fit.sites[site], beside);
        let found = self.keep_failure(site, found)?;
        found.map_err(|reason| FitError::NoWeights { site, reason })
    }

    fn keep_failure<T>(
        &mut self,
        site: usize,
        found: Result<T, ExperimentError>,
    ) -> Result<T, FitError> {
        found.map_err(|error| {
            let reason = error.to_string();
            self.failed = Some(error);
            FitError::Evidence { site, reason }
        })
    }
}

impl Evidence for At<'_> {
    fn dims(&self) -> &[usize] {
        &self.dims
    }

    fn at(&mut self, site: usize) -> Result<FitData, FitError> {
        let states = &self.from.captured[self.fit.sites[site]];
        let store = states.evidence(self.demand.contrast, self.demand.reduce).0;
        let found = self.data(site, &mut |sentence, out| Ok(store.read(sentence, out)?));
        self.keep_failure(site, found)
    }

    fn under(&mut self, site: usize, earlier: &[Edit]) -> Result<FitData, FitError> {
        if earlier.iter().all(|edit| edit.kind() == Kind::Identity) {
            return self.at(site);
        }
        let found = self.under_edits(site, earlier);
        self.keep_failure(site, found)
    }

    fn written_by(&mut self, site: usize) -> Result<Matrix, FitError> {
        self.weights(site, Beside::Writer)
    }

    fn read_by(&mut self, site: usize) -> Result<Matrix, FitError> {
        self.weights(site, Beside::Reader)
    }
}

/// The sentences of a fit.
pub(super) struct Sentences {
    classes: Vec<String>,
    neutral: Option<usize>,
    of: Vec<(Language, Vec<Example>)>,
}

/// Returns sentences that are distinguished by the groups that they mention.
pub(super) fn of_groups(
    languages: &[Language],
    category: &str,
    tuples: bool,
    text: &Prepared,
) -> Result<Sentences, ExperimentError> {
    let mut sets = Vec::new();
    for &language in languages {
        sets.push((language, text.fit_set(language, category)));
    }
    let groups = &sets[0].1.groups;
    if let Some((other, _)) = sets.iter().find(|(_, set)| set.groups != *groups) {
        return Err(ExperimentError::plan(
            "fit.languages",
            format!(
                "the words of `{category}` name different groups in {} and {other}; a joint fit needs the same",
                languages[0]
            ),
        ));
    }
    let mut all: Vec<Vec<Example>> = sets.iter().map(|(_, set)| examples(set, tuples)).collect();
    let mut classes = groups.clone();
    classes.push("neutral".into());
    if let Err(class) = balance(&mut all, classes.len(), tuples) {
        return Err(ExperimentError::plan(
            "fit.languages",
            format!(
                "a joint fit takes as many sentences of a class from each language, and some language has none of \
                 `{}` for `{category}`; give more text, or leave the joint fits out",
                classes[class]
            ),
        ));
    }
    let mut first_set = 0;
    for examples in &mut all {
        let sets = examples.iter().filter_map(|e| e.set).max();
        for set in examples.iter_mut().filter_map(|e| e.set.as_mut()) {
            *set += first_set;
        }
        first_set += sets.map_or(0, |m| m + 1);
    }
    Ok(Sentences {
        neutral: Some(groups.len()),
        classes,
        of: languages.iter().copied().zip(all).collect(),
    })
}

/// Returns parallel sentences that are distinguished by their language; the first of `own` is the language of the
/// fit. The states are those of all languages, in the order of the experiment.
pub(super) fn of_languages(own: &[Language], all: &[Language], rows: usize) -> Sentences {
    let of = |(class, &language): (usize, &Language)| {
        let place = all.iter().position(|l| *l == language).unwrap_or(0);
        let examples = (0..rows).map(|row| Example {
            sentence: place * rows + row,
            class,
            set: Some(row),
        });
        (language, examples.collect())
    };
    Sentences {
        classes: own.iter().map(ToString::to_string).collect(),
        neutral: None,
        of: own.iter().enumerate().map(of).collect(),
    }
}

/// Returns all languages, with that of the fit first.
pub(super) fn own_first(on: FitOn, all: &[Language]) -> Vec<Language> {
    let own = on.one();
    let others = all.iter().copied().filter(|l| Some(*l) != own);
    own.into_iter().chain(others).collect()
}

/// A sentence that a method learns from.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Example {
    sentence: usize,
    class: usize,
    /// Its counterfactual set.
    set: Option<usize>,
}

fn examples(set: &FitSet, tuples: bool) -> Vec<Example> {
    if !tuples {
        let classes = set.classes.iter();
        return classes
            .map(|&(sentence, class)| Example {
                sentence,
                class,
                set: None,
            })
            .collect();
    }
    let mut out = Vec::new();
    for (t, tuple) in set.tuples.iter().enumerate() {
        out.extend(tuple.iter().enumerate().map(|(class, &sentence)| Example {
            sentence,
            class,
            set: Some(t),
        }));
    }
    out
}

/// Leaves every language as many examples of each class, or as many counterfactual sets, as the
/// language with the fewest has: a joint fit must not be a fit in the language with most text.
///
/// # Errors
/// A class that some languages have, and others have not.
fn balance(languages: &mut [Vec<Example>], classes: usize, tuples: bool) -> Result<(), usize> {
    // Examples are taken together that share a set, or else a class.
    let key = |e: &Example| if tuples { 0 } else { e.class };
    for class in 0..classes {
        let units = |examples: &[Example]| -> Vec<usize> {
            let of_class = examples.iter().enumerate().filter(|(_, e)| key(e) == class);
            let mut units: Vec<usize> = of_class.map(|(at, e)| e.set.unwrap_or(at)).collect();
            units.dedup();
            units
        };
        let counts = || languages.iter().map(|l| units(l).len());
        let fewest = counts().min().unwrap_or(0);
        if fewest == 0 && counts().any(|count| count > 0) {
            return Err(class);
        }
        for examples in languages.iter_mut() {
            let units = units(examples);
            // Evenly over the text, because its order may mean something.
            let kept: HashSet<usize> = (0..fewest)
                .map(|i| units[i * units.len() / fewest])
                .collect();
            let mut at = 0;
            examples.retain(|e| {
                let unit = e.set.unwrap_or(at);
                at += 1;
                key(e) != class || kept.contains(&unit)
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(class: usize, set: Option<usize>) -> Example {
        Example {
            sentence: 0,
            class,
            set,
        }
    }

    #[test]
    fn languages_are_balanced_by_class() {
        let language = |counts: [usize; 3]| -> Vec<Example> {
            let of = |class: usize| std::iter::repeat_n(example(class, None), counts[class]);
            (0..3).flat_map(of).collect()
        };
        let mut languages = [language([10, 4, 7]), language([3, 9, 7])];
        assert_eq!(balance(&mut languages, 3, false), Ok(()));
        let lacking = &mut [language([3, 2, 7]), language([3, 0, 7])];
        assert_eq!(balance(lacking, 3, false), Err(1));
        for found in languages {
            assert_eq!(found, language([3, 4, 7]));
        }
    }

    #[test]
    fn languages_are_balanced_by_whole_sets() {
        let language = |sets: usize| -> Vec<Example> {
            let of = |set| [0, 1, 2].map(|class| example(class, Some(set)));
            (0..sets).flat_map(of).collect()
        };
        let mut languages = [language(9), language(3)];
        assert_eq!(balance(&mut languages, 4, true), Ok(()));
        let kept: Vec<usize> = languages[0].iter().filter_map(|e| e.set).collect();
        assert_eq!(kept, [0, 0, 0, 3, 3, 3, 6, 6, 6]);
        assert_eq!(languages[1], language(3));
        // One language keeps all that it has.
        let mut alone = [language(5)];
        assert_eq!(balance(&mut alone, 4, true), Ok(()));
        assert_eq!(alone[0], language(5));
    }
}

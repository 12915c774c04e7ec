//! The search: rounds of fewer and fewer candidates on more and more items, a rule for the choice, and a
//! confirmation.

use std::collections::BTreeSet;
use std::path::Path;

use interlingua_edits::{Hook, Intervention};
use interlingua_models::intervene::Steps;
use interlingua_models::{Model, Pooling};
use serde::{Deserialize, Serialize};

use crate::TuneError;
use crate::evidence::Evidence;
use crate::fit::sentences;
use crate::journal::Journal;
use crate::judge::{self, Answers, Comparison, Number, Summary};
use crate::recipe::{Place, Recipe, Role};
use crate::text::{Half, Texts};

/// The settings of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The methods that are tried.
    pub methods: Vec<String>,
    /// The ranks that are tried.
    pub ranks: Vec<usize>,
    /// The strengths that are tried.
    pub strengths: Vec<f64>,
    /// Whether only edits that fold into weights exactly are tried.
    pub folded: bool,
    /// Whether edits of the state that the LM head reads are tried. An adapter cannot hold them if the head is the
    /// embedding.
    pub final_norm: bool,
    /// The largest divergence of predictions on neutral text, in nats per token. Its upper 95 % bound must stay below
    /// this in every language.
    pub max_kl: f64,
    /// The numbers of candidates that the second and the third round keep.
    pub keep: [usize; 2],
    /// The number of random controls of the chosen edit's shape.
    pub controls: usize,
    /// The number of candidates that are evaluated in one pass; the results do not depend on it.
    #[serde(skip)]
    pub at_once: usize,
    /// The seed of splits, fits, controls and intervals.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            methods: vec!["sentdebias".into(), "leace".into()],
            ranks: vec![1, 2, 4, 8],
            strengths: vec![0.5, 1.0, 1.5],
            folded: false,
            final_norm: true,
            max_kl: 0.1,
            keep: [6, 8],
            controls: 5,
            at_once: 16,
            seed: 1,
        }
    }
}

impl Settings {
    /// Returns in words the rule by which the choice is made. It is written before any number is known.
    pub fn rule(&self) -> String {
        format!(
            "Of the candidates of the last round, those whose divergence from the unedited model on neutral text has an upper \
             95 % bound of at most {} nats a token in every language, on the selecting half; of these, the one whose gap in \
             the language where it is largest is smallest, on the selecting half. The confirming half is looked at once, for \
             this one.",
            self.max_kl
        )
    }

    fn check(&self) -> Result<(), TuneError> {
        let setting = |name, value: String, expected: &str| {
            Err(TuneError::Setting {
                name,
                value,
                expected: expected.into(),
            })
        };
        if !(self.max_kl > 0.0 && self.max_kl.is_finite()) {
            return setting(
                "max-kl",
                self.max_kl.to_string(),
                "a number of nats above 0",
            );
        }
        if self.methods.is_empty() || self.ranks.is_empty() || self.strengths.is_empty() {
            return setting(
                "methods, ranks, strengths",
                "empty".into(),
                "at least one of each",
            );
        }
        if let Some(rank) = self.ranks.iter().find(|r| **r == 0) {
            return setting("ranks", rank.to_string(), "at least 1 direction");
        }
        if let Some(s) = self
            .strengths
            .iter()
            .find(|s| !(**s > 0.0 && s.is_finite()))
        {
            return setting("strengths", s.to_string(), "a number above 0");
        }
        if self.controls == 0 || self.at_once == 0 || self.keep.contains(&0) {
            return setting("controls, at-once, keep", "0".into(), "at least 1");
        }
        for name in &self.methods {
            interlingua_debias::by_name(name)?;
        }
        Ok(())
    }
}

/// An event by which a search reports its progress.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The rule of the choice, before any number.
    Rule(String),
    /// A part of the work begins.
    Begin(String),
    /// The search makes progress, in any unit.
    Progress {
        /// The amount that is done.
        done: usize,
        /// The total amount.
        total: usize,
    },
    /// A round is over. The text gives the number of candidates, how many of them were evaluated now, and the best so
    /// far.
    Round {
        /// The result of the round in words.
        text: String,
    },
}

/// A candidate with the summary of its answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The candidate.
    pub recipe: Recipe,
    /// The summary of its answers on the items of the round.
    pub summary: Summary,
}

/// One round of the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// The shares of the selecting half that were used: of its attributes, and of its neutral sentences.
    pub shares: [f64; 2],
    /// All candidates that were evaluated, best first.
    pub candidates: Vec<Candidate>,
}

/// The confirmed results in one language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confirmed {
    /// The language.
    pub language: String,
    /// The gaps of the pairs that count.
    pub gaps: Comparison,
    /// The gaps of the pairs that are reported separately because their attribute is marked for the group; `None` if
    /// the language has none.
    pub marked: Option<Comparison>,
    /// The perplexity of the edited model divided by that of the unedited one, on neutral text.
    pub perplexity_ratio: Number,
    /// The divergence on neutral text in nats per token, and its upper bound.
    pub kl: [f64; 2],
}

/// The result of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The settings of the search.
    pub settings: Settings,
    /// The rule of the choice in words.
    pub rule: String,
    /// The languages, by code.
    pub languages: Vec<String>,
    /// The bias category.
    pub category: String,
    /// The unedited model on the selecting half.
    pub unedited: Summary,
    /// The rounds.
    pub rounds: Vec<Round>,
    /// The chosen candidate, with its summary of the last round.
    pub chosen: Candidate,
    /// The results for the language where the gap is largest, on the confirming half.
    pub worst: Comparison,
    /// The results for every language, on the confirming half.
    pub confirmed: Vec<Confirmed>,
    /// The largest gap over languages of each random control, on the confirming half.
    pub controls: Vec<f64>,
    /// The numbers of attributes and of pairs that count, for the selecting and for the confirming half.
    pub items: [[usize; 2]; 2],
}

/// A search with its inputs.
pub struct Search<'a> {
    /// The model.
    pub model: &'a Model,
    /// All text.
    pub texts: &'a Texts,
    /// The settings.
    pub settings: &'a Settings,
    /// The function that receives events.
    pub listener: &'a mut dyn FnMut(Event),
}

impl Search<'_> {
    /// Searches, chooses by the rule, and confirms. Every evaluation is recorded in the journal.
    ///
    /// # Errors
    /// Settings or text that cannot be used, candidates of which none is within the limit, and whatever stops the
    /// model.
    pub fn run(&mut self, journal: &Path) -> Result<(Outcome, Intervention), TuneError> {
        self.settings.check()?;
        if !self.model.geometry.causal {
            return Err(TuneError::NotCausal {
                architecture: self.model.geometry.architecture.to_owned(),
            });
        }
        (self.listener)(Event::Rule(self.settings.rule()));
        let shape = self.model.geometry.shape();
        let mut places = Place::all(&shape, self.settings.folded);
        let hooks: BTreeSet<Hook> = places.iter().flat_map(|p| p.hooks()).collect();
        places.retain(|place| self.settings.final_norm || *place != Place::FinalNorm);
        let hooks: Vec<Hook> = hooks.into_iter().collect();
        let digest = self.model.digest()?;
        let key = key(&(
            digest.to_hex().as_str(),
            self.settings,
            text_key(self.texts),
        ));
        let mut journal = Journal::open(journal, &key)?;

        let name = format!("states of {} sentences", 2 * self.texts.fit.len());
        let evidence = {
            (self.listener)(Event::Begin(name));
            let listener = &mut *self.listener;
            let mut progress = |done, total| listener(Event::Progress { done, total });
            Evidence::capture(
                self.model,
                sentences(&self.texts.fit),
                &hooks,
                Pooling::Mean,
                &mut progress,
            )?
        };
        let rounds = self.rounds(&evidence, &places, &mut journal)?;
        let last = rounds.last().expect("there are three rounds");
        let within = |c: &&Candidate| c.summary.worst_bound() <= self.settings.max_kl;
        let Some(chosen) = last.candidates.iter().find(within).cloned() else {
            let nearest = last.candidates.iter().min_by(|a, b| {
                let bound = |c: &Candidate| c.summary.worst_bound();
                bound(a).total_cmp(&bound(b))
            });
            let nearest = nearest.expect("a round has candidates");
            return Err(TuneError::NothingWithin {
                judged: last.candidates.len(),
                limit: self.settings.max_kl,
                nearest: nearest.recipe.to_string(),
                bound: nearest.summary.worst_bound(),
            });
        };
        let unedited = self.unedited(&mut journal)?;
        let outcome = self.confirm(&evidence, &mut journal, rounds, chosen, unedited)?;
        let mut intervention = evidence.intervention(&outcome.chosen.recipe, self.settings.seed)?;
        intervention.provenance.weights = Some(digest.to_hex().to_string());
        let languages = outcome.languages.join(", ");
        let notes = &mut intervention.provenance.notes;
        notes.insert("category".into(), self.texts.category.clone());
        notes.insert("fit_language".into(), languages);
        Ok((outcome, intervention))
    }

    /// All rounds; candidates of each best first.
    fn rounds(
        &mut self,
        evidence: &Evidence,
        places: &[Place],
        journal: &mut Journal,
    ) -> Result<Vec<Round>, TuneError> {
        let settings = self.settings;
        // First which place and method, at the smallest rank and the whole strength.
        let constant = self.with_constant(evidence)?;
        let mut first = Vec::new();
        for &place in places {
            for method in &settings.methods {
                let recipe = Recipe {
                    role: Role::Method,
                    method: method.clone(),
                    place,
                    rank: self.largest(method, settings.ranks[0]),
                    strength: 1.0,
                    centred: false,
                };
                first.extend(self.variants(recipe, constant.contains(&method.as_str())));
            }
        }
        let mut rounds = vec![self.round(evidence, [0.5, 0.25], first, journal)?];
        // Then how much, where it seemed to help.
        let mut second: Vec<Recipe> = Vec::new();
        for candidate in rounds[0].candidates.iter().take(settings.keep[0]) {
            let of = &candidate.recipe;
            for &rank in &settings.ranks {
                for &strength in &settings.strengths {
                    let recipe = Recipe {
                        rank: self.largest(&of.method, rank),
                        strength,
                        ..of.clone()
                    };
                    if !second.contains(&recipe) {
                        second.push(recipe);
                    }
                }
            }
        }
        rounds.push(self.round(evidence, [0.5, 0.5], second, journal)?);
        let best = rounds[1].candidates.iter().take(settings.keep[1]);
        let third = best.map(|c| c.recipe.clone()).collect();
        rounds.push(self.round(evidence, [1.0, 1.0], third, journal)?);
        Ok(rounds)
    }

    /// The methods whose edits hold a constant by themselves, such as a mean that they leave alone.
    fn with_constant(&self, evidence: &Evidence) -> Result<Vec<&str>, TuneError> {
        let mut found = Vec::new();
        for method in &self.settings.methods {
            let recipe = Recipe {
                role: Role::Method,
                method: method.clone(),
                place: Place::FinalNorm,
                rank: self.largest(method, 1),
                strength: 1.0,
                centred: false,
            };
            let intervention = evidence.intervention(&recipe, self.settings.seed)?;
            let mut edits = intervention.steps().iter();
            if edits.any(|(_, edit)| edit.offset().iter().any(|b| *b != 0.0)) {
                found.push(method.as_str());
            }
        }
        Ok(found)
    }

    /// A method at a place as it is, and around the mean; what its place can hold of the two.
    fn variants(&self, recipe: Recipe, constant: bool) -> Vec<Recipe> {
        let centred = Recipe {
            centred: true,
            ..recipe.clone()
        };
        // Weights without a bias hold no constant, and writers are tried for what weights hold.
        let holds_constant = match recipe.place {
            Place::Output(_) => true,
            Place::FinalNorm => !self.settings.folded,
            Place::Writers { .. } => false,
        };
        match (holds_constant, constant) {
            (false, true) => Vec::new(),
            (false, false) | (true, true) => vec![recipe],
            (true, false) => vec![recipe, centred],
        }
    }

    /// The rank, or what the method gives at most for two groups.
    fn largest(&self, method: &str, rank: usize) -> usize {
        let most = interlingua_debias::by_name(method)
            .map_or(rank, |m| m.max_rank(2, 2, self.model.geometry.hidden_size));
        rank.min(most)
    }

    /// Judges candidates on a share of the selecting half and sorts them, best first: those within the
    /// limit by their worst gap, behind them the others by their divergence.
    fn round(
        &mut self,
        evidence: &Evidence,
        shares: [f64; 2],
        recipes: Vec<Recipe>,
        journal: &mut Journal,
    ) -> Result<Round, TuneError> {
        let half = self.texts.select.part(shares[0], shares[1]);
        let count = recipes.len();
        let name = format!(
            "{count} candidates on {} pairs and {} neutral sentences",
            half.pairs.len(),
            half.neutral.iter().map(Vec::len).sum::<usize>()
        );
        let (answers, anew) = self.answers(evidence, &half, &recipes, journal, &name)?;
        let mut candidates = Vec::with_capacity(count);
        for (recipe, answers) in recipes.into_iter().zip(&answers) {
            let summary = Summary::of(answers, &half, self.settings.seed)?;
            candidates.push(Candidate { recipe, summary });
        }
        let limit = self.settings.max_kl;
        let order = |c: &Candidate| match c.summary.worst_bound() <= limit {
            true => (0, c.summary.worst_gap()),
            false => (1, c.summary.worst_bound()),
        };
        candidates.sort_by(|a, b| {
            let ((x, p), (y, q)) = (order(a), order(b));
            x.cmp(&y).then(p.total_cmp(&q))
        });
        let within = candidates.iter().filter(|c| order(c).0 == 0).count();
        let best = &candidates[0];
        (self.listener)(Event::Round {
            text: format!(
                "{count} candidates judged ({anew} of them now), {within} within {limit} nats; best: {}, worst gap {:.2}, \
                 divergence at most {:.3}",
                best.recipe,
                best.summary.worst_gap(),
                best.summary.worst_bound()
            ),
        });
        Ok(Round { shares, candidates })
    }

    /// Answers of candidates on a half, from the journal or the model; how many came from the model.
    fn answers(
        &mut self,
        evidence: &Evidence,
        half: &Half,
        recipes: &[Recipe],
        journal: &mut Journal,
        name: &str,
    ) -> Result<(Vec<Answers>, usize), TuneError> {
        let asked = half_key(half);
        let keys: Vec<String> = recipes.iter().map(|r| key(&(r, &asked))).collect();
        let missing: Vec<usize> = (0..recipes.len())
            .filter(|&at| journal.get(&keys[at]).is_none())
            .collect();
        (self.listener)(Event::Begin(name.to_owned()));
        for (group, together) in missing.chunks(self.settings.at_once).enumerate() {
            let mut steps = Vec::with_capacity(together.len());
            for &at in together {
                let intervention = evidence.intervention(&recipes[at], self.settings.seed)?;
                steps.push(Steps::new(&intervention, self.model)?);
            }
            let before = group * self.settings.at_once;
            let listener = &mut *self.listener;
            let mut last = 0;
            let mut progress = |done: usize, all: usize| {
                // A thousandth of a candidate is the unit.
                let done = 1000 * before + 1000 * together.len() * done / all.max(1);
                if done > last + 10 * missing.len() {
                    last = done;
                    let total = 1000 * missing.len();
                    listener(Event::Progress { done, total });
                }
            };
            let found = judge::ask(self.model, half, &steps, &mut progress)?;
            for (&at, answers) in together.iter().zip(found) {
                journal.keep(&keys[at], recipes[at].to_string(), answers)?;
            }
        }
        let all = keys.iter().map(|k| journal.get(k).cloned());
        let all = all.collect::<Option<Vec<_>>>();
        Ok((all.expect("what was missing was judged"), missing.len()))
    }

    /// Answers of the unedited model on a half.
    fn unedited_on(&mut self, half: &Half, journal: &mut Journal) -> Result<Answers, TuneError> {
        let key = key(&("unedited", half_key(half)));
        if let Some(known) = journal.get(&key) {
            return Ok(known.clone());
        }
        let found = judge::ask(self.model, half, &[Steps::none()], &mut |_, _| {})?;
        let found = found.into_iter().next().expect("one candidate was asked");
        journal.keep(&key, "unedited".into(), found.clone())?;
        Ok(found)
    }

    fn unedited(&mut self, journal: &mut Journal) -> Result<Summary, TuneError> {
        let half = self.texts.select.clone();
        let answers = self.unedited_on(&half, journal)?;
        Summary::of(&answers, &half, self.settings.seed)
    }

    /// Looks at the confirming half, once.
    fn confirm(
        &mut self,
        evidence: &Evidence,
        journal: &mut Journal,
        rounds: Vec<Round>,
        chosen: Candidate,
        unedited: Summary,
    ) -> Result<Outcome, TuneError> {
        let half = self.texts.confirm.clone();
        let seed = self.settings.seed;
        let before = self.unedited_on(&half, journal)?;
        let draws = 1..=self.settings.controls as u64;
        let mut recipes = vec![chosen.recipe.clone()];
        recipes.extend(draws.map(|draw| chosen.recipe.random(draw)));
        let name = format!(
            "the chosen candidate and {} random ones on the confirming half",
            recipes.len() - 1
        );
        let (answers, _) = self.answers(evidence, &half, &recipes, journal, &name)?;
        let (after, controls) = answers.split_first().expect("the chosen one was asked");
        let (worst, by_language) =
            judge::compare_gaps(&half, &before, after, controls, false, seed)?;
        let apart = half.pairs.iter().any(|pair| pair.apart);
        let marked = match apart {
            true => judge::compare_gaps(&half, &before, after, controls, true, seed)?.1,
            false => vec![None; by_language.len()],
        };
        let summary = Summary::of(after, &half, seed)?;
        let mut confirmed = Vec::new();
        for (at, (gaps, marked)) in by_language.into_iter().zip(marked).enumerate() {
            let of = &summary.languages[at];
            let gaps = gaps.expect("every language has pairs that count");
            confirmed.push(Confirmed {
                language: self.texts.languages[at].to_string(),
                gaps,
                marked,
                perplexity_ratio: judge::perplexity_ratio(
                    &before.neutral[at],
                    &after.neutral[at],
                    seed,
                )?,
                kl: [of.kl, of.kl_bound],
            });
        }
        let mut random = Vec::new();
        for answers in controls {
            random.push(Summary::of(answers, &half, seed)?.worst_gap());
        }
        let items = |half: &Half| {
            let counted = half.pairs.iter().filter(|pair| !pair.apart);
            [half.clusters.len(), counted.count()]
        };
        Ok(Outcome {
            settings: self.settings.clone(),
            rule: self.settings.rule(),
            languages: self
                .texts
                .languages
                .iter()
                .map(ToString::to_string)
                .collect(),
            category: self.texts.category.clone(),
            unedited,
            rounds,
            chosen,
            worst,
            confirmed,
            controls: random,
            items: [items(&self.texts.select), items(&self.texts.confirm)],
        })
    }
}

/// A key of plain data.
fn key(of: &impl Serialize) -> String {
    let text = serde_json::to_vec(of).expect("plain data");
    blake3::hash(&text).to_hex()[..32].to_owned()
}

fn half_key(half: &Half) -> String {
    let pairs: Vec<&[String; 2]> = half.pairs.iter().map(|p| &p.sentences).collect();
    key(&(pairs, &half.neutral))
}

fn text_key(texts: &Texts) -> String {
    let fit: Vec<&[String; 2]> = texts.fit.iter().map(|t| &t.sentences).collect();
    key(&(fit, half_key(&texts.select), half_key(&texts.confirm)))
}

//! Searches the operating point of every method by what a model knows: the hooks, strengths and parameters that raise
//! the log-odds of the right answers of some tasks most, which are chosen on some items and judged on others.
//!
//! # Source
//! Han et al. 2025 (arXiv 2510.26024) search two layers and two strengths so. The rule is ours, since theirs is not
//! published.

use std::collections::BTreeMap;

use interlingua_data::Language;
use interlingua_metrics::bootstrap;
use interlingua_metrics::choice::{Item, Norm};
use interlingua_tasks::Judgement;

use super::Blank;
use super::benchmarks::Found;
use super::bias::unedited;
use super::choice::chooses;
use super::joint::Scored;
use super::scopes::{Families, Family};
use crate::ExperimentError;
use crate::benchmarks::Benchmark;
use crate::fit_on::FitOn;
use crate::plan::Setting;
use crate::role::Role;
use crate::row::Row;

/// The log-odds of the right answer of each item, with what the item is called.
type Odds = Vec<(String, f64)>;

/// Log-odds of each item under an edit, and in the unedited model.
type Pairs = Vec<(f64, f64)>;

/// The items of one task in one language under each setting of the plan.
struct Cell<'a> {
    task: &'a str,
    language: Language,
    odds: BTreeMap<usize, Odds>,
}

/// What families differ in where one of them is searched: hook, size, strength and parameters.
fn same_method(a: &Family, b: &Family) -> bool {
    let of = |family: &Family| {
        let common = &family.common;
        let method = common.in_rows();
        (method, common.space, common.reinsert, common.role)
    };
    a.fits == b.fits && of(a) == of(b)
}

/// Whether an edit is judged in a language: one about another language is a control there.
fn is_own(setting: &Setting, language: Language) -> bool {
    match setting.fit_language {
        Some(FitOn::One(own)) => own == language,
        Some(FitOn::AllBut(out)) => out == language,
        Some(FitOn::All) | None => true,
    }
}

/// Adds rows `operating_log_odds` and `operating_log_odds_difference` of the points that are found, their controls and
/// the unedited model, and returns in words what was found.
///
/// There are no rows unless the spec names tasks by which to choose ([`crate::spec::ChooseSpec::tasks`]).
///
/// # Errors
/// Tasks that leave nothing to choose by or to judge by.
pub fn search_rows(
    blank: &Blank<'_>,
    scored: &Scored,
    judged: &[Found<'_>],
    rows: &mut Vec<Row>,
) -> Result<Vec<String>, ExperimentError> {
    let plan = blank.plan;
    if plan.spec.choose.tasks.is_empty() {
        return Ok(Vec::new());
    }
    let search = Search {
        blank,
        families: Families::new(plan),
        cells: cells(&plan.spec.choose.tasks, judged),
        costs: costs(blank, scored),
    };
    let mut notes = Vec::new();
    let mut shown: Vec<usize> = search.families.unedited().into_iter().collect();
    for points in search.methods() {
        let (note, found) = search.best(&points)?;
        notes.push(note);
        let Some(found) = found else { continue };
        shown.push(found);
        shown.extend(search.families.controls(&search.families.all[found]));
    }
    shown.sort_unstable();
    shown.dedup();
    for family in shown {
        search.judge(family, rows)?;
    }
    Ok(notes)
}

fn cells<'a>(tasks: &[String], judged: &'a [Found<'_>]) -> Vec<Cell<'a>> {
    let named = judged
        .iter()
        .map(|(set, found)| (set.name(set.items.about()), *set, found));
    let wanted = named.filter(|(name, ..)| tasks.iter().any(|task| task == name));
    wanted
        .map(|(task, set, found)| Cell {
            task,
            language: set.language,
            odds: found
                .iter()
                .map(|one| (one.setting, odds(set, &one.found)))
                .collect(),
        })
        .collect()
}

fn odds(set: &Benchmark, found: &Judgement) -> Odds {
    let answers = set.items.answers(found).into_iter();
    let of_whole = answers.filter(|answer| answer.scorer == Norm::Total.name());
    of_whole
        .filter_map(|answer| {
            let one = vec!["x"; answer.scores.len()];
            let item = Item::new(answer.scores, &one, answer.gold?);
            Some((answer.item, item.log_odds(Norm::Total)))
        })
        .collect()
}

/// How many times as perplexing each setting makes held-out text of each language, on the sentences that choose.
fn costs(blank: &Blank<'_>, scored: &Scored) -> BTreeMap<(usize, Language), f64> {
    let mut all = BTreeMap::new();
    for (_, language, scores) in scored {
        let before = unedited(blank.plan, scores);
        for (at, &setting) in scores.settings.iter().enumerate() {
            let both = scores.neutral[at].iter().zip(&scores.neutral[before]);
            let (mut lost, mut tokens) = (0.0, 0.0);
            for (row, (edited, unedited)) in both.enumerate() {
                if chooses(blank.plan, &format!("held-out {row}")) {
                    lost += unedited.log_prob - edited.log_prob;
                    tokens += f64::from(edited.tokens);
                }
            }
            if tokens > 0.0 {
                all.insert((setting, *language), (lost / tokens).exp());
            }
        }
    }
    all
}

struct Search<'a> {
    blank: &'a Blank<'a>,
    families: Families,
    cells: Vec<Cell<'a>>,
    costs: BTreeMap<(usize, Language), f64>,
}

impl Search<'_> {
    /// The points of every method that has several.
    fn methods(&self) -> Vec<Vec<usize>> {
        let all = &self.families.all;
        let mut tried: Vec<Vec<usize>> = Vec::new();
        for family in (0..all.len()).filter(|&f| !all[f].is_control()) {
            match (tried.iter_mut()).find(|points| same_method(&all[points[0]], &all[family])) {
                Some(points) => points.push(family),
                None => tried.push(vec![family]),
            }
        }
        tried.retain(|points| points.len() > 1);
        tried
    }

    /// The point with the largest gain among those within the limit, and what to say of it. Of equal gains the first
    /// is taken, in the order of the plan.
    fn best(&self, points: &[usize]) -> Result<(String, Option<usize>), ExperimentError> {
        let most = self.blank.plan.spec.choose.max_cost;
        let mut best: Option<(f64, usize)> = None;
        for &point in points {
            let gain = self.gain(point)?;
            if self.cost(point)? <= most && best.is_none_or(|(b, _)| gain > b) {
                best = Some((gain, point));
            }
        }
        let common = &self.families.all[points[0]].common;
        let method = common.in_rows();
        let Some((gain, point)) = best else {
            let note = format!(
                "{method}: by what it knows, none of {} operating points keeps the {} within {most} of the unedited model's",
                points.len(),
                self.blank.cost.replace('_', "-"),
            );
            return Ok((note, None));
        };
        let setting = &self.families.all[point].common;
        let params = setting.params.as_deref().unwrap_or("no parameters");
        let note = format!(
            "{method}: by what it knows, of {} operating points, {} at strength {} ({params}) was chosen: {gain:+.3} nats of log-odds on the items that chose",
            points.len(),
            setting.hook.as_deref().unwrap_or("no hook point"),
            setting.strength.unwrap_or(1.0),
        );
        Ok((note, Some(point)))
    }

    /// Mean over tasks of the mean over languages of the change of log-odds, on the items that choose.
    fn gain(&self, family: usize) -> Result<f64, ExperimentError> {
        let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (cell, _, changes) in self.changes(family, true) {
            let values: Vec<f64> = changes
                .iter()
                .map(|(edited, before)| edited - before)
                .collect();
            tasks.entry(cell.task).or_default().push(mean(&values));
        }
        let all: Vec<f64> = tasks.values().map(|of| mean(of)).collect();
        match all.len() == self.blank.plan.spec.choose.tasks.len()
            && all.iter().all(|g| g.is_finite())
        {
            true => Ok(mean(&all)),
            false => Err(ExperimentError::plan(
                "choose.tasks",
                "leave nothing to choose by: each needs items in the language of an edit, on both sides of choose.share",
            )),
        }
    }

    /// The largest cost of a language under the edits that are about it.
    fn cost(&self, family: usize) -> Result<f64, ExperimentError> {
        let members = &self.families.all[family].members;
        let of = members.iter().flat_map(|&member| {
            let setting = &self.blank.plan.settings[member];
            let costs = self.costs.iter();
            costs.filter(move |((at, language), _)| *at == member && is_own(setting, *language))
        });
        let largest = of.map(|(_, cost)| *cost).max_by(f64::total_cmp);
        largest.ok_or_else(|| {
            ExperimentError::plan(
                "score.perplexity_sentences",
                "leaves no sentence that says what an edit costs, which choose.tasks goes by; more of them would",
            )
        })
    }

    /// Log-odds under each edit in the language that it is about, beside those of the unedited model, of the items that
    /// choose or of the others.
    fn changes(&self, family: usize, choosing: bool) -> Vec<(&Cell<'_>, &Setting, Pairs)> {
        let plan = self.blank.plan;
        let mut all = Vec::new();
        for cell in &self.cells {
            for &member in &self.families.all[family].members {
                let setting = &plan.settings[member];
                let before = cell.odds.keys().find(|&&other| {
                    let other = &plan.settings[other];
                    other.role == Role::Unedited && other.category == setting.category
                });
                let (Some(edited), Some(before)) = (cell.odds.get(&member), before) else {
                    continue;
                };
                if !is_own(setting, cell.language) {
                    continue;
                }
                let both = edited.iter().zip(&cell.odds[before]);
                let kept = both.filter(|((id, _), _)| chooses(plan, id) == choosing);
                let kept = kept.map(|((_, x), (_, y))| (*x, *y)).collect();
                all.push((cell, setting, kept));
            }
        }
        all
    }

    /// Rows of a family, from the items that did not choose.
    fn judge(&self, family: usize, rows: &mut Vec<Row>) -> Result<(), ExperimentError> {
        let of = &self.families.all[family];
        let options = self.blank.bootstrap();
        for (cell, setting, changes) in self.changes(family, false) {
            let failed =
                |e| ExperimentError::metric("an operating point on the items kept for it")(e);
            let edited: Vec<f64> = changes.iter().map(|(edited, _)| *edited).collect();
            let change: Vec<f64> = changes
                .iter()
                .map(|(edited, before)| edited - before)
                .collect();
            let edited = bootstrap::mean(&edited, &options).map_err(failed)?;
            let mut numbers = vec![("operating_log_odds", edited, None)];
            if of.common.role != Role::Unedited {
                let change = bootstrap::mean(&change, &options).map_err(failed)?;
                numbers.push(("operating_log_odds_difference", change, Some("unedited")));
            }
            for (metric, estimate, versus) in numbers {
                rows.push(Row {
                    versus: versus.map(str::to_owned),
                    benchmark: Some(cell.task.to_owned()),
                    scorer: Some(Norm::Total.name().to_owned()),
                    eval_language: Some(cell.language.to_string()),
                    ..self
                        .blank
                        .with_setting(self.blank.row(metric, estimate), setting)
                });
            }
        }
        Ok(())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use interlingua_data::ChoiceItem;
    use interlingua_tasks::Items;
    use interlingua_tasks::choice::Item as Asked;

    use super::*;
    use crate::plan::{Plan, of_text};
    use crate::requests::Neutral;
    use crate::stages::{Judged, Scores};

    const LANGUAGES: [Language; 2] = [Language::EN, Language::FR];
    const ITEMS: usize = 60;
    /// A file that is there; its items are not read.
    const FILE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../datasets/choice/everyday.tsv"
    );

    fn plan(max_cost: f64) -> Plan {
        let text = format!(
            "name = \"x\"\ntitle = \"X\"\nlanguages = [\"en\", \"fr\"]\ncategories = [\"gender\"]\nspaces = [\"raw\"]\n\
             hook = [\"block.0.output + block.1.output\", \"block.0.output + block.2.output\"]\n\
             [data]\nkind = \"testbed\"\n[model]\nkind = \"train\"\nlayers = 3\n[fit]\nlanguages = [\"each\"]\n\
             [score]\nscorers = [\"lm-eval\"]\nresamples = 100\n\
             [choose]\nmax_cost = {max_cost}\ntasks = [\"facts\"]\n\
             [[methods]]\nname = \"surgical-steering\"\nstrength = [0.5, 1.0]\n\
             [[methods]]\nname = \"surgical-steering\"\nstrength = [0.5]\nparams = {{ local = 0.5 }}\n\
             [[benchmarks]]\nkind = \"choice\"\nname = \"facts\"\npath = \"{FILE}\"\n"
        );
        of_text(&text, Path::new(""))
    }

    /// How much a setting raises the log-odds in the language that it is about.
    fn planted(setting: &Setting) -> f64 {
        let deep = setting.hook.as_deref() == Some("block.0.output+block.2.output");
        match (
            setting.role,
            deep,
            setting.strength,
            setting.params.as_deref(),
        ) {
            (Role::Method, true, Some(0.5), None) => 1.0,
            (Role::Method, true, Some(0.5), _) => 0.8,
            // The largest gain breaks the model.
            (Role::Method, true, ..) => 3.0,
            (Role::Method, ..) => 0.2,
            _ => 0.0,
        }
    }

    fn benchmark(language: Language) -> Benchmark {
        let item = |i: usize| Asked {
            item: ChoiceItem {
                id: format!("fact-{i}"),
                language,
                category: None,
                prompt: "p".into(),
                candidates: vec!["a".into(), "b".into()],
                gold: i % 2,
            },
            delimiter: " ".into(),
        };
        Benchmark {
            category: None,
            language,
            items: Items::Choice((0..ITEMS).map(item).collect()),
            name: Some("facts".into()),
        }
    }

    fn judged(plan: &Plan, language: Language) -> Vec<Judged> {
        let of = |(at, setting): (usize, &Setting)| {
            let own = is_own(setting, language);
            // Against what is planted where an edit is about another language: it must not be looked at.
            let gain = if own { planted(setting) } else { -9.0 };
            let said = |i: usize| {
                let right = gain + [-0.4, 0.4, 0.1][i % 3];
                if i.is_multiple_of(2) {
                    vec![right, 0.0]
                } else {
                    vec![0.0, right]
                }
            };
            let found = Judgement {
                numbers: Vec::new(),
                texts: Vec::new(),
                said: (0..ITEMS).map(said).collect(),
            };
            Judged { setting: at, found }
        };
        plan.settings.iter().enumerate().map(of).collect()
    }

    fn scored(plan: &Plan) -> Vec<(String, Language, Scores)> {
        let neutral = |setting: &Setting| {
            let lost = f64::from(u8::from(planted(setting) > 2.0));
            let sentence = |i: u32| Neutral {
                log_prob: -f64::from(i + 3) * (2.0 + lost),
                tokens: i + 3,
                divergence: 0.0,
                agreeing: 0,
            };
            (0..12).map(sentence).collect()
        };
        let of = |language| {
            let scores = Scores {
                settings: (0..plan.settings.len()).collect(),
                pairs: plan.settings.iter().map(|_| vec![Vec::new()]).collect(),
                neutral: plan.settings.iter().map(neutral).collect(),
            };
            ("gender".to_owned(), language, scores)
        };
        LANGUAGES.map(of).into()
    }

    fn search(plan: &Plan, rows: &mut Vec<Row>) -> Result<Vec<String>, ExperimentError> {
        let blank = Blank {
            plan,
            model: "m".into(),
            benchmark: "b".into(),
            cost: "perplexity",
        };
        let sets = LANGUAGES.map(benchmark);
        let found: Vec<Found<'_>> = sets
            .iter()
            .map(|set| (set, judged(plan, set.language)))
            .collect();
        search_rows(&blank, &scored(plan), &found, rows)
    }

    #[test]
    fn layers_strengths_and_parameters_are_searched_together_and_judged_apart() {
        let plan = plan(1.5);
        let (mut rows, mut again) = (Vec::new(), Vec::new());
        let notes = search(&plan, &mut rows).unwrap();
        assert_eq!(notes, search(&plan, &mut again).unwrap());
        assert_eq!(rows, again);
        assert_eq!(notes.len(), 1, "{notes:?}");
        for part in [
            "of 6 operating points",
            "block.0.output+block.2.output at strength 0.5",
            "+1.000",
        ] {
            assert!(notes[0].contains(part), "{part}: {notes:?}");
        }
        let kept = (0..ITEMS)
            .filter(|i| !chooses(&plan, &format!("fact-{i}")))
            .count();
        assert!(kept > 10 && kept < 50);
        let of = |role: Role| {
            let all = rows.iter().filter(move |r| r.role == Some(role));
            all.filter(|r| r.metric == "operating_log_odds_difference")
                .map(|r| (r.eval_language.clone().unwrap(), r.value, r.n))
                .collect::<Vec<_>>()
        };
        let chosen = of(Role::Method);
        assert_eq!(chosen.len(), 2, "each language once: {chosen:?}");
        for (language, value, n) in &chosen {
            assert!((value - 1.0).abs() < 1e-9, "{language}: {value}");
            assert_eq!(*n, kept as u64);
        }
        for (_, value, _) in of(Role::Control(crate::role::Control::Random)) {
            assert!(value.abs() < 1e-9, "{value}");
        }
        assert!(of(Role::Unedited).is_empty());
        let before = rows
            .iter()
            .find(|r| r.role == Some(Role::Unedited))
            .unwrap();
        assert_eq!(
            (before.metric.as_str(), before.n),
            ("operating_log_odds", kept as u64)
        );
    }

    #[test]
    fn a_limit_that_nothing_keeps_is_said_and_the_largest_gain_wins_without_one() {
        let mut rows = Vec::new();
        let none = search(&plan(0.5), &mut rows).unwrap();
        assert!(none[0].contains("none of 6 operating points"), "{none:?}");
        assert!(rows.iter().all(|r| r.role == Some(Role::Unedited)));
        let all = search(&plan(9.0), &mut rows).unwrap();
        assert!(all[0].contains("strength 1 "), "{all:?}");
    }
}

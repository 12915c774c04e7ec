//! Turns the results of the tasks other than the pairs into rows and answers.

use interlingua_metrics::info;
use interlingua_tasks::{Judging, Number};

use super::{Blank, axes};
use crate::ExperimentError;
use crate::benchmarks::{Benchmark, what};
use crate::plan::Setting;
use crate::role::Role;
use crate::row::{Answer, Row};
use crate::stages::Judged;

/// A set of items with the result under each setting.
pub type Found<'a> = (&'a Benchmark, Vec<Judged>);

/// Adds rows of all tasks: their numbers, the differences from the unedited model, and the agreement between
/// languages.
///
/// # Errors
/// Answers for which a metric has no value.
pub fn benchmark_rows(
    blank: &Blank<'_>,
    found: &[Found<'_>],
    to: &Judging,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    for (at, (set, judged)) in found.iter().enumerate() {
        let language = set.language.to_string();
        let numbers = judged.iter().flat_map(|Judged { setting, found }| {
            let numbers = found.numbers.iter();
            numbers.map(move |number| (*setting, number))
        });
        rows.extend(numbers.map(|(setting, number)| row(blank, set, setting, &language, number)));
        differences(blank, (set, judged), to, rows)?;
        for (other, judged_there) in &found[..at] {
            if set.items.about() == other.items.about()
                && (&set.name, &set.category) == (&other.name, &other.category)
            {
                agreement(blank, [(other, judged_there), (set, judged)], to, rows)?;
            }
        }
    }
    Ok(())
}

/// Rows of how each edit's answers differ from those of the unedited model.
fn differences(
    blank: &Blank<'_>,
    (set, judged): (&Benchmark, &[Judged]),
    to: &Judging,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    let setting = |judged: &Judged| &blank.plan.settings[judged.setting];
    for edited in judged.iter().filter(|j| !j.found.said.is_empty()) {
        let unedited = judged.iter().find(|other| {
            setting(other).role == Role::Unedited
                && setting(other).category == setting(edited).category
        });
        let Some(unedited) = unedited.filter(|unedited| unedited.setting != edited.setting) else {
            continue;
        };
        let said = [&unedited.found.said[..], &edited.found.said[..]];
        let failed = |error| ExperimentError::of_task(&what(set), error);
        let language = set.language.to_string();
        for number in set.items.compare(said, to).map_err(failed)? {
            rows.push(Row {
                versus: Some("unedited".to_owned()),
                ..row(blank, set, edited.setting, &language, &number)
            });
        }
    }
    Ok(())
}

/// Rows of how the answers to the same items agree in two languages, under each setting.
fn agreement(
    blank: &Blank<'_>,
    [(first, judged), (second, judged_there)]: [(&Benchmark, &[Judged]); 2],
    to: &Judging,
    rows: &mut Vec<Row>,
) -> Result<(), ExperimentError> {
    let languages = format!("{}-{}", first.language, second.language);
    let back = format!("{}-{}", second.language, first.language);
    for (here, there) in judged.iter().zip(judged_there) {
        let said = [&here.found.said[..], &there.found.said[..]];
        let failed = |error| {
            ExperimentError::of_task(
                &format!("{} in {languages}", first.name(first.items.about())),
                error,
            )
        };
        let numbers = first.items.between(&second.items, said, to);
        for number in numbers.map_err(failed)? {
            let languages = if number.reversed { &back } else { &languages };
            rows.push(row(blank, first, here.setting, languages, &number));
        }
    }
    Ok(())
}

fn row(blank: &Blank<'_>, set: &Benchmark, setting: usize, language: &str, number: &Number) -> Row {
    let known = info::METRICS.iter().find(|m| m.name == number.metric);
    Row {
        ideal: known.and_then(|m| m.ideal),
        p_value: number.p_value,
        benchmark: Some(set.name(set.items.about()).to_owned()),
        scorer: Some(number.scorer.clone()),
        eval_language: Some(language.to_owned()),
        ..blank.with_setting(
            blank.row(&number.metric, number.estimate),
            &blank.plan.settings[setting],
        )
    }
}

/// Returns every answer that a task keeps.
pub fn answers(blank: &Blank<'_>, found: &[Found<'_>]) -> Vec<Answer> {
    let of_set = |(set, judged): &Found<'_>| {
        let of_setting = |judged: &Judged| {
            let setting = &blank.plan.settings[judged.setting];
            let answers = set.items.answers(&judged.found).into_iter();
            let answer = |answer| of_item(set, setting, answer);
            answers.map(answer).collect::<Vec<Answer>>()
        };
        judged.iter().flat_map(of_setting).collect::<Vec<Answer>>()
    };
    found.iter().flat_map(of_set).collect()
}

fn of_item(set: &Benchmark, setting: &Setting, answer: interlingua_tasks::Answer) -> Answer {
    Answer {
        item: answer.item,
        answer: answer.answer.map(|a| a as u32),
        gold: answer.gold.map(|g| g as u32),
        scores: answer.scores,
        text: answer.text,
        benchmark: set.name(set.items.about()).to_owned(),
        scorer: answer.scorer.to_owned(),
        category: setting.category.clone(),
        eval_language: set.language.to_string(),
        edit: axes(setting),
    }
}

//! Checks a spec by itself.

use interlingua_debias::{Contrast, Debiaser, Reduce, Size, Span};
use interlingua_tasks::TaskSpec;

use crate::ExperimentError;
use crate::benchmarks::listed;
use crate::spec::{
    ChooseSpec, DataSpec, FitOver, Geometry, MethodSpec, ModelSpec, Space, Spec, TrainSpec,
};

/// Checks every value of a spec that can be checked without a file.
///
/// # Errors
/// The first key whose value cannot be used, with what would work.
pub fn spec(spec: &Spec) -> Result<(), ExperimentError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if spec.name.is_empty() || !spec.name.chars().all(plain) {
        return Err(ExperimentError::plan(
            "name",
            format!("`{}` is not made of letters, digits, - and _", spec.name),
        ));
    }
    within("seed", spec.seed, 0, 1 << 53)?;
    distinct("languages", &spec.languages)?;
    some("languages", &spec.languages, "en")?;
    let alone = [Space::Raw, Space::Sae];
    let shared = spec.spaces.iter().find(|s| !alone.contains(s));
    if let (1, Some(space)) = (spec.languages.len(), shared) {
        return Err(ExperimentError::plan(
            "languages",
            format!(
                "space `{}` is one that languages share, so at least two different ones are needed; one language works with \
                 spaces = [\"raw\"]",
                space.name()
            ),
        ));
    }
    some("categories", &spec.categories, "gender")?;
    distinct("categories", &spec.categories)?;
    some("spaces", &spec.spaces, "raw")?;
    distinct_names("spaces", spec.spaces.iter().map(|s| s.name()))?;
    distinct_names("reinsert", spec.reinsert.iter().map(|r| r.name()))?;
    if spec.reinsert.is_empty() && spec.spaces.iter().any(|s| s.loses()) {
        return Err(ExperimentError::plan(
            "reinsert",
            "spaces of autoencoders need `residual`, `replace` or both",
        ));
    }
    sae(spec)?;
    methods(&spec.methods)?;
    fit_languages(spec)?;
    method_spaces(spec)?;
    strengths("strengths", spec.strengths.values())?;
    choice(spec)?;
    for kind in &spec.probe.kinds {
        crate::stages::probe_by_name(kind, spec.seed)?;
    }
    distinct("probe.kinds", &spec.probe.kinds)?;
    distinct("retrieval.hooks", &spec.retrieval.hooks)?;
    if !spec.retrieval.hooks.is_empty() && spec.languages.len() < 2 {
        return Err(ExperimentError::plan(
            "retrieval.hooks",
            "translations are looked for between two languages, and there is one",
        ));
    }
    for scorer in &spec.score.scorers {
        interlingua_metrics::crows::by_name(scorer)
            .map_err(|e| ExperimentError::plan("score.scorers", e.to_string()))?;
    }
    // A model without an LM head is scored by none, and has no perplexity.
    let headless = spec.score.scorers.is_empty()
        && spec.score.perplexity_sentences == 0
        && !matches!(spec.data, DataSpec::Testbed { .. });
    if !headless {
        some("score.scorers", &spec.score.scorers, "lm-eval")?;
    }
    distinct("score.scorers", &spec.score.scorers)?;
    for (key, n, least, most) in [
        ("random_draws", spec.random_draws, 1, 100),
        ("score.resamples", spec.score.resamples, 1, 1_000_000),
        (
            "score.perplexity_sentences",
            spec.score.perplexity_sentences,
            u64::from(!headless),
            MOST_ROWS,
        ),
        ("score.projected", spec.score.projected, 0, MOST_ROWS),
        ("fit.max_tuples", spec.fit.max_tuples, 1, MOST_ROWS),
        ("fit.max_per_class", spec.fit.max_per_class, 1, MOST_ROWS),
        ("retrieval.rows", spec.retrieval.rows, 2, MOST_ROWS),
        ("probe.per_class", spec.probe.per_class, 1, MOST_ROWS),
        ("autoencoder.hidden", spec.autoencoder.hidden, 0, MOST_WIDTH),
        ("autoencoder.batch", spec.autoencoder.batch, 2, MOST_ROWS),
        ("autoencoder.steps", spec.autoencoder.steps, 1, MOST_STEPS),
    ] {
        within(key, n as u64, least, most)?;
    }
    data(&spec.data)?;
    match &spec.model {
        ModelSpec::Train(train) => trained(train, &spec.data)?,
        ModelSpec::Folder { .. } => {}
        ModelSpec::Hub { geometry, .. } => described(geometry)?,
    }
    benchmarks(&spec.benchmarks)
}

fn strengths(key: &str, strengths: &[f64]) -> Result<(), ExperimentError> {
    if strengths.is_empty() || strengths.iter().any(|s| !s.is_finite() || *s == 0.0) {
        return Err(ExperimentError::plan(
            key,
            "each must be a number other than 0, and there must be one; 1 is the method's own",
        ));
    }
    if let Some(strength) = strengths.iter().find(|s| s.abs() > MOST_STRENGTH) {
        return Err(ExperimentError::plan(
            key,
            format!(
                "{strength} is not from -{MOST_STRENGTH} to {MOST_STRENGTH}; 1 is the method's own"
            ),
        ));
    }
    distinct(key, strengths)
}

/// Checks the sparse autoencoder, if there is one.
fn sae(spec: &Spec) -> Result<(), ExperimentError> {
    let default = crate::spec::SaeSpec::default();
    if !spec.spaces.contains(&Space::Sae) {
        return match spec.sae == default {
            true => Ok(()),
            false => Err(ExperimentError::plan(
                "sae",
                "it is not used: `sae` is not among the spaces of the experiment",
            )),
        };
    }
    match &spec.sae.file {
        Some(_) if spec.sae.train != default.train => Err(ExperimentError::plan(
            "sae.train",
            "nothing is trained where `sae.file` names an autoencoder; leave one of them out",
        )),
        Some(_) => Ok(()),
        None => {
            let check = spec.sae.train.check();
            check.map_err(|error| ExperimentError::Space(error.into()))
        }
    }
}

/// Most rows, sentences or pairs of anything: more than any corpus that is read whole.
const MOST_ROWS: u64 = 10_000_000;
/// Widest layer.
const MOST_WIDTH: u64 = 1 << 20;
/// Most steps of a training.
const MOST_STEPS: u64 = 100_000_000;
/// Beyond this, states in f32 would lose all digits of what they were.
const MOST_STRENGTH: f64 = 1000.0;

fn within(key: &str, n: u64, least: u64, most: u64) -> Result<(), ExperimentError> {
    if n == 0 && least == 1 {
        return Err(ExperimentError::plan(
            key,
            format!("0 leaves nothing to work with; from 1 to {most} works"),
        ));
    }
    if n < least || n > most {
        return Err(ExperimentError::plan(
            key,
            format!("{n} is not from {least} to {most}"),
        ));
    }
    Ok(())
}

fn positive(key: &str, value: f64) -> Result<(), ExperimentError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(ExperimentError::plan(
        key,
        format!("{value} is not a positive number"),
    ))
}

fn some<T>(key: &str, values: &[T], such_as: &str) -> Result<(), ExperimentError> {
    if !values.is_empty() {
        return Ok(());
    }
    Err(ExperimentError::plan(
        key,
        format!("at least one is needed, such as `{such_as}`"),
    ))
}

/// Refuses an entry that comes twice: its rows would count twice in every mean and every test.
fn distinct<T: PartialEq + std::fmt::Display>(
    key: &str,
    values: &[T],
) -> Result<(), ExperimentError> {
    let twice = (1..values.len()).find(|&i| values[..i].contains(&values[i]));
    match twice {
        Some(i) => Err(ExperimentError::plan(
            key,
            format!("{} is listed twice", values[i]),
        )),
        None => Ok(()),
    }
}

fn distinct_names<'a>(
    key: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), ExperimentError> {
    distinct(key, &names.collect::<Vec<_>>())
}

fn methods(methods: &[MethodSpec]) -> Result<(), ExperimentError> {
    for (at, method) in methods.iter().enumerate() {
        let key = |field: &str| format!("methods[{at}].{field}");
        let known = interlingua_debias::by_name(&method.name)
            .map_err(|e| ExperimentError::plan(key("name"), e.to_string()))?;
        if ["none", "random"].contains(&known.name()) {
            return Err(ExperimentError::plan(
                key("name"),
                format!(
                    "`{}` is a control that every run has; list methods that learn",
                    known.name()
                ),
            ));
        }
        sizes(method, known, &key)?;
        known
            .check(&method.options())
            .map_err(|e| ExperimentError::plan(key("params"), e.to_string()))?;
        // Two fits of one name, size and parameters would be rows of the same axes.
        let same = |other: &&MethodSpec| {
            other.name == method.name && other.params_name() == method.params_name()
        };
        for other in methods[..at].iter().filter(same) {
            let theirs = other.extents();
            if let Some(extent) = method.extents().iter().find(|e| theirs.contains(e)) {
                return Err(ExperimentError::plan(
                    format!("methods[{at}]"),
                    format!(
                        "`{}` with {extent} and the same parameters is listed twice",
                        method.name
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Checks that a method has the sizes that it takes, and no others.
fn sizes(
    method: &MethodSpec,
    known: &dyn Debiaser,
    key: &dyn Fn(&str) -> String,
) -> Result<(), ExperimentError> {
    let name = known.name();
    let size = known.size();
    let given = [
        (Size::Rank, "rank", &method.rank, "removes nothing"),
        (Size::Units, "units", &method.units, "changes nothing"),
    ];
    for (of, field, values, zero) in given {
        let Some(values) = values else {
            if of == size {
                let such = match of {
                    Size::Units => "units = 10",
                    _ => "rank = 1",
                };
                let problem =
                    format!("`{name}` needs to know how large its edits are, such as {such}");
                return Err(ExperimentError::plan(key(field), problem));
            }
            continue;
        };
        if of != size {
            let instead = match size {
                Size::Rank => "its size is its rank",
                Size::Units => "its size is the number of its units",
                Size::Strength => "its size is its strength alone; leave this out",
            };
            return Err(ExperimentError::plan(
                key(field),
                format!("`{name}` takes none: {instead}"),
            ));
        }
        let values = values.values();
        if values.is_empty() || values.contains(&0) {
            return Err(ExperimentError::plan(
                key(field),
                format!("0 {zero}; at least 1 is needed"),
            ));
        }
        distinct(&key(field), values)?;
    }
    if let Some(own) = &method.strength {
        strengths(&key("strength"), own.values())?;
    }
    Ok(())
}

/// Checks where methods are fitted.
fn method_spaces(spec: &Spec) -> Result<(), ExperimentError> {
    for (at, method) in spec.methods.iter().enumerate() {
        let key = format!("methods[{at}].spaces");
        if let Some(own) = &method.spaces {
            some(&key, own, "raw")?;
            distinct_names(&key, own.iter().map(|s| s.name()))?;
            if let Some(other) = own.iter().find(|s| !spec.spaces.contains(s)) {
                let problem = format!(
                    "`{}` is not among the spaces of the experiment",
                    other.name()
                );
                return Err(ExperimentError::plan(key, problem));
            }
        }
        let spaces = method.spaces.as_ref().unwrap_or(&spec.spaces);
        let other = spaces.iter().find(|s| **s != Space::Raw);
        if let (Span::Chain, Some(space)) = (method.span(), other) {
            return Err(ExperimentError::plan(
                key,
                format!(
                    "`{}` learns from states that its earlier edits have changed, which it looks at in the model alone, not in \
                     space `{}`; say spaces = [\"raw\"]",
                    method.name,
                    space.name()
                ),
            ));
        }
        let learns = match method.reduce() {
            Reduce::Max => "the largest value of each unit over the tokens of a sentence",
            Reduce::Positive => "the share of a sentence's tokens at which each unit is above zero",
            Reduce::Mean | Reduce::Last | Reduce::Tokens => continue,
        };
        if let Some(space) = other {
            let instead = match method.reduce() {
                Reduce::Max => ", or params.reduce = \"mean\"",
                _ => "",
            };
            return Err(ExperimentError::plan(
                key,
                format!(
                    "`{}` learns from {learns}, which space `{}` has none of; say spaces = [\"raw\"]{instead}",
                    method.name,
                    space.name()
                ),
            ));
        }
    }
    Ok(())
}

fn fit_languages(spec: &Spec) -> Result<(), ExperimentError> {
    fits("fit.languages", &spec.fit.languages, spec)?;
    for (at, method) in spec.methods.iter().enumerate() {
        let key = format!("methods[{at}].languages");
        if let Some(kinds) = &method.languages {
            fits(&key, kinds, spec)?;
        }
        if method.contrast() == Contrast::Languages {
            let kinds = method.languages.as_ref().unwrap_or(&spec.fit.languages);
            between_languages(&key, &method.name, kinds, spec)?;
        }
    }
    Ok(())
}

/// A method that tells a language from the others is fitted about each.
fn between_languages(
    key: &str,
    name: &str,
    kinds: &[FitOver],
    spec: &Spec,
) -> Result<(), ExperimentError> {
    if spec.languages.len() < 2 {
        return Err(ExperimentError::plan(
            "languages",
            format!("`{name}` tells a language from others, so at least two are needed"),
        ));
    }
    match kinds {
        [FitOver::Each] => Ok(()),
        _ => Err(ExperimentError::plan(
            key,
            format!(
                "`{name}` tells one language from the others, so it is fitted about each: languages = [\"each\"]"
            ),
        )),
    }
}

fn fits(key: &str, kinds: &[FitOver], spec: &Spec) -> Result<(), ExperimentError> {
    let names: Vec<&str> = kinds.iter().map(|f| f.name()).collect();
    if names.is_empty() {
        return Err(ExperimentError::plan(
            key,
            "at least one of `each`, `all` and `all-but-one` is needed",
        ));
    }
    distinct(key, &names)?;
    if kinds.contains(&FitOver::AllButOne) && spec.languages.len() < 3 {
        return Err(ExperimentError::plan(
            key,
            "`all-but-one` of two languages is the other one, which `each` fits; at least three languages are needed",
        ));
    }
    Ok(())
}

fn choice(spec: &Spec) -> Result<(), ExperimentError> {
    let ChooseSpec {
        share,
        max_cost,
        ref tasks,
    } = spec.choose;
    let known: Vec<&str> = spec.benchmarks.iter().filter_map(choices).collect();
    if let Some(task) = tasks.iter().find(|task| !known.contains(&task.as_str())) {
        return Err(ExperimentError::plan(
            "choose.tasks",
            format!(
                "no choice task is called `{task}`; those under [[benchmarks]]: {}",
                match known.is_empty() {
                    true => "none".to_owned(),
                    false => known.join(", "),
                }
            ),
        ));
    }
    if !(share > 0.0 && share < 1.0) {
        return Err(ExperimentError::plan(
            "choose.share",
            format!(
                "{share} is not between 0 and 1; 0.5 chooses on one half and reports the other"
            ),
        ));
    }
    if !(max_cost.is_finite() && max_cost > 0.0) {
        return Err(ExperimentError::plan(
            "choose.max_cost",
            format!("{max_cost} is no multiple of a perplexity, such as 1.05"),
        ));
    }
    Ok(())
}

/// The name of a choice task.
fn choices(task: &TaskSpec) -> Option<&str> {
    match task {
        TaskSpec::Choice(options) => Some(&options.name),
        _ => None,
    }
}

fn data(data: &DataSpec) -> Result<(), ExperimentError> {
    let rows = |rows: [(&str, usize); 3]| {
        rows.into_iter()
            .try_for_each(|(key, n)| within(&format!("data.{key}"), n as u64, 1, MOST_ROWS))
    };
    match data {
        DataSpec::Testbed {
            train_rows,
            validation_rows,
            heldout_rows,
            pairs,
            fit_sentences,
            ..
        } => {
            rows([
                ("train_rows", *train_rows),
                ("validation_rows", *validation_rows),
                ("heldout_rows", *heldout_rows),
            ])?;
            within("data.pairs", *pairs as u64, 1, MOST_ROWS)?;
            within("data.fit_sentences", *fit_sentences as u64, 1, MOST_ROWS)
        }
        DataSpec::Files {
            limit,
            min_words,
            train_rows,
            validation_rows,
            heldout_rows,
            ..
        } => {
            rows([
                ("train_rows", *train_rows),
                ("validation_rows", *validation_rows),
                ("heldout_rows", *heldout_rows),
            ])?;
            if let Some(limit) = limit {
                within("data.limit", *limit as u64, 1, MOST_ROWS)?;
            }
            within("data.min_words", *min_words as u64, 0, 10_000)
        }
    }
}

/// A model that the run trains.
fn trained(train: &TrainSpec, data: &DataSpec) -> Result<(), ExperimentError> {
    if !matches!(data, DataSpec::Testbed { .. }) {
        return Err(ExperimentError::plan(
            "model.kind",
            "`train` needs the testbed's text (data.kind = \"testbed\")",
        ));
    }
    let checked = train.geometry(1).check();
    checked.map_err(|(key, problem)| ExperimentError::plan(format!("model.{key}"), problem))?;
    for (key, n, most) in [
        ("sentences", train.sentences, 100 * MOST_ROWS),
        ("batch", train.batch, 1 << 20),
        ("steps", train.steps, MOST_STEPS),
        ("checkpoint_every", train.checkpoint_every, MOST_STEPS),
    ] {
        within(&format!("model.{key}"), n as u64, 1, most)?;
    }
    positive("model.learning_rate", train.learning_rate)
}

/// A model whose size is typed because it is not here yet.
fn described(geometry: &Geometry) -> Result<(), ExperimentError> {
    for (key, n, most) in [
        ("hidden_size", geometry.hidden_size, MOST_WIDTH),
        ("intermediate_size", geometry.intermediate_size, MOST_WIDTH),
        ("layers", geometry.layers, 10_000),
        ("heads", geometry.heads, 1 << 16),
        ("kv_heads", geometry.kv_heads, 1 << 16),
        ("vocab_size", geometry.vocab_size, 1 << 24),
        ("mlp_matrices", geometry.mlp_matrices, 3),
        ("bytes_per_weight", geometry.bytes_per_weight, 8),
    ] {
        within(&format!("model.geometry.{key}"), n, 1, most)?;
    }
    Ok(())
}

fn benchmarks(benchmarks: &[TaskSpec]) -> Result<(), ExperimentError> {
    for (at, benchmark) in benchmarks.iter().enumerate() {
        if benchmarks[..at].contains(benchmark) {
            return Err(ExperimentError::plan(
                format!("benchmarks[{at}]"),
                "the same benchmark is listed twice",
            ));
        }
        benchmark.check().map_err(listed(at))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The subcommand `fit`: fits an edit with nothing but a model.

use std::path::Path;

use anyhow::{Context, bail};
use interlingua_debias::{FitOptions, by_name};
use interlingua_edits::Tokens;
use interlingua_experiment::alone::own;
use interlingua_experiment::progress::Event;
use interlingua_tune::alone::{Request, fit as run};

use crate::flags::FitFlags;
use crate::terminal::{Progress, print, tell};
use crate::{edits, model, output};

/// Fits an edit and writes its file.
///
/// # Errors
/// An unknown method or hook, too few sentences, or an output file that exists.
pub fn fit(flags: &FitFlags) -> anyhow::Result<()> {
    let mut reads: Vec<&Path> = Vec::new();
    reads.extend(flags.templates.as_deref());
    output::check_new(&flags.out, &reads, flags.force)?;
    by_name(&flags.method)?;
    let mut options = FitOptions::with_rank(flags.rank).seed(flags.seed);
    options.units = flags.units;
    for param in &flags.params {
        let Some((name, value)) = param.split_once('=') else {
            bail!("--param {param}: expected NAME=VALUE");
        };
        options = match (value.parse::<bool>(), value.parse::<f64>()) {
            (Ok(flag), _) => options.param(name, flag),
            (_, Ok(number)) => options.param(name, number),
            _ => options.param(name, value),
        };
    }
    let mut progress = Progress::new();
    let source = model::folder(&flags.model.name, &mut progress)?;
    output::check_apart(&flags.out, &source)?;
    let model = model::open_folder(&source, &flags.model)?;
    let request = Request {
        method: flags.method.clone(),
        options,
        hooks: model::hooks(&flags.hook, &model.geometry)?,
        tokens: match flags.tokens.as_str() {
            "all" => Tokens::All,
            _ => Tokens::Text,
        },
        languages: flags.language.clone(),
        category: flags.category.clone(),
        strength: flags.strength,
        templates: match &flags.templates {
            Some(file) => file.clone(),
            None => own("datasets/templates/everyday.toml")?,
        },
        neutral: own("datasets/neutral.tsv")?,
    };
    progress.show(Event::Stage {
        name: "read the sentences".into(),
        cached: false,
    });
    let made = run(&model, &request, &mut |done, total| {
        progress.show(Event::Progress {
            done,
            total,
            note: String::new(),
        });
    });
    progress.finish();
    let made = made?;
    let place = || flags.out.display().to_string();
    interlingua_files::write(&flags.out, &made.to_bytes()?).with_context(place)?;
    if let Some(caveat) = model.caveat() {
        tell(&caveat);
    }
    print(&format!(
        "{}\n{}",
        flags.out.display(),
        edits::describe(&made)
    ))
}

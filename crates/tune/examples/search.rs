//! Searches an edit for a model: a checkpoint folder, or a tiny random one where none is given.
//!
//! `cargo run --example search [MODEL]`; in the root of the workspace, where `datasets/` is.

use std::path::{Path, PathBuf};

use interlingua_backend::device::cpu;
use interlingua_data::Language;
use interlingua_models::made::random_checkpoint;
use interlingua_models::{Model, Residency};
use interlingua_tune::{Event, Search, Settings, Sources, Texts, page};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let given = std::env::args().nth(1).map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets");
    let sources = Sources {
        fit: root.join("templates/everyday.toml"),
        pairs: root.join("templates/occupations.toml"),
        neutral: root.join("neutral.tsv"),
        marked: false,
    };
    let mut languages = vec![Language::EN, Language::FR];
    let mut settings = Settings::default();
    if given.is_some() {
        languages.extend([Language::DE, Language::NL]);
    } else {
        (settings.ranks, settings.strengths, settings.max_kl) = (vec![1], vec![1.0], 10.0);
    }
    let texts = Texts::load(&sources, &languages, "gender", 1)?;
    let path = match &given {
        Some(path) => path.as_path(),
        None => {
            let sentences = texts.fit.iter().flat_map(|t| &t.sentences);
            random_checkpoint(folder.path(), sentences.map(String::as_str), 7)?;
            folder.path()
        }
    };
    let model = Model::open(path, &cpu(), Residency::Resident)?;
    let mut listener = |event: Event| match event {
        Event::Rule(text) => println!("{text}\n"),
        Event::Begin(text) => println!("{text} …"),
        Event::Round { text } => println!("{text}\n"),
        Event::Progress { .. } => {}
    };
    let mut search = Search {
        model: &model,
        texts: &texts,
        settings: &settings,
        listener: &mut listener,
    };
    let (outcome, intervention) = search.run(&folder.path().join("journal.jsonl"))?;
    println!("{}", page::report(&outcome, "this model"));
    println!("{} steps in the intervention", intervention.steps().len());
    Ok(())
}

//! Items with candidates, put to a tiny model: what it finds likeliest, and how far two languages agree.
//!
//! `cargo run --example choose`

use std::path::Path;

use interlingua_backend::device::cpu;
use interlingua_data::{Language, OnBadRow};
use interlingua_metrics::bootstrap::Bootstrap;
use interlingua_models::{Branch, Model, Residency};
use interlingua_tasks::choice::{Choice, Form, Options};
use interlingua_tasks::{Judging, Source, Task};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A model of random weights: it knows nothing, so it is right as often as chance.
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models/cohere-f32");
    let model = Model::open(&folder, &cpu(), Residency::Resident)?;
    let options = Options {
        path: "datasets/choice/everyday.tsv".to_owned(),
        format: Form::Items,
        shuffle: None,
        name: "everyday".to_owned(),
        languages: None,
        delimiter: " ".to_owned(),
        limit: None,
        on_bad_row: OnBadRow::Error,
    };
    let sets = Choice::load(
        &options,
        &mut Source {
            data_dir: Path::new("."),
            languages: &[Language::EN, Language::NL],
            categories: &[],
            on_bad_row: OnBadRow::Error,
            findings: &mut Vec::new(),
        },
    )?;
    let to = Judging {
        bootstrap: Bootstrap::default(),
        causal: model.geometry.causal,
    };
    let mut said = Vec::new();
    for set in &sets {
        let answers =
            Choice::ask(&set.items, &model)?.put(&model, &[Branch::default()], &mut |_, _| {})?;
        let found = Choice::judge(&set.items, &answers[0], &to)?;
        println!("{} items in {}", set.items.len(), set.language);
        for number in &found.numbers {
            println!(
                "  {:<16} {:<10} {:.3}",
                number.metric, number.scorer, number.estimate.value
            );
        }
        said.push(found.said);
    }
    let agreement = Choice::between([&sets[0].items, &sets[1].items], [&said[0], &said[1]], &to)?;
    println!("between {} and {}", sets[0].language, sets[1].language);
    for number in &agreement {
        println!(
            "  {:<24} {:<10} {:.3}",
            number.metric, number.scorer, number.estimate.value
        );
    }
    Ok(())
}

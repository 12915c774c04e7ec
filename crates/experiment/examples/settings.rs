//! What an experiment would compute: its settings, method by method with their controls, without computing any.
//!
//! `cargo run --example settings`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use interlingua_backend::{DeviceName, Precision};
use interlingua_experiment::plan::{Options, Plan};
use interlingua_experiment::spec::Spec;
use interlingua_models::Residency;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for spec in Spec::read(&root.join("experiments/testbed.toml"), true)? {
        let options = Options {
            data_dir: PathBuf::from("data"),
            model_dir: PathBuf::from("models"),
            out: PathBuf::from("runs"),
            device: DeviceName::Cpu,
            residency: Residency::Auto,
            memory: None,
            precision: Precision::F32,
            manifests: Vec::new(),
            resume: false,
            command: String::new(),
        };
        let plan = Plan::new(spec, options)?;
        let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
        for setting in &plan.settings {
            let space = setting.space.map_or("–", |space| space.name());
            *counts.entry((setting.in_rows(), space)).or_default() += 1;
        }
        println!(
            "{}: {} settings at {}",
            plan.spec.name,
            plan.settings.len(),
            plan.places_in_words()
        );
        for ((method, space), count) in counts {
            println!("  {method:<24} in {space:<18} {count:>4}");
        }
    }
    Ok(())
}

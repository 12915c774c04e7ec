//! The subcommand `generate`: generates text after prompts, with and without an edit.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use interlingua_experiment::progress::Event;
use interlingua_models::generate::{Choice, Generated, Options, generate as run};
use interlingua_models::intervene::Steps;
use interlingua_models::{Model, Sequence};
use maud::{DOCTYPE, Markup, html};
use serde_json::json;

use crate::flags::GenerateFlags;
use crate::terminal::{Progress, print, tell};
use crate::{edits, model, output};

/// What a prompt became under one branch.
struct Text {
    text: String,
    generated: Generated,
}

/// All prompts under one branch.
struct Side {
    name: &'static str,
    texts: Vec<Text>,
}

/// Generates text and shows it.
///
/// # Errors
/// A model that cannot generate, an edit that does not fit it, or prompts that cannot be read or are too long.
pub fn generate(flags: &GenerateFlags) -> anyhow::Result<()> {
    let mut reads: Vec<&Path> = Vec::new();
    reads.extend(flags.prompts.as_deref());
    reads.extend(flags.edit.as_deref());
    if let Some(page) = &flags.html {
        output::check_new(page, &reads, flags.force)?;
    }
    let mut prompts = flags.prompt.clone();
    if let Some(file) = &flags.prompts {
        prompts.extend(model::lines(file)?);
    }
    let mut progress = Progress::new();
    let model = model::open(&flags.model, &mut progress)?.ready()?;
    let steps = edits::steps(flags.edit.as_deref(), &model)?;
    let sequences = sequences(&model, &prompts, flags.chat)?;
    let options = Options {
        choice: choice(flags),
        new_tokens: flags.tokens as usize,
        stop: model.end_tokens()?,
        batch: flags.batch as usize,
    };
    let unedited = Steps::none();
    let runs: &[(&str, &Steps)] = match (&flags.edit, flags.side_by_side) {
        (None, _) => &[("unedited", &unedited)],
        (Some(_), false) => &[("edited", &steps)],
        (Some(_), true) => &[("unedited", &unedited), ("edited", &steps)],
    };
    let start = Instant::now();
    let mut sides = Vec::new();
    for &(name, steps) in runs {
        progress.show(Event::Stage {
            name: format!("generate, {name}"),
            cached: false,
        });
        let branch = steps.branch();
        let texts = run(&model, &sequences, &branch, &options, &mut |done, total| {
            progress.show(Event::Progress {
                done,
                total,
                note: String::new(),
            });
        });
        progress.finish();
        let texts = sequences.iter().zip(texts?);
        let texts = texts.map(|(prompt, generated)| text(&model, prompt, generated));
        sides.push(Side {
            name,
            texts: texts.collect::<anyhow::Result<_>>()?,
        });
    }
    let seconds = start.elapsed().as_secs_f64();
    if let Some(path) = &flags.html {
        let page = page(&flags.model.name, &prompts, &sides, &model).into_string();
        interlingua_files::write(path, page.as_bytes())
            .with_context(|| path.display().to_string())?;
    }
    print(&match flags.json {
        true => as_json(&prompts, &sequences, &sides, seconds),
        false => as_text(&prompts, &sides),
    })?;
    if let Some(caveat) = model.caveat() {
        tell(&caveat);
    }
    let count: usize = sides
        .iter()
        .flat_map(|s| &s.texts)
        .map(|t| t.generated.tokens.len())
        .sum();
    tell(&format!(
        "{count} tokens in {seconds:.1} s: {:.1} a second",
        count as f64 / seconds
    ));
    Ok(())
}

/// Greedy, unless something is asked for that is drawn.
fn choice(flags: &GenerateFlags) -> Choice {
    match (flags.temperature, flags.top_p) {
        (None, None) => Choice::Greedy,
        (temperature, top_p) => Choice::Sample {
            temperature: temperature.unwrap_or(1.0),
            top_p: top_p.unwrap_or(1.0),
            seed: flags.seed,
        },
    }
}

/// The prompts in tokens.
fn sequences(model: &Model, prompts: &[String], chat: bool) -> anyhow::Result<Vec<Sequence>> {
    let sequence = |prompt: &String| {
        let text = match chat {
            true => model.chat(prompt)?,
            false => prompt.clone(),
        };
        model.sequence(&text)
    };
    let all: Result<Vec<Sequence>, _> = prompts.iter().map(sequence).collect();
    Ok(all?)
}

fn text(model: &Model, prompt: &Sequence, generated: Generated) -> anyhow::Result<Text> {
    let text = generated.text(model, prompt)?;
    Ok(Text { text, generated })
}

/// For a terminal: each prompt, and below it what came of it.
fn as_text(prompts: &[String], sides: &[Side]) -> String {
    let mut out = String::new();
    for (at, prompt) in prompts.iter().enumerate() {
        let _ = writeln!(out, "{}> {prompt}", if at == 0 { "" } else { "\n" });
        for side in sides {
            let text = side.texts[at].text.trim_end();
            match sides.len() {
                1 => drop(writeln!(out, "{text}")),
                _ => drop(writeln!(
                    out,
                    "[{}]{}{text}",
                    side.name,
                    if text.starts_with(' ') { "" } else { " " }
                )),
            }
        }
    }
    out
}

fn as_json(prompts: &[String], sequences: &[Sequence], sides: &[Side], seconds: f64) -> String {
    let rows = prompts.iter().zip(sequences).enumerate().map(|(at, (prompt, sequence))| {
        let texts = sides.iter().map(|side| {
            let of = &side.texts[at];
            let found = json!({"text": of.text, "tokens": of.generated.tokens, "ended": of.generated.ended});
            (side.name.to_owned(), found)
        });
        let mut row = json!({"prompt": prompt, "prompt_tokens": sequence.tokens});
        for (name, found) in texts {
            row[name] = found;
        }
        row
    });
    let rows: Vec<_> = rows.collect();
    format!("{:#}\n", json!({"texts": rows, "seconds": seconds}))
}

/// Prompts as rows, branches as columns; one file without scripts.
fn page(name: &str, prompts: &[String], sides: &[Side], model: &Model) -> Markup {
    const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 1em}\
        table{border-collapse:collapse;width:100%}td,th{border:1px solid #bbb;padding:.5em;text-align:left;\
        vertical-align:top;white-space:pre-wrap}th{background:#f2f2f2}";
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Generated text" }
                style { (STYLE) }
            }
            body {
                h1 { "Generated text" }
                p { "Model: " (Path::new(name).file_name().map_or(name.into(), |n| n.to_string_lossy())) ". Generated text can be wrong and can offend." }
                @if let Some(caveat) = model.caveat() { p { (caveat) } }
                table {
                    tr { th { "prompt" } @for side in sides { th { (side.name) } } }
                    @for (at, prompt) in prompts.iter().enumerate() {
                        tr { td { (prompt) } @for side in sides { td { (side.texts[at].text) } } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_stand_below_their_prompt() {
        let side = |name, text: &str| Side {
            name,
            texts: vec![Text {
                text: text.into(),
                generated: Generated::default(),
            }],
        };
        let sides = [
            side("unedited", " he left.\n"),
            side("edited", "they left."),
        ];
        let text = as_text(&["I said".into()], &sides);
        assert_eq!(text, "> I said\n[unedited] he left.\n[edited] they left.\n");
        assert_eq!(
            as_text(&["I said".into()], &sides[..1]),
            "> I said\n he left.\n"
        );
    }
}

//! The command line of those who work on Interlingua: that of the program, and what only they need.

mod bench;
mod compare;
mod docs;
mod edits;
mod flags;
mod memory;
mod page;
mod parity;
mod results;
mod scaffold;

use std::path::Path;
use std::process::ExitCode;

use flags::{Cli, Command};
use interlingua_cli::terminal::print;
use interlingua_cli::{allocator, end, output, parse, signals};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    let command = parse::<Cli>("cargo xtask").command;
    let kept = match &command {
        Command::Program(command) => signals::kept(command),
        _ => signals::nothing_kept(),
    };
    // Without a handler the signal still ends the program, only without words.
    let _ = signals::watch(kept);
    end(carry_out(&command))
}

fn carry_out(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Program(command) => interlingua_cli::carry_out(command),
        Command::Results {
            folders,
            output,
            summary,
            seeds,
            tuned,
            force,
        } => {
            if let Some(page) = tuned {
                return results::tuned(folders, page);
            }
            if *seeds {
                return print(&results::seeds(folders)?);
            }
            if !folders.is_empty() || summary.is_none() {
                let reads: Vec<&Path> = folders.iter().map(|f| f.as_path()).collect();
                output::check_new(output, &reads, *force)?;
                results::write(folders, output)?;
            }
            match summary {
                Some(page) => results::summary(output, page),
                None => Ok(()),
            }
        }
        Command::Memory {
            model,
            sentences,
            once,
        } => print(&if *once {
            memory::row(model, *sentences)?
        } else {
            memory::table(model, *sentences)?
        }),
        Command::Compare {
            first,
            second,
            tolerance,
            ignore,
        } => print(&compare::compare([first, second], *tolerance, ignore)?),
        Command::Parity(flags) => parity::parity(flags),
        Command::Bench(flags) => bench::bench(flags),
        Command::Docs { check } => docs::docs(*check),
        Command::NewDebiaser(flags) => scaffold::debiaser(flags),
        Command::NewMetric(flags) => scaffold::metric(flags),
        Command::NewTask(flags) => scaffold::task(flags),
        Command::NewSpace(flags) => scaffold::space(flags),
        Command::NewArchitecture(flags) => scaffold::architecture(flags),
    }
}

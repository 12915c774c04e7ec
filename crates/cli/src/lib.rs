//! The command line of Interlingua, for the program `interlingua` and for other programs that offer its subcommands,
//! such as `cargo xtask`.
//!
//! [`flags`] defines what can be typed, and [`carry_out`] does it. All computations are in the libraries.

pub mod allocator;
pub mod data;
pub mod edits;
pub mod export;
pub mod fit;
pub mod flags;
pub mod format;
pub mod generate;
pub mod measure;
pub mod model;
pub mod output;
pub mod reproduce;
pub mod signals;
pub mod terminal;
pub mod tune;

use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::Parser;
use clap::builder::StyledStr;
use flags::Command;
use terminal::{print, tell};

/// What is typed to start this program.
static PROGRAM: OnceLock<&'static str> = OnceLock::new();

/// Returns how the user starts this program; it is `interlingua` unless [`parse`] was given another name.
pub fn program() -> &'static str {
    PROGRAM.get().unwrap_or(&"interlingua")
}

/// Parses the command line of this process. `name` is how the user starts the program, and appears in the help texts.
///
/// A mistake in the command line, or a request for help, ends the process in the way of clap.
pub fn parse<C: Parser>(name: &'static str) -> C {
    let name = PROGRAM.get_or_init(|| name);
    let matches = named(C::command(), name).get_matches();
    C::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Replaces `interlingua` by the name of this program in a library's text, so that the commands in it can be typed as
/// they are.
pub fn as_typed(text: &str) -> String {
    text.replace("`interlingua ", &format!("`{} ", program()))
}

/// The command with help texts that call the program by its name: they are written with `interlingua`.
fn named(command: clap::Command, name: &str) -> clap::Command {
    if name == "interlingua" {
        return command;
    }
    let renamed = |text: &StyledStr| {
        let text = text.to_string();
        let text = text.replace("`interlingua ", &format!("`{name} "));
        text.replace("  interlingua ", &format!("  {name} "))
    };
    let mut command = command.mut_subcommands(|sub| named(sub, name));
    if let Some(text) = command.get_after_help().map(renamed) {
        command = command.after_help(text);
    }
    if let Some(text) = command.get_long_about().map(renamed) {
        command = command.long_about(text);
    }
    command.mut_args(|mut arg| {
        if let Some(text) = arg.get_help().map(renamed) {
            arg = arg.help(text);
        }
        if let Some(text) = arg.get_long_help().map(renamed) {
            arg = arg.long_help(text);
        }
        arg
    })
}

/// Carries out a command.
///
/// # Errors
/// Everything that stops the command; [`end`] prints it.
pub fn carry_out(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Reproduce(flags) => reproduce::reproduce(flags),
        Command::Data(command) => data::data(command),
        Command::Model(command) => model::model(command),
        Command::Measure(flags) => measure::measure(flags),
        Command::Fit(flags) => fit::fit(flags),
        Command::Show { file } => edits::show(file),
        Command::Generate(flags) => generate::generate(flags),
        Command::Export(flags) => export::export(flags),
        Command::Tune(flags) => tune::tune(flags),
        Command::Debias(flags) => tune::debias(flags),
        Command::Methods => print(&terminal::methods()),
        Command::Metrics => print(&terminal::metrics()),
        Command::Hooks => print(&terminal::hooks()),
    }
}

/// Prints the error of a result in one paragraph, if there is one, and returns the exit code.
pub fn end(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {}", as_typed(&message(&error))));
            ExitCode::from(1)
        }
    }
}

/// The whole chain of causes on one line, each said once, and what helps against a full disk.
fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // Most errors name their cause themselves.
        if text.ends_with(&cause) || text.contains(&format!(": {cause}")) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    let full = error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| {
            matches!(
                e.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
            )
        })
    });
    if full {
        text.push_str(
            "; free some space or choose a folder on another disk (--out, --cache, HF_HUB_CACHE), then run the same command again: what was finished is kept",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once_and_a_full_disk_has_a_remedy() {
        let io = |kind: ErrorKind| std::io::Error::new(kind, "it broke");
        for (error, expect) in [
            (
                anyhow::Error::new(io(ErrorKind::Other)).context("f: it broke"),
                "f: it broke",
            ),
            (
                anyhow::Error::new(io(ErrorKind::Other)).context("while reading f"),
                "while reading f: it broke",
            ),
            (
                anyhow::Error::new(io(ErrorKind::StorageFull)).context("f"),
                "f: it broke; free some space",
            ),
        ] {
            let text = message(&error);
            assert!(text.starts_with(expect), "{text}");
        }
    }
}

//! Handles Ctrl-C and SIGTERM: prints one line that says what is kept and how to continue, and ends with the exit
//! codes that shells use for these signals, 130 and 143.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::flags::{Command, Model};
use crate::terminal::tell;

/// Ends the process at the first of these signals, after printing a line that ends with `kept`, which says what is
/// kept.
///
/// # Errors
/// An operating system that does not accept the handler.
pub fn watch(kept: String) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let by = match signal {
                SIGINT => "Ctrl-C",
                _ => "SIGTERM",
            };
            // A line of its own, below what a bar has left there.
            tell(&format!("\nstopped by {by}: {kept}"));
            signal_hook::low_level::exit(128 + signal);
        }
    });
    Ok(())
}

/// Says what an interrupted command leaves behind, and how to continue.
pub fn kept(command: &Command) -> String {
    match command {
        Command::Reproduce(flags) if !flags.dry_run => format!(
            "finished stages are kept in {}; the same command goes on from there, with --resume from the last \
             checkpoint of a half-trained model too",
            flags.out.join("cache").display()
        ),
        Command::Model(Model::Pretrain(flags)) if !flags.dry_run => format!(
            "the last checkpoint is kept in {}; the same command with --resume goes on from there",
            flags.out.display()
        ),
        Command::Tune(flags) => search_kept(&flags.out.display().to_string()),
        Command::Debias(flags) => search_kept(&format!("{}.search", flags.tune.out.display())),
        _ => nothing_kept(),
    }
}

fn search_kept(folder: &str) -> String {
    format!("what was judged is kept in {folder}; the same command goes on from there")
}

/// Says that an interrupted command starts again from the beginning.
pub fn nothing_kept() -> String {
    "no file is left half-written under its name; the same command starts over".to_owned()
}

//! Ctrl-C and SIGTERM: one line that says what is kept and how to go on, and the exit code that a
//! shell gives such an end: 130 and 143.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::flags::{Command, Model};
use crate::terminal::tell;

/// Ends the process at the first of these signals, after a line that ends with these words: what is kept.
///
/// # Errors
/// When the system takes no handler.
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

/// What a stopped command leaves, and how to go on.
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

/// What is said of a command that starts over.
pub fn nothing_kept() -> String {
    "no file is left half-written under its name; the same command starts over".to_owned()
}

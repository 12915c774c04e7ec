//! Another program with the subcommands of `interlingua` beside its own.
//!
//! ```text
//! cargo run --example subcommand
//! ```

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "mine")]
struct Mine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Interlingua(Box<interlingua_cli::flags::Command>),
    /// What only this program does.
    Greet,
}

fn main() -> std::process::ExitCode {
    // A program would call `interlingua_cli::parse`, which reads what was typed.
    let typed = ["mine", "hooks"];
    interlingua_cli::end(match Mine::parse_from(typed).command {
        Command::Interlingua(command) => interlingua_cli::carry_out(&command),
        Command::Greet => interlingua_cli::terminal::print("Good day.\n"),
    })
}

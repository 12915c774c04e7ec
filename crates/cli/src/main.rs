//! The program `interlingua`.

use std::process::ExitCode;

use interlingua_cli::flags::Cli;
use interlingua_cli::{allocator, carry_out, end, parse, signals};

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    let command = parse::<Cli>("interlingua").command;
    // Without a handler the signal still ends the program, only without words.
    let _ = signals::watch(signals::kept(&command));
    end(carry_out(&command))
}

//! The `tidings` command: starts nodes, and talks to them over HTTP.
//!
//! Data goes to standard output, talk to standard error. Exit codes: 0 done, 1 failed, 2 usage,
//! 3 not healthy, 4 timeout or outcome unknown, 78 bad configuration or data directory. One file for each command.

// In reading order; each module uses only those above it.
mod failure;

mod output;

mod server;

mod context;

mod command;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::command::Command;
use crate::context::{Context, Global};

const EXIT_CODES: &str = "\
Exit codes:
  0   ok
  1   failed
  2   bad usage
  3   the node is not healthy (status --until-healthy)
  4   timeout, or the outcome is unknown
  78  the configuration or the data directory cannot be used";

/// Event-driven microservices as supervised actors on one durable log.
#[derive(Debug, Parser)]
#[command(name = "tidings", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = EXIT_CODES)]
struct Tidings {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let Tidings { global, command } = Tidings::parse();
    let done = Context::new(global).and_then(|context| command.run(&context));
    let Err(failure) = done else { return ExitCode::SUCCESS };
    let exit = failure.exit();
    if exit != 0 {
        // Where nobody listens the exit code still says it.
        let _ = writeln!(io::stderr().lock(), "{}", failure.told());
    }
    ExitCode::from(exit)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Tidings;

    /// Two flags of one name, or an argument that can never be given, show only when used. We let
    /// clap look at the whole tree.
    #[test]
    fn command_tree_is_sound() {
        Tidings::command().debug_assert();
    }

    /// Who reads the help of one command must not take the flags of all for its own, and who
    /// writes a script must find the exit codes.
    #[test]
    fn help_sets_global_flags_apart_and_tells_the_exit_codes() {
        let help = Tidings::command().render_long_help().to_string();
        let (_, global) = help.split_once("\nGlobal options:").unwrap();
        for flag in ["--server", "--token-file", "--timeout", "--config", "--output", "--quiet"] {
            assert!(global.contains(flag), "{flag} is not in\n{global}");
        }
        for code in ["0", "1", "2", "3", "4", "78"] {
            assert!(help.contains(&format!("\n  {code} ")), "{code} is not in\n{help}");
        }
    }
}

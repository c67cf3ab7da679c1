//! `tidings verify-node`: the node under test with its services. Only `tidings verify` starts it.

use std::path::PathBuf;

use tidings::Node;
use tidings_config::config::Config;
use tracing_subscriber::EnvFilter;

use crate::command::process;
use crate::command::verify::fate::Fates;
use crate::command::verify::services::{Journal, add_to};
use crate::command::verify::wire::Entry;
use crate::failure::Failure;

/// What its judge tells it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    dead_every: u64,
    #[cfg(feature = "bugs")]
    #[arg(long, value_parser = crate::command::verify::bug::parse)]
    bug: Option<tidings_types::bugs::Bug>,
}

/// Runs the command: until SIGTERM, or until its judge is gone.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    #[cfg(feature = "bugs")]
    tidings_types::bugs::plant(args.bug);
    let journal = Journal::on_stdin().map_err(|error| Failure::Usage {
        what: format!("verify-node is started by tidings verify alone: {error}"),
        help: "run `tidings verify`",
    })?;
    // A node that is stopped does not see that its judge is gone; the system does.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // What its services do on purpose would be logged as warnings.
    let filter = EnvFilter::new("error");
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let mut config = Config::default();
    config.node.data_dir = args.data;
    config.http.port = 0;
    process::run(async move {
        let mut end = process::End::listen()?;
        let node = add_to(Node::with(config), &journal, Fates::new(args.seed, args.dead_every));
        let (running, _) = process::start(node).await?;
        journal.write(Entry::Up { port: running.addr().port() });
        end.wait().await;
        running.stop().await;
        Ok(())
    })
}

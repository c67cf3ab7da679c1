//! `tidings bench publish`: how many events a second are stored durably.

use crate::command::bench::{DURABLE, Setup, give, load, node};
use crate::command::{process, progress};
use crate::context::Context;
use crate::failure::Failure;

/// How to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    load: load::Load,
    #[command(flatten)]
    node: node::Where,
}

/// Runs the command.
pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    process::run(async {
        let Args { load, node } = args;
        let measuring = node::Measuring::start(context, node, |node| node).await?;
        let bar = progress::events(&context.output, load.n_events());
        let published = load::publish(&load, measuring.running.publisher(), &bar).await;
        bar.finish_and_clear();
        measuring.stop().await;
        let (times, wall) = published?;
        let setup = Setup { size: load.size as usize, groups: 0, durable: DURABLE };
        give(&context.output, &times.measured("publish", wall, &setup), "events")?;
        context.output.next_here(&["tidings bench e2e --groups 2", "tidings bench disk"]);
        Ok(())
    })
}

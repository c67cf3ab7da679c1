//! `tidings bench e2e`: how many events a second are stored durably and handled by every group.

use std::time::Instant;

use crate::command::bench::{DURABLE, Setup, give, load, node, sink};
use crate::command::{process, progress};
use crate::context::Context;
use crate::failure::Failure;

/// How to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    load: load::Load,
    /// Groups that handle every event
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = groups)]
    groups: usize,
    #[command(flatten)]
    node: node::Where,
}

fn groups(text: &str) -> Result<usize, String> {
    let n_groups = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if !(1..=sink::GROUPS_MAX).contains(&n_groups) {
        return Err(format!("{n_groups} groups; there can be 1 to {}", sink::GROUPS_MAX));
    }
    Ok(n_groups)
}

/// Runs the command.
pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    process::run(async {
        let Args { load, groups, node } = args;
        let tally = sink::Tally::new();
        let add = |node| sink::add(node, groups, &tally);
        let measuring = node::Measuring::start(context, node, add).await?;
        let hidden = indicatif::ProgressBar::hidden();
        let n_handled_aim = load.n_events().map(|n_events| n_events * groups as u64);
        let bar = progress::events(&context.output, n_handled_aim);
        let began = Instant::now();
        let handled = async {
            let (published, _) =
                load::publish(&load, measuring.running.publisher(), &hidden).await?;
            let n_events = published.n_events();
            tally.wait(n_events * groups as u64, &bar).await?;
            Ok::<_, Failure>((n_events, began.elapsed()))
        };
        let handled = handled.await;
        bar.finish_and_clear();
        measuring.stop().await;
        let (n_events, wall) = handled?;
        let setup = Setup { size: load.size as usize, groups, durable: DURABLE };
        let measured = tally.times().measured("e2e", wall, &setup).of_events(n_events);
        give(&context.output, &measured, "events")?;
        context.output.next_here(&["tidings bench latency --rate 2000", "tidings bench publish"]);
        Ok(())
    })
}

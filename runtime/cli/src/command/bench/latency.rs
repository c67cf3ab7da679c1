//! `tidings bench latency`: how old an event is when its handler gets it, at a steady rate.
//!
//! Each event counts from the call that publishes it. A node that stalls could hide that by holding
//! up whoever measures, so it is told as well how late behind the rate the calls were.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tidings::publish::{Publisher, Receipt};
use tidings_config::quantity::{parse_duration, parse_size};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::command::bench::load::refused;
use crate::command::bench::sample::Sample;
use crate::command::bench::{DURABLE, Setup, Times, give, node, sink};
use crate::command::{process, progress};
use crate::context::Context;
use crate::failure::Failure;

const TICK: Duration = Duration::from_millis(1);
/// Events without an answer that are remembered; a node that is so far behind has failed the rate.
const OUTSTANDING_MAX: usize = 100_000;

/// How to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Events a second
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// How long to publish
    #[arg(long = "for", default_value = "10s", value_parser = parse_duration, value_name = "DURATION")]
    wall: Duration,
    /// Bytes of one event's content
    #[arg(long, default_value = "256", value_parser = parse_size)]
    size: u64,
    /// Different keys of events
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    #[command(flatten)]
    node: node::Where,
}

/// Runs the command.
pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    process::run(async {
        let Args { rate, wall, size, keys, node } = args;
        let tally = sink::Tally::new();
        let measuring =
            node::Measuring::start(context, node, |node| sink::add(node, 1, &tally)).await?;
        let steady = Steady { rate, wall, size: size as usize, keys };
        let bar = progress::events(&context.output, Some(steady.n_events()));
        let began = Instant::now();
        let (sender, receiver) = mpsc::channel(OUTSTANDING_MAX);
        let publisher = measuring.running.publisher();
        let published = async {
            let both =
                tokio::try_join!(steady.publish(publisher, sender, &bar), answers(receiver))?;
            tally.wait(steady.n_events(), &bar).await?;
            Ok::<_, Failure>(both)
        };
        let published = published.await;
        bar.finish_and_clear();
        let took = began.elapsed();
        measuring.stop().await;
        let (late, answers) = published?;
        let setup = Setup { size: steady.size, groups: 1, durable: DURABLE };
        let measured =
            tally.times().measured("latency", took, &setup).at_rate(rate, &answers, &late);
        give(&context.output, &measured, "events")?;
        context.output.next_here(&["tidings bench disk", "tidings bench publish"]);
        Ok(())
    })
}

/// A steady rate for some time.
struct Steady {
    rate: u64,
    wall: Duration,
    size: usize,
    keys: u64,
}

impl Steady {
    fn n_events(&self) -> u64 {
        (self.wall.as_secs_f64() * self.rate as f64) as u64
    }

    async fn publish(
        &self,
        publisher: Publisher,
        sender: mpsc::Sender<(Instant, Receipt)>,
        bar: &ProgressBar,
    ) -> Result<Times, Failure> {
        let mut late = Times::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (began, mut n_sent) = (Instant::now(), 0);
        while n_sent < self.n_events() {
            tick.tick().await;
            let n_due = (began.elapsed().as_secs_f64() * self.rate as f64) as u64;
            while n_sent < n_due.min(self.n_events()) {
                let due = began + Duration::from_secs_f64(n_sent as f64 / self.rate as f64);
                let called = Instant::now();
                late.add(called.saturating_duration_since(due));
                let sample = Sample::now(n_sent % self.keys, self.size);
                let receipt = publisher.submit(&sample).await.map_err(refused)?;
                // Whoever takes the answers has ended only with an error of its own.
                let _ = sender.send((called, receipt)).await;
                n_sent += 1;
            }
            bar.set_position(n_sent);
        }
        Ok(late)
    }
}

/// The time from each call to its answer; answers come in order.
async fn answers(mut receiver: mpsc::Receiver<(Instant, Receipt)>) -> Result<Times, Failure> {
    let mut times = Times::new();
    while let Some((called, receipt)) = receiver.recv().await {
        receipt.await.map_err(refused)?;
        times.add(called.elapsed());
    }
    Ok(times)
}

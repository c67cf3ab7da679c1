//! The load on a node: publishers that keep so many events out, in the process of the node.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tidings::publish::{PublishError, Publisher, Receipt};
use tidings_config::quantity::{parse_duration, parse_size};
use tokio::task::JoinSet;

use crate::command::bench::Times;
use crate::command::bench::sample::Sample;
use crate::failure::Failure;

const EVENTS_DEFAULT: u64 = 500_000;
const LOOK: Duration = Duration::from_millis(100);

/// How to publish.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Load {
    /// End after so many events; 500,000 if --for does not say otherwise
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// End after this time, if that comes first
    #[arg(long = "for", value_parser = parse_duration, value_name = "DURATION")]
    wall: Option<Duration>,
    /// Bytes of one event's content
    #[arg(long, default_value = "256", value_parser = parse_size)]
    pub(super) size: u64,
    /// Tasks that publish
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    publishers: u64,
    /// Events that each of them keeps out without an answer
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    outstanding: u64,
    /// Events of one call, which are stored all or none
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batch: u64,
    /// Different keys of events
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
}

impl Load {
    /// So many events are meant to be published; unknown if only the time decides.
    pub(super) fn n_events(&self) -> Option<u64> {
        match (self.events, self.wall) {
            (None, None) => Some(EVENTS_DEFAULT),
            (events, _) => events,
        }
    }
}

/// What all publishers share.
struct Shared {
    args: Load,
    publisher: Publisher,
    began: Instant,
    /// Events that somebody has taken on to publish.
    n_taken: AtomicU64,
    n_stored: AtomicU64,
}

impl Shared {
    /// The number of the first of so many events to publish now; `None` at the end.
    fn take(&self, n_events: u64) -> Option<u64> {
        if self.args.wall.is_some_and(|wall| self.began.elapsed() >= wall) {
            return None;
        }
        let first = self.n_taken.fetch_add(n_events, Ordering::Relaxed);
        let is_within = self.args.n_events().is_none_or(|n_events| first < n_events);
        is_within.then_some(first)
    }

    fn sample(&self, number: u64) -> Sample {
        Sample::now(number % self.args.keys, self.args.size as usize)
    }
}

/// Publishes all of it; gives the time from each call to its answer.
pub(super) async fn publish(
    args: &Load,
    publisher: Publisher,
    bar: &ProgressBar,
) -> Result<(Times, Duration), Failure> {
    let (n_taken, n_stored) = (AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    let shared = Arc::new(Shared { args: args.clone(), publisher, began, n_taken, n_stored });
    let mut tasks = JoinSet::new();
    for _ in 0..args.publishers {
        if args.batch == 1 {
            tasks.spawn(publish_each(Arc::clone(&shared)));
        } else {
            for _ in 0..(args.outstanding / args.batch).max(1) {
                tasks.spawn(publish_batches(Arc::clone(&shared)));
            }
        }
    }
    let (mut times, mut look) = (Times::new(), tokio::time::interval(LOOK));
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(ended) => times.add_all(&ended.expect("a publisher does not panic")?),
                None => break,
            },
            _ = look.tick() => bar.set_position(shared.n_stored.load(Ordering::Relaxed)),
        }
    }
    Ok((times, began.elapsed()))
}

async fn publish_each(shared: Arc<Shared>) -> Result<Times, Failure> {
    let mut times = Times::new();
    let mut out: VecDeque<(Instant, Receipt)> = VecDeque::new();
    while let Some(number) = shared.take(1) {
        if out.len() as u64 >= shared.args.outstanding {
            settle(&shared, &mut out, &mut times).await?;
        }
        let sent = Instant::now();
        let receipt = shared.publisher.submit(&shared.sample(number)).await.map_err(refused)?;
        out.push_back((sent, receipt));
    }
    while !out.is_empty() {
        settle(&shared, &mut out, &mut times).await?;
    }
    Ok(times)
}

async fn settle(
    shared: &Shared,
    out: &mut VecDeque<(Instant, Receipt)>,
    times: &mut Times,
) -> Result<(), Failure> {
    if let Some((sent, receipt)) = out.pop_front() {
        receipt.await.map_err(refused)?;
        times.add(sent.elapsed());
        shared.n_stored.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn publish_batches(shared: Arc<Shared>) -> Result<Times, Failure> {
    let mut times = Times::new();
    let n_events = shared.args.batch;
    while let Some(first) = shared.take(n_events) {
        let sent = Instant::now();
        let samples: Vec<_> = (first..first + n_events).map(|n| shared.sample(n)).collect();
        shared.publisher.publish_all(&samples).await.map_err(refused)?;
        let took = sent.elapsed();
        samples.iter().for_each(|_| times.add(took));
        shared.n_stored.fetch_add(n_events, Ordering::Relaxed);
    }
    Ok(times)
}

/// A measurement does not go on after a refusal: its figures would be of something else.
pub(super) fn refused(error: PublishError) -> Failure {
    let exit = if error.retry() == tidings_types::retry::Retry::Unknown { 4 } else { 1 };
    let help = "fewer bytes out at a time may help: --outstanding, --size".to_owned();
    Failure::Node { exit, code: "T0608", what: error.to_string(), help }
}

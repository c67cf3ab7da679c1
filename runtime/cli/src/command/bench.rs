//! `tidings bench`: measures, and says in numbers that scripts can compare.

mod disk;

mod sample;

mod load;

mod node;

mod sink;

mod publish;

mod e2e;

mod latency;

use std::time::Duration;

use clap::Subcommand;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, count};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish as fast as it goes: events a second that are stored durably
    Publish(publish::Args),
    /// Publish and handle: events a second that every group has handled
    E2e(e2e::Args),
    /// Publish at a steady rate: how old an event is when its handler gets it
    Latency(latency::Args),
    /// Write and fdatasync, as the log does: what no durable publish can be faster than
    Disk(disk::Args),
}

/// Runs the command.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Publish(args) => publish::run(context, args),
        Command::E2e(args) => e2e::run(context, args),
        Command::Latency(args) => latency::run(context, args),
        Command::Disk(args) => disk::run(context, args),
    }
}

/// What a node does before it answers a publish, and where it stands.
const DURABLE: &str = "fdatasync before each ack, 1 of 1 replicas; node and client are one process";

/// What was measured. Scripts rely on the names: fields are added and never renamed.
#[derive(Debug, Serialize)]
struct Measured {
    bench: &'static str,
    events: u64,
    wall_s: f64,
    events_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    size: usize,
    groups: usize,
    /// What was done before an event counted.
    durable: &'static str,
    /// Events a second that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u64>,
    /// From the same moment to the answer of the publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_p99_us: Option<f64>,
    /// How late behind the rate the calls were.
    #[serde(skip_serializing_if = "Option::is_none")]
    late_p99_us: Option<f64>,
}

impl Measured {
    /// Counts so many events, each of which was handled more than once.
    fn of_events(mut self, n_events: u64) -> Self {
        self.events = n_events;
        self.events_per_s = per_second(n_events, self.wall_s);
        self
    }

    fn at_rate(mut self, rate: u64, answers: &Times, late: &Times) -> Self {
        self.rate = Some(rate);
        (self.ack_p50_us, self.ack_p99_us) = (Some(answers.us(0.5)), Some(answers.us(0.99)));
        self.late_p99_us = Some(late.us(0.99));
        self
    }
}

fn per_second(n_events: u64, wall_s: f64) -> f64 {
    (n_events as f64 / wall_s.max(1e-9)).round()
}

/// Times, by the nanosecond up to a minute.
#[derive(Clone, Debug)]
struct Times(Histogram<u64>);

impl Times {
    fn new() -> Self {
        let longest = 60_000_000_000;
        Self(Histogram::new_with_bounds(1, longest, 3).expect("the bounds are in order"))
    }

    fn add(&mut self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(time.max(1));
    }

    fn add_all(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    fn n_events(&self) -> u64 {
        self.0.len()
    }

    fn us(&self, quantile: f64) -> f64 {
        let us = self.0.value_at_quantile(quantile) as f64 / 1e3;
        (us * 10.0).round() / 10.0
    }

    fn measured(&self, bench: &'static str, wall: Duration, of: &Setup) -> Measured {
        let (events, wall_s) = (self.0.len(), wall.as_secs_f64());
        Measured {
            bench,
            events,
            wall_s,
            events_per_s: per_second(events, wall_s),
            p50_us: self.us(0.5),
            p99_us: self.us(0.99),
            p999_us: self.us(0.999),
            max_us: self.us(1.0),
            size: of.size,
            groups: of.groups,
            durable: of.durable,
            rate: None,
            ack_p50_us: None,
            ack_p99_us: None,
            late_p99_us: None,
        }
    }
}

/// What a measurement was made with.
#[derive(Clone, Copy, Debug)]
struct Setup {
    size: usize,
    groups: usize,
    durable: &'static str,
}

fn give(output: &Output, measured: &Measured, unit: &str) -> Result<(), Failure> {
    output.one(measured, |measured| {
        let Measured { bench, events, wall_s, p50_us, p99_us, p999_us, max_us, .. } = measured;
        let per_second = count(measured.events_per_s as u64);
        let n_mib_per_second = measured.events_per_s * measured.size as f64 / f64::from(1 << 20);
        format!(
            "{bench}: {per_second} {unit}/s ~ {n_mib_per_second:.2} MiB/s   ({} {unit} of {} B in \
             {wall_s:.2} s)\n  p50 {p50_us} µs   p99 {p99_us} µs   p99.9 {p999_us} µs   max \
             {max_us} µs\n  durable: {}",
            count(*events),
            measured.size,
            measured.durable
        )
    })
}

//! One run from start to end: node, load, faults, drain, and everything that the node holds then.

use std::fmt::Display;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use tidings_check::history::{Run, Seen};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::command::process::End;
use crate::command::progress;
use crate::command::verify::caller::Caller;
use crate::command::verify::child::Program;
use crate::command::verify::fate::{ATTEMPTS_MAX, GROUPS};
use crate::command::verify::inspect::Inspector;
use crate::command::verify::journal::{Journal, NODE, TOPIC_NUMBER};
use crate::command::verify::load::{Load, Shape};
use crate::command::verify::nemesis::{Broken, Nemesis};
use crate::command::verify::recorder::Recorder;
use crate::command::verify::schedule::Planned;
use crate::command::verify::services::TOPIC;
use crate::failure::Failure;
use crate::output::Output;

/// How long the groups may take with what is left, if the run itself was not longer.
const DRAIN_WAIT_MIN: Duration = Duration::from_secs(60);
/// The load goes on for so long after the last fault.
const HEALED_MIN: Duration = Duration::from_millis(300);
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// How often a node that is whole is asked before its silence counts.
const TRIES: u32 = 5;
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// A node that panics again and again shows nothing new.
const PANICS_MAX: usize = 20;

/// What is to be done.
pub(super) struct Plan {
    pub(super) shape: Shape,
    pub(super) planned: Vec<Planned>,
    pub(super) program: Program,
    pub(super) history: PathBuf,
}

/// Why the run proves less than it was to.
pub(super) type Doubts = Vec<String>;

/// Runs it and writes the history.
pub(super) async fn run(plan: Plan, output: &Output, end: &mut End) -> Result<Doubts, Failure> {
    let cannot_write = |error: std::io::Error, path: &Path| Failure::File {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let path = plan.history.clone();
    let (recorder, writing) = Recorder::begin(&path).map_err(|error| cannot_write(error, &path))?;
    recorder.record(Seen::Run(expected(&plan.shape, plan.planned.len())));
    let mut doubts = Doubts::new();
    tokio::select! {
        // What was begun is dropped, and the node with it.
        () = end.wait() => doubts.push("the run was ended by a signal".to_owned()),
        () = all(plan, recorder.clone(), output, &mut doubts) => {}
    }
    if doubts.is_empty() {
        recorder.record(Seen::End);
    }
    writing.end().map_err(|error| cannot_write(error, &path))?;
    Ok(doubts)
}

/// What the history is held against: enough must have been seen.
fn expected(shape: &Shape, n_faults: usize) -> Run {
    let n_events = shape.n_events();
    let groups = (0..).zip(GROUPS).map(|(group, _)| (group, vec![TOPIC_NUMBER])).collect();
    Run {
        seed: shape.seed,
        n_voters: 1,
        groups,
        attempts_max: ATTEMPTS_MAX,
        // A worker that panics takes its own event along, and no other.
        worker_in_flight_max: 0,
        acknowledged_min: n_events / 10,
        faults_min: (n_faults as u64).div_ceil(2),
    }
}

async fn all(plan: Plan, recorder: Recorder, output: &Output, doubts: &mut Doubts) {
    let Plan { shape, planned, program, .. } = plan;
    let log = program.log.clone();
    let journal = Journal::new(recorder.clone());
    let mut nemesis = Nemesis::new(program, journal.clone(), recorder.clone());
    if let Err(error) = begin(&mut nemesis, doubts).await {
        // Nothing was done to it yet: no space, a bad directory.
        return doubts.push(format!("{error}; {}", last_line(&log)));
    }
    let mut watches = JoinSet::new();
    let inspector = Inspector::new(journal.clone(), recorder.clone());
    watches.spawn(inspector.watch(journal.address()));
    let broken = under_load(shape, &planned, &mut nemesis, output).await.err();
    if let Some(error) = &broken {
        recorder.record(Seen::Panicked { node: NODE, message: error.to_string() });
        recorder.record(Seen::Healed);
    }
    let is_back = match broken {
        None => true,
        // What it holds can only be asked of a node that runs.
        Some(_) => nemesis.start().await.is_ok(),
    };
    watches.shutdown().await;
    if is_back {
        let wait_max = shape.wall.max(DRAIN_WAIT_MIN);
        let mut inspector = Inspector::new(journal.clone(), recorder.clone());
        look_through(&mut inspector, &journal, wait_max, output, doubts).await;
        if let Err(error) = nemesis.terminate().await {
            recorder.record(Seen::Panicked { node: NODE, message: error.to_string() });
        }
    } else {
        doubts.push("the node did not come back, so nobody knows what it holds".to_owned());
    }
    tell_panics(&log, &recorder);
    match journal.n_garbled() {
        0 => {}
        n => doubts.push(format!("{n} lines of the journal cannot be read")),
    }
}

/// Starts the node for the first time, and makes the topic.
async fn begin(nemesis: &mut Nemesis, doubts: &mut Doubts) -> Result<(), Broken> {
    let port = nemesis.start().await?;
    let mut made = Ok(());
    for _ in 0..TRIES {
        let body = format!(r#"{{"name":"{TOPIC}"}}"#);
        made = Caller::default().post(port, "/v1/topics", body).await;
        if made.is_ok() {
            break;
        }
        sleep(TRY_AGAIN).await;
    }
    doubt(doubts, "topic cannot be made", made);
    Ok(())
}

/// Load and faults, until the load's end.
async fn under_load(
    shape: Shape,
    planned: &[Planned],
    nemesis: &mut Nemesis,
    output: &Output,
) -> Result<(), Broken> {
    let load = Load::start(shape, nemesis.recorder.clone(), nemesis.journal.address());
    let bar = progress::bar(output, shape.n_events(), "events acknowledged");
    let tell = |line: String| bar.suspend(|| output.say(&line));
    let mut acks = load.acks();
    let work = async {
        nemesis.carry_out(planned, load.began(), &mut acks, tell).await?;
        nemesis.recorder.record(Seen::Healed);
        // A schedule that took longer leaves events that are due: they show that it works again.
        let end = (load.began() + shape.wall).max(Instant::now() + HEALED_MIN);
        nemesis.idle_until(end).await
    };
    let done = with_bar(&bar, || load.n_acknowledged(), work).await;
    load.stop().await;
    bar.finish_and_clear();
    done
}

async fn with_bar<T>(bar: &ProgressBar, n: impl Fn() -> u64, work: impl Future<Output = T>) -> T {
    let mut show = interval(SHOW_EVERY);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = show.tick() => bar.set_position(n()),
        }
    }
}

/// Lets the groups finish, then reads everything.
async fn look_through(
    inspector: &mut Inspector,
    journal: &Journal,
    wait_max: Duration,
    output: &Output,
    doubts: &mut Doubts,
) {
    let at = *journal.address().borrow();
    let began = Instant::now();
    let bar = progress::bar(output, 1, "events settled before the end");
    let show = |n_unsettled: u64| {
        bar.set_length(bar.length().unwrap_or_default().max(n_unsettled));
        bar.set_position(bar.length().unwrap_or_default() - n_unsettled);
    };
    for attempt in 1..=TRIES {
        match inspector.drain(at, wait_max.saturating_sub(began.elapsed()), show).await {
            Ok(0) => break,
            Ok(n) => {
                output.say(&format!("{n} events are not settled after {wait_max:?}"));
                break;
            }
            Err(error) if attempt == TRIES => doubt(doubts, "lag cannot be asked", Err(error)),
            Err(_) => sleep(TRY_AGAIN).await,
        }
    }
    bar.finish_and_clear();
    doubt(doubts, "topic cannot be read through", inspector.read(at).await);
    doubt(doubts, "dead letters cannot be listed", inspector.dead_letters(at).await);
}

/// The last that the node said.
fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let error = text.lines().rfind(|line| line.starts_with("error") || line.contains("ERROR"));
    error.unwrap_or("its log says nothing").to_owned()
}

/// What the node's log says of panics: no service of ours lets one get there.
fn tell_panics(log: &Path, recorder: &Recorder) {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let panics = text.lines().filter(|line| line.contains("panicked at"));
    for line in panics.take(PANICS_MAX) {
        recorder.record(Seen::Panicked { node: NODE, message: line.to_owned() });
    }
}

fn doubt<E: Display>(doubts: &mut Doubts, what: &str, result: Result<(), E>) {
    if let Err(error) = result {
        doubts.push(format!("{what}: {error}"));
    }
}

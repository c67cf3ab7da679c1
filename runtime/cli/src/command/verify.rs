//! `tidings verify`: kills and pauses a node under load, and proves that nothing was lost.
//!
//! This process publishes, records and judges; the node is a child of it, with services that write
//! what they do to a socket that this process owns. So whatever dies with the node, the record stays.

#[cfg(feature = "bugs")]
mod bug;

mod caller;

mod payload;

mod fate;

mod wire;

mod schedule;

mod recorder;

mod ledger;

mod child;

mod journal;

mod services;

mod load;

mod nemesis;

mod inspect;

pub(crate) mod node;

mod run;

use std::fs::{self, File, TryLockError};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidings_check::history::jsonl;
use tidings_check::verdict::check;
use tidings_config::quantity::{parse_duration, parse_size, show_duration};
use tidings_types::seam::{Rng, SplitMix};

use crate::command::process;
use crate::command::verify::child::Program;
use crate::command::verify::fate::Fates;
use crate::command::verify::ledger::{Ledger, Word};
use crate::command::verify::load::Shape;
use crate::command::verify::payload::{SIZE_MAX, SIZE_MIN};
use crate::command::verify::run::Plan;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::word;

const FOLDER: &str = ".tidings/verify";
/// Dead letters of a whole run, about, and what they may take: the node lists no more than a
/// thousand at a time, and 4 MiB.
const DEAD_LETTERS_AIM: u64 = 400;
const DEAD_LETTERS_BYTES_AIM: u64 = 1 << 20;
/// Of a dead letter beside its payload.
const DEAD_LETTER_BYTES: u64 = 512;
const DEAD_EVERY_MIN: u64 = 250;
/// Nobody can remember longer ones.
const SEED_END: u64 = 1_000_000;

const ABOUT: &str = "\
Kill a node under load, and prove that nothing was lost

A child process is the node, with three services; one of them fails, panics and gives events up on \
purpose. This process publishes to it over HTTP, kills, pauses and restarts it, and gets each begin \
and end of a handler over a socket before the node can take it as an ack. When the load is over it \
waits until nothing is open, reads everything, and judges the record: .tidings/verify/SEED.jsonl";

const LIMITS: &str = "\
What it cannot see: SIGKILL ends a process and leaves the system's page cache, so that a write \
without an fdatasync survives it. Lost writes, torn writes and failing disks are crash enumeration's \
part, and more than one node is the simulator's: `cargo run --release -p tidings-sim -- crash` and \
`-- run`.

A seed repeats the schedule of kills and pauses, the keys and what handlers do; the timing inside \
the node is another one each time. Exit codes: 0 nothing was lost, 1 a promise was broken, 4 too \
little was seen to tell.";

/// How to run it.
#[derive(Debug, clap::Args)]
#[command(long_about = ABOUT, after_long_help = LIMITS)]
pub(crate) struct Args {
    /// Repeats a schedule; without it chance decides
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long the load lasts
    #[arg(long = "for", default_value = "60s", value_parser = parse_duration, value_name = "DURATION")]
    wall: Duration,
    /// Events a second
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// Different keys of events
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    keys: u64,
    /// Bytes of one event's content, from 112 to 256 KiB
    #[arg(long, default_value = "256", value_parser = parse_event_size)]
    size: u64,
    /// SIGKILL the node so often, three tenths of it more or less, and start it again; 0s never
    #[arg(long, default_value = "15s", value_parser = parse_duration, value_name = "DURATION")]
    kill_every: Duration,
    /// SIGSTOP the node so often, for up to 1.5 s; 0s never
    #[arg(long, default_value = "0s", value_parser = parse_duration, value_name = "DURATION")]
    pause_every: Duration,
    /// The node's directory, new or empty, which stays; without it a temporary one, which goes
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Judge this history again, and run nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "data"])]
    history: Option<PathBuf>,
    /// Plant a bug in the node
    #[cfg(feature = "bugs")]
    #[arg(long, hide = true, value_name = "NAME", value_parser = bug::parse)]
    bug: Option<tidings_types::bugs::Bug>,
}

/// Runs the command.
pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    if let Some(history) = &args.history {
        return give(context, judge(history)?);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let seed = args.seed.unwrap_or_else(chosen);
    let (plan, _dir, _held) = plan(&args, seed)?;
    let (output, history) = (&context.output, plan.history.clone());
    output.say(&format!(
        "one node, each batch synced before its answer   topic verify, 3 groups   seed {seed}\n\
         {} events a second for {}, {} faults are planned",
        args.rate,
        show_duration(args.wall),
        plan.planned.len()
    ));
    let doubts = runtime.block_on(async {
        let mut end = process::End::listen()?;
        run::run(plan, output, &mut end).await
    })?;
    output.say("judging what was seen");
    let mut ledger = judge(&history)?;
    doubts.into_iter().for_each(|doubt| ledger.doubt(doubt));
    give(context, ledger.with_command(command(&args, seed)))
}

fn plan(args: &Args, seed: u64) -> Result<(Plan, Dir, File), Failure> {
    let dir = Dir::new(args.data.as_deref())?;
    let no_file = |path: &Path, error: std::io::Error| Failure::File {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder).map_err(|error| no_file(folder, error))?;
    let (name, held) = free_name(folder, seed)?;
    let log = folder.join(format!("{name}.log"));
    let n_events = (args.wall.as_secs_f64() * args.rate as f64) as u64;
    let dead_letters = DEAD_LETTERS_BYTES_AIM / (args.size + DEAD_LETTER_BYTES);
    let dead_every = (n_events / dead_letters.clamp(1, DEAD_LETTERS_AIM)).max(DEAD_EVERY_MIN);
    let arguments = [
        ("--data", dir.path().display().to_string()),
        ("--seed", seed.to_string()),
        ("--dead-every", dead_every.to_string()),
    ];
    let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let arguments = std::iter::once("verify-node".to_owned()).chain(arguments);
    #[cfg(feature = "bugs")]
    let arguments = arguments
        .chain(args.bug.into_iter().flat_map(|bug| ["--bug".to_owned(), bug.name().to_owned()]));
    let program = Program { path: std::env::current_exe()?, arguments: arguments.collect(), log };
    let shape = Shape {
        seed,
        rate: args.rate,
        wall: args.wall,
        n_keys: args.keys,
        size: args.size as usize,
        fates: Fates::new(seed, dead_every),
    };
    let planned = schedule::plan(seed, args.wall, args.kill_every, args.pause_every);
    let history = folder.join(format!("{name}.jsonl"));
    Ok((Plan { shape, planned, program, history }, dir, held))
}

/// A name for the files of a run: its seed, and a number if another run has that one. The name is
/// taken as long as the file is held.
fn free_name(folder: &Path, seed: u64) -> Result<(String, File), Failure> {
    let numbered = (2..).map(|number: u64| format!("{seed}-{number}"));
    for name in std::iter::once(seed.to_string()).chain(numbered) {
        let path = folder.join(format!("{name}.log"));
        let failed =
            |error: std::io::Error| Failure::File { path: path.clone(), reason: error.to_string() };
        let log = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match log.try_lock() {
            Ok(()) => {
                log.set_len(0).map_err(failed)?;
                return Ok((name, log));
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
    unreachable!("there are numbers without end")
}

fn judge(history: &Path) -> Result<Ledger, Failure> {
    let unreadable = |reason: String| Failure::File { path: history.to_owned(), reason };
    let file = File::open(history).map_err(|error| unreadable(error.to_string()))?;
    let loaded = jsonl::load(BufReader::with_capacity(1 << 20, file))
        .map_err(|error| unreadable(error.to_string()))?;
    let verdict = check(&loaded.lines);
    Ok(Ledger::new(&loaded.lines, &verdict, history))
}

fn give(context: &Context, ledger: Ledger) -> Result<(), Failure> {
    context.output.one(&ledger, Ledger::text)?;
    let (exit, help) = match ledger.verdict {
        Word::Pass => return Ok(()),
        Word::Fail => (1, "the history has all that was seen; `--history FILE` judges it again"),
        Word::Unknown => (4, "a run that proves nothing counts as failed; run it again, longer"),
    };
    let (code, what) = ("T0611", ledger.why());
    Err(Failure::Node { exit, code, what, help: help.to_owned() })
}

/// What was asked for, once more; what has its default is left out.
fn command(args: &Args, seed: u64) -> String {
    let asked = [
        ("for", show_duration(args.wall), "1m"),
        ("rate", args.rate.to_string(), "500"),
        ("keys", args.keys.to_string(), "100"),
        ("size", args.size.to_string(), "256"),
        ("kill-every", show_duration(args.kill_every), "15s"),
        ("pause-every", show_duration(args.pause_every), "0s"),
    ];
    let asked = asked.iter().filter(|(_, value, default)| value != default);
    let flags: String =
        asked.map(|(name, value, _)| format!(" --{name} {}", word(value))).collect();
    format!("tidings verify --seed {seed}{flags}")
}

fn parse_event_size(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if (SIZE_MIN..=SIZE_MAX).contains(&size) {
        return Ok(size);
    }
    Err(format!("{size} is not from {SIZE_MIN} to {SIZE_MAX}"))
}

/// A seed that nobody chose.
fn chosen() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let noise = time.as_nanos() as u64 ^ u64::from(std::process::id()) << 40;
    SplitMix::new(noise).below(SEED_END)
}

/// The node's directory.
enum Dir {
    Named(PathBuf),
    Fresh(tempfile::TempDir),
}

impl Dir {
    /// An old directory has events of another run, which would look made up in this one.
    fn new(named: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = named else { return Ok(Self::Fresh(tempfile::tempdir()?)) };
        let is_empty = path.read_dir().map_or(true, |mut entries| entries.next().is_none());
        if !is_empty {
            let what = format!("{} is not empty", path.display());
            return Err(Failure::Usage { what, help: "name a directory that is new" });
        }
        Ok(Self::Named(path.to_owned()))
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Named(path) => path.clone(),
            Self::Fresh(dir) => dir.path().join("node"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn asked(flags: &[&str]) -> String {
        let line = [&["verify"], flags].concat();
        command(&Line::try_parse_from(line).unwrap().args, 8_123)
    }

    /// Two runs of one seed at a time must not write into one history.
    #[test]
    fn names_are_free_while_nobody_holds_them() {
        let dir = tempfile::tempdir().unwrap();
        let (first, held) = free_name(dir.path(), 7).unwrap();
        let (second, _held_too) = free_name(dir.path(), 7).unwrap();
        assert_eq!((first.as_str(), second.as_str()), ("7", "7-2"));
        drop(held);
        assert_eq!(free_name(dir.path(), 7).unwrap().0, "7");
    }

    /// The command that a run prints is pasted into a shell, and must be the same run again.
    #[test]
    fn commands_repeat_the_run() {
        assert_eq!(asked(&[]), "tidings verify --seed 8123");
        let long = ["--for", "90s", "--rate", "2000", "--kill-every", "3s", "--pause-every", "5s"];
        assert_eq!(
            asked(&long),
            "tidings verify --seed 8123 --for '1m 30s' --rate 2000 --kill-every 3s --pause-every 5s"
        );
        for bad in [["--size", "100"], ["--size", "1MiB"], ["--rate", "0"], ["--for", "soon"]] {
            let line = [["verify"].as_slice(), &bad].concat();
            assert!(Line::try_parse_from(line).is_err(), "{bad:?}");
        }
    }
}

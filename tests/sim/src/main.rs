//! The command that runs the simulator.
#![expect(clippy::print_stdout, reason = "it talks to whoever called it")]

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Args as ClapArgs, Parser, Subcommand};
use mimalloc::MiMalloc;
use tidings_check::history::Line;
use tidings_sim::{Plan, Summary, Wrong, crash, keep_panics, ledger, many, run};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Whole clusters in one thread, in virtual time, on disks and links that fail.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Runs many seeds and stops at the first one that shows something wrong.
    Run(Seeds),
    /// Runs many seeds and adds a line about them to the account.
    Ledger {
        #[command(flatten)]
        seeds: Seeds,
        /// The account.
        #[arg(long, default_value = "tests/sim/LEDGER.md")]
        file: PathBuf,
        /// What this program was built from, if it is not what is checked out.
        #[arg(long)]
        commit: Option<String>,
    },
    /// Crashes one node at every call of its disk, in all ways.
    Crash {
        /// Decides over what is kept and torn.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Only each so many-th call.
        #[arg(long, default_value_t = 1)]
        every: u64,
    },
    /// Plants each bug in turn, and says what catches it.
    #[cfg(feature = "bugs")]
    Bugs {
        /// Only this one.
        #[arg(long)]
        only: Option<String>,
        /// Crashes at every call of the disk, too, even where seeds catch it.
        #[arg(long)]
        crashes: bool,
        /// Seeds of each size, at most.
        #[arg(long, default_value_t = 2_000)]
        seeds: u64,
        /// Threads that run seeds.
        #[arg(long, default_value_t = 2)]
        threads: usize,
    },
    /// Runs one seed again, and tells what happened.
    Replay {
        /// Replicas.
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Where what happened is written, line by line.
        #[arg(long)]
        trace: Option<PathBuf>,
        /// Where the history is written that the checker judges.
        #[arg(long)]
        history: Option<PathBuf>,
    },
}

#[derive(Debug, ClapArgs)]
struct Seeds {
    /// Replicas: 1, 3 or 5.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// The first seed and the one behind the last: 0..1000.
    #[arg(long, value_parser = seeds, default_value = "0..1000")]
    seeds: (u64, u64),
    /// Threads that run seeds.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once("..").ok_or("write it as 0..1000")?;
    let number = |part: &str| part.parse().map_err(|_| format!("{part} is no number"));
    Ok((number(parts.0)?, number(parts.1)?))
}

fn main() -> ExitCode {
    keep_panics();
    match Args::parse().what {
        What::Run(seeds) => code(run_seeds(&seeds).wrong.is_none()),
        What::Ledger { seeds, file, commit } => {
            let summary = run_seeds(&seeds);
            let range = seeds.seeds.0..seeds.seeds.1;
            let commit = commit.unwrap_or_else(checked_out);
            let line = ledger::line(&commit, seeds.nodes, &range, &summary);
            if let Err(error) = ledger::add(&file, &line) {
                println!("cannot write {}: {error}", file.display());
                return ExitCode::FAILURE;
            }
            code(summary.wrong.is_none())
        }
        What::Crash { seed, every } => {
            let summary = crash::run(crash::Args { seed, every, ..crash::Args::default() });
            println!("{summary}");
            code(summary.is_clean())
        }
        #[cfg(feature = "bugs")]
        What::Bugs { only, crashes, seeds, threads } => {
            hunt(only.as_deref(), (seeds, threads), crashes)
        }
        What::Replay { nodes, seed, trace, history } => replay(nodes, seed, trace, history),
    }
}

fn run_seeds(seeds: &Seeds) -> Summary {
    let range = seeds.seeds.0..seeds.seeds.1;
    let summary = many(seeds.nodes, range, seeds.threads, true);
    tell(seeds.nodes, &summary);
    summary
}

/// The commit that is checked out, with a mark if there are changes.
fn checked_out() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let head = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    let is_clean = git(&["status", "--porcelain"]).is_some_and(|changes| changes.is_empty());
    format!("{}{}", head.trim(), if is_clean { "" } else { "+" })
}

#[cfg(feature = "bugs")]
fn hunt(only: Option<&str>, (n_seeds, n_threads): (u64, usize), crashes: bool) -> ExitCode {
    use tidings_types::bugs::Bug;
    println!("| bug | 1 node | 3 nodes | crash enumeration |\n|---|---|---|---|");
    let mut are_caught = true;
    for bug in Bug::ALL.into_iter().filter(|bug| only.is_none_or(|only| only == bug.name())) {
        let caught = tidings_sim::bugs::hunt(bug, n_seeds, n_threads, crashes);
        println!("{caught}");
        are_caught &= caught.is_caught();
    }
    code(are_caught)
}

fn code(is_well: bool) -> ExitCode {
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(nodes: usize, summary: &Summary) {
    let stats = &summary.stats;
    println!(
        "{} seeds of {nodes} nodes in {:.1} s: {:.1} seeds/s, {:.0} simulated seconds",
        stats.runs,
        summary.took.as_secs_f64(),
        summary.rate(),
        stats.simulated_us as f64 / 1e6
    );
    let counts: Vec<String> = stats.named().iter().map(|(name, n)| format!("{name} {n}")).collect();
    println!("{}", counts.join(" · "));
    match &summary.wrong {
        None => println!("violations 0"),
        Some((seed, wrong)) => tell_wrong(nodes, *seed, wrong),
    }
}

fn tell_wrong(nodes: usize, seed: u64, wrong: &Wrong) {
    println!("seed {seed} shows something wrong: {}\n{}", wrong.what, wrong.witness);
    println!(
        "again: cargo run --release -p tidings-sim -- replay --nodes {nodes} --seed {seed} \
         --trace trace.txt --history history.jsonl"
    );
}

fn replay(nodes: usize, seed: u64, trace: Option<PathBuf>, history: Option<PathBuf>) -> ExitCode {
    let plan = Plan::random(nodes, seed);
    let ran = run(if trace.is_some() { plan.traced() } else { plan });
    let traced = trace.map_or(Ok(()), |path| fs::write(path, &ran.trace));
    let written = history.map_or(Ok(()), |path| write_history(path, &ran.history));
    if let Err(error) = traced.and(written) {
        println!("cannot write: {error}");
        return ExitCode::FAILURE;
    }
    println!("seed {seed} of {nodes} nodes, hash {:016x}: {:?}", ran.hash, ran.stats);
    if let Some(wrong) = &ran.violation {
        tell_wrong(nodes, seed, wrong);
    }
    code(ran.violation.is_none())
}

fn write_history(path: PathBuf, history: &[Line]) -> io::Result<()> {
    let mut text = String::new();
    for line in history {
        text += &serde_json::to_string(line).map_err(io::Error::other)?;
        text.push('\n');
    }
    fs::write(path, text)
}

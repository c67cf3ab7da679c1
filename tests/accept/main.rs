//! Acceptance of one node from outside: real processes, real signals, HTTP only; one line an item.
//!
//! ```text
//!   accept quick                     what cargo test runs: small loads
//!   accept kill  --kills 10 --rate 2000
//!   accept poison
//!   accept ready [--gib 2]
//!   accept story
//!   accept faults [--only WORDS] [--small-disk DIR]   under strace; DIR is a disk that it may fill
//! ```
//!
//! `--binary FILE` names the `tidings` binary; without it, the one that this build made. A second
//! binary is not needed for the node of `accept poison`: it is this program with `poison-node`.
#![expect(clippy::indexing_slicing, reason = "a JSON value gives null for what it lacks")]
#![expect(clippy::print_stdout, reason = "it prints its verdicts")]

mod args;

mod http;

mod node;

mod load;

mod kill;

mod poison;

mod ready;

mod story;

mod probe;

mod traced;

mod faults;

use std::process::ExitCode;

use args::Args;
use traced::Files;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// One item of the list: its name, and whether it held.
struct Item {
    line: String,
    holds: bool,
}

fn main() -> ExitCode {
    let args = Args::from_env();
    if args.mode == "poison-node" {
        return poison::node(&args);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system gives threads");
    if args.mode == "faults" && !traced::is_possible() {
        println!("faults: skipped, strace is not here or may not trace");
        return ExitCode::SUCCESS;
    }
    let mut n_failed = 0;
    let mut n_passed = 0;
    for (name, run) in items(&args) {
        let item = runtime
            .block_on(run)
            .unwrap_or_else(|error| Item { line: format!("failed: {error}"), holds: false });
        n_passed += u32::from(item.holds);
        n_failed += u32::from(!item.holds);
        println!("{} {name}: {}", if item.holds { "ok  " } else { "FAIL" }, item.line);
    }
    println!("{n_passed} passed, {n_failed} failed");
    if n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Run = std::pin::Pin<Box<dyn Future<Output = Result<Item, Failed>>>>;

fn items(args: &Args) -> Vec<(&'static str, Run)> {
    let binary = args.binary.clone();
    match args.mode.as_str() {
        "kill" => vec![("kill", Box::pin(kill::run(binary, args.kills, args.rate)) as Run)],
        "poison" => vec![("poison", Box::pin(poison::run(binary, args.events)))],
        "ready" => vec![("ready", Box::pin(ready::run(binary, args.gib)))],
        "story" => vec![("story", Box::pin(story::run(binary)))],
        "faults" => faulty(args),
        _ => vec![
            ("story", Box::pin(story::run(binary.clone())) as Run),
            ("poison", Box::pin(poison::run(binary.clone(), 2_000))),
            ("kill", Box::pin(kill::run(binary, 2, 200))),
        ],
    }
}

/// One item a fault; see [`faults`].
fn faulty(args: &Args) -> Vec<(&'static str, Run)> {
    let ends = |call: &'static str, again| -> Run {
        Box::pin(faults::ends(args.binary.clone(), call, again))
    };
    let lives = |inject: &'static str, files, lasts| -> Run {
        Box::pin(faults::lives(args.binary.clone(), inject, files, lasts))
    };
    let full = |disk| -> Run { Box::pin(faults::full(args.binary.clone(), disk)) };

    let seconds = std::time::Duration::from_secs;
    let mut items = vec![
        ("F22 fdatasync fails once", ends("fdatasync:error=EIO", None)),
        ("F22 fdatasync fails for ever", ends("fdatasync:error=EIO", Some("fdatasync:error=EIO"))),
        ("F23 write fails", ends("pwritev:error=EIO", None)),
        ("F23 write takes nothing", ends("pwritev:retval=0", None)),
        (
            "F23 write is interrupted",
            lives("pwritev:error=EINTR:when=100+7", Files::Open, seconds(3)),
        ),
        (
            "F33 disk turns read-only",
            ends("pwritev,fdatasync:error=EROFS", Some("pwritev,fdatasync:error=EROFS")),
        ),
        (
            "F21 fdatasync takes 200 ms more",
            lives("fdatasync:delay_exit=200000:when=100+", Files::All, seconds(5)),
        ),
        (
            "F21 fdatasync stalls for 5 s",
            lives("fdatasync:delay_enter=5000000:when=300", Files::Open, seconds(9)),
        ),
    ];
    items.push(match args.small_disk.clone() {
        None => ("F24 no space for a segment", full(None)),
        disk => ("F24 disk is full", full(disk)),
    });
    items.retain(|(name, _)| args.only.split(',').any(|word| name.contains(word)));
    items
}

//! The account of all seeds that were ever run: a line for each range, in a file of the repository.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::many::Summary;

const HEAD: &str = "# Seeds that were run\n\n\
    Each line is one or more calls of `cargo run --profile seeds -p tidings-sim -- ledger`. A commit \
    with a `+` had changes that were not committed.\n\n\
    | commit | nodes | seeds | runs | simulated hours | publishes acknowledged | deliveries | \
    faults | violations |\n\
    |---|---|---|---|---|---|---|---|---|\n";

/// A line about the runs of one range.
pub fn line(commit: &str, nodes: usize, seeds: &Range<u64>, summary: &Summary) -> String {
    let stats = &summary.stats;
    let faults = stats.kills
        + stats.powercuts
        + stats.pauses
        + stats.cuts
        + stats.disk_errors
        + stats.other_faults;
    let wrong = summary.wrong.as_ref();
    let wrong =
        wrong.map_or("0".to_owned(), |(seed, wrong)| format!("seed {seed}: {}", wrong.what));
    format!(
        "| {commit} | {nodes} | {}..{} | {} | {:.1} | {} | {} | {faults} | {wrong} |\n",
        seeds.start,
        seeds.end,
        stats.runs,
        stats.simulated_us as f64 / 3.6e9,
        stats.acked,
        stats.deliveries,
    )
}

/// Adds a line to the account, which begins with it if there is none.
///
/// # Errors
/// What the file system says.
pub fn add(path: &Path, line: &str) -> io::Result<()> {
    let mut text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => HEAD.to_owned(),
        Err(error) => return Err(error),
    };
    // Behind the last line of the table; what people wrote below it stays there.
    let at = text.rfind("\n|").and_then(|at| Some(at + 2 + text.get(at + 2..)?.find('\n')?));
    text.insert_str(at.map_or(text.len(), |at| at + 1), line);
    fs::write(path, text)
}

//! `tidings log`: looks at a node's log offline, and changes nothing.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use tidings_config::error::ConfigError;
use tidings_config::load;
use tidings_log::RealDisk;
use tidings_log::check::{Report, SegmentReport, Verdict, check};

use crate::context::{Context, NodeFlags};
use crate::failure::Failure;
use crate::output::{count, counted, table, word};

/// What to do with a log.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what a start on a directory would find. No node may have it open
    Check {
        /// The node's data directory
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
        #[command(flatten)]
        flags: NodeFlags,
    },
}

#[derive(Serialize)]
struct Checked {
    data: String,
    verdict: &'static str,
    detail: String,
    segments: Vec<Segment>,
    frames: u64,
    last_index: u64,
    end: u64,
    checkpoint: Option<u64>,
}

#[derive(Serialize)]
struct Segment {
    number: u64,
    first: u64,
    frames: u64,
    bad: Option<u64>,
}

/// Runs the command.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let Command::Check { dir, flags } = command;
    let dir = match dir {
        Some(dir) => dir,
        None => load(context.node_options(&flags))?.config.node.data_dir,
    };
    let refused = |what| Failure::Node {
        exit: ConfigError::EXIT,
        code: "T0108",
        what,
        help: "nothing was changed".to_owned(),
    };
    let disk = RealDisk::open_read_only(&dir).map_err(|error| refused(error.to_string()))?;
    let report = check(&disk);
    let output = &context.output;
    output.one(&checked(dir.display().to_string(), &report), show)?;
    match report.verdict {
        Verdict::Empty | Verdict::Sound | Verdict::Torn { .. } => {
            let dir = word(&dir.to_string_lossy());
            output.next_here(&[&format!("tidings serve --data {dir}")]);
            Ok(())
        }
        Verdict::Refused { why } => Err(refused(why)),
    }
}

fn checked(data: String, report: &Report) -> Checked {
    let verdict = match report.verdict {
        Verdict::Empty => "empty",
        Verdict::Sound => "sound",
        Verdict::Torn { .. } => "torn",
        Verdict::Refused { .. } => "refused",
    };
    Checked {
        data,
        verdict,
        detail: report.verdict.to_string(),
        segments: report.segments.iter().map(segment).collect(),
        frames: report.segments.iter().map(|segment| segment.n_frames).sum(),
        last_index: report.last_index.get(),
        end: report.end.get(),
        checkpoint: report.checkpoint.map(|index| index.get()),
    }
}

fn segment(report: &SegmentReport) -> Segment {
    let SegmentReport { number, first, n_frames, bad } = report;
    let bad = bad.map(|position| position.get());
    Segment { number: *number, first: first.get(), frames: *n_frames, bad }
}

fn show(checked: &Checked) -> String {
    let Checked { data, detail, frames, last_index, end, checkpoint, .. } = checked;
    let rows = checked.segments.iter().map(|segment| {
        let bad = segment.bad.map_or("-".to_owned(), |position| position.to_string());
        vec![segment.number.to_string(), segment.first.to_string(), count(segment.frames), bad]
    });
    let segments = table(&["SEGMENT", "FIRST POSITION", "FRAMES", "BAD AT"], rows);
    let checkpoint = checkpoint.map_or("none".to_owned(), |index| format!("at index {index}"));
    format!(
        "{segments}\n\n{data}: {detail}\n  {}, last index {last_index}, end at position \
         {end}, checkpoint {checkpoint}",
        counted(*frames, "frame")
    )
}

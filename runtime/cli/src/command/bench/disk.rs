//! `tidings bench disk`: what the disk gives to one writer that syncs each write.
//!
//! The file is filled with zeros and synced first, as the log prepares its segments, so that a
//! sync changes no metadata. Writes go one after the other and begin anew at the end of the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tidings_config::quantity::{parse_duration, parse_size};

use crate::command::bench::{Setup, Times, give};
use crate::command::progress;
use crate::context::Context;
use crate::failure::Failure;

const FILE_BYTES: u64 = 128 << 20;
const ZERO_BYTES: usize = 1 << 20;
/// A frame begins at a multiple of this.
const ALIGNMENT: u64 = 8;

/// How to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bytes of one write
    #[arg(long, default_value = "4KiB", value_parser = parse_size)]
    size: u64,
    /// How long to write
    #[arg(long = "for", default_value = "5s", value_parser = parse_duration, value_name = "DURATION")]
    wall: Duration,
    /// End after so many writes, if that comes first
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// The directory to write in; its disk is what is measured
    #[arg(long, default_value = ".", value_name = "DIR")]
    data: PathBuf,
}

/// Runs the command.
pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let Ok(size) = usize::try_from(args.size.clamp(1, FILE_BYTES)) else {
        unreachable!("a file of this size is written in memory of this size");
    };
    let scratch = Scratch::new(&args.data)?;
    let wrong = |error| scratch.failure(&error);
    let file = scratch.zero_filled().map_err(wrong)?;
    let n_writes_max = args.events.unwrap_or(u64::MAX);
    let bar = progress::bar(&context.output, args.wall.as_millis() as u64, "ms");

    let body = vec![0x5a; size];
    let (mut times, mut position) = (Times::new(), 0);
    let began = Instant::now();
    for n_writes in 0_u64.. {
        let elapsed = began.elapsed();
        if n_writes >= n_writes_max || elapsed >= args.wall {
            break;
        }
        if position + args.size > FILE_BYTES {
            position = 0;
        }
        let before = Instant::now();
        file.write_all_at(&body, position).and_then(|()| file.sync_data()).map_err(wrong)?;
        times.add(before.elapsed());
        position += (size as u64).next_multiple_of(ALIGNMENT);
        bar.set_position(elapsed.as_millis() as u64);
    }
    let wall = began.elapsed();
    bar.finish_and_clear();
    let setup = Setup { size, groups: 0, durable: "fdatasync after each write, one writer" };
    give(&context.output, &times.measured("disk", wall, &setup), "writes")?;
    context.output.next_here(&["tidings bench publish", "tidings bench latency --rate 2000"]);
    Ok(())
}

/// A file that is gone when this is.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new(dir: &Path) -> Result<Self, Failure> {
        let scratch = Self(dir.join(format!("bench-disk-{}.tmp", std::process::id())));
        std::fs::create_dir_all(dir).map_err(|error| scratch.failure(&error))?;
        Ok(scratch)
    }

    fn zero_filled(&self) -> io::Result<File> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&self.0)?;
        let zeros = vec![0; ZERO_BYTES];
        for _ in 0..FILE_BYTES / ZERO_BYTES as u64 {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        Ok(file)
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::File { path: self.0.clone(), reason: error.to_string() }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If it was never made there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

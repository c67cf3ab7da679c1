//! A crash at every call of the disk: one node, all it does, and what must be there afterwards.
//!
//! ```text
//!   a life ──▶ the n-th call is the last, or fails ──▶ the power goes ──▶ recover, compare
//!                                        └── and again while it recovers ──┘     │
//!                                  recover, compare ◀── the power goes ◀── a little more life
//! ```
//!
//! Each n is tried with several fates of what was not durable. What was acknowledged must be there,
//! unaltered; nothing that was promised may go back.

// In reading order; each module uses only those above it.
mod summary;

mod life;

mod witness;

mod log_model;

mod log_life;

mod node_told;

mod node_drive;

mod node_work;

mod node_life;

mod rot;

use tidings_log::MemoryDisk;
use tidings_log::disk::{Fate, Fault, Kept};
#[cfg(feature = "bugs")]
use tidings_types::bugs::{Bug, plant};
use tidings_types::seam::{Rng, SplitMix};

use crate::crash::life::{Ending, Life, Stop};
use crate::crash::log_life::LogLife;
use crate::crash::node_life::NodeLife;
use crate::crash::rot::rot;
use crate::crash::summary::guarded;
pub use crate::crash::summary::{Args, Summary};

/// A kind of life.
type Kind = (&'static str, fn() -> Box<dyn Life>);

const KINDS: [Kind; 2] =
    [("log", || Box::new(LogLife::default())), ("node", || Box::new(NodeLife::default()))];

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The power goes; this becomes of what was not durable.
    PowerCut(Fate),
    /// The call fails once, and the power goes when the life has ended by itself.
    FailsOnce(Fate),
    /// The call fails once, and the process starts again over the same page cache; then the power
    /// goes.
    FailsOnceThenRestart,
}

fn ends(seed: u64) -> [End; 9] {
    let fate = |bytes, names| Fate { bytes, names, seed };
    [
        End::PowerCut(Fate::NOTHING),
        End::PowerCut(Fate::ALL),
        End::PowerCut(fate(Kept::Nothing, Kept::All)),
        End::PowerCut(fate(Kept::All, Kept::Nothing)),
        End::PowerCut(fate(Kept::Some, Kept::Some)),
        End::PowerCut(fate(Kept::Torn, Kept::Some)),
        End::FailsOnce(Fate::NOTHING),
        End::FailsOnce(fate(Kept::Torn, Kept::Some)),
        End::FailsOnceThenRestart,
    ]
}

/// Tries all of it.
pub fn run(args: Args) -> Summary {
    let mut summary = Summary::default();
    for (name, make) in KINDS {
        enumerate(name, make, args, &mut summary);
        if args.stops && !summary.is_clean() {
            return summary;
        }
    }
    for (name, make) in KINDS {
        for ending in [Ending::Closed, Ending::Idle] {
            rot(name, make, ending, args, &mut summary);
        }
    }
    summary
}

/// With the bug planted: after how many runs it is noticed, if it is.
#[cfg(feature = "bugs")]
pub fn catches(bug: Bug) -> Option<u64> {
    plant(Some(bug));
    let summary = run(Args { stops: true, ..Args::default() });
    plant(None);
    (!summary.is_clean()).then_some(summary.n_runs + summary.n_flips)
}

fn enumerate(name: &str, make: fn() -> Box<dyn Life>, args: Args, summary: &mut Summary) {
    let disk = MemoryDisk::new();
    let whole = guarded(|| make().live(&disk, Ending::Closed).map_err(Stop::into_text));
    summary.note(format!("{name}, undisturbed"), whole);
    let (n_calls, before) = (disk.n_changes(), summary.n_runs);
    for at in (0..n_calls).step_by(args.every.max(1) as usize) {
        summary.n_points += 1;
        for (way, end) in ends(args.seed ^ at.rotate_left(20)).into_iter().enumerate() {
            let seed = args.seed ^ at << 8 ^ way as u64;
            summary.n_runs += 1;
            let result = guarded(|| point(&mut *make(), at, end, SplitMix::new(seed)));
            summary.note(format!("{name}, call {at}, {end:?}, seed {seed}"), result);
            if args.stops && !summary.is_clean() {
                return;
            }
        }
    }
    let n_runs = summary.n_runs - before;
    summary.lines.push(format!("{name}: {n_calls} calls in a life, {n_runs} runs"));
}

/// One point with one end.
fn point(life: &mut dyn Life, at: u64, end: End, mut rng: SplitMix) -> Result<(), String> {
    let disk = MemoryDisk::new();
    match end {
        End::PowerCut(_) => disk.fail_after_torn(at, rng.next_u64() >> 32),
        End::FailsOnce(_) | End::FailsOnceThenRestart => {
            disk.plan(Fault::on_change().after(at).having_written(rng.below(3) * 700));
        }
    }
    may_stop(life.live(&disk, Ending::Closed))?;
    disk.heal();
    match end {
        End::PowerCut(fate) | End::FailsOnce(fate) => disk.crash_as(fate),
        End::FailsOnceThenRestart => {
            disk.end_process();
            must_go_on(life.again(&disk))?;
            disk.crash();
        }
    }
    if rng.below(2) == 0 {
        // The power goes once more while it recovers.
        disk.fail_after_torn(rng.below(16), rng.next_u64() >> 32);
        may_stop(life.again(&disk))?;
        disk.crash_as(Fate { bytes: Kept::Torn, names: Kept::Some, seed: rng.next_u64() });
    }
    for kept in [Kept::Nothing, Kept::Some, Kept::Nothing] {
        must_go_on(life.again(&disk))?;
        disk.crash_as(Fate { bytes: kept, names: kept, seed: rng.next_u64() });
    }
    must_go_on(life.again(&disk))
}

/// A life in which a call was planned to fail may end there, and only there.
fn may_stop(result: Result<(), Stop>) -> Result<(), String> {
    match result {
        Ok(()) | Err(Stop::Disk(_)) => Ok(()),
        Err(stop) => Err(stop.into_text()),
    }
}

fn must_go_on(result: Result<(), Stop>) -> Result<(), String> {
    result.map_err(Stop::into_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing that was acknowledged may be lost, whichever call of the disk is the last one. The
    /// command tries every call; here we try some.
    #[test]
    fn f05_crash_at_every_call_loses_nothing_acknowledged() {
        let summary = run(Args { every: 47, ..Args::default() });
        println!("{summary}");
        assert!(summary.is_clean(), "{summary}");
        assert!(summary.n_points > 15 && summary.n_flips > 20, "{summary}");
    }
}

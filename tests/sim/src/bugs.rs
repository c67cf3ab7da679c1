//! Planting each bug in turn and running seeds until it is caught: proof that the proof finds them.

use std::fmt;

use tidings_types::bugs::{Bug, plant};

use crate::crash;
use crate::many::many;

/// How a bug was caught, or not.
#[derive(Clone, Debug)]
pub struct Caught {
    /// Which one.
    pub bug: Bug,
    /// With so many replicas, the seed that caught it, after how many seeds, and by which check.
    pub by_seeds: Vec<(usize, Option<(u64, u64, String)>)>,
    /// After how many runs crash enumeration caught it.
    pub by_crashes: Option<u64>,
}

impl Caught {
    /// By any of the ways.
    pub fn is_caught(&self) -> bool {
        self.by_crashes.is_some() || self.by_seeds.iter().any(|(_, caught)| caught.is_some())
    }
}

/// Plants a bug and looks for it with at most so many seeds of each size. Crash enumeration, which
/// takes long where it finds nothing, only if that is asked for or the seeds do not catch it.
pub fn hunt(bug: Bug, n_seeds: u64, n_threads: usize, has_crashes: bool) -> Caught {
    let mut by_seeds = Vec::new();
    for n_nodes in [1, 3] {
        plant(Some(bug));
        let summary = many(n_nodes, 0..n_seeds, n_threads, false);
        plant(None);
        // What a seed shows without the bug, too, is no proof that the bug is found.
        let is_its = |seed: u64| many(n_nodes, seed..seed + 1, 1, false).wrong.is_none();
        let wrong = summary.wrong.filter(|(seed, _)| is_its(*seed));
        let caught = wrong.map(|(seed, wrong)| (seed, summary.stats.runs, wrong.what));
        by_seeds.push((n_nodes, caught));
    }
    let mut caught = Caught { bug, by_seeds, by_crashes: None };
    if has_crashes || !caught.is_caught() {
        caught.by_crashes = crash::catches(bug);
    }
    caught
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.bug.name())?;
        for (_, caught) in &self.by_seeds {
            match caught {
                Some((seed, runs, what)) => {
                    write!(f, " {what} after {runs} seeds (seed {seed}) |")?;
                }
                None => write!(f, " – |")?,
            }
        }
        match self.by_crashes {
            Some(runs) => write!(f, " after {runs} runs |"),
            None => write!(f, " – |"),
        }
    }
}

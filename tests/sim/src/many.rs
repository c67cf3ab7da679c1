//! Many runs, over threads, until all are done or one shows something wrong.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::plan::Plan;
use crate::run::{Wrong, run};
use crate::stats::Stats;

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// What they did, all together.
    pub stats: Stats,
    /// A run that shows something wrong, and what.
    pub wrong: Option<(u64, Wrong)>,
    /// How long it took.
    pub took: Duration,
}

impl Summary {
    /// Runs in a second.
    pub fn rate(&self) -> f64 {
        self.stats.runs as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// Runs all these seeds with so many replicas. With a bar, if somebody watches.
pub fn many(n_nodes: usize, seeds: Range<u64>, n_threads: usize, has_bar: bool) -> Summary {
    let n_seeds = seeds.end.saturating_sub(seeds.start);
    let bar = if has_bar { ProgressBar::new(n_seeds) } else { ProgressBar::hidden() };
    let style = "{bar:30} {pos}/{len} seeds · {per_sec} · {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is fixed"));
    let summary = Mutex::new(Summary::default());
    let (next, is_over) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seeds.end <= seed {
                return;
            }
            let ran = run(Plan::random(n_nodes, seed));
            // Counts stay sound even if another thread broke off.
            let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            summary.stats += ran.stats;
            if let Some(wrong) = ran.violation {
                is_over.store(true, Ordering::Relaxed);
                // The first seed of several, so that it depends less on the threads.
                if summary.wrong.as_ref().is_none_or(|(known, _)| seed < *known) {
                    summary.wrong = Some((seed, wrong));
                }
            }
            drop(summary);
            bar.inc(1);
        }
    };
    thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(work);
        }
    });
    let took = bar.elapsed();
    bar.finish_and_clear();
    Summary { took, ..summary.into_inner().unwrap_or_else(PoisonError::into_inner) }
}

//! One run, and what is said of it.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use tidings_check::history::Line;
use tidings_check::verdict::check;

use crate::plan::Plan;
use crate::stats::Stats;
use crate::world::World;

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    /// What it did.
    pub stats: Stats,
    /// What was seen of it.
    pub history: Vec<Line>,
    /// A hash of all that happened.
    pub hash: u64,
    /// Lines of what happened, if they were wanted.
    pub trace: String,
    /// What is wrong, if something is.
    pub violation: Option<Wrong>,
}

/// What is wrong with a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which check found it, in a word.
    pub what: String,
    /// All that it says.
    pub witness: String,
}

/// Lets panics of runs be part of what is said of them, and nothing else. Once for a process.
pub fn keep_panics() {
    panic::set_hook(Box::new(|info| {
        let said = info.to_string();
        PANIC.with_borrow_mut(|panic| *panic = Some(said));
    }));
}

/// Runs what is planned and judges it.
pub fn run(plan: Plan) -> Ran {
    let mut world = World::new(plan);
    let ran = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    let over = world.over();
    let history = over.record.into_lines();
    let mut stats = over.stats;
    stats.lines = history.len() as u64;
    let panicked = ran.err().map(|_| {
        let said = PANIC.with_borrow_mut(Option::take);
        Wrong { what: "panic".to_owned(), witness: said.unwrap_or_default() }
    });
    let broken = over.broken.map(|witness| Wrong { what: "simulator".to_owned(), witness });
    let violation = panicked.or(broken).or_else(|| judge(&history));
    let hash = over.trace.hash();
    Ran { stats, history, hash, trace: over.trace.into_text(), violation }
}

fn judge(history: &[Line]) -> Option<Wrong> {
    let verdict = check(history);
    if verdict.is_valid() {
        return None;
    }
    let first = verdict.violations.first();
    let what = first.map_or("I20".to_owned(), |violation| format!("{:?}", violation.invariant));
    Some(Wrong { what, witness: verdict.to_string() })
}

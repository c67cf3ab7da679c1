//! Runs a model under loom, and tells how much of it there was.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tries every execution of a model and prints their number; a model that shrank unnoticed would
/// prove nothing.
pub(super) fn explore(name: &'static str, model: impl Fn() + Sync + Send + 'static) {
    // Of std, so that loom does not see it.
    let n_executions = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&n_executions);
    loom::model(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let n_executions = n_executions.load(Ordering::Relaxed);
    assert!(n_executions > 1, "{name}: the threads never met");
    println!("ok   loom {name}: {n_executions} executions");
}

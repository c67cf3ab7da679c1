//! What a panic in the core means: the process ends, and recovery begins from the disk.
//!
//! A core actor that panicked half-way between two states must not be restarted from memory, and a
//! node without one of them would neither work nor fail. Services are another matter: their panics
//! are caught by their supervisors.

use tracing::error;

/// Does one step of an actor of the core, and ends the process if it panics.
pub(crate) fn whole<T>(actor: &'static str, step: impl FnOnce() -> T) -> T {
    let guard = AbortOnPanic { actor };
    let result = step();
    std::mem::forget(guard);
    result
}

struct AbortOnPanic {
    actor: &'static str,
}

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        error!(
            actor = self.actor,
            "the core panicked; the process ends and recovers from the disk"
        );
        std::process::abort();
    }
}

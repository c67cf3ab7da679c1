//! Whether and when a crashed worker is started again: a pure decision, so time is passed in.
//!
//! Up to [`RESTARTS_MAX`] restarts within [`RESTART_WINDOW`], each after twice the delay of the one
//! before; then it gives up, because a fault that restarting does not cure needs a person. Only
//! deaths without a culprit are counted here: a panic inside a handler is its event's fault.

use std::collections::VecDeque;
use std::time::Duration;

use tidings_types::limits::{RESTART_DELAY_MIN, RESTART_WINDOW, RESTARTS_MAX};

/// What to do after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start a fresh worker after this delay.
    RestartAfter(Duration),
    /// Stop the service.
    GiveUp,
}

/// The crashes of one worker that still count.
#[derive(Clone, Debug, Default)]
pub struct Restarts {
    /// Time of each crash within the window, oldest first; never more than [`RESTARTS_MAX`].
    crashes: VecDeque<Duration>,
}

impl Restarts {
    /// Counts a crash at `now` and decides.
    ///
    /// # Panics
    /// If time goes back.
    pub fn on_crash(&mut self, now: Duration) -> Decision {
        assert!(self.crashes.back().is_none_or(|&latest| latest <= now), "time goes back");
        self.crashes.retain(|&crash| now - crash < RESTART_WINDOW);

        let n_recent = self.n_recent();
        if n_recent == RESTARTS_MAX {
            return Decision::GiveUp;
        }
        self.crashes.push_back(now);
        Decision::RestartAfter(RESTART_DELAY_MIN * 2_u32.pow(n_recent))
    }

    /// How many crashes counted at the last one; only to be shown.
    pub fn n_recent(&self) -> u32 {
        u32::try_from(self.crashes.len()).expect("at most RESTARTS_MAX are kept")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that crashes at once must be restarted ever later, and in the end no more.
    #[test]
    fn crash_loop_backs_off_and_ends() {
        let mut restarts = Restarts::default();
        let mut now = Duration::ZERO;
        let mut delays = Vec::new();
        while let Decision::RestartAfter(delay) = restarts.on_crash(now) {
            delays.push(delay.as_millis());
            now += delay;
        }
        assert_eq!(delays, [100, 200, 400, 800, 1_600]);
        assert_eq!(restarts.on_crash(now), Decision::GiveUp);
    }

    /// A crash now and then must never add up, however long the worker lives.
    #[test]
    fn rare_crashes_are_forgotten() {
        let mut restarts = Restarts::default();
        for n_crashes in 0..100 {
            let decision = restarts.on_crash(RESTART_WINDOW * n_crashes);
            assert_eq!(decision, Decision::RestartAfter(RESTART_DELAY_MIN));
        }
    }

    /// Crashes must leave the window one by one, not all at once.
    #[test]
    fn budget_comes_back_as_crashes_grow_old() {
        let mut restarts = Restarts::default();
        let step = RESTART_WINDOW / RESTARTS_MAX;
        for n_crashes in 0..50 {
            let decision = restarts.on_crash(step * n_crashes);
            assert!(matches!(decision, Decision::RestartAfter(_)), "crash {n_crashes}");
        }
        assert_eq!(restarts.n_recent(), RESTARTS_MAX);
        assert_eq!(restarts.on_crash(step * 49), Decision::GiveUp);
    }
}

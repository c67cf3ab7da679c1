//! How fast a segment is filled beside the writing: no faster than it will be needed.
//!
//! A fill at full speed keeps the disk busy for a tenth of a second, and each fdatasync of the log
//! waits behind it. So a fill takes small steps with pauses, as long as it stays ahead of what is
//! consumed meanwhile:
//!
//! ```text
//!   room at the fill's begin ├──── consumed ────┤┄┄┄┄┄ left ┄┄┄┄┄┤
//!   the fill                 ├────────── done ──────────┤┄┄ to do ┄┤
//!   gently while               consumed / room  ≤  done / all / 2
//! ```
//!
//! At twice that pace the segment is there when half of the room is left. When it falls behind it
//! goes on without pauses, and at full speed once half of the room is consumed. No clock is needed:
//! both sides of the relation grow with time.
//!
//! On a full disk nothing is published, so nothing is consumed: then who waits is outside, and the
//! fill goes at full speed.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Bytes of one gentle step: less than a millisecond of the disk's time.
pub(crate) const GENTLE_STEP_BYTES: u64 = 256 << 10;
/// Between two gentle steps: the disk is ours for one part in fifty, and 6 MiB are filled a second.
const PAUSE: Duration = Duration::from_millis(40);

/// What a fill may know of the writer beside it. It only steers the pace, so no order with anything
/// else matters.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    room: AtomicU64,
    is_urgent: AtomicBool,
    is_closing: AtomicBool,
}

impl Gauge {
    /// Bytes that can be written before a further segment is needed.
    pub(crate) fn set_room(&self, n_bytes: u64) {
        self.room.store(n_bytes, Ordering::Relaxed);
    }

    /// Whether publishing waits for a segment.
    pub(crate) fn set_urgent(&self, is_urgent: bool) {
        self.is_urgent.store(is_urgent, Ordering::Relaxed);
    }

    /// No segment is needed any more.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    fn room(&self) -> u64 {
        self.room.load(Ordering::Relaxed)
    }
}

/// Who says, step by step, how a fill goes on.
pub(crate) enum Pace<'a> {
    /// As fast as the disk can: somebody waits for it.
    AtOnce,
    /// Beside a writer that had so much room when the fill began.
    Beside(&'a Gauge, u64),
}

/// How a fill goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    /// As fast as the disk can.
    On,
    /// In small steps, without pauses.
    Briskly,
    /// In small steps, with pauses.
    Gently,
}

impl<'a> Pace<'a> {
    /// For the thread beside the writer's.
    pub(crate) fn beside(gauge: &'a Gauge) -> Self {
        Self::Beside(gauge, gauge.room())
    }

    /// How to go on when so many of all bytes are filled.
    ///
    /// # Errors
    /// Interrupted, if the log is being closed: nobody needs the segment any more.
    pub(crate) fn go(&self, done: u64, all: u64) -> io::Result<Go> {
        let &Self::Beside(gauge, room) = self else { return Ok(Go::On) };
        if gauge.is_closing.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if gauge.is_urgent.load(Ordering::Relaxed) {
            return Ok(Go::On);
        }
        let consumed = room.saturating_sub(gauge.room());
        let is_ahead =
            2 * u128::from(consumed) * u128::from(all) <= u128::from(room) * u128::from(done);
        Ok(match () {
            () if is_ahead => Go::Gently,
            () if 2 * consumed <= room => Go::Briskly,
            () => Go::On,
        })
    }

    /// Rests between two gentle steps.
    pub(crate) fn rest() {
        // Nobody unparks this thread, and waking early would do no harm.
        thread::park_timeout(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fill must be gentle while little is consumed and hurry when it would come too late. We
    /// consume the room at several speeds.
    #[test]
    fn fill_keeps_ahead_of_what_is_consumed() {
        let gauge = Gauge::default();
        gauge.set_room(1_000);
        let pace = Pace::beside(&gauge);
        let go = |left, done| {
            gauge.set_room(left);
            pace.go(done, 100).unwrap()
        };
        assert_eq!(go(1_000, 0), Go::Gently);
        assert_eq!(go(950, 10), Go::Gently);
        assert_eq!(go(949, 10), Go::Briskly);
        assert_eq!(go(499, 10), Go::On);
        assert_eq!(go(500, 100), Go::Gently);
        assert_eq!(go(0, 99), Go::On);
        assert_eq!(Pace::AtOnce.go(0, 100).unwrap(), Go::On);

        gauge.set_urgent(true);
        assert_eq!(go(1_000, 0), Go::On);
        gauge.set_urgent(false);
        assert_eq!(go(1_000, 0), Go::Gently);
        gauge.close();
        let error = pace.go(50, 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}

//! The clocks that stand behind the seam: the machine's, and the paused one of tests.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tidings_types::seam::Clock;
use tokio::time::Instant;

/// The machine's clock. Its monotonic time goes on while the machine sleeps, because leases must
/// not outlive a suspend.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        elapsed(rustix::time::ClockId::Boottime)
    }

    fn wall_ms(&self) -> u64 {
        u64::try_from(elapsed(rustix::time::ClockId::Realtime).as_millis()).unwrap_or(u64::MAX)
    }
}

fn elapsed(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    // A wall clock set before 1970 reads as 1970: it is only shown.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

/// Follows the runtime's clock, which a test may pause; wall time begins at a fixed moment, and a
/// test may turn it.
#[derive(Debug)]
pub struct RuntimeClock {
    origin: Instant,
    turned_ms: AtomicI64,
}

/// Where the wall time of a [`RuntimeClock`] begins: 2026-01-01, in milliseconds since 1970.
const WALL_ORIGIN_MS: u64 = 1_767_225_600_000;

impl RuntimeClock {
    /// Begins now.
    pub fn start() -> Self {
        Self { origin: Instant::now(), turned_ms: AtomicI64::new(0) }
    }

    /// Turns wall time by so much, as a person or a time server would; monotonic time goes on.
    pub fn turn_wall(&self, by_ms: i64) {
        self.turned_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall_ms(&self) -> u64 {
        let elapsed_ms = u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX / 2);
        let turned_ms = self.turned_ms.load(Ordering::Relaxed);
        (WALL_ORIGIN_MS + elapsed_ms).saturating_add_signed(turned_ms)
    }
}

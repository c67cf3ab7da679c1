//! The services that are measured: each counts its events and how old they are when they come.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tidings::Node;
use tidings::prelude::{Cx, Handle, Handled, Plan, Service};

use crate::command::bench::Times;
use crate::command::bench::sample::Sample;
use crate::failure::Failure;

/// Groups that can be measured at once.
pub(super) const GROUPS_MAX: usize = 8;
/// With no event handled for so long the measurement has failed.
const STALL_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(1);

/// What all workers of all groups report.
#[derive(Debug)]
pub(super) struct Tally {
    n_handled: AtomicU64,
    /// Workers keep their own times and add them here when they end.
    times: Mutex<Times>,
}

impl Tally {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { n_handled: AtomicU64::new(0), times: Mutex::new(Times::new()) })
    }

    /// How old events were when they were handled, once all workers have ended.
    pub(super) fn times(&self) -> Times {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many events are handled.
    pub(super) async fn wait(&self, n_events: u64, bar: &ProgressBar) -> Result<(), Failure> {
        let (mut n_before, mut since) = (0, Instant::now());
        loop {
            let n_handled = self.n_handled.load(Ordering::Relaxed);
            bar.set_position(n_handled);
            if n_handled >= n_events {
                return Ok(());
            }
            if n_handled > n_before {
                (n_before, since) = (n_handled, Instant::now());
            } else if since.elapsed() > STALL_MAX {
                let what = format!(
                    "{n_handled} of {n_events} events were handled, and none within {STALL_MAX:?}"
                );
                let help = "look at what it logged; --log-level debug tells more".to_owned();
                return Err(Failure::Node { exit: 4, code: "T0609", what, help });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// One worker of group number `N`.
struct Sink<const N: usize> {
    tally: Arc<Tally>,
    times: Times,
}

impl<const N: usize> Sink<N> {
    fn new(tally: &Arc<Tally>) -> Self {
        Self { tally: Arc::clone(tally), times: Times::new() }
    }
}

impl<const N: usize> Handle<Sample> for Sink<N>
where
    Self: Service,
{
    async fn handle(&mut self, sample: Sample, _: &mut Cx) -> Handled {
        self.times.add(sample.age());
        self.tally.n_handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl<const N: usize> Drop for Sink<N> {
    fn drop(&mut self) {
        self.tally.times.lock().unwrap_or_else(PoisonError::into_inner).add_all(&self.times);
    }
}

macro_rules! groups {
    ($($number:literal $group:literal)*) => {
        $(
            impl Service for Sink<$number> {
                const GROUP: &'static str = $group;

                fn plan(plan: Plan<Self>) -> Plan<Self> {
                    plan.from_now().on::<Sample>(|handler| handler)
                }
            }
        )*

        /// Adds so many groups.
        pub(super) fn add(node: Node, n_groups: usize, tally: &Arc<Tally>) -> Node {
            $(
                let of_group = Arc::clone(tally);
                let node = if $number < n_groups {
                    node.service(move || Sink::<$number>::new(&of_group))
                } else {
                    node
                };
            )*
            node
        }
    };
}

groups! {
    0 "bench-0"
    1 "bench-1"
    2 "bench-2"
    3 "bench-3"
    4 "bench-4"
    5 "bench-5"
    6 "bench-6"
    7 "bench-7"
}

//! Looks from the core's threads whether handlers give their threads back.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tidings_types::limits::HANDLER_YIELD_MAX;
use tidings_types::seam::Clock;
use tracing::warn;

use crate::metrics::{Metrics, OfGroup};
use crate::service::registry::Registry;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// See the module's description.
pub(crate) struct Watch {
    pub(crate) registry: Weak<Registry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Watch {
    /// Looks while the node is there. Each handler that holds its thread is told of once.
    pub(crate) async fn run(self) {
        let mut known = BTreeMap::new();
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(registry) = self.registry.upgrade() else { return };
            self.look(&registry, &mut known);
        }
    }

    /// `known` has those that were told of already, with the moment since when.
    fn look(&self, registry: &Registry, known: &mut BTreeMap<(String, String), Duration>) {
        let now = self.clock.now();
        let mut blocked = BTreeMap::new();
        for (group, service) in registry.all() {
            for child in service.children {
                let Some(seat) = child.seat else { continue };
                let Some(held) = seat.blocked(now).filter(|held| HANDLER_YIELD_MAX <= *held) else {
                    continue;
                };
                let (place, since) = ((group.to_string(), child.name), now.saturating_sub(held));
                if known.get(&place) != Some(&since) {
                    let running = seat.session(|session| session.running().cloned());
                    let event_id = running.as_ref().map(|running| running.delivery.event.id());
                    let (group, child) = (&place.0, &place.1);
                    warn!(
                        group,
                        child,
                        event_id,
                        "handler has not yielded for {held:.0?}: it blocks its thread; use async calls, \\
                         or tokio::task::spawn_blocking"
                    );
                    let label = OfGroup { group: group.clone() };
                    self.metrics.handlers_blocked.get_or_create(&label).inc();
                }
                blocked.insert(place, since);
            }
        }
        *known = blocked;
    }
}

#[cfg(test)]
mod tests {
    use tidings_delivery::family::{Restart, Strategy};
    use tidings_types::name::GroupName;

    use super::*;
    use crate::clock::RuntimeClock;
    use crate::seat::Seat;
    use crate::service::registry::{ChildLife, ChildStatus};

    /// A handler that holds its thread must be told of once for each time, and one that is polled
    /// again and again must not.
    #[tokio::test(start_paused = true)]
    async fn handler_that_does_not_yield_is_told_of_once() {
        let (registry, seat) = (Arc::<Registry>::default(), Arc::new(Seat::new()));
        let group = GroupName::new("mail").unwrap();
        registry.add(group.clone(), 1, Strategy::OneForOne);
        let child = ChildStatus {
            name: "worker 0".to_owned(),
            restart: Restart::Permanent,
            life: ChildLife::Up,
            since: Duration::ZERO,
            n_restarts: 0,
            last_reason: None,
            seat: Some(Arc::clone(&seat)),
        };
        registry.change(&group, |status| status.children = vec![child]);
        let (clock, metrics) = (Arc::new(RuntimeClock::start()), Arc::new(Metrics::new("n1")));
        let label = OfGroup { group: group.to_string() };
        let count = || metrics.handlers_blocked.get_or_create(&label).get();
        let watch = Watch {
            registry: Arc::downgrade(&registry),
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
        };
        let mut known = BTreeMap::new();
        for told in [1, 2] {
            seat.poll_begins(clock.now());
            tokio::time::advance(HANDLER_YIELD_MAX - Duration::from_millis(1)).await;
            watch.look(&registry, &mut known);
            assert_eq!(count(), told - 1);
            for _ in 0..3 {
                tokio::time::advance(Duration::from_secs(1)).await;
                watch.look(&registry, &mut known);
                assert_eq!(count(), told);
            }
            seat.poll_ends();
            watch.look(&registry, &mut known);
        }
    }
}

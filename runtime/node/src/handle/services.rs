//! Services of this process as people see them: the supervision tree.

use std::time::Duration;

use tidings_delivery::family::{Restart, Strategy};
use tidings_types::name::GroupName;

use crate::api::{ChildInfo, RunningInfo, ServiceInfo};
use crate::handle::NodeHandle;
use crate::service::registry::{ChildLife, ChildStatus, ServiceStatus};

impl NodeHandle {
    /// The services of this process, each with its children in the order of their start. Waits for
    /// nothing.
    pub fn services(&self) -> Vec<ServiceInfo> {
        let services = self.shared.registry.all();
        services.iter().map(|(group, service)| self.service_info(group, service)).collect()
    }

    /// One of them; `None` if no service of that group runs here. One that runs everywhere is found
    /// by its own name, too.
    pub fn service(&self, group: &GroupName) -> Option<ServiceInfo> {
        let services = self.shared.registry.all();
        let here = GroupName::new(format!("{group}.{}", self.shared.name)).ok();
        let found = services.get_key_value(group);
        let (group, service) = found.or_else(|| services.get_key_value(&here?))?;
        Some(self.service_info(group, service))
    }

    fn service_info(&self, group: &GroupName, service: &ServiceStatus) -> ServiceInfo {
        let now = self.shared.clock.now();
        ServiceInfo {
            group: group.to_string(),
            state: service.life.word().to_owned(),
            reason: service.reason.clone(),
            strategy: match service.strategy {
                Strategy::OneForOne => "one_for_one",
                Strategy::OneForAll => "one_for_all",
                Strategy::RestForOne => "rest_for_one",
            }
            .to_owned(),
            restarts: service.n_restarts,
            children: service.children.iter().map(|child| self.child_info(child, now)).collect(),
        }
    }

    fn child_info(&self, child: &ChildStatus, now: Duration) -> ChildInfo {
        let is_up = matches!(child.life, ChildLife::Up | ChildLife::Ending);
        let seat = child.seat.as_ref().filter(|_| is_up);
        let running = seat.and_then(|seat| seat.session(|session| session.running().cloned()));
        ChildInfo {
            name: child.name.clone(),
            restart: match child.restart {
                Restart::Permanent => "permanent",
                Restart::Transient => "transient",
                Restart::Temporary => "temporary",
            }
            .to_owned(),
            state: child.life.word().to_owned(),
            since_ms: millis(now.saturating_sub(child.since)),
            restarts: child.n_restarts,
            last_reason: child.last_reason.clone(),
            holds: seat.map_or(0, |seat| seat.session(|session| session.n_held()) as u64),
            running: running.map(|running| RunningInfo {
                topic: self.topic_text(running.delivery.topic),
                offset: running.delivery.offset.get(),
                id: running.delivery.event.id().to_owned(),
                kind: running.delivery.event.kind().to_owned(),
                attempt: running.delivery.attempt,
                running_ms: millis(now.saturating_sub(running.since)),
            }),
            blocked_ms: seat.and_then(|seat| seat.blocked(now)).map(millis),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

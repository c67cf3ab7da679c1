//! Somebody meddles with groups: pauses one, lets one go on, lets events be tried at once.

use tidings_types::layout::command::Command;

use crate::world::World;
use crate::world::admin::Wish;

/// Events that are let go at a time.
const EVENTS_MAX: usize = 5;

impl World {
    /// Now and then, when nothing else is wanted.
    pub(crate) fn meddle(&mut self) {
        if self.is_calm || !self.admin.is_idle() || !self.chance.percent(2) {
            return;
        }
        let groups = self.admin.groups().to_vec();
        let Some(group) = self.chance.pick(&groups) else { return };
        let command = match self.chance.below(6) {
            0 => Command::SetPaused { group, is_paused: true },
            1..4 => Command::SetPaused { group, is_paused: false },
            _ => {
                let leader = self.stores().into_iter().find(|at| self.node(*at).leads());
                let Some(store) = leader.and_then(|at| self.node(at).store()) else { return };
                let failing = store.replica.state().failing(group);
                let events = failing.map(|event| (event.topic, event.offset));
                Command::RetryNow { group, events: events.take(EVENTS_MAX).collect() }
            }
        };
        self.admin.wish(Wish::Command(command));
    }

    /// Whoever paused groups lets them go on.
    pub(crate) fn resume_groups(&mut self) {
        for group in self.admin.groups().to_vec() {
            self.admin.wish(Wish::Command(Command::SetPaused { group, is_paused: false }));
        }
    }
}

//! What begins and ends with leading, and what a snapshot makes of a follower.

use tidings_types::effect::GroupSnapshot;
use tidings_types::id::TopicId;
use tidings_types::name::TopicName;
use tidings_types::offset::{LogIndex, Term};

use crate::answers;
use crate::apply::Machine;
use crate::port::{Now, Output};
use crate::replica::Replica;

impl Replica {
    pub(super) fn settle_role(&mut self, now: Now, out: &mut Vec<Output>) {
        let elected = self.consensus.is_leader().then(|| self.consensus.term());
        if self.elected != elected {
            self.lose(out);
            self.clock.lead(false, now);
            self.elected = elected;
        }
        let is_caught_up = Some(self.machine.applied().1) == elected;
        if elected.is_some() && !self.leads && is_caught_up {
            self.leads = true;
            // Entries of earlier terms that only this step applied are in the clock already.
            self.clock.lead(true, now);
            let (groups, topics) = self.everything();
            let term = self.consensus.term();
            out.push(Output::RoleChanged { is_leader: true, term, groups, topics });
        }
    }

    /// Leadership ended, or another term began without a step in between.
    pub(super) fn lose(&mut self, out: &mut Vec<Output>) {
        answers::lost(self.proposals.lose(), out);
        self.checkpoints.lose();
        self.machine.lose();
        if let Some((_, _, token)) = self.change_out.take() {
            out.push(Output::Unknown { token });
        }
        if self.leads {
            self.leads = false;
            let (groups, topics) = (Vec::new(), Vec::new());
            let term = self.elected.unwrap_or_default();
            out.push(Output::RoleChanged { is_leader: false, term, groups, topics });
        }
    }

    /// The log is that of a snapshot from here on, and the state jumps there.
    pub(super) fn restore(&mut self, index: LogIndex, term: Term, now: Now, out: &mut Vec<Output>) {
        self.emit(out);
        let state = self.snapshots.take_restored().expect("raft-rs takes only what came in");
        self.machine = Machine::new(state, term);
        self.checkpoints.restored(index, now.mono);
        self.consensus.log_mut().checkpointed(index);
        let (groups, topics) = self.everything();
        let ts_ms = self.machine.state().ts_ms();
        self.clock.observe(ts_ms, now);
        out.push(Output::Restored { groups, topics, ts_ms });
    }

    /// All groups and all topics.
    pub(super) fn everything(&self) -> (Vec<GroupSnapshot>, Vec<(TopicName, TopicId)>) {
        let state = self.machine.state();
        let topics = state.topics().map(|topic| (topic.name, topic.id)).collect();
        (state.group_snapshots(), topics)
    }
}

//! Who votes: nodes come, go, and take the place of one whose disk is lost.

use tidings_check::history::Seen;
use tidings_log::damage::mark;
use tidings_replica::{Change, Damage, Step};
use tidings_types::id::NodeId;
use tidings_types::layout::command::Command;
use tidings_types::offset::LogIndex;

use crate::node::Node;
use crate::world::World;
use crate::world::admin::Wish;

impl World {
    /// A node's disk is lost; a fresh one under a fresh id takes its place.
    pub(crate) fn replace(&mut self, at: usize) {
        // The first election needs every voter: a cluster that loses one before it begins anew. And a
        // second one before the first is through would be a majority.
        if self.leaders.n_terms() == 0
            || self.node(at).disk.is_none()
            || self.node(at).is_gone
            || self.admin.is_changing()
        {
            return;
        }
        self.stats.other_faults += 1;
        self.power(at);
        self.take_its_place(at);
    }

    /// A replica says that its log is not what it was, which it may say after a rollback only. It
    /// ends, and an operator lets a fresh one take its place.
    pub(crate) fn damaged(&mut self, at: usize, damage: &Damage) {
        let id = self.id(at);
        if !self.node(at).is_rolled_back {
            return self.fail(format!("{id} says that it is damaged: {damage}"));
        }
        self.trace.line(self.now_us, || format!("{id} is damaged: {damage}"));
        self.stats.damages += 1;
        self.kill(at);
        let disk = self.node(at).disk.as_ref();
        let marked = disk.map(|disk| mark(disk, &damage.to_string()));
        assert!(matches!(marked, Some(Ok(()))), "no fault is planned for its disk");
        self.start(at);
        if self.node(at).process.is_some() {
            return self.fail(format!("{id} starts again, though it is damaged"));
        }
        self.take_its_place(at);
    }

    fn take_its_place(&mut self, at: usize) {
        let old = self.id(at);
        self.node_mut(at).is_gone = true;
        self.see(Seen::DiskLost { node: old.get() });
        let fresh = self.newcomer();
        self.serve_instead(at);
        self.wish_change(vec![(Step::Learner, fresh)]);
        self.wish_change(vec![(Step::Voter, fresh), (Step::Gone, old)]);
    }

    /// One more replica.
    pub(crate) fn grow(&mut self) -> Option<usize> {
        if self.admin.is_changing() {
            return None;
        }
        let fresh = self.newcomer();
        self.wish_change(vec![(Step::Learner, fresh)]);
        self.wish_change(vec![(Step::Voter, fresh)]);
        self.place(fresh)
    }

    /// One replica less: it is told to go, and ends once that is committed.
    pub(crate) fn shrink(&mut self, at: usize) {
        let is_store = self.node(at).disk.is_some() && !self.node(at).is_gone;
        if is_store && !self.admin.is_changing() {
            let node = self.id(at);
            self.wish_change(vec![(Step::Gone, node)]);
        }
    }

    /// A node that nobody knows yet.
    fn newcomer(&mut self) -> NodeId {
        let voters = self.stores().iter().map(|at| self.id(*at)).collect();
        let n_before = self.nodes.len() as u32;
        let fresh = NodeId::new(50 + n_before);
        let at = self.nodes.len();
        self.nodes.push(Node::new(fresh, voters, true));
        self.start(at);
        fresh
    }

    /// What a node served that never comes back, the newest one serves.
    fn serve_instead(&mut self, gone: usize) {
        let Some(&newest) = self.stores().last() else { return };
        for nodes in self.plan.serving.iter_mut().filter(|nodes| nodes.contains(&gone)) {
            nodes.retain(|at| *at != gone && *at != newest);
            nodes.push(newest);
        }
        self.will_join(newest);
    }

    fn wish_change(&mut self, steps: Vec<(Step, NodeId)>) {
        self.admin.wish(Wish::Change(Change { steps }));
    }

    /// A change of the membership is done: who left ends.
    pub(crate) fn changed(&mut self, change: &Change) {
        self.stats.changes += 1;
        for (step, node) in &change.steps {
            if *step == Step::Gone
                && let Some(at) = self.place(*node)
                && !self.node(at).is_gone
            {
                self.kill(at);
                self.node_mut(at).is_gone = true;
                self.serve_instead(at);
            }
        }
    }

    /// Now and then all write a checkpoint, and what lies before an earlier one goes.
    pub(crate) fn tidy(&mut self) {
        if self.is_calm || !self.admin.is_idle() || self.now_us < self.tidy_at {
            return;
        }
        self.tidy_at = self.now_us + self.plan.tidy_every_us;
        self.admin.wish(Wish::Command(Command::Checkpoint));
        if let Some(newest) = self.checkpoint {
            // Whoever keeps events for longer purges up to an older one.
            let is_older = self.chance.percent(30);
            let index = if is_older { self.chance.between(1, newest.get()) } else { newest.get() };
            let index = LogIndex::new(index);
            self.admin.wish(Wish::Command(Command::Purge { index }));
        }
    }
}

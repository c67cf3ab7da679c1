//! Starting a node's process, and ending it in all the ways there are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tidings_check::history::Seen;
use tidings_log::disk::{Fate, Kept};
use tidings_log::{Disk, Identity, OpenError, Opened};
use tidings_replica::Stored;
use tidings_replica::{Options, Output, Replica};
use tidings_types::id::{ClusterId, Incarnation, NodeId};
use tidings_types::limits::TICK;

#[cfg(test)]
use crate::disk::SimDisk;
use crate::happen::{Happens, What};
use crate::link::Uplink;
use crate::mail::Boxes;
use crate::node::{Process, Store};
use crate::publishing::Publishing;
use crate::serving::{Dispatching, Serving};
use crate::tokens::Tokens;
use crate::world::{MS, SECOND, World};

const CLUSTER: ClusterId = ClusterId::new([7; 16]);

impl World {
    /// A node's process starts, unless it runs or never comes back.
    pub(crate) fn start(&mut self, at: usize) {
        let node = self.node(at);
        if node.process.is_some() || node.is_gone {
            return;
        }
        let (id, is_rolled_back) = (node.id, node.is_rolled_back);
        self.node_mut(at).start += 1;
        self.trace.note(at as u64 | 1 << 40);
        let mut out = Vec::new();
        let (store, incarnation) = match self.open(at, &mut out) {
            Ok(Some((store, incarnation))) => (Some(store), incarnation),
            Ok(None) => (None, Incarnation::new(u64::from(self.node(at).start))),
            Err(error) if may_pass(&error) => {
                self.trace.line(self.now_us, || format!("{id} cannot start: {error}"));
                return self.after(SECOND, Happens::Start(at));
            }
            Err(OpenError::MustBeReplaced { why }) if is_rolled_back => {
                return self.trace.line(self.now_us, || format!("{id} does not start: {why}"));
            }
            Err(error) => return self.fail(format!("{id} does not start: {error}")),
        };
        let rng = self.chance.generator();
        let is_alone = self.nodes.len() == 1;
        let dispatching = store.is_some().then(Dispatching::new);
        let admitted_bytes_max = self.plan.admitted_bytes_max();
        let publisher = (at as u32 + 1) * 1_000 + self.node(at).start;
        self.node_mut(at).process = Some(Process {
            incarnation,
            store,
            publishing: Publishing::new(publisher, rng, admitted_bytes_max),
            tokens: Tokens::default(),
            uplink: Uplink::Looking(0),
            producers: BTreeMap::new(),
            mail: Boxes::default(),
            serving: Serving::new(incarnation, is_alone),
            dispatching,
        });
        self.trace.line(self.now_us, || format!("{id} starts, {incarnation}"));
        self.see(Seen::Up { node: id.get() });
        if self.node(at).disk.is_some() {
            let phase = self.chance.below(TICK.as_micros() as u64);
            self.to(at, phase, What::Tick);
        }
        let dial = self.chance.below(20 * MS);
        self.to(at, dial, What::Dial { attempt: 0 });
        self.took_durable(at);
        self.will_join(at);
        self.carry_out(at, out);
        self.settle(at);
    }

    fn open(
        &mut self,
        at: usize,
        out: &mut Vec<Output>,
    ) -> Result<Option<(Store, Incarnation)>, OpenError> {
        let now = self.now(at);
        let seed = self.chance.number();
        let node = self.node(at);
        let Some(disk) = node.disk.clone() else { return Ok(None) };
        let fresh = Identity { cluster: CLUSTER, node: node.id, incarnation: Incarnation::new(0) };
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let mut options = tidings_log::Options::small(self.plan.segment_bytes);
        options.tail_bytes_max = self.plan.tail_bytes_max;
        let opened = tidings_log::open(disk, options, fresh)?;
        let Opened { identity, log, writer, checkpoint, hard_state, purged, replay, .. } = opened;
        let stored = Stored { log, checkpoint, hard_state, purged, replay };
        let (node, voters) = (self.node(at).id, self.node(at).voters.clone());
        let uncommitted_bytes_max = self.plan.uncommitted_bytes_max();
        let options = Options { uncommitted_bytes_max, ..Options::new(node, voters, seed) };
        match Replica::open(options, stored, now, out) {
            Ok(replica) => {
                let (queued, writing) = (Vec::new(), Vec::new());
                let (wake, leads, has_stepped) = (None, false, true);
                let aside = VecDeque::new();
                let settled = BTreeSet::new();
                let store = Store {
                    replica,
                    writer,
                    queued,
                    writing,
                    aside,
                    wake,
                    leads,
                    has_stepped,
                    settled,
                };
                Ok(Some((store, identity.incarnation)))
            }
            Err(error) => {
                self.fail(format!("{node} does not start: {error}"));
                Ok(None)
            }
        }
    }

    /// The process is killed: what it wrote stays with the kernel, what it was writing may be
    /// written in part.
    pub(crate) fn kill(&mut self, at: usize) {
        self.end_process(at, 30 * MS);
    }

    /// The power goes.
    pub(crate) fn power(&mut self, at: usize) {
        self.end_process(at, 2 * SECOND);
        let Some(disk) = self.node(at).disk.clone() else { return };
        let mut kept = |of: &[Kept]| self.chance.pick(of).unwrap_or(Kept::Nothing);
        let bytes = kept(&[Kept::Nothing, Kept::Nothing, Kept::Some, Kept::Torn, Kept::All]);
        let names = kept(&[Kept::Nothing, Kept::Some, Kept::All]);
        let seed = self.chance.number();
        disk.memory().crash_as(Fate { bytes, names, seed });
    }

    /// The power goes, and what comes back is an older copy of the disk, or an empty one.
    #[cfg(test)]
    pub(crate) fn roll_back(&mut self, at: usize) {
        self.power(at);
        let node = self.node_mut(at);
        if node.disk.is_some() {
            node.disk = Some(node.copy.take().unwrap_or_else(SimDisk::new));
            node.is_rolled_back = true;
        }
    }

    /// Ends the process; others notice broken links after so long at most.
    fn end_process(&mut self, at: usize, noticed_us: u64) {
        let Some(process) = self.node_mut(at).process.take() else { return };
        let id = self.node(at).id;
        self.trace.line(self.now_us, || format!("{id} ends"));
        let in_flight = self.in_flight(&process);
        if let Some(store) = process.store {
            self.leave_half_done(at, store);
        }
        self.took_durable(at);
        self.see(Seen::Down { node: id.get(), in_flight });
        self.calls_lost(at);
        self.links_end(at, noticed_us);
        let node = self.node_mut(at);
        // What was meant for this start must not reach the next one.
        node.start += 1;
        node.held.clear();
        node.paused_until = 0;
    }

    /// What was being written when the process ended may have been written in part.
    fn leave_half_done(&mut self, at: usize, mut store: Store) {
        let Some(disk) = self.node(at).disk.clone() else { return };
        if !store.writing.is_empty() {
            let n_changes = self.chance.below(6);
            disk.memory().fail_after_torn(n_changes, self.chance.number());
            // Whether it fails half-way is of no interest to a process that is gone.
            drop(store.writer.write(store.writing));
        }
        if let Some(aside) = store.aside.pop_front() {
            disk.memory().fail_after(self.chance.below(12));
            drop(aside.write(&disk));
        }
        disk.memory().fail_after(u64::MAX);
    }

    /// A process ends itself after an error of its disk.
    pub(crate) fn abort(&mut self, at: usize, why: &str) {
        let id = self.node(at).id;
        self.trace.line(self.now_us, || format!("{id} gives up: {why}"));
        self.kill(at);
        let down = 100 * MS + self.chance.below(SECOND);
        self.after(down, Happens::Start(at));
    }

    /// What its disk has made durable since.
    pub(crate) fn took_durable(&mut self, at: usize) {
        let Some(disk) = &self.node(at).disk else { return };
        let events = disk.take_durable();
        let node = self.node(at).id.get();
        for event in events {
            self.see(Seen::Durable { node, event });
        }
    }

    pub(crate) fn id(&self, at: usize) -> NodeId {
        self.node(at).id
    }
}

/// What a disk with errors, or a full one, says now and perhaps not later.
fn may_pass(error: &OpenError) -> bool {
    matches!(error, OpenError::NotEnoughSpace { .. } | OpenError::Io { .. })
}

//! Which lane of a group is open in this process, and which worker works it.
//!
//! ```text
//!   wanted ─▶ ready ring ─▶ lent to one worker, for one batch ─▶ all its events came back: free
//! ```
//!
//! Invariants: a lane is lent to at most one worker at a time, and only while this node owns it. A
//! lane is lent for one batch, so two events of one key are never out in two batches, and order per
//! key needs no table of keys on the way of an event that succeeds.

use std::collections::VecDeque;

use tidings_types::effect::LaneOwner;
use tidings_types::id::{NodeId, WorkerId};
use tidings_types::limits::LANES;
use tidings_types::offset::{Lane, LaneEpoch};

/// All lanes of one group, as this process sees them.
#[derive(Debug)]
pub struct Lanes {
    node: NodeId,
    slots: Vec<Slot>,
    /// Lanes that have something to hand out, in the order in which they said so.
    ready: VecDeque<Lane>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    owner: Option<NodeId>,
    epoch: LaneEpoch,
    /// The epoch since which this node has owned it without a break.
    ours_since: LaneEpoch,
    lent: Option<Lent>,
    is_ready: bool,
}

#[derive(Clone, Copy, Debug)]
struct Lent {
    worker: WorkerId,
    n_events: usize,
}

impl Lanes {
    /// Lanes without an owner, seen from `node`.
    pub fn new(node: NodeId) -> Self {
        Self { node, slots: vec![Slot::default(); LANES], ready: VecDeque::new() }
    }

    /// Lanes have moved. Those that are ours must be [wanted](Self::want) again by the caller.
    pub fn moved(&mut self, owners: &[LaneOwner]) {
        for (slot, owner) in self.slots.iter_mut().zip(owners) {
            let was_ours = slot.owner == Some(self.node);
            if slot.epoch == owner.epoch && slot.owner == owner.owner {
                continue;
            }
            // An owner that is ours twice in a row was not somebody else's between: each move is
            // told. It was perhaps while we did not lead; then `interrupted` has said so.
            if !was_ours || owner.owner != Some(self.node) {
                slot.ours_since = owner.epoch;
            }
            slot.owner = owner.owner;
            slot.epoch = owner.epoch;
        }
    }

    /// Moves were perhaps missed: what a lane's next epoch brings counts as a fresh start.
    pub fn interrupted(&mut self) {
        for slot in &mut self.slots {
            slot.owner = None;
        }
    }

    /// The epoch that an outcome must name now; `None` if the lane left us since `delivered`.
    pub fn epoch_for(&self, lane: Lane, delivered: LaneEpoch) -> Option<LaneEpoch> {
        let slot = self.slot(lane);
        let is_ours = slot.owner == Some(self.node) && slot.ours_since <= delivered;
        is_ours.then_some(slot.epoch)
    }

    /// The lane has something to hand out. It is offered once it is free and ours.
    pub fn want(&mut self, lane: Lane) {
        let node = self.node;
        let slot = self.slot_mut(lane);
        if !slot.is_ready && slot.lent.is_none() && slot.owner == Some(node) {
            slot.is_ready = true;
            self.ready.push_back(lane);
        }
    }

    /// The lane whose turn it is, with its epoch. It leaves the ring.
    pub fn next_ready(&mut self) -> Option<(Lane, LaneEpoch)> {
        loop {
            let lane = self.ready.pop_front()?;
            let node = self.node;
            let slot = self.slot_mut(lane);
            slot.is_ready = false;
            assert!(slot.lent.is_none(), "a lane that is lent is not in the ring");
            if slot.owner == Some(node) {
                return Some((lane, slot.epoch));
            }
        }
    }

    /// Some lane may have something to hand out.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// So many events of the lane go to the worker.
    pub fn lend(&mut self, lane: Lane, worker: WorkerId, n_events: usize) {
        assert!(0 < n_events, "a lane is lent for its events");
        let slot = self.slot_mut(lane);
        assert!(slot.lent.is_none(), "one worker at a time works a lane");
        assert!(!slot.is_ready, "a lane that is lent is not in the ring");
        slot.lent = Some(Lent { worker, n_events });
    }

    /// One event of the lane came back. Says whether the lane is free now.
    pub fn give_back(&mut self, lane: Lane, worker: WorkerId) -> bool {
        let slot = self.slot_mut(lane);
        let lent = slot.lent.as_mut().expect("what comes back was lent");
        assert_eq!(lent.worker, worker, "what comes back was lent to the worker");
        lent.n_events -= 1;
        if lent.n_events == 0 {
            slot.lent = None;
        }
        slot.lent.is_none()
    }

    fn slot(&self, lane: Lane) -> &Slot {
        self.slots.get(lane.idx()).expect("a lane is a byte and there are 256 slots")
    }

    fn slot_mut(&mut self, lane: Lane) -> &mut Slot {
        self.slots.get_mut(lane.idx()).expect("a lane is a byte and there are 256 slots")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: NodeId = NodeId::new(1);
    const ANN: WorkerId = WorkerId::new(1);

    fn all_owned_by(node: NodeId, epoch: u32) -> Vec<LaneOwner> {
        vec![LaneOwner { owner: Some(node), epoch: LaneEpoch::new(epoch) }; LANES]
    }

    /// A lane must be offered only while it is ours, wanted and free. We lend it, want it while it
    /// is lent, and let it move away while it stands in the ring.
    #[test]
    fn lane_is_offered_when_ours_wanted_and_free() {
        let lane = Lane::of(0);
        let mut lanes = Lanes::new(OURS);
        lanes.want(lane);
        assert_eq!(lanes.next_ready(), None);
        lanes.moved(&all_owned_by(OURS, 1));
        lanes.want(lane);
        lanes.want(lane);
        assert_eq!(lanes.next_ready(), Some((lane, LaneEpoch::new(1))));
        assert_eq!(lanes.next_ready(), None);

        lanes.lend(lane, ANN, 2);
        lanes.want(lane);
        assert!(!lanes.has_ready());
        assert!(!lanes.give_back(lane, ANN));
        assert!(lanes.give_back(lane, ANN));
        lanes.want(lane);
        lanes.moved(&all_owned_by(NodeId::new(2), 2));
        assert_eq!(lanes.next_ready(), None);
    }

    /// An outcome must count under the newest epoch as long as its lane was ours without a break,
    /// and not at all after one.
    #[test]
    fn epochs_fence_what_was_handed_out_before_a_break() {
        let lane = Lane::of(0);
        let (one, two) = (LaneEpoch::new(1), LaneEpoch::new(2));
        let mut lanes = Lanes::new(OURS);
        lanes.moved(&all_owned_by(OURS, 1));
        lanes.moved(&all_owned_by(OURS, 2));
        assert_eq!(lanes.epoch_for(lane, one), Some(two));
        // Leading anew without a move between changes nothing; with one, nobody knows whose.
        lanes.interrupted();
        lanes.moved(&all_owned_by(OURS, 2));
        assert_eq!(lanes.epoch_for(lane, two), Some(two));
        assert_eq!(lanes.epoch_for(lane, one), None);
        lanes.moved(&all_owned_by(NodeId::new(2), 3));
        assert_eq!(lanes.epoch_for(lane, two), None);
        lanes.moved(&all_owned_by(OURS, 4));
        assert_eq!(lanes.epoch_for(lane, two), None);
    }
}

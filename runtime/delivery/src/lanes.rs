//! Which lane of a group may be handed out, to whose workers, and which worker works it.
//!
//! ```text
//!   wanted ─▶ ready ring of its owner ─▶ lent to one worker ─▶ all its events came back: free
//! ```
//!
//! Invariants: a lane is lent to at most one worker at a time, whoever owns it meanwhile, and it is
//! lent anew only to a worker of its owner. A lane is lent for one batch, so two events of one key are
//! never out in two batches, and order per key needs no table of keys on the way of an event that
//! succeeds. (What a member still held when it resumed may have come in several batches; they are of
//! one worker, which ends them in their order.)

use std::collections::VecDeque;

use tidings_types::id::WorkerId;
use tidings_types::limits::LANES;
use tidings_types::offset::{Lane, LaneEpoch};

/// A member of the group, by its place in the caller's list.
pub type Owner = u32;

/// A worker of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The member.
    pub owner: Owner,
    /// The worker.
    pub worker: WorkerId,
}

/// All lanes of one group.
#[derive(Debug)]
pub struct Lanes {
    slots: Vec<Slot>,
    /// By owner: its lanes that have something to hand out, in the order in which they said so. A
    /// lane that has left since is passed over.
    ready: Vec<VecDeque<Lane>>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    owner: Option<Owner>,
    epoch: LaneEpoch,
    lent: Option<Lent>,
    is_ready: bool,
}

#[derive(Clone, Copy, Debug)]
struct Lent {
    to: Place,
    n_events: usize,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); LANES], ready: Vec::new() }
    }
}

impl Lanes {
    /// Lanes have moved. They must be [wanted](Self::want) again by the caller.
    pub fn moved(&mut self, owners: impl Iterator<Item = (Option<Owner>, LaneEpoch)>) {
        for (slot, (owner, epoch)) in self.slots.iter_mut().zip(owners) {
            slot.owner = owner;
            slot.epoch = epoch;
            slot.is_ready = false;
        }
        self.ready.iter_mut().for_each(VecDeque::clear);
    }

    /// Whether an outcome of this epoch comes from the one who owns the lane now.
    pub fn is_current(&self, lane: Lane, epoch: LaneEpoch) -> bool {
        self.slot(lane).epoch == epoch
    }

    /// The lane has something to hand out. It is offered to its owner once it is free.
    pub fn want(&mut self, lane: Lane) {
        let slot = self.slot_mut(lane);
        let Some(owner) = slot.owner.filter(|_| !slot.is_ready && slot.lent.is_none()) else {
            return;
        };
        slot.is_ready = true;
        let ring = owner as usize;
        if self.ready.len() <= ring {
            self.ready.resize_with(ring + 1, VecDeque::new);
        }
        self.ready.get_mut(ring).expect("just made").push_back(lane);
    }

    /// The lane of this owner whose turn it is, with its epoch. It leaves the ring.
    pub fn next_ready(&mut self, owner: Owner) -> Option<(Lane, LaneEpoch)> {
        loop {
            let lane = self.ready.get_mut(owner as usize)?.pop_front()?;
            let slot = self.slot_mut(lane);
            if slot.owner == Some(owner) && std::mem::take(&mut slot.is_ready) {
                assert!(slot.lent.is_none(), "a lane that is lent is not ready");
                return Some((lane, slot.epoch));
            }
        }
    }

    /// Some lane of this owner may have something to hand out.
    pub fn has_ready(&self, owner: Owner) -> bool {
        self.ready.get(owner as usize).is_some_and(|ring| !ring.is_empty())
    }

    /// So many events of the lane go to the worker.
    pub fn lend(&mut self, lane: Lane, to: Place, n_events: usize) {
        assert!(0 < n_events, "a lane is lent for its events");
        let slot = self.slot_mut(lane);
        assert!(slot.lent.is_none(), "one worker at a time works a lane");
        assert!(!slot.is_ready, "a lane that is lent is not ready");
        slot.lent = Some(Lent { to, n_events });
    }

    /// Whether one more event of the lane may be found at this worker.
    pub fn can_be_at(&self, lane: Lane, place: Place) -> bool {
        self.slot(lane).lent.is_none_or(|lent| lent.to == place)
    }

    /// One event of the lane was found at the worker, which is handing it out after the fact.
    pub fn found_at(&mut self, lane: Lane, place: Place) {
        let slot = self.slot_mut(lane);
        slot.is_ready = false;
        let lent = slot.lent.get_or_insert(Lent { to: place, n_events: 0 });
        assert_eq!(lent.to, place, "one worker at a time works a lane");
        lent.n_events += 1;
    }

    /// One event of the lane came back. Says whether the lane is free now.
    pub fn give_back(&mut self, lane: Lane, from: Place) -> bool {
        let slot = self.slot_mut(lane);
        let lent = slot.lent.as_mut().expect("what comes back was lent");
        assert_eq!(lent.to, from, "what comes back was lent to the worker");
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

    const OURS: Owner = 0;
    const OTHER: Owner = 1;
    const ANN: Place = Place { owner: OURS, worker: WorkerId::new(1) };
    const BEN: Place = Place { owner: OTHER, worker: WorkerId::new(1) };

    fn move_all(lanes: &mut Lanes, owner: Owner, epoch: u32) {
        lanes.moved((0..LANES).map(|_| (Some(owner), LaneEpoch::new(epoch))));
    }

    /// A lane must be offered only when it is owned, wanted and free, and only to its owner. We lend
    /// it, want it while it is lent, and let it move away while it stands in the ring.
    #[test]
    fn lane_is_offered_when_owned_wanted_and_free() {
        let lane = Lane::of(0);
        let mut lanes = Lanes::default();
        lanes.want(lane);
        assert_eq!(lanes.next_ready(OURS), None);
        move_all(&mut lanes, OURS, 1);
        lanes.want(lane);
        lanes.want(lane);
        assert_eq!(lanes.next_ready(OTHER), None);
        assert_eq!(lanes.next_ready(OURS), Some((lane, LaneEpoch::new(1))));
        assert_eq!(lanes.next_ready(OURS), None);

        lanes.lend(lane, ANN, 2);
        lanes.want(lane);
        assert!(!lanes.has_ready(OURS));
        assert!(!lanes.give_back(lane, ANN));
        assert!(lanes.give_back(lane, ANN));
        lanes.want(lane);
        move_all(&mut lanes, OTHER, 2);
        assert_eq!(lanes.next_ready(OURS), None);
    }

    /// A lane that moves while it is lent must stay with its worker until all has come back: two
    /// living members would work one key. We move it, want it, and find more of it there.
    #[test]
    fn lane_that_moves_stays_lent() {
        let lane = Lane::of(0);
        let mut lanes = Lanes::default();
        move_all(&mut lanes, OURS, 1);
        lanes.want(lane);
        assert!(lanes.can_be_at(lane, ANN));
        lanes.found_at(lane, ANN);
        lanes.found_at(lane, ANN);
        assert_eq!(lanes.next_ready(OURS), None);
        move_all(&mut lanes, OTHER, 2);
        lanes.want(lane);
        assert_eq!(lanes.next_ready(OTHER), None);
        assert!(lanes.can_be_at(lane, ANN) && !lanes.can_be_at(lane, BEN));
        assert!(!lanes.is_current(lane, LaneEpoch::new(1)));
        assert!(!lanes.give_back(lane, ANN));
        assert!(lanes.give_back(lane, ANN));
        lanes.want(lane);
        assert_eq!(lanes.next_ready(OTHER), Some((lane, LaneEpoch::new(2))));
    }
}

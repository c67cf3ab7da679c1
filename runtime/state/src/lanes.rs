//! Which member of a group works which lane, and since which move.
//!
//! Rendezvous hashing: each member gets a score for the lane and the highest wins, so a member that
//! joins or leaves moves only its own share, and every replica computes the same without a table.
//!
//! ```text
//!   lane epoch    31 ────── moves ────── 8 │ 7 ─ lane ─ 0
//! ```
//!
//! The state knows no event's key, so an outcome could not be fenced by a bare count: the epoch
//! itself says which lane it is of. To all others it is a number that must be equal.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_types::effect::LaneOwner;
use tidings_types::id::{Incarnation, NodeId};
use tidings_types::limits::LANES;
use tidings_types::offset::{Lane, LaneEpoch};

const LANE_BITS: u32 = 8;
const _: () = assert!(LANES == 1 << LANE_BITS, "a lane fits into its bits of the epoch");

/// All lanes of one group. Shared between clones until one of them moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lanes(Arc<Vec<LaneOwner>>);

impl Lanes {
    /// The lanes of a group without members.
    pub(crate) fn without_owner() -> Self {
        let lane = |lane| LaneOwner { owner: None, epoch: epoch_of(lane, 0) };
        Self(Arc::new(Lane::all().map(lane).collect()))
    }

    /// All lanes, by their number.
    pub(crate) fn owners(&self) -> &[LaneOwner] {
        &self.0
    }

    /// Whether an outcome of this epoch comes from the one who works the lane now.
    pub(crate) fn is_current(&self, epoch: LaneEpoch) -> bool {
        let lane_idx = (epoch.get() % (1 << LANE_BITS)) as usize;
        self.0.get(lane_idx).is_some_and(|lane| lane.epoch == epoch)
    }

    /// Gives each lane to the member with the highest score. Lanes of `restarted` move too, even
    /// if they stay with it: what its older incarnation reports must not count.
    pub(crate) fn assign(
        &mut self,
        members: &BTreeMap<NodeId, Incarnation>,
        restarted: Option<NodeId>,
    ) {
        let owners = Arc::make_mut(&mut self.0);
        for (lane, current) in Lane::all().zip(owners) {
            let owner = rendezvous(lane, members);
            let has_restarted = current.owner.is_some() && current.owner == restarted;
            if owner != current.owner || has_restarted {
                let n_moves = current.epoch.get() >> LANE_BITS;
                *current = LaneOwner { owner, epoch: epoch_of(lane, n_moves.wrapping_add(1)) };
            }
        }
    }

    /// What anybody was handed before counts no more, though nobody's share changes.
    pub(crate) fn fence(&mut self) {
        for (lane, current) in Lane::all().zip(Arc::make_mut(&mut self.0)) {
            let n_moves = current.epoch.get() >> LANE_BITS;
            current.epoch = epoch_of(lane, n_moves.wrapping_add(1));
        }
    }

    /// Whether a table that was read back has all lanes, each with an epoch of its own.
    pub(crate) fn is_sound(&self) -> bool {
        let is_own = |(lane, owner): (Lane, &LaneOwner)| {
            owner.epoch.get() % (1 << LANE_BITS) == lane.idx() as u32
        };
        self.0.len() == LANES && Lane::all().zip(self.0.iter()).all(is_own)
    }
}

fn epoch_of(lane: Lane, n_moves: u32) -> LaneEpoch {
    // After 16 million moves the count begins anew; nothing in flight is as old as that.
    LaneEpoch::new(n_moves.wrapping_shl(LANE_BITS) | lane.idx() as u32)
}

fn rendezvous(lane: Lane, members: &BTreeMap<NodeId, Incarnation>) -> Option<NodeId> {
    let score = |node: &NodeId| scatter(scatter(u64::from(node.get())) ^ lane.idx() as u64);
    members.keys().copied().max_by_key(score)
}

/// The finalizer of SplitMix64: spreads near numbers over all 64 bits, without collisions.
fn scatter(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(nodes: &[u32]) -> BTreeMap<NodeId, Incarnation> {
        nodes.iter().map(|&node| (NodeId::new(node), Incarnation::new(1))).collect()
    }

    /// A join must move only what the new member gets, and a leave only what it had. We let n3
    /// come and go beside n1 and n2.
    #[test]
    fn only_the_share_of_a_member_moves() {
        let mut lanes = Lanes::without_owner();
        lanes.assign(&members(&[1, 2]), None);
        let before = lanes.clone();
        lanes.assign(&members(&[1, 2, 3]), None);
        let mut n_moved = 0;
        for (old, new) in before.owners().iter().zip(lanes.owners()) {
            if old.owner != new.owner {
                assert_eq!(new.owner, Some(NodeId::new(3)));
                assert!(!lanes.is_current(old.epoch));
                n_moved += 1;
            } else {
                assert_eq!(old, new);
            }
            assert!(lanes.is_current(new.epoch));
        }
        assert!((LANES / 6..=LANES / 2).contains(&n_moved), "an unfair share: {n_moved}");
        lanes.assign(&members(&[1, 2]), None);
        for (old, new) in before.owners().iter().zip(lanes.owners()) {
            assert_eq!(old.owner, new.owner);
        }
    }

    /// A restarted member keeps its lanes, but what its older self reports must be fenced off.
    #[test]
    fn lanes_of_a_restarted_member_move_in_place() {
        let mut lanes = Lanes::without_owner();
        lanes.assign(&members(&[1, 2]), None);
        let before = lanes.clone();
        lanes.assign(&members(&[1, 2]), Some(NodeId::new(1)));
        for (old, new) in before.owners().iter().zip(lanes.owners()) {
            assert_eq!(old.owner, new.owner);
            assert_eq!(lanes.is_current(old.epoch), new.owner == Some(NodeId::new(2)));
        }
        assert!(lanes.is_sound());
    }

    /// Replicas of other versions compute the same owners: these numbers never change.
    #[test]
    fn owners_are_frozen() {
        let mut lanes = Lanes::without_owner();
        lanes.assign(&members(&[1, 2, 3]), None);
        let owners = lanes.owners().iter().take(16);
        let owners: Vec<_> = owners.map(|lane| lane.owner.map_or(0, NodeId::get)).collect();
        assert_eq!(owners, [3, 3, 2, 1, 3, 2, 2, 2, 3, 1, 2, 3, 2, 3, 2, 3]);
    }
}

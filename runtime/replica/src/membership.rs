//! Who votes: the membership in checkpoints, and its changes in the log, as bytes of our own.
//!
//! ```text
//!   membership   version u8 · auto leave u8 · 0 u16 · 4 × { n u32 · node u32 (n times) }
//!                in the order: voters, learners, outgoing voters, learners to be
//!   change       version u8 · n u8 · 0 u16 · { kind u8 · 0 u8 · 0 u16 · node u32 } (n times)
//! ```
//!
//! raft-rs wants protobuf where a change is proposed, and reads it there only; what replicates is
//! the layout above. No bytes at all are raft-rs's own entry that leaves a joint configuration.

use bytes::{BufMut, Bytes};
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};
use raft::storage::MemStorage;
use raft::{Config, RawNode};
use tidings_types::id::NodeId;
use tidings_types::layout::{Malformed, Take};

const VERSION: u8 = 1;
/// Steps of one change.
const STEPS_MAX: usize = 16;
/// Nodes of one kind in a membership.
const NODES_MAX: u32 = 1_000;

/// A change of the membership; several steps go through a joint configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// What becomes of which node.
    pub steps: Vec<(Step, NodeId)>,
}

/// What becomes of a node. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// It votes.
    Voter = 1,
    /// It gets the log and does not vote.
    Learner = 2,
    /// It is gone for good.
    Gone = 3,
}

impl Change {
    /// The bytes that replicate.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.put_u8(u8::try_from(self.steps.len()).expect("a change that is proposed is short"));
        bytes.put_u16_le(0);
        for &(step, node) in &self.steps {
            bytes.put_u8(step as u8);
            bytes.put_bytes(0, 3);
            bytes.put_u32_le(node.get());
        }
        bytes
    }

    /// Reads what replicated.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut take = Take::new("membership change", bytes);
        if take.n_left() == 0 {
            return Ok(Self::default());
        }
        if take.u8()? != VERSION {
            return Err(take.malformed("unknown version"));
        }
        let n_steps = usize::from(take.u8()?);
        take.u16()?;
        if !(1..=STEPS_MAX).contains(&n_steps) {
            return Err(take.malformed("too many steps"));
        }
        let mut steps = Vec::with_capacity(n_steps);
        for _ in 0..n_steps {
            let step = match take.u8()? {
                1 => Step::Voter,
                2 => Step::Learner,
                3 => Step::Gone,
                _ => return Err(take.malformed("unknown step")),
            };
            take.bytes(3)?;
            steps.push((step, take_node(&mut take)?));
        }
        take.end()?;
        Ok(Self { steps })
    }

    /// Whether it could be proposed at all, by this leader.
    pub(crate) fn is_sound(&self, leader: NodeId) -> bool {
        let is_sound = |&(step, node): &(Step, NodeId)| {
            // raft-rs panics in a leader that is no member. Leadership is handed over first.
            node.get() != 0 && (node != leader || step == Step::Voter)
        };
        (1..=STEPS_MAX).contains(&self.steps.len()) && self.steps.iter().all(is_sound)
    }

    /// Whom it makes voters.
    pub(crate) fn new_voters(&self) -> impl Iterator<Item = NodeId> {
        self.steps.iter().filter(|(step, _)| *step == Step::Voter).map(|&(_, node)| node)
    }

    pub(crate) fn to_raft(&self) -> ConfChangeV2 {
        let mut change = ConfChangeV2::default();
        for &(step, node) in &self.steps {
            let mut single = ConfChangeSingle::default();
            single.set_change_type(match step {
                Step::Voter => ConfChangeType::AddNode,
                Step::Learner => ConfChangeType::AddLearnerNode,
                Step::Gone => ConfChangeType::RemoveNode,
            });
            single.node_id = u64::from(node.get());
            change.mut_changes().push(single);
        }
        change
    }
}

/// The membership while the log is empty.
pub(crate) fn of_voters(voters: &[NodeId]) -> ConfState {
    let voters = voters.iter().map(|node| u64::from(node.get())).collect();
    ConfState { voters, ..ConfState::default() }
}

/// Whether the node is one of the voters, and the only one.
pub(crate) fn is_lone_voter(conf: &ConfState, node: NodeId) -> bool {
    conf.voters == [u64::from(node.get())] && conf.voters_outgoing.is_empty()
}

/// Whether raft-rs can take it from a snapshot: every node once, and somebody votes.
pub(crate) fn is_sound(conf: &ConfState) -> bool {
    let is_set = |nodes: &[u64]| {
        let mut sorted = nodes.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        sorted.len() == nodes.len()
    };
    let (voters, outgoing) = (&conf.voters, &conf.voters_outgoing);
    let is_voter = |node: &u64| voters.contains(node) || outgoing.contains(node);
    let is_joint = !outgoing.is_empty();
    !voters.is_empty()
        && [voters, outgoing, &conf.learners, &conf.learners_next].into_iter().all(|it| is_set(it))
        && !conf.learners.iter().any(is_voter)
        && conf.learners_next.iter().all(|it| outgoing.contains(it) && !voters.contains(it))
        && (is_joint || !conf.auto_leave)
}

/// The membership with a node that was added later: as a learner, unless it is in it.
pub(crate) fn with_learner(conf: &ConfState, node: NodeId) -> ConfState {
    let node = u64::from(node.get());
    let mut conf = conf.clone();
    let known = [&conf.voters, &conf.voters_outgoing, &conf.learners];
    if !known.into_iter().any(|nodes| nodes.contains(&node)) {
        conf.learners.push(node);
    }
    conf
}

/// The bytes for a checkpoint.
pub(crate) fn encode(conf: &ConfState) -> Vec<u8> {
    let mut bytes = vec![VERSION, u8::from(conf.auto_leave), 0, 0];
    for nodes in [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next] {
        let mut nodes = nodes.clone();
        nodes.sort_unstable();
        bytes.put_u32_le(u32::try_from(nodes.len()).expect("node ids have 32 bits"));
        for node in nodes {
            bytes.put_u32_le(u32::try_from(node).expect("node ids have 32 bits"));
        }
    }
    bytes
}

/// Reads a checkpoint's membership.
pub(crate) fn decode(bytes: &[u8]) -> Result<ConfState, Malformed> {
    let mut take = Take::new("membership", Bytes::copy_from_slice(bytes));
    if take.u8()? != VERSION {
        return Err(take.malformed("unknown version"));
    }
    let auto_leave = take.u8()? == 1;
    take.u16()?;
    let conf = ConfState {
        voters: take_nodes(&mut take)?,
        learners: take_nodes(&mut take)?,
        voters_outgoing: take_nodes(&mut take)?,
        learners_next: take_nodes(&mut take)?,
        auto_leave,
        ..ConfState::default()
    };
    take.end()?;
    Ok(conf)
}

/// The membership after a change that is replayed from the disk, before there is a [`RawNode`].
/// `None` if the change makes no sense then; it changes nothing on any replica.
pub(crate) fn after(conf: &ConfState, change: &Change) -> Option<ConfState> {
    let store = MemStorage::new_with_conf_state(conf.clone());
    let config = Config { id: 1, ..Config::default() };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut node = RawNode::new(&config, store, &logger).ok()?;
    node.apply_conf_change(&change.to_raft()).ok()
}

fn take_nodes(take: &mut Take) -> Result<Vec<u64>, Malformed> {
    let n_nodes = take.u32()?;
    if n_nodes > NODES_MAX {
        return Err(take.malformed("too many nodes"));
    }
    (0..n_nodes).map(|_| take_node(take).map(|node| u64::from(node.get()))).collect()
}

fn take_node(take: &mut Take) -> Result<NodeId, Malformed> {
    match take.u32()? {
        0 => Err(take.malformed("there is no node 0")),
        node => Ok(NodeId::new(node)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(steps: &[(Step, u32)]) -> Change {
        Change { steps: steps.iter().map(|&(step, node)| (step, NodeId::new(node))).collect() }
    }

    #[test]
    fn layouts_have_their_golden_bytes() {
        let add = change(&[(Step::Learner, 4), (Step::Gone, 3)]);
        assert_eq!(add.encode(), b"\x01\x02\0\0\x02\0\0\0\x04\0\0\0\x03\0\0\0\x03\0\0\0");
        assert_eq!(Change::decode(add.encode().into()), Ok(add));
        assert_eq!(Change::decode(Bytes::new()), Ok(Change::default()));

        let mut conf = of_voters(&[NodeId::new(2), NodeId::new(1)]);
        conf.learners = vec![3];
        let golden =
            b"\x01\0\0\0\x02\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(encode(&conf), golden);
        let again = decode(golden).unwrap();
        assert_eq!((again.voters, again.learners), (vec![1, 2], vec![3]));
    }

    /// Replay must come to the memberships that a living replica had: one learner, then a joint
    /// change and its end; and it must refuse what raft-rs refuses.
    #[test]
    fn changes_are_replayed() {
        let conf = of_voters(&[1, 2, 3].map(NodeId::new));
        let conf = after(&conf, &change(&[(Step::Learner, 4)])).unwrap();
        assert_eq!(conf.learners, [4]);
        let joint = after(&conf, &change(&[(Step::Voter, 4), (Step::Gone, 3)])).unwrap();
        assert_eq!(joint.voters_outgoing.len(), 3);
        assert!(joint.auto_leave);
        assert_eq!(after(&joint, &change(&[(Step::Voter, 5)])), None);
        let mut conf = after(&joint, &Change::default()).unwrap();
        conf.voters.sort_unstable();
        assert_eq!((conf.voters, conf.voters_outgoing.len()), (vec![1, 2, 4], 0));
        let lone = of_voters(&[NodeId::new(1)]);
        assert!(is_lone_voter(&lone, NodeId::new(1)));
        assert_eq!(after(&lone, &change(&[(Step::Gone, 1)])), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = Change::decode(bytes.clone().into());
            let _ = decode(&bytes);
        }
    }
}

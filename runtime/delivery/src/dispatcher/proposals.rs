//! What is proposed and has no answer yet: kept whole, because it may have to be proposed again.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidings_types::id::{GroupId, NodeId, Token};
use tidings_types::layout::acks::Failure;
use tidings_types::layout::command::DeadLetter;
use tidings_types::layout::entry::SectionKind;
use tidings_types::layout::turn::Turn;
use tidings_types::offset::Offset;

use crate::dispatcher::port::Output;
use crate::message::SessionId;
use crate::session::BatchId;

/// What one step of a group needs from around it.
#[derive(Debug)]
pub(super) struct Step<'a> {
    /// Cluster time.
    pub(super) now_ms: u64,
    pub(super) proposals: &'a mut Proposals,
    pub(super) batches: &'a mut Batches,
    /// Who is on the line.
    pub(super) sessions: &'a BTreeMap<NodeId, SessionId>,
    pub(super) out: &'a mut Vec<Output>,
}

/// Numbers batches.
#[derive(Debug)]
pub(super) struct Batches {
    next: u64,
}

impl Batches {
    pub(super) const fn new(first: Token) -> Self {
        Self { next: first.get() }
    }

    /// No batch is numbered like one up to this.
    pub(super) fn pass(&mut self, newest: BatchId) {
        self.next = self.next.max(newest.get() + 1);
    }

    pub(super) const fn next(&mut self) -> BatchId {
        let batch = BatchId::new(self.next);
        self.next += 1;
        batch
    }
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Proposals {
    next: u64,
    out: BTreeMap<Token, (GroupId, Kept)>,
}

/// The content of a proposal.
#[derive(Debug)]
pub(super) enum Kept {
    /// Outcomes of one mailbox.
    Acks { mailbox_idx: u32, done: Vec<Offset>, failures: Vec<KeptFailure> },
    /// A success that emits.
    Turn(KeptTurn),
    /// An event that is given up.
    Letter(KeptLetter),
}

/// An attempt to count, and [which hand-out](crate::dispatcher::tracked::Tracked::handed_as) it was.
#[derive(Debug)]
pub(super) struct KeptFailure {
    pub(super) handed_as: u64,
    pub(super) failure: Failure,
}

/// A dead letter and the hand-out that it ends.
#[derive(Debug)]
pub(super) struct KeptLetter {
    pub(super) handed_as: u64,
    pub(super) letter: DeadLetter,
}

/// A turn, the hand-out that it ends, and its place among the group's turns.
#[derive(Debug)]
pub(super) struct KeptTurn {
    pub(super) handed_as: u64,
    pub(super) number: u64,
    pub(super) n_bytes: usize,
    pub(super) turn: Turn,
}

impl Proposals {
    pub(super) const fn new(first: Token) -> Self {
        Self { next: first.get(), out: BTreeMap::new() }
    }

    /// Answers a proposal: whose it was and what; `None` if it was answered before.
    pub(super) fn answer(&mut self, token: Token) -> Option<(GroupId, Kept)> {
        self.out.remove(&token)
    }

    /// Nobody asks for an answer any more.
    pub(super) fn give_up(&mut self) {
        self.out.clear();
    }

    /// Nobody asks for answers to a group's any more.
    pub(super) fn give_up_of(&mut self, group: GroupId) {
        self.out.retain(|_, (of, _)| *of != group);
    }

    /// The turns of a group that are out.
    pub(super) fn turns_of(&self, group: GroupId) -> impl Iterator<Item = &KeptTurn> {
        let of_group = self.out.values().filter(move |(of, _)| *of == group);
        of_group.filter_map(|(_, kept)| match kept {
            Kept::Turn(kept) => Some(kept),
            Kept::Acks { .. } | Kept::Letter(_) => None,
        })
    }

    fn keep(&mut self, group: GroupId, kept: Kept) -> Token {
        let token = Token::new(self.next);
        self.next += 1;
        self.out.insert(token, (group, kept));
        token
    }
}

impl Step<'_> {
    /// Proposes a section and keeps what it was made of.
    pub(super) fn propose(&mut self, group: GroupId, kept: Kept, body: Bytes) {
        let (kind, may_wait) = match kept {
            Kept::Acks { .. } => (SectionKind::Acks, true),
            Kept::Turn(_) => (SectionKind::Turn, false),
            Kept::Letter(_) => (SectionKind::Command, false),
        };
        let token = self.proposals.keep(group, kept);
        self.out.push(Output::Propose { token, kind, body, may_wait });
    }
}

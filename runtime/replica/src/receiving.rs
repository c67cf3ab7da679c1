//! A follower's side of a snapshot: parts are collected, the whole is judged, then it is durable.
//!
//! ```text
//!   parts in order ─▶ whole ─▶ judged ─▶ Install ─▶ durable ─▶ raft-rs takes it ─▶ Reset
//! ```
//!
//! Nothing of the replica changes before raft-rs has taken it: until then a crash, another leader or
//! a damaged part cost only the time that it took.

use bytes::Bytes;
use raft::eraftpb::ConfState;
use tidings_log::{Checkpoint, checkpoint};
use tidings_state::State;
use tidings_types::offset::{LogIndex, Term};

use crate::membership;

/// See the module's description.
pub(crate) struct Receiving {
    /// Who sends it, and in which term it leads.
    pub(crate) leader: (u64, u64),
    /// The snapshot's entry.
    pub(crate) place: (LogIndex, Term),
    total: u64,
    phase: Phase,
}

enum Phase {
    Collecting(Vec<u8>),
    Installing(Whole),
    Installed(Whole, u64),
}

/// What a snapshot holds beside its place.
pub(crate) struct Whole {
    pub(crate) state: State,
    pub(crate) conf: ConfState,
}

impl Receiving {
    pub(crate) const fn new(leader: (u64, u64), place: (LogIndex, Term), total: u64) -> Self {
        Self { leader, place, total, phase: Phase::Collecting(Vec::new()) }
    }

    /// Whether a part of this file may be added.
    pub(crate) fn continues_with(&self, from: u64, place: (LogIndex, Term), total: u64) -> bool {
        // Files of one state differ between nodes, but a state that is whole is the same.
        let is_same_file = self.leader.0 == from && self.total == total;
        self.place == place && (is_same_file || !matches!(self.phase, Phase::Collecting(_)))
    }

    /// Whether it is being written, and can be neither changed nor dropped.
    pub(crate) const fn is_installing(&self) -> bool {
        matches!(self.phase, Phase::Installing(_))
    }

    /// Everything before is here.
    pub(crate) fn has(&self) -> Option<u64> {
        match &self.phase {
            Phase::Collecting(bytes) => Some(bytes.len() as u64),
            Phase::Installing(_) | Phase::Installed(..) => None,
        }
    }

    /// Takes a part, unless it leaves a gap. With the last one comes the whole, to be written.
    pub(crate) fn part(&mut self, at: u64, part: &Bytes) -> Result<Option<Checkpoint>, String> {
        let Phase::Collecting(bytes) = &mut self.phase else { return Ok(None) };
        if at != bytes.len() as u64 {
            return Ok(None);
        }
        bytes.extend_from_slice(part);
        if (bytes.len() as u64) < self.total {
            return Ok(None);
        }
        let (whole, checkpoint) = judge(self.place, &std::mem::take(bytes))?;
        self.phase = Phase::Installing(whole);
        Ok(Some(checkpoint))
    }

    /// It is durable.
    pub(crate) fn installed(self, digest: u64) -> Self {
        let phase = match self.phase {
            Phase::Installing(whole) => Phase::Installed(whole, digest),
            other => other,
        };
        Self { phase, ..self }
    }

    /// The digest of what is durable.
    pub(crate) const fn digest(&self) -> Option<u64> {
        match self.phase {
            Phase::Installed(_, digest) => Some(digest),
            Phase::Collecting(_) | Phase::Installing(_) => None,
        }
    }

    pub(crate) const fn whole(&self) -> Option<&Whole> {
        match &self.phase {
            Phase::Installed(whole, _) => Some(whole),
            Phase::Collecting(_) | Phase::Installing(_) => None,
        }
    }

    pub(crate) fn into_whole(self) -> Option<Whole> {
        match self.phase {
            Phase::Installed(whole, _) => Some(whole),
            Phase::Collecting(_) | Phase::Installing(_) => None,
        }
    }
}

/// What is not whole, or of another entry, must not come in.
fn judge(place: (LogIndex, Term), bytes: &[u8]) -> Result<(Whole, Checkpoint), String> {
    let sent = checkpoint::parse(bytes).ok_or("it is not what was written")?;
    if (sent.index, sent.term) != place {
        return Err("it is of another entry".to_owned());
    }
    let state = State::decode(&sent.state).map_err(|error| error.to_string())?;
    if state.applied() != sent.index {
        return Err("its state is of another entry".to_owned());
    }
    let conf = membership::decode(&sent.membership).map_err(|error| error.to_string())?;
    if !membership::is_sound(&conf) {
        return Err("its membership is none".to_owned());
    }
    // The local part is about the files of the node that sent it.
    Ok((Whole { state, conf }, Checkpoint { local: Vec::new(), ..sent }))
}

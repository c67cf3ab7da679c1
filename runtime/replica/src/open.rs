//! From what the disk holds to where a replica stands: checkpoint, committed entries, the rest.
//!
//! ```text
//!   checkpoint ──▶ state, membership
//!   replay     ──▶ up to the stored commit: applied, membership changes too
//!              ──▶ behind it: into the log's tail; who leads next decides about them
//! ```

use bytes::Bytes;
use raft::eraftpb::{ConfState, EntryType};
use thiserror::Error;
use tidings_log::{Checkpoint, Entry, HardState, Log, ReadError, Replay};
use tidings_state::State;
use tidings_types::layout::Malformed;
use tidings_types::layout::entry::Entry as EntryData;
use tidings_types::offset::{LogIndex, Term};
use tidings_types::retry::Retry;

use crate::apply::Machine;
use crate::membership::{self, Change};
use crate::options::Options;
use crate::storage::{self, Store};
use crate::wire;

/// What [`tidings_log::open()`] gave, without the writer.
pub struct Stored {
    /// The replica's end of the log.
    pub log: Log,
    /// Where to start from.
    pub checkpoint: Option<Checkpoint>,
    /// Term, vote and commit.
    pub hard_state: HardState,
    /// Up to which entry the log is purged, and its term.
    pub purged: (LogIndex, Term),
    /// The entries after the checkpoint.
    pub replay: Replay,
}

/// A replica cannot start from what the disk holds.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The checkpoint's state does not decode.
    #[error("the checkpoint's state: {0}; replace this node")]
    State(#[from] tidings_state::DecodeError),
    /// The checkpoint's membership, or an entry.
    #[error("{0}; replace this node, or use the program that wrote it")]
    Malformed(#[from] Malformed),
    /// Reading the entries failed.
    #[error("replaying the log: {0}")]
    Read(#[from] ReadError),
    /// There are fewer entries than were known to be committed.
    #[error("the log ends at entry {last}, but entry {commit} was committed; replace this node")]
    LogTooShort {
        /// The last entry.
        last: LogIndex,
        /// What was known to be committed.
        commit: LogIndex,
    },
    /// Entries are missing in the middle.
    #[error("entry {found} follows entry {after} in the log; replace this node")]
    Gap {
        /// The last one before.
        after: LogIndex,
        /// The one that came.
        found: LogIndex,
    },
}

impl OpenError {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Read(error) => error.retry(),
            Self::State(_) | Self::Malformed(_) | Self::LogTooShort { .. } | Self::Gap { .. } => {
                Retry::Never
            }
        }
    }
}

const UNKNOWN_KIND: Malformed = Malformed { what: "entry", why: "unknown kind" };

/// An entry that may be committed later: who could not apply it then must not start with it now.
fn check(entry: &Entry) -> Result<(), Malformed> {
    match wire::entry_type(entry.kind) {
        Some(EntryType::EntryNormal) if entry.data.is_empty() => Ok(()),
        Some(EntryType::EntryNormal) => EntryData::parse(entry.data.clone()).map(drop),
        Some(_) => Change::decode(entry.data.clone()).map(drop),
        None => Err(UNKNOWN_KIND),
    }
}

/// Replays what is stored.
pub(crate) fn open(options: &Options, stored: Stored) -> Result<(Store, Machine), OpenError> {
    let Stored { mut log, checkpoint, hard_state, purged, replay } = stored;
    let (mut machine, mut conf) = start(options, checkpoint.as_ref())?;
    let (started_at, _) = machine.applied();
    // A purge names a checkpoint, so everything up to it was committed.
    let commit = hard_state.commit.max(purged.0).max(started_at);

    let mut last = started_at;
    let mut rest = Vec::new();
    for entry in replay {
        let entry = entry?;
        if entry.index != last.next() {
            return Err(OpenError::Gap { after: last, found: entry.index });
        }
        last = entry.index;
        if commit < entry.index {
            check(&entry)?;
            rest.push(entry);
            continue;
        }
        let place = (entry.index, entry.term);
        match wire::entry_type(entry.kind) {
            Some(EntryType::EntryNormal) => machine.apply(place, &entry.data, &mut log)?,
            Some(_) => {
                let change = Change::decode(entry.data)?;
                conf = membership::after(&conf, &change).unwrap_or(conf);
                machine.apply(place, &Bytes::new(), &mut log)?
            }
            None => return Err(UNKNOWN_KIND.into()),
        };
        // Nobody waits for these effects any more.
        drop(machine.take_effects());
    }
    if last < commit {
        return Err(OpenError::LogTooShort { last, commit });
    }
    log.restore(rest);
    // raft-rs sends votes of term 0 and then panics about them, so the first term is 1. A Reset may
    // be durable without the hard state behind it; in the term of its entry nobody was voted for.
    let term = hard_state.term.max(purged.1).max(Term::new(1));
    let vote = hard_state.vote.filter(|_| term == hard_state.term.max(Term::new(1)));
    let hard_state = storage::hard_state(term, vote, commit);
    Ok((Store::new(log, conf, hard_state), machine))
}

fn start(
    options: &Options,
    checkpoint: Option<&Checkpoint>,
) -> Result<(Machine, ConfState), OpenError> {
    let Some(checkpoint) = checkpoint else {
        let machine = Machine::new(State::new(), Term::ZERO);
        return Ok((machine, membership::of_voters(&options.voters)));
    };
    let state = State::decode(&checkpoint.state)?;
    if state.applied() != checkpoint.index {
        return Err(Malformed { what: "checkpoint", why: "its state is of another entry" }.into());
    }
    let conf = membership::decode(&checkpoint.membership)?;
    Ok((Machine::new(state, checkpoint.term), conf))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidings_log::{Identity, MemoryDisk, Options as LogOptions};
    use tidings_types::id::{ClusterId, Incarnation, NodeId};

    use super::*;

    fn stored(disk: &MemoryDisk) -> (Stored, tidings_log::Writer) {
        let (cluster, node) = (ClusterId::new([7; 16]), NodeId::new(1));
        let identity = Identity { cluster, node, incarnation: Incarnation::new(0) };
        let options = LogOptions::small(64 << 10);
        let opened = tidings_log::open(Arc::new(disk.clone()), options, identity).unwrap();
        let stored = Stored {
            log: opened.log,
            checkpoint: opened.checkpoint,
            hard_state: opened.hard_state,
            purged: opened.purged,
            replay: opened.replay,
        };
        (stored, opened.writer)
    }

    /// An entry that another program wrote must be refused by name, also where it is not committed
    /// yet: a replica that started with it would fall over it later. We write an unknown kind, an
    /// entry that does not parse and a membership change that does not, and no commit.
    #[test]
    fn entries_of_another_program_are_refused() {
        let options = Options::new(NodeId::new(1), vec![NodeId::new(1)], 1);
        for (kind, data, is_known) in
            [(9, &b""[..], false), (0, b"\x09", false), (2, b"\x09", false), (0, b"", true)]
        {
            let disk = MemoryDisk::new();
            let (mut begun, mut writer) = stored(&disk);
            let (index, term) = (LogIndex::new(1), Term::new(1));
            let entry = Entry { index, term, kind, data: Bytes::from_static(data) };
            writer.write(vec![begun.log.append(vec![entry], None)]).unwrap();
            let (again, _) = stored(&disk);
            let opened = open(&options, again);
            assert_eq!(opened.is_ok(), is_known, "kind {kind}");
            assert!(is_known || matches!(opened, Err(OpenError::Malformed(_))));
        }
    }

    /// A checkpoint whose state is of another entry must be refused, not believed.
    #[test]
    fn checkpoint_of_another_entry_is_refused() {
        let (index, term) = (LogIndex::new(7), Term::new(1));
        let membership = membership::encode(&membership::of_voters(&[NodeId::new(1)]));
        let (state, local) = (State::new().encode(), Vec::new());
        let checkpoint = Checkpoint { index, term, membership, state, local };
        let options = Options::new(NodeId::new(1), Vec::new(), 1);
        assert!(matches!(start(&options, Some(&checkpoint)), Err(OpenError::Malformed(_))));
        let checkpoint = Checkpoint { index: LogIndex::ZERO, ..checkpoint };
        assert!(start(&options, Some(&checkpoint)).is_ok());
    }
}

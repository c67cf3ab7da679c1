//! Snapshots on their way: at most one goes out, at most one comes in.
//!
//! What raft-rs knows of them is their index and term: [`Consensus`] tells when one is to be sent,
//! and is told how it ended; it takes one that came in like any other message.

use bytes::Bytes;
use tidings_state::State;
use tidings_types::id::NodeId;
use tidings_types::offset::LogIndex;

use crate::port::{Damage, Output};
use crate::ready::Consensus;
use crate::receiving::Receiving;
use crate::sending::{Sending, Tick};
use crate::snapshot_wire::{self, Content, PART_BYTES_MAX, SnapshotMessage};
use crate::wire;

/// See the module's description.
#[derive(Default)]
pub(crate) struct Snapshots {
    sending: Option<Sending>,
    /// A part is being read; it may be for one that was given up since.
    is_reading: bool,
    receiving: Option<Receiving>,
}

impl Snapshots {
    /// Whether a follower still needs what is behind the checkpoint that goes out to it.
    pub(crate) const fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// A tick's time has passed.
    pub(crate) fn tick(&mut self, consensus: &mut Consensus, out: &mut Vec<Output>) {
        let Some(sending) = &mut self.sending else { return };
        match sending.tick() {
            Tick::Nothing => {}
            Tick::Ask => {
                let total = sending.total().unwrap_or_default();
                out.push(part(consensus, sending, total, Bytes::new()));
            }
            Tick::Failed(reason) => self.fail(consensus, reason),
        }
    }

    /// Begins what raft-rs wants, drops what it wants no more, asks for the next part.
    pub(crate) fn settle(&mut self, consensus: &mut Consensus, out: &mut Vec<Output>) {
        if let Some((to, place)) = consensus.take_wanted_snapshot() {
            self.sending = Some(Sending::new(to, place));
        }
        let Some(sending) = &self.sending else { return };
        if !consensus.awaits_snapshot(sending.to) {
            self.sending = None;
            consensus.snapshot_ended(None);
            return;
        }
        let Some(at) = sending.wish().filter(|_| !self.is_reading) else { return };
        self.is_reading = true;
        let (index, _) = sending.place;
        out.push(Output::ReadCheckpoint { index, at, max_bytes: PART_BYTES_MAX });
    }

    /// A part was read, or could not be.
    pub(crate) fn read(
        &mut self,
        (index, at): (LogIndex, u64),
        bytes: Option<Bytes>,
        total: u64,
        consensus: &mut Consensus,
        out: &mut Vec<Output>,
    ) {
        self.is_reading = false;
        let Some(sending) = self.sending.as_mut().filter(|it| it.place.0 == index) else { return };
        match sending.read(at, bytes.as_ref(), total) {
            Ok(true) => out.push(part(consensus, sending, at, bytes.unwrap_or_default())),
            Ok(false) => {}
            Err(reason) => self.fail(consensus, reason),
        }
    }

    fn fail(&mut self, consensus: &mut Consensus, reason: &'static str) {
        let Some(sending) = self.sending.take() else { return };
        let (to, index) = (wire::node(sending.to), sending.place.0);
        tracing::warn!(%to, %index, reason, "a snapshot did not arrive; it is tried again");
        consensus.snapshot_ended(Some(sending.to));
    }

    /// Takes a peer's message about a snapshot.
    pub(crate) fn message(
        &mut self,
        from: NodeId,
        bytes: Bytes,
        consensus: &mut Consensus,
        out: &mut Vec<Output>,
    ) -> Result<(), Damage> {
        let message = match snapshot_wire::decode(bytes) {
            Ok(message) => message,
            Err(malformed) => {
                tracing::warn!(%from, %malformed, "dropped a message");
                return Ok(());
            }
        };
        if message.from != from || message.to != consensus.node() || from == consensus.node() {
            return Ok(());
        }
        if let Content::Part { total, acked, ref bytes, is_voter } = message.content {
            consensus.check_snapshot_from(from, message.term, (is_voter, acked))?;
            self.part(&message, total, bytes, consensus, out);
            return Ok(());
        }
        let is_it = |sending: &&mut Sending| {
            sending.to == u64::from(from.get()) && sending.place == message.place
        };
        if let Some(sending) = self.sending.as_mut().filter(is_it) {
            match message.content {
                Content::Refused => self.fail(consensus, "the follower refused it"),
                _ => sending.has(message.at),
            }
        }
        Ok(())
    }

    fn part(
        &mut self,
        message: &SnapshotMessage,
        total: u64,
        bytes: &Bytes,
        consensus: &mut Consensus,
        out: &mut Vec<Output>,
    ) {
        let (from, place) = (u64::from(message.from.get()), message.place);
        if message.term < consensus.term().get() {
            return;
        }
        if consensus.has_entry(place) {
            // It needs no more than to hear so.
            self.receiving = self.receiving.take().filter(Receiving::is_installing);
            return consensus.restore_nothing((from, message.term), place);
        }
        let known = self.receiving.as_ref();
        if !known.is_some_and(|known| known.continues_with(from, place, total)) {
            if known.is_some_and(Receiving::is_installing) {
                return;
            }
            self.receiving = Some(Receiving::new((from, message.term), place, total));
        }
        let Some(receiving) = &mut self.receiving else { return };
        receiving.leader = (from, message.term);
        let content = match receiving.part(message.at, bytes) {
            Ok(whole) => {
                out.extend(whole.map(|checkpoint| Output::Install { checkpoint }));
                Content::Has
            }
            Err(reason) => {
                let index = place.0;
                tracing::warn!(from = %message.from, %index, reason, "refused a snapshot");
                Content::Refused
            }
        };
        let at = receiving.has().unwrap_or(total);
        if content == Content::Refused {
            self.receiving = None;
        }
        let (me, term) = (consensus.node(), message.term);
        let answer = SnapshotMessage { from: me, to: message.from, term, place, at, content };
        out.push(Output::Send { to: message.from, bytes: snapshot_wire::encode(&answer) });
        self.restore(consensus);
    }

    /// What came in is durable.
    pub(crate) fn installed(&mut self, index: LogIndex, digest: u64, consensus: &mut Consensus) {
        let is_it = |it: &mut Receiving| it.place.0 == index && it.is_installing();
        if let Some(receiving) = self.receiving.take_if(is_it) {
            self.receiving = Some(receiving.installed(digest));
            self.restore(consensus);
        }
    }

    /// What came in could not be written. The leader sends it again.
    pub(crate) fn install_failed(&mut self, index: LogIndex) {
        self.receiving.take_if(|it| it.place.0 == index && it.is_installing());
    }

    /// Gives raft-rs what is durable, in the name of whoever leads now; else the next leader's first
    /// part brings it about.
    fn restore(&mut self, consensus: &mut Consensus) {
        let Some(receiving) = &self.receiving else { return };
        let (Some(digest), Some(whole)) = (receiving.digest(), receiving.whole()) else { return };
        if receiving.leader.1 < consensus.term().get() {
            return;
        }
        if !consensus.restore(receiving.leader, receiving.place, &whole.conf, digest) {
            self.receiving = None;
        }
    }

    /// The state that raft-rs has taken.
    pub(crate) fn take_restored(&mut self) -> Option<State> {
        self.receiving.take()?.into_whole().map(|whole| whole.state)
    }
}

fn part(consensus: &Consensus, sending: &Sending, at: u64, bytes: Bytes) -> Output {
    let to = wire::node(sending.to);
    let message = SnapshotMessage {
        from: consensus.node(),
        to,
        term: consensus.term().get(),
        place: sending.place,
        at,
        content: Content::Part {
            total: sending.total().unwrap_or_default(),
            acked: consensus.acked(sending.to),
            bytes,
            is_voter: consensus.is_voter(sending.to),
        },
    };
    Output::Send { to, bytes: snapshot_wire::encode(&message) }
}

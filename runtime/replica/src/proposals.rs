//! Sections on their way into the log: many wait, one entry takes what is there, two are out.
//!
//! ```text
//!   admitted ──▶ queue ──▶ entry out (≤ 2) ──▶ applied: tickets go back to their owners
//!                  │            │
//!                  │            └ leadership ends: unknown
//!                  └ leadership ends: refused, they surely are not in the log
//! ```
//!
//! No timer makes batches: an entry leaves as soon as fewer than two are out, with all that came
//! meanwhile. Only acks that are alone wait a little for company. The queue keeps its order, since
//! a producer's batches are accepted in the order of their sequence only.

use std::collections::VecDeque;
use std::time::Duration;

use tidings_log::Space;
use tidings_types::id::Token;
use tidings_types::layout::command::Command;
use tidings_types::layout::entry::{
    ENTRY_HEADER_BYTES, EntryBuilder, SECTION_HEADER_BYTES, SectionKind,
};
use tidings_types::limits::{ENTRIES_IN_FLIGHT_MAX, ENTRY_BYTES_MAX, OUTCOMES_WAIT_MAX};
use tidings_types::offset::{LogIndex, Term};

use crate::port::{Proposal, ProposeRefused};

/// Sections of one entry; its header has room for 65,535.
const SECTIONS_MAX: usize = 8_192;
/// Room beyond the bound for what is not an event: outcomes end deliveries,
/// so publishers must not shut them out.
const OTHERS_BYTES_MAX: usize = 4 * ENTRY_BYTES_MAX;

/// Who is told when a section was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ticket {
    /// A batch: its answer goes by producer and sequence.
    Records(Token),
    /// Acks, a turn or a dead letter.
    Outcome(Token),
    /// Any other command.
    Command(Token),
    /// The replica's own.
    Own,
}

#[derive(Debug)]
struct Queued {
    proposal: Proposal,
    ticket: Ticket,
    since: Duration,
}

/// An entry that is ready to leave.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) entry: EntryBuilder,
    pub(crate) tickets: Vec<Ticket>,
}

#[derive(Debug)]
struct Departed {
    index: LogIndex,
    term: Term,
    n_bytes: usize,
    tickets: Vec<Ticket>,
}

/// What became of everything that waited or was out when leadership ended.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// It may be in the log.
    pub(crate) unknown: Vec<Ticket>,
    /// It is not.
    pub(crate) refused: Vec<Ticket>,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Proposals {
    /// Bytes of all that waits and is out, before events are refused.
    n_bytes_max: usize,
    queue: VecDeque<Queued>,
    queue_bytes: usize,
    out: VecDeque<Departed>,
    out_bytes: usize,
}

impl Proposals {
    pub(crate) const fn new(n_bytes_max: usize) -> Self {
        Self {
            n_bytes_max,
            queue: VecDeque::new(),
            queue_bytes: 0,
            out: VecDeque::new(),
            out_bytes: 0,
        }
    }

    /// Lets a proposal in, or says why not.
    pub(crate) fn admit(
        &mut self,
        proposal: Proposal,
        space: Space,
        now: Duration,
    ) -> Result<(), ProposeRefused> {
        let n_bytes = section_bytes(&proposal);
        if ENTRY_BYTES_MAX < ENTRY_HEADER_BYTES + n_bytes {
            return Err(ProposeRefused::TooLarge { n_bytes });
        }
        let is_records = proposal.kind == SectionKind::Records;
        let others_bytes_max = if is_records { 0 } else { OTHERS_BYTES_MAX };
        if self.n_bytes_max + others_bytes_max < self.queue_bytes + self.out_bytes + n_bytes {
            return Err(ProposeRefused::Busy);
        }
        if !has_room(&proposal, space) {
            return Err(ProposeRefused::StorageFull);
        }
        let ticket = match proposal.kind {
            SectionKind::Records => Ticket::Records(proposal.token),
            SectionKind::Acks | SectionKind::Turn => Ticket::Outcome(proposal.token),
            SectionKind::Command if is_dead_letter(&proposal) => Ticket::Outcome(proposal.token),
            SectionKind::Command => Ticket::Command(proposal.token),
        };
        self.push(proposal, ticket, now);
        Ok(())
    }

    /// Lets in a command of the replica's own.
    pub(crate) fn admit_own(&mut self, command: Command, now: Duration) {
        let body = command.encode().into();
        let kind = SectionKind::Command;
        let proposal = Proposal { token: Token::new(0), kind, body, may_wait: false };
        self.push(proposal, Ticket::Own, now);
    }

    fn push(&mut self, proposal: Proposal, ticket: Ticket, since: Duration) {
        self.queue_bytes += section_bytes(&proposal);
        self.queue.push_back(Queued { proposal, ticket, since });
    }

    /// When an entry may leave; `None` if nothing waits, or only for an entry to come back.
    pub(crate) fn departs_at(&self) -> Option<Duration> {
        let oldest = self.queue.front()?;
        if self.out.len() >= ENTRIES_IN_FLIGHT_MAX {
            return None;
        }
        let is_patient = self.queue.iter().all(|queued| queued.proposal.may_wait);
        let is_full = ENTRY_BYTES_MAX / 2 <= self.queue_bytes;
        let wait = if is_patient && !is_full { OUTCOMES_WAIT_MAX } else { Duration::ZERO };
        Some(oldest.since + wait)
    }

    /// Takes the next entry, with all the sections that fit.
    pub(crate) fn seal(&mut self, now: Duration) -> Option<Sealed> {
        self.departs_at().filter(|&at| at <= now)?;
        let (mut n_sections, mut n_bytes) = (0, ENTRY_HEADER_BYTES);
        for queued in self.queue.iter().take(SECTIONS_MAX) {
            let with_it = n_bytes + section_bytes(&queued.proposal);
            if ENTRY_BYTES_MAX < with_it {
                break;
            }
            n_bytes = with_it;
            n_sections += 1;
        }
        assert!(0 < n_sections, "a section that was admitted fits into an entry");
        let mut entry = EntryBuilder::with_capacity(n_bytes);
        let mut tickets = Vec::with_capacity(n_sections);
        for queued in self.queue.drain(..n_sections) {
            self.queue_bytes -= section_bytes(&queued.proposal);
            entry.push(queued.proposal.kind, &queued.proposal.body);
            tickets.push(queued.ticket);
        }
        Some(Sealed { entry, tickets })
    }

    /// The entry is in the leader's log.
    pub(crate) fn departed(
        &mut self,
        (index, term): (LogIndex, Term),
        n_bytes: usize,
        tickets: Vec<Ticket>,
    ) {
        self.out_bytes += n_bytes;
        self.out.push_back(Departed { index, term, n_bytes, tickets });
    }

    /// An entry was applied: the tickets of its sections, if it is one of these.
    pub(crate) fn applied(&mut self, index: LogIndex, term: Term) -> Vec<Ticket> {
        match self.out.front() {
            Some(front) if front.index == index => {}
            _ => return Vec::new(),
        }
        let Some(entry) = self.out.pop_front() else { return Vec::new() };
        self.out_bytes -= entry.n_bytes;
        assert_eq!(entry.term, term, "leadership ends before another's entry takes the place");
        entry.tickets
    }

    /// Leadership ended.
    pub(crate) fn lose(&mut self) -> Lost {
        let unknown = self.out.drain(..).flat_map(|entry| entry.tickets).collect();
        let refused = self.queue.drain(..).map(|queued| queued.ticket).collect();
        (self.queue_bytes, self.out_bytes) = (0, 0);
        Lost { unknown, refused }
    }
}

fn section_bytes(proposal: &Proposal) -> usize {
    SECTION_HEADER_BYTES + proposal.body.len()
}

/// Events need room to be had; outcomes go into what is prepared, except into the last segment,
/// which is kept for what frees space.
fn has_room(proposal: &Proposal, space: Space) -> bool {
    match space {
        Space::Plenty => true,
        // What a person edits is as large as an event.
        Space::NoPublish => match proposal.kind {
            SectionKind::Records => false,
            SectionKind::Command => {
                !matches!(Command::parse(&proposal.body), Ok(Command::EditLetter { .. }))
            }
            _ => true,
        },
        Space::LastSegment => {
            let command = Command::parse(&proposal.body);
            proposal.kind == SectionKind::Command
                && matches!(command, Ok(Command::Purge { .. } | Command::Checkpoint))
        }
    }
}

fn is_dead_letter(proposal: &Proposal) -> bool {
    matches!(Command::parse(&proposal.body), Ok(Command::DeadLetter(_)))
}

#[cfg(test)]
mod tests {
    use tidings_types::limits::SHARD_UNCOMMITTED_BYTES_MAX;

    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn proposal(token: u64, kind: SectionKind, n_bytes: usize, may_wait: bool) -> Proposal {
        Proposal { token: Token::new(token), kind, body: vec![0; n_bytes].into(), may_wait }
    }

    fn depart(proposals: &mut Proposals, index: u64) -> Vec<Ticket> {
        let sealed = proposals.seal(NOW).expect("an entry is ready");
        let place = (LogIndex::new(index), Term::new(1));
        proposals.departed(place, sealed.entry.n_bytes(), sealed.tickets.clone());
        sealed.tickets
    }

    #[test]
    fn entries_take_what_waits_and_two_are_out() {
        let mut proposals = Proposals::new(SHARD_UNCOMMITTED_BYTES_MAX);
        for token in 1..=3 {
            let batch = proposal(token, SectionKind::Records, ENTRY_BYTES_MAX / 2, false);
            proposals.admit(batch, Space::Plenty, NOW).unwrap();
        }
        let acks = proposal(4, SectionKind::Acks, 40, true);
        proposals.admit(acks, Space::Plenty, NOW).unwrap();
        // Two halves and their headers exceed an entry, so each goes alone.
        assert_eq!(depart(&mut proposals, 1), [Ticket::Records(Token::new(1))]);
        assert_eq!(depart(&mut proposals, 2), [Ticket::Records(Token::new(2))]);
        assert!(proposals.seal(NOW).is_none(), "two are out");
        let first = proposals.applied(LogIndex::new(1), Term::new(1));
        assert_eq!(first, [Ticket::Records(Token::new(1))]);
        let both = [Ticket::Records(Token::new(3)), Ticket::Outcome(Token::new(4))];
        assert_eq!(depart(&mut proposals, 3), both);
        proposals.admit(proposal(5, SectionKind::Acks, 9, true), Space::Plenty, NOW).unwrap();
        let lost = proposals.lose();
        assert_eq!(lost.unknown.len(), 3);
        assert_eq!(lost.refused, [Ticket::Outcome(Token::new(5))]);
        assert_eq!((proposals.queue_bytes, proposals.out_bytes), (0, 0));
    }

    #[test]
    fn acks_alone_wait_for_company() {
        let mut proposals = Proposals::new(SHARD_UNCOMMITTED_BYTES_MAX);
        let acks = |token| proposal(token, SectionKind::Acks, 40, true);
        proposals.admit(acks(1), Space::Plenty, NOW).unwrap();
        assert!(proposals.seal(NOW).is_none());
        assert_eq!(proposals.departs_at(), Some(NOW + OUTCOMES_WAIT_MAX));
        let sealed = proposals.seal(NOW + OUTCOMES_WAIT_MAX).unwrap();
        assert_eq!(sealed.tickets.len(), 1);
        proposals.admit(acks(2), Space::Plenty, NOW).unwrap();
        proposals.admit(proposal(3, SectionKind::Turn, 9, false), Space::Plenty, NOW).unwrap();
        assert_eq!(proposals.seal(NOW).unwrap().tickets.len(), 2);
    }

    /// Publishers fill the queue until they are refused; outcomes must still get in.
    #[test]
    fn what_does_not_fit_is_refused() {
        let mut proposals = Proposals::new(SHARD_UNCOMMITTED_BYTES_MAX);
        let batch = |token| proposal(token, SectionKind::Records, ENTRY_BYTES_MAX / 2, false);
        let n_taken = (0..100)
            .take_while(|&token| proposals.admit(batch(token), Space::Plenty, NOW).is_ok())
            .count();
        assert_eq!(n_taken, 2 * SHARD_UNCOMMITTED_BYTES_MAX / ENTRY_BYTES_MAX);
        assert_eq!(proposals.admit(batch(0), Space::Plenty, NOW), Err(ProposeRefused::Busy));
        proposals.admit(proposal(0, SectionKind::Acks, 99, true), Space::Plenty, NOW).unwrap();
        let huge = proposal(0, SectionKind::Turn, ENTRY_BYTES_MAX, false);
        let refused = proposals.admit(huge, Space::Plenty, NOW);
        assert!(matches!(refused, Err(ProposeRefused::TooLarge { .. })));
    }

    #[test]
    fn full_disk_refuses_events_first() {
        let mut proposals = Proposals::new(SHARD_UNCOMMITTED_BYTES_MAX);
        let mut admit = |kind, body: Vec<u8>, space| {
            let proposal =
                Proposal { token: Token::new(1), kind, body: body.into(), may_wait: false };
            proposals.admit(proposal, space, NOW).is_ok()
        };
        assert!(!admit(SectionKind::Records, vec![1], Space::NoPublish));
        assert!(admit(SectionKind::Acks, vec![1], Space::NoPublish));
        assert!(!admit(SectionKind::Acks, vec![1], Space::LastSegment));
        let purge = Command::Purge { index: LogIndex::new(3) };
        assert!(admit(SectionKind::Command, purge.encode(), Space::LastSegment));
    }
}

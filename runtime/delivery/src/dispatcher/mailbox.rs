//! One mailbox of a group: how far it has read, what of it is on its way, which outcomes wait.
//!
//! ```text
//!   offsets:   on their way, some settled │ fetched, not looked at │ not fetched
//!              0 …                       next                   fetched        end
//! ```
//!
//! What is settled in front of `next`, or has failed before, is remembered until `next` comes by.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;

use tidings_types::effect::{Accepted, MailboxSnapshot, Placed};
use tidings_types::id::TopicId;
use tidings_types::layout::Malformed;
use tidings_types::layout::acks::AckRange;
use tidings_types::layout::records::{Event, Events, Records};
use tidings_types::limits::READ_STEP_BYTES;
use tidings_types::offset::Offset;

use crate::dispatcher::proposals::KeptFailure;
use crate::dispatcher::window::Window;

/// Failures that one acks section takes at most: with the longest messages they fit a section.
const FAILURES_MAX: usize = 1_024;

/// Bytes of events that a mailbox has fetched and not looked at, as soon as there are any.
const FETCHED_BYTES_MAX: usize = 4 * READ_STEP_BYTES;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) topic: TopicId,
    /// The next event to look at.
    next: Offset,
    /// The next event to fetch.
    fetched: Offset,
    /// The topic's next offset.
    end: Offset,
    sections: VecDeque<Section>,
    sections_bytes: usize,
    /// Where the read began that is out.
    reading: Option<Offset>,
    /// No read before, after one that failed or found nothing.
    pub(super) read_after_ms: u64,
    /// The last read failed, and people were told.
    pub(super) is_failing: bool,
    /// It stands in the group's queue of mailboxes to look at.
    pub(super) is_queued: bool,
    pub(super) window: Window,
    /// Settled ranges from `next` on: start to end.
    settled_ahead: BTreeMap<Offset, Offset>,
    /// Attempts and next attempt of events from `next` on.
    failed_ahead: BTreeMap<Offset, (u32, u64)>,
    /// Events from `next` on that were found at a worker, and are in the window before they are read.
    found_ahead: BTreeSet<Offset>,
    pub(super) outcomes: Outcomes,
}

/// Outcomes that wait for an acks section.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) done: Vec<Offset>,
    pub(super) failures: Vec<KeptFailure>,
    /// A section is proposed: there is one at most.
    pub(super) is_proposed: bool,
}

#[derive(Debug)]
struct Section {
    next: Offset,
    n_bytes: usize,
    events: Events,
}

/// An event as it comes out of a mailbox.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) offset: Offset,
    pub(super) event: Event,
    pub(super) attempts: u32,
    pub(super) retry_at_ms: u64,
}

impl Mailbox {
    pub(super) fn new(snapshot: &MailboxSnapshot) -> Self {
        Self {
            topic: snapshot.topic,
            next: snapshot.floor,
            fetched: snapshot.floor,
            end: snapshot.floor,
            sections: VecDeque::new(),
            sections_bytes: 0,
            reading: None,
            read_after_ms: 0,
            is_failing: false,
            is_queued: false,
            window: Window::default(),
            settled_ahead: BTreeMap::new(),
            failed_ahead: BTreeMap::new(),
            found_ahead: BTreeSet::new(),
            outcomes: Outcomes::default(),
        }
    }

    pub(super) const fn next(&self) -> Offset {
        self.next
    }

    /// The topic reaches this far.
    pub(super) fn reaches(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// New events of the topic. With room they are taken as they are, if the mailbox has kept up:
    /// how many bytes.
    pub(super) fn accept(&mut self, accepted: &Accepted, has_room: bool) -> usize {
        let Placed { first, n_events, .. } = accepted.placed;
        self.reaches(first.plus(n_events.into()));
        let has_room = has_room && self.sections_bytes < FETCHED_BYTES_MAX;
        if !has_room || self.fetched != first || self.is_reading() {
            return 0;
        }
        match Records::parse(accepted.records.clone()) {
            Ok(records) => self.fetch(first, &records),
            // Reading it from the log will say what is wrong with it.
            Err(_) => 0,
        }
    }

    /// There is something to look at or to fetch.
    pub(super) fn is_hungry(&self) -> bool {
        self.next < self.end
    }

    /// There is something to look at.
    pub(super) fn has_fetched(&self) -> bool {
        !self.sections.is_empty()
    }

    /// Bytes that were fetched and not looked at.
    pub(super) const fn fetched_bytes(&self) -> usize {
        self.sections_bytes
    }

    /// It has nothing to look at, and there is something to read now.
    pub(super) fn needs_read(&self, now_ms: u64) -> bool {
        let can_read = self.read_after_ms <= now_ms && !self.is_reading();
        can_read && !self.has_fetched() && self.fetched < self.end
    }

    /// A read is out.
    pub(super) const fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// This read is out.
    pub(super) fn is_reading_from(&self, from: Offset) -> bool {
        self.reading == Some(from)
    }

    /// What is settled need not be read, and the log may have let it go.
    pub(super) fn skip_settled(&mut self) {
        if self.has_fetched() || self.is_reading() {
            return;
        }
        while let Some(range) = self.settled_ahead.first_entry()
            && *range.key() <= self.fetched
        {
            self.fetched = self.fetched.max(range.remove());
        }
        if self.next < self.fetched {
            self.next = self.fetched;
            self.failed_ahead = self.failed_ahead.split_off(&self.next);
        }
    }

    /// Begins a read: its start.
    pub(super) fn begin_read(&mut self) -> Offset {
        assert!(!self.is_reading(), "one read at a time");
        self.reading = Some(self.fetched);
        self.fetched
    }

    /// A read has found these: how many bytes.
    ///
    /// # Errors
    /// If they do not continue what was fetched.
    pub(super) fn end_read(&mut self, blocks: &[(Placed, Records)]) -> Result<usize, &'static str> {
        if self.reading.take() != Some(self.fetched) {
            return Ok(0);
        }
        let mut n_bytes = 0;
        for (placed, records) in blocks {
            let end = placed.first.plus(placed.n_events.into());
            if self.fetched < placed.first {
                return Err("the read left events out");
            }
            if self.fetched < end {
                self.reaches(end);
                n_bytes += self.fetch(placed.first, records);
            }
        }
        Ok(n_bytes)
    }

    /// A read has failed or found nothing.
    pub(super) const fn fail_read(&mut self, retry_at_ms: u64) {
        self.reading = None;
        self.read_after_ms = retry_at_ms;
    }

    fn fetch(&mut self, first: Offset, records: &Records) -> usize {
        let n_bytes = records.events_bytes();
        self.fetched = first.plus(records.n_events.into());
        self.sections_bytes += n_bytes;
        self.sections.push_back(Section { next: first, n_bytes, events: records.events() });
        n_bytes
    }

    /// The next event that is not settled. `None` at the end of what was fetched.
    ///
    /// # Errors
    /// If the bytes are no event. What was fetched is dropped then, to be fetched anew.
    pub(super) fn next_event(&mut self) -> Result<Option<Fresh>, Malformed> {
        while let Some(section) = self.sections.front_mut() {
            let event = match section.events.next() {
                Some(Ok(event)) => event,
                Some(Err(malformed)) => {
                    self.drop_fetched();
                    return Err(malformed);
                }
                None => {
                    self.sections_bytes -= section.n_bytes;
                    self.sections.pop_front();
                    continue;
                }
            };
            let offset = section.next;
            section.next = offset.next();
            if offset < self.next {
                continue;
            }
            self.next = offset.next();
            if self.is_settled_ahead(offset) {
                self.failed_ahead.remove(&offset);
                continue;
            }
            let failed = self.failed_ahead.remove(&offset);
            let (attempts, retry_at_ms) = failed.unwrap_or_default();
            return Ok(Some(Fresh { offset, event, attempts, retry_at_ms }));
        }
        Ok(None)
    }

    fn drop_fetched(&mut self) {
        self.sections.clear();
        self.sections_bytes = 0;
        self.fetched = self.next;
    }

    /// Offsets from `next` on are settled before they were looked at. Ranges are kept apart, so that
    /// one look says whether an offset is in any.
    pub(super) fn settle_ahead(&mut self, start: Offset, end: Offset) {
        let (mut start, mut end) = (start.max(self.next), end);
        if start >= end {
            return;
        }
        while let Some((&first, &last)) = self.settled_ahead.range(..=end).next_back()
            && start <= last
        {
            self.settled_ahead.remove(&first);
            (start, end) = (start.min(first), end.max(last));
        }
        self.settled_ahead.insert(start, end);
    }

    /// Whether an event that exists and is not on its way is settled.
    pub(super) fn is_settled(&self, offset: Offset) -> bool {
        let ahead = self.settled_ahead.range(..=offset).next_back();
        offset < self.next || ahead.is_some_and(|(_, &end)| offset < end)
    }

    /// The event is part of the topic.
    pub(super) fn has(&self, offset: Offset) -> bool {
        offset < self.end
    }

    /// Attempts and next attempt of an event that was not looked at.
    pub(super) fn failed_ahead(&self, offset: Offset) -> (u32, u64) {
        self.failed_ahead.get(&offset).copied().unwrap_or_default()
    }

    /// An event that was not looked at need not wait for its next attempt.
    pub(super) fn retry_ahead(&mut self, offset: Offset) {
        if let Some((_, retry_at_ms)) = self.failed_ahead.get_mut(&offset) {
            *retry_at_ms = 0;
        }
    }

    /// An event that was not looked at is on its way.
    pub(super) fn find_ahead(&mut self, offset: Offset) {
        assert!(self.next <= offset, "what was looked at needs no finding");
        self.found_ahead.insert(offset);
    }

    /// Whether the event, which was just looked at, may be on its way already.
    pub(super) fn was_found(&mut self, offset: Offset) -> bool {
        while let Some(&first) = self.found_ahead.first()
            && first <= offset
        {
            self.found_ahead.pop_first();
            if first == offset {
                return true;
            }
        }
        false
    }

    pub(super) fn fail_ahead(&mut self, offset: Offset, attempts: u32, retry_at_ms: u64) {
        self.failed_ahead.insert(offset, (attempts, retry_at_ms));
    }

    /// Ranges that lie behind `offset` are dropped on the way.
    fn is_settled_ahead(&mut self, offset: Offset) -> bool {
        while let Some(range) = self.settled_ahead.first_entry() {
            if offset < *range.key() {
                return false;
            }
            if offset < *range.get() {
                return true;
            }
            range.remove();
        }
        false
    }
}

impl Outcomes {
    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty() && self.failures.is_empty()
    }

    /// What one section takes.
    pub(super) fn take(&mut self) -> (Vec<Offset>, Vec<KeptFailure>) {
        let n_failures = self.failures.len().min(FAILURES_MAX);
        let failures = self.failures.drain(..n_failures).collect();
        (mem::take(&mut self.done), failures)
    }
}

/// Folds offsets into ranges, in ascending order.
pub(super) fn fold(offsets: &mut Vec<Offset>) -> Vec<AckRange> {
    offsets.sort_unstable();
    offsets.dedup();
    let mut ranges: Vec<AckRange> = Vec::new();
    for &offset in offsets.iter() {
        match ranges.last_mut() {
            Some(range) if range.start.plus(range.len.into()) == offset => range.len += 1,
            _ => ranges.push(AckRange { start: offset, len: 1 }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is settled may be purged at any moment, so it must not be asked for: the read would fail
    /// for ever, and the group would stand still. We settle what was never read, and more behind.
    #[test]
    fn read_begins_behind_what_is_settled() {
        let offset = Offset::new;
        let snapshot = MailboxSnapshot {
            topic: TopicId::new(1),
            floor: offset(5),
            acked: Vec::new(),
            failed: Vec::new(),
            end: offset(30),
        };
        let mut mailbox = Mailbox::new(&snapshot);
        mailbox.reaches(snapshot.end);
        mailbox.fail_ahead(offset(7), 1, 0);
        mailbox.settle_ahead(offset(6), offset(9));
        mailbox.settle_ahead(offset(12), offset(14));
        mailbox.skip_settled();
        assert_eq!(mailbox.next(), offset(5), "the first one is not settled");
        mailbox.settle_ahead(offset(5), offset(6));
        mailbox.skip_settled();
        assert_eq!((mailbox.next(), mailbox.begin_read()), (offset(9), offset(9)));
        mailbox.settle_ahead(offset(9), offset(12));
        mailbox.skip_settled();
        assert_eq!(mailbox.next(), offset(9), "a read is out");
        mailbox.fail_read(0);
        mailbox.skip_settled();
        assert_eq!((mailbox.next(), mailbox.failed_ahead(offset(7))), (offset(14), (0, 0)));
        mailbox.settle_ahead(offset(14), offset(30));
        mailbox.skip_settled();
        assert!(!mailbox.needs_read(0) && !mailbox.is_hungry());
    }
}

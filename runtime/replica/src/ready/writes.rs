//! What the disk has not answered yet, and which Readies raft-rs is told to be durable.
//!
//! Jobs are written in their order, so a Ready is durable with its job, and with it whatever came
//! before. But raft-rs asks by index and term alone: of an entry that another leader's entry replaced
//! and that came again later, it would take the first write for the second, which is not durable while
//! the replacement may be. So a Ready is held while a later one that rewrites an entry of it waits.

use std::collections::VecDeque;

use raft::eraftpb::Message;
use tidings_types::offset::LogIndex;

/// What one job makes durable.
pub(super) struct Waiting {
    pub(super) job: u64,
    /// The newest Ready that is durable with it; 0 if none is.
    pub(super) number: u64,
    /// The first and the last entry that it writes.
    pub(super) entries: Option<(LogIndex, LogIndex)>,
    /// A snapshot that is in the log then.
    pub(super) restored: Option<LogIndex>,
    /// What may leave then.
    pub(super) messages: Vec<Message>,
}

/// What raft-rs may be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Durable {
    /// Up to this Ready all are.
    pub(super) number: u64,
    /// The snapshot among them.
    pub(super) restored: Option<LogIndex>,
    /// The last entry among them that no snapshot took away.
    last: LogIndex,
}

/// See the module's description.
#[derive(Default)]
pub(super) struct Writes {
    waiting: VecDeque<Waiting>,
    held: Durable,
}

impl Writes {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }

    /// The last job that waits: a Ready that writes nothing is durable with it.
    pub(super) fn newest(&mut self) -> Option<&mut Waiting> {
        self.waiting.back_mut()
    }

    /// Whether entries or a snapshot wait.
    pub(super) fn has_entries(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.entries.is_some() || waiting.restored.is_some())
    }

    /// The jobs up to this one are written: gives the messages of the oldest that has any left.
    pub(super) fn written(&mut self, job: u64) -> Option<Vec<Message>> {
        self.waiting.front().filter(|waiting| waiting.job <= job)?;
        let waiting = self.waiting.pop_front()?;
        if waiting.restored.is_some() {
            (self.held.restored, self.held.last) = (waiting.restored, LogIndex::ZERO);
        }
        if let Some((_, last)) = waiting.entries {
            self.held.last = self.held.last.max(last);
        }
        self.held.number = self.held.number.max(waiting.number);
        Some(waiting.messages)
    }

    /// What raft-rs may be told now. Says so once.
    pub(super) fn durable(&mut self) -> Option<Durable> {
        let last = self.held.last;
        let mut firsts = self.waiting.iter().filter_map(|waiting| waiting.entries);
        let is_rewritten = firsts.any(|(first, _)| first <= last);
        if self.held.number == 0 || is_rewritten {
            return None;
        }
        Some(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(job: u64, entries: Option<(u64, u64)>, restored: Option<u64>) -> Waiting {
        let entries = entries.map(|(first, last)| (LogIndex::new(first), LogIndex::new(last)));
        let (restored, messages) = (restored.map(LogIndex::new), Vec::new());
        Waiting { job, number: job, entries, restored, messages }
    }

    fn number(writes: &mut Writes, job: u64) -> Option<u64> {
        while writes.written(job).is_some() {}
        writes.durable().map(|durable| durable.number)
    }

    /// Entry 5 of one leader is replaced by another's and comes again from the first: the first write
    /// of it must not pass for the last, or what is applied and kept in a checkpoint could be replaced
    /// by what the disk holds after a crash.
    #[test]
    fn an_entry_that_is_replaced_and_comes_again_is_durable_with_its_last_write() {
        let mut writes = Writes::default();
        writes.push(wait(1, Some((4, 5)), None));
        writes.push(wait(2, Some((5, 5)), None));
        writes.push(wait(3, Some((5, 6)), None));
        assert_eq!(number(&mut writes, 1), None);
        assert_eq!(number(&mut writes, 2), None);
        assert_eq!(number(&mut writes, 3), Some(3));
        assert_eq!(number(&mut writes, 3), None, "it was said");
    }

    /// What follows without replacing anything must not hold up what is durable.
    #[test]
    fn entries_that_follow_each_other_are_durable_one_by_one() {
        let mut writes = Writes::default();
        writes.push(wait(1, Some((4, 5)), None));
        writes.push(wait(2, None, None));
        writes.push(wait(3, Some((6, 6)), None));
        assert_eq!(number(&mut writes, 1), Some(1));
        assert_eq!(number(&mut writes, 2), Some(2));
        assert!(writes.has_entries());
        assert_eq!(number(&mut writes, 3), Some(3));
        assert!(!writes.has_entries());
    }

    /// A snapshot takes entries behind it away, so that they may come again without being the same.
    #[test]
    fn a_snapshot_ends_what_was_held() {
        let mut writes = Writes::default();
        writes.push(wait(1, Some((4, 9)), None));
        writes.push(wait(2, None, Some(6)));
        writes.push(wait(3, Some((7, 9)), None));
        assert_eq!(number(&mut writes, 1), None);
        while writes.written(2).is_some() {}
        let durable = writes.durable().unwrap();
        assert_eq!((durable.number, durable.restored), (2, Some(LogIndex::new(6))));
        assert_eq!(number(&mut writes, 3), Some(3));
    }
}

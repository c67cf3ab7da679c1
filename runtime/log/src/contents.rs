//! What the frames of one segment add up to: its entries, folded by the conflict rule.
//!
//! An entry with an index that exists replaces it and all after it, also those of earlier segments;
//! a Reset forgets every earlier entry. So a segment's fold says: from `first` on, the log is this.

use tidings_types::layout::frame::FrameKind;
use tidings_types::offset::{LogIndex, Position, Term};

use crate::frames::Frame;
use crate::head::{Head, parse_vote};
use crate::segment::Segment;

/// Indexes beyond this are nobody's; below it, counting up never overflows.
const INDEX_MAX: LogIndex = LogIndex::new(1 << 62);

/// See the module's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Index of the first of `entries`; from here on earlier segments count no more.
    pub(crate) first: LogIndex,
    /// Term and place of each entry.
    pub(crate) entries: Vec<(Term, Position)>,
    /// Highest index that was ever written here, replaced or not.
    pub(crate) max_index: LogIndex,
    /// The newest Reset in the segment.
    pub(crate) reset: Option<(LogIndex, Term)>,
    /// Newest cluster time of an entry.
    pub(crate) newest_ms: u64,
}

/// A segment without an index file, as far as it was scanned for entries.
pub(crate) struct Scan {
    pub(crate) number: u64,
    pub(crate) contents: Contents,
    /// Where the next frame stands.
    pub(crate) end: Position,
}

/// A segment that gets no more frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) segment: Segment,
    pub(crate) contents: Contents,
}

/// Cluster time of an entry's data; 0 if it is none of ours.
fn cluster_ms(data: &[u8]) -> u64 {
    let ts_ms = data.get(8..16).and_then(|bytes| bytes.try_into().ok());
    ts_ms.map_or(0, u64::from_le_bytes)
}

impl Contents {
    /// Takes an entry; `start` is as much of its data as there is at hand.
    pub(crate) fn note_entry(
        &mut self,
        (index, term): (LogIndex, Term),
        position: Position,
        is_normal: bool,
        start: &[u8],
    ) {
        let n_kept = index.get().checked_sub(self.first.get());
        match n_kept.and_then(|n| usize::try_from(n).ok()) {
            Some(n_kept) if n_kept <= self.entries.len() => self.entries.truncate(n_kept),
            _ => {
                self.entries.clear();
                self.first = index;
            }
        }
        self.entries.push((term, position));
        self.max_index = self.max_index.max(index);
        if is_normal {
            self.newest_ms = self.newest_ms.max(cluster_ms(start));
        }
    }

    pub(crate) fn note_reset(&mut self, index: LogIndex, term: Term) {
        self.entries.clear();
        self.first = index.next();
        self.max_index = self.max_index.max(index);
        self.reset = Some((index, term));
    }

    /// Index of the last entry, if there is one.
    pub(crate) fn last(&self) -> Option<LogIndex> {
        let n_after = (self.entries.len() as u64).checked_sub(1)?;
        Some(self.first.plus(n_after))
    }

    /// All entries with their index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (LogIndex, Term, Position)> {
        let numbered = self.entries.iter().enumerate();
        numbered.map(|(idx, &(term, position))| (self.first.plus(idx as u64), term, position))
    }

    /// Where the term changes: the first entry of each run.
    pub(crate) fn runs(&self) -> Vec<(LogIndex, Term)> {
        let mut runs: Vec<(LogIndex, Term)> = Vec::new();
        for (index, term, _) in self.iter() {
            if runs.last().is_none_or(|&(_, last)| last != term) {
                runs.push((index, term));
            }
        }
        runs
    }
}

/// Takes a frame into a segment's contents and into the sum of all. The error says what of it
/// breaks the log's own rules although its crc is right.
pub(crate) fn note_frame(
    head: &mut Head,
    contents: &mut Contents,
    frame: &Frame,
) -> Result<(), &'static str> {
    let (index, term) = (frame.header.index, frame.header.term);
    if INDEX_MAX < index {
        return Err("an index beyond reason");
    }
    match frame.header.kind {
        FrameKind::Head => return Err("a head inside the segment"),
        FrameKind::Entry => {
            if index == LogIndex::ZERO {
                return Err("an entry before the first");
            }
            if index > head.last.0.next() {
                return Err("an entry skips an index");
            }
            let is_normal = frame.header.flags == 0;
            contents.note_entry((index, term), frame.position, is_normal, &frame.body);
            head.last = (index, term);
        }
        FrameKind::HardState => {
            let vote = parse_vote(frame.body.clone()).map_err(|malformed| malformed.why)?;
            head.hard_state.vote = vote;
            head.hard_state.term = term;
            head.hard_state.commit = index;
        }
        FrameKind::Purge => head.purged = (index, term),
        FrameKind::Reset => {
            contents.note_reset(index, term);
            head.purged = (index, term);
            head.last = (index, term);
            head.reset_at = frame.position;
        }
        FrameKind::Mark => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tidings_types::layout::frame::FrameHeader;

    use super::*;

    fn fold(steps: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut contents = Contents::default();
        for &(index, term) in steps {
            let at = (LogIndex::new(index), Term::new(term));
            contents.note_entry(at, Position::ZERO, true, b"");
        }
        contents.iter().map(|(index, term, _)| (index.get(), term.get())).collect()
    }

    /// The fold must be what is left when each entry replaces all from its index on.
    #[test]
    fn entries_replace_those_behind_them() {
        assert_eq!(fold(&[(90, 1), (91, 1), (92, 1), (91, 2)]), [(90, 1), (91, 2)]);
        assert_eq!(fold(&[(90, 1), (91, 1), (85, 2), (86, 2)]), [(85, 2), (86, 2)]);
        assert_eq!(fold(&[(1, 1), (2, 1), (3, 1)]), [(1, 1), (2, 1), (3, 1)]);
    }

    /// Frames that no writer of ours makes must be refused, although their crc is right: a start
    /// that believed them would count below the first index.
    #[test]
    fn frames_beside_the_rules_are_refused() {
        let note = |kind, number, length| {
            let header = FrameHeader {
                kind,
                flags: 0,
                shard: Default::default(),
                term: Term::new(1),
                index: LogIndex::new(number),
                durable: Position::ZERO,
                body_bytes: length,
            };
            let body = vec![0; length as usize].into();
            let frame = Frame { position: Position::ZERO, header, body };
            note_frame(&mut Head::default(), &mut Contents::default(), &frame)
        };
        assert!(note(FrameKind::Entry, 0, 0).is_err());
        assert!(note(FrameKind::Entry, 2, 0).is_err());
        assert!(note(FrameKind::Reset, u64::MAX, 8).is_err());
        assert!(note(FrameKind::HardState, 1, 7).is_err());
        assert_eq!(note(FrameKind::Entry, 1, 0), Ok(()));
        assert_eq!(note(FrameKind::Reset, 7, 8), Ok(()));
    }

    #[test]
    fn reset_forgets_what_was_before() {
        let mut contents = Contents::default();
        let at = |index| (LogIndex::new(index), Term::new(1));
        contents.note_entry(at(90), Position::ZERO, true, b"");
        contents.note_reset(LogIndex::new(50), Term::new(2));
        assert_eq!((contents.last(), contents.max_index), (None, LogIndex::new(90)));
        contents.note_entry(at(51), Position::ZERO, true, b"");
        assert_eq!(contents.runs(), [at(51)]);
    }
}

//! The cursor of a mailbox: which events of its topic the group has settled.
//!
//! Workers finish out of order, so the cursor is a floor and the ranges settled above it:
//!
//! ```text
//!   offset   0 1 2 3 4 5 6 7 8 9
//!   settled  x x x . x x . . x .      floor 3, ranges [4, 6) and [8, 9)
//! ```
//!
//! Invariants: everything below the floor is settled, the event at the floor is not, and neither
//! two ranges nor the floor and a range touch. So equal sets of events give equal cursors, whatever
//! the order they came in; replicas depend on it.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use tidings_types::layout::acks::AckRange;
use tidings_types::limits::ACKED_RANGES_MAX;
use tidings_types::offset::Offset;

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AckFloor {
    floor: Offset,
    /// Start to end (without it) of each range.
    ranges: BTreeMap<Offset, Offset>,
}

impl AckFloor {
    /// The cursor of a group that reads from `floor` on.
    pub(crate) const fn new(floor: Offset) -> Self {
        Self { floor, ranges: BTreeMap::new() }
    }

    /// The first event that is not settled.
    pub(crate) const fn floor(&self) -> Offset {
        self.floor
    }

    /// Whether the event is settled.
    pub(crate) fn is_acked(&self, offset: Offset) -> bool {
        offset < self.floor || self.range_at(offset).is_some_and(|range| offset < range.end)
    }

    /// Settles events; those that are settled already stay so.
    pub(crate) fn ack(&mut self, events: Range<Offset>) {
        let (mut start, mut end) = (events.start.max(self.floor), events.end);
        if end <= start {
            return;
        }
        // Take out every range that touches or overlaps, put back one that covers all of them.
        if let Some(left) = self.range_at(start).filter(|left| start <= left.end) {
            start = left.start;
        }
        while let Some((&merged, &merged_end)) = self.ranges.range(start..=end).next() {
            self.ranges.remove(&merged);
            end = end.max(merged_end);
        }
        if start == self.floor {
            self.floor = end;
        } else {
            self.ranges.insert(start, end);
        }
        // What is handed out without an outcome is bounded, and so are the gaps between ranges.
        assert!(self.ranges.len() <= ACKED_RANGES_MAX, "more gaps than events can be out");
    }

    /// How many events above the floor are settled.
    pub(crate) fn n_acked_above(&self) -> u64 {
        self.ranges.iter().map(|(&start, &end)| end.since(start)).sum()
    }

    /// How many events below `end` are settled, from `start` on.
    pub(crate) fn n_acked_in(&self, events: Range<Offset>) -> u64 {
        let floor = self.floor.clamp(events.start, events.end.max(events.start));
        let above = self.ranges.iter().map(|(&start, &end)| {
            let (start, end) = (start.max(events.start), end.min(events.end));
            if start < end { end.since(start) } else { 0 }
        });
        floor.since(events.start) + above.sum::<u64>()
    }

    /// The settled ranges above the floor, in ascending order.
    pub(crate) fn ranges(&self) -> Vec<AckRange> {
        let mut ranges = Vec::with_capacity(self.ranges.len());
        for (&start, &end) in &self.ranges {
            let mut start = start;
            // A range in a layout has a shorter length than one in the state may have.
            while start < end {
                let len = u32::try_from(end.since(start)).unwrap_or(u32::MAX);
                ranges.push(AckRange { start, len });
                start = start.plus(len.into());
            }
        }
        ranges
    }

    /// Whether a cursor that was read back keeps the invariants below the topic's end.
    pub(crate) fn is_sound(&self, end: Offset) -> bool {
        let mut below = self.floor;
        for (&start, &range_end) in &self.ranges {
            if start <= below || range_end <= start {
                return false;
            }
            below = range_end;
        }
        below <= end && self.ranges.len() <= ACKED_RANGES_MAX
    }

    /// The last range that starts at the offset or below it.
    fn range_at(&self, offset: Offset) -> Option<Range<Offset>> {
        let (&start, &end) = self.ranges.range(..=offset).next_back()?;
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> Range<Offset> {
        Offset::new(start)..Offset::new(end)
    }

    #[test]
    fn floor_passes_a_gap_only_when_the_gap_is_acked() {
        let mut cursor = AckFloor::new(Offset::new(3));
        cursor.ack(range(4, 6));
        assert_eq!(cursor.floor(), Offset::new(3));
        cursor.ack(range(3, 4));
        assert_eq!(cursor.floor(), Offset::new(6));
        assert_eq!(cursor.ranges(), []);
    }

    #[test]
    fn ranges_longer_than_their_layout_come_in_pieces() {
        let mut cursor = AckFloor::new(Offset::ZERO);
        cursor.ack(range(1, (1 << 32) + 5));
        let lens: Vec<_> = cursor.ranges().iter().map(|range| range.len).collect();
        assert_eq!(lens, [u32::MAX, 5]);
        assert_eq!(cursor.n_acked_above(), (1 << 32) + 4);
    }

    #[test]
    fn cursors_that_break_an_invariant_are_not_sound() {
        let end = Offset::new(9);
        let cursor = |floor, ranges: &[(u64, u64)]| {
            let offset = |&(start, end)| (Offset::new(start), Offset::new(end));
            AckFloor { floor: Offset::new(floor), ranges: ranges.iter().map(offset).collect() }
        };
        assert!(cursor(3, &[(4, 5), (6, 9)]).is_sound(end));
        assert!(!cursor(3, &[(3, 4)]).is_sound(end), "touches the floor");
        assert!(!cursor(3, &[(4, 5), (5, 6)]).is_sound(end), "touches another");
        assert!(!cursor(3, &[(4, 4)]).is_sound(end), "empty");
        assert!(!cursor(3, &[(4, 10)]).is_sound(end), "beyond the end");
    }

    proptest! {
        /// The cursor must answer like the plain set of settled offsets. We ack ranges of a small
        /// span in any order and with repeats, so that they grow, meet and reach the floor.
        #[test]
        fn cursor_answers_like_a_set(acks in prop::collection::vec((0_u64..40, 0_u64..6), 0..60)) {
            let mut cursor = AckFloor::new(Offset::ZERO);
            let mut model = BTreeSet::new();
            for (start, len) in acks {
                model.extend(start..start + len);
                cursor.ack(range(start, start + len));

                let floor = (0..).find(|number| !model.contains(number)).unwrap();
                prop_assert_eq!(cursor.floor().get(), floor);
                for number in 0..48 {
                    prop_assert_eq!(cursor.is_acked(Offset::new(number)), model.contains(&number));
                }
                let n_above = model.iter().filter(|&&number| floor < number).count();
                prop_assert_eq!(cursor.n_acked_above(), n_above as u64);
                let n_within = model.range(start..start + len + 7).count();
                prop_assert_eq!(cursor.n_acked_in(range(start, start + len + 7)), n_within as u64);
                prop_assert!(cursor.is_sound(Offset::new(48)));
            }
        }
    }
}

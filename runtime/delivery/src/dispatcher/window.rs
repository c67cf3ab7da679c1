//! From an offset to the event on its way, for one mailbox.
//!
//! Chunks of 256 offsets in an ordered map: an array inside a chunk, so that an event costs no
//! insert of its own, and no chunk where everything is settled, so that one old event which waits
//! for a day does not keep an array over all that came after it.

use std::collections::BTreeMap;

use tidings_types::offset::Offset;

use crate::dispatcher::tracked::TrackId;

const CHUNK: usize = 256;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Window {
    chunks: BTreeMap<u64, Box<Chunk>>,
}

#[derive(Debug)]
struct Chunk {
    n_ids: usize,
    ids: [Option<TrackId>; CHUNK],
}

const fn split(offset: Offset) -> (u64, usize) {
    let offset = offset.get();
    (offset / CHUNK as u64, (offset % CHUNK as u64) as usize)
}

impl Window {
    pub(super) fn insert(&mut self, offset: Offset, id: TrackId) {
        let (number, idx) = split(offset);
        let empty = || Box::new(Chunk { n_ids: 0, ids: [None; CHUNK] });
        let chunk = self.chunks.entry(number).or_insert_with(empty);
        let place = chunk.ids.get_mut(idx).expect("an index below CHUNK");
        assert!(place.replace(id).is_none(), "an offset is tracked once");
        chunk.n_ids += 1;
    }

    pub(super) fn get(&self, offset: Offset) -> Option<TrackId> {
        let (number, idx) = split(offset);
        *self.chunks.get(&number)?.ids.get(idx)?
    }

    /// Takes out what is tracked of the offsets from `start` up to and without `end`.
    pub(super) fn remove(&mut self, start: Offset, end: Offset, mut each: impl FnMut(TrackId)) {
        if start >= end {
            return;
        }
        let ((first, from), (last, until)) = (split(start), split(end));
        let mut next = first;
        // Only chunks that exist are visited: the range may be long and nearly all of it gone.
        while let Some((&number, chunk)) = self.chunks.range_mut(next..=last).next() {
            let from = if number == first { from } else { 0 };
            let until = if number == last { until } else { CHUNK };
            for place in chunk.ids.get_mut(from..until).unwrap_or_default() {
                if let Some(id) = place.take() {
                    chunk.n_ids -= 1;
                    each(id);
                }
            }
            if chunk.n_ids == 0 {
                self.chunks.remove(&number);
            }
            if number == last {
                break;
            }
            next = number + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A removed range must give back just what was in it, over chunks that exist or do not, and
    /// leave no empty chunk behind. We track every third offset and remove across three chunks.
    #[test]
    fn ranges_come_out_whole() {
        let mut window = Window::default();
        let is_ours = |offset: &u64| offset.is_multiple_of(3) && !(600..900).contains(offset);
        let offsets = (0..2_000_u64).filter(is_ours);
        for offset in offsets.clone() {
            window.insert(Offset::new(offset), TrackId::default());
        }
        let mut n_removed = 0;
        window.remove(Offset::new(100), Offset::new(1_536), |_| n_removed += 1);
        let expected = offsets.filter(|offset| (100..1_536).contains(offset)).count();
        assert_eq!(n_removed, expected);
        let is_tracked = |offset| window.get(Offset::new(offset)).is_some();
        assert!(is_tracked(99) && is_tracked(1_536) && !is_tracked(102) && !is_tracked(1_533));
        window.remove(Offset::new(0), Offset::new(5_000), |_| ());
        assert!(window.chunks.is_empty());
    }
}

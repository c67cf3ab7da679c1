//! Entries by their Raft index, from the disk: for a follower that lags behind the tail.
//!
//! Segments are looked at from the newest back, because an entry replaces those of the same and
//! higher indexes in earlier ones. A segment with an index file says where its entries stand; one
//! without is scanned, each frame once, and what was found is remembered.

use std::sync::Arc;

use tidings_types::layout::frame::FrameKind;
use tidings_types::limits::READ_STEP_BYTES;
use tidings_types::offset::{LogIndex, Position, Term};

use crate::contents::{Contents, Scan};
use crate::entry::Entry;
use crate::error::ReadError;
use crate::frames::{Frames, SCAN_STEP_BYTES};
use crate::index_file::{self, IndexHead};
use crate::reader::Reader;
use crate::segment::{self, Segment};

fn failed(number: u64) -> impl FnOnce(std::io::Error) -> ReadError {
    move |source| ReadError::Io { what: format!("reading entries of segment {number}"), source }
}

impl Reader {
    /// Reads consecutive entries from `first` on, and waits for the disk. At least one comes if it
    /// is durable and not purged, at most about `max_bytes`, and none from another segment. An
    /// entry that is being replaced may come in its old form: its term tells.
    ///
    /// # Errors
    /// If the bytes are damaged or cannot be read.
    pub fn read_entries(&self, first: LogIndex, max_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        let segments: Vec<Segment> = self.shared.events().index.segments().collect();
        let mut end = LogIndex::new(u64::MAX);
        for segment in segments.iter().rev() {
            let disk = &*self.shared.disk;
            let head = index_file::read_head(disk, segment).map_err(failed(segment.number))?;
            let (starts_at, is_empty) = match &head {
                Some(head) => (head.first, head.last().is_none() && head.reset.is_none()),
                None => self.scanned(segment, |contents| {
                    let is_empty = contents.entries.is_empty() && contents.reset.is_none();
                    (contents.first, is_empty)
                })?,
            };
            if is_empty {
                continue;
            }
            if first < starts_at {
                end = end.min(starts_at);
                continue;
            }
            let places = self.places(segment, head.as_ref(), first..end, max_bytes)?;
            return self.entries(segment, &places, max_bytes);
        }
        Ok(Vec::new())
    }

    /// Where the entries of a range stand in one segment; no more than can be asked for.
    fn places(
        &self,
        segment: &Segment,
        head: Option<&IndexHead>,
        range: std::ops::Range<LogIndex>,
        max_bytes: usize,
    ) -> Result<Vec<(LogIndex, Term, Position)>, ReadError> {
        let cut = |contents: &Contents| {
            let n_before = range.start.since(contents.first) as usize;
            let from_here = contents.iter().skip(n_before);
            // Each entry takes a frame's header at least.
            from_here.take_while(|place| place.0 < range.end).take(max_bytes / 48 + 1).collect()
        };
        let Some(head) = head else { return self.scanned(segment, cut) };
        let rest = head.read_rest(&*self.shared.disk, segment.number);
        let rest = rest.map_err(failed(segment.number))?;
        let why = "its crc does not match";
        let (_, contents) = rest.ok_or(ReadError::DamagedIndex { segment: segment.number, why })?;
        Ok(cut(&contents))
    }

    fn entries(
        &self,
        segment: &Segment,
        places: &[(LogIndex, Term, Position)],
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let mut frames = self.frames(segment, READ_STEP_BYTES)?;
        let (mut entries, mut n_bytes) = (Vec::new(), 0);
        for &(index, term, position) in places {
            let frame = frames.read(position).map_err(failed(segment.number))?;
            let is_it = frame.filter(|frame| {
                let header = &frame.header;
                header.kind == FrameKind::Entry && header.index == index && header.term == term
            });
            let why = "the frame is not what was written";
            let damaged = ReadError::Damaged { segment: segment.number, position, why };
            let frame = is_it.ok_or(damaged)?;
            n_bytes += frame.body.len();
            if max_bytes < n_bytes && !entries.is_empty() {
                break;
            }
            entries.push(Entry { index, term, kind: frame.header.flags, data: frame.body });
        }
        Ok(entries)
    }

    /// Looks at what a segment without an index file holds, up to what is durable.
    fn scanned<T>(
        &self,
        segment: &Segment,
        look: impl FnOnce(&Contents) -> T,
    ) -> Result<T, ReadError> {
        let durable = self.shared.durable();
        let mut scans = self.shared.scans();
        let known = scans.iter().position(|scan| scan.number == segment.number);
        let mut scan = match known {
            Some(idx) => scans.swap_remove(idx),
            None => Scan {
                number: segment.number,
                contents: Contents::default(),
                end: segment.first_frame(),
            },
        };
        let mut frames = self.frames(segment, SCAN_STEP_BYTES)?;
        while scan.end < durable.min(segment.end()) {
            let frame = frames.read(scan.end).map_err(failed(segment.number))?;
            let Some(frame) = frame else { break };
            let (index, term) = (frame.header.index, frame.header.term);
            match frame.header.kind {
                FrameKind::Entry => {
                    let at = (index, term);
                    scan.contents.note_entry(at, frame.position, false, &[]);
                }
                FrameKind::Reset => scan.contents.note_reset(index, term),
                _ => {}
            }
            scan.end = frame.end();
        }
        let seen = look(&scan.contents);
        // Older ones have their file by now, as a rule.
        scans.retain(|other| segment.number < other.number + SCANS_KEPT);
        scans.push(scan);
        Ok(seen)
    }

    fn frames(&self, segment: &Segment, step_bytes: usize) -> Result<Frames, ReadError> {
        let file = self.shared.disk.open(&segment::path(segment.number));
        let file: Arc<_> = file.map_err(failed(segment.number))?;
        Ok(Frames::new(*segment, file, step_bytes))
    }
}

/// Segments whose scan is remembered.
const SCANS_KEPT: u64 = 4;

#[cfg(test)]
mod tests {
    use crate::disk::MemoryDisk;
    use crate::log::Log;
    use crate::support_test::{SEGMENT, index, plain, start, write};

    /// Reads everything as a lagging follower gets it; checks it against the log's own terms.
    fn read_all(log: &Log, from: u64) -> Vec<(u64, u64)> {
        let (mut next, mut found) = (index(from), Vec::new());
        while next <= log.last_index() {
            let entries = log.reader().read_entries(next, 10_000).unwrap();
            assert!(!entries.is_empty(), "nothing at {next}");
            for entry in entries {
                assert_eq!(entry.index, next);
                assert_eq!(entry.data.len(), 1_000);
                let term = log.term(next).unwrap();
                assert_eq!(entry.term, term, "entry {next} was replaced");
                found.push((next.get(), term.get()));
                next = next.next();
            }
        }
        found
    }

    /// Entries of any segment must come as the log has them: replaced ones never, whether their
    /// segment has an index file, is scanned, or was scanned before more was written.
    #[test]
    fn entries_come_as_the_log_has_them() {
        let disk = MemoryDisk::new();
        let mut opened = start(&disk).unwrap();
        let n_entries = 3 * SEGMENT / 1_000;
        for number in 1..=n_entries {
            let entry = plain(number, 1, 1_000);
            write(&mut opened.log, &mut opened.writer, vec![entry], None).unwrap();
            opened.writer.prepare().unwrap();
        }
        assert_eq!(read_all(&opened.log, 1).len() as u64, n_entries);
        // The first two segments get their files; then a new leader replaces half of the third.
        opened.log.applied(index(2 * n_entries / 3));
        opened.writer.prepare().unwrap();
        for number in 5 * n_entries / 6..=n_entries + 20 {
            let entry = plain(number, 2, 1_000);
            write(&mut opened.log, &mut opened.writer, vec![entry], None).unwrap();
            opened.writer.prepare().unwrap();
        }
        let all = read_all(&opened.log, 1);
        assert_eq!(all.len() as u64, n_entries + 20);
        assert_eq!(all.last(), Some(&(n_entries + 20, 2)));
        let beyond = opened.log.reader().read_entries(index(n_entries + 21), 9).unwrap();
        assert_eq!(beyond, []);

        drop(opened);
        disk.crash();
        let opened = start(&disk).unwrap();
        assert_eq!(read_all(&opened.log, 1), all);
        assert_eq!(read_all(&opened.log, n_entries).len(), 21);
    }
}

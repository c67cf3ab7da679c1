//! Looking at a directory without changing it: what its segments are and where the log ends.
//!
//! ```text
//!   state of the last segments                            verdict
//!   frames, then zeros                                    the log ends there
//!   frames, then a bad one, nothing valid behind          torn: cut there
//!   …, a valid one behind whose mark is not beyond it     stale: cut there
//!   …, a valid one behind whose mark is beyond it         damaged: refuse
//!   prepared, all zeros                                   spare: used again
//!   prepared, bad Head, nothing behind with a mark        the Head is torn: made anew
//!   …, a frame behind with a mark beyond the Head         the Head is rotten: refuse
//!   of another log; a gap; cut short; bad header          refuse
//! ```
//!
//! What lies past the newest mark may be in the page cache only; whoever uses the log writes it
//! again before it counts.

use std::io;
use std::sync::Arc;

use tidings_types::bugs::{Bug, is_planted};
use tidings_types::layout::frame::FrameKind;
use tidings_types::offset::Position;

use crate::checkpoint;
use crate::contents::{Contents, note_frame};
use crate::damage;
use crate::disk::{Disk, File};
use crate::error::OpenError;
use crate::frames::{Frame, Frames, SCAN_STEP_BYTES};
use crate::head::Head;
use crate::identity::{self, Identity, Known, Record};
use crate::segment::{self, HeaderRead, Segment};

/// Size of the first read of a segment of which only the Head is wanted.
const HEAD_STEP_BYTES: usize = 16 << 10;

/// See the module's description.
pub(crate) struct Survey {
    pub(crate) identity: Option<Identity>,
    /// The segments that hold frames, without a gap, and what their Heads restate.
    pub(crate) used: Vec<Used>,
    /// The end of the last one; `None` if no segment holds a frame.
    pub(crate) tail: Option<Tail>,
    /// Prepared ones, right behind it.
    pub(crate) spare: Vec<Segment>,
    /// Files that a start removes, in this order.
    pub(crate) stale: Vec<String>,
}

/// A segment that holds frames.
pub(crate) struct Used {
    pub(crate) segment: Segment,
    pub(crate) head: Head,
}

/// Where the log ends, and what it adds up to there.
pub(crate) struct Tail {
    pub(crate) head: Head,
    pub(crate) contents: Contents,
    pub(crate) n_frames: u64,
    /// The log ends here.
    pub(crate) cut: Position,
    /// Newest durable mark.
    pub(crate) mark: Position,
    /// Something follows that is no frame of the log.
    pub(crate) is_torn: bool,
}

impl Tail {
    /// Whether all that a segment holds was forgotten by a Reset behind it, whatever its indexes.
    pub(crate) fn is_forgotten(&self, segment: &Segment) -> bool {
        segment.end() <= self.head.reset_at
    }
}

/// A segment's file, by its header.
enum Found {
    Whole(Segment),
    Short,
    Headless,
}

/// What the space behind a header turned out to be.
enum Filling {
    Used(Head),
    Zeros,
    Torn,
}

pub(crate) fn failed(what: &str, number: u64) -> impl FnOnce(io::Error) -> OpenError {
    let what = format!("{what} segment {number}");
    move |source| OpenError::Io { what, source }
}

fn open_file(disk: &dyn Disk, number: u64) -> Result<Arc<dyn File>, OpenError> {
    disk.open(&segment::path(number)).map_err(failed("opening", number))
}

/// Frames of a segment, to be read from end to end.
pub(crate) fn frames(disk: &dyn Disk, segment: Segment) -> Result<Frames, OpenError> {
    Ok(Frames::new(segment, open_file(disk, segment.number)?, SCAN_STEP_BYTES))
}

/// Looks at a directory.
pub(crate) fn survey(disk: &dyn Disk) -> Result<Survey, OpenError> {
    damage::check(disk)?;
    let record = Record::read(disk)?;
    let identity = record.map(|record| record.identity);
    let reading = |source| OpenError::Io { what: "reading the log's folder".to_owned(), source };
    let names = disk.list(segment::DIR).map_err(reading)?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| segment::number_of(name)).collect();
    let Some(Record { identity: known, known: reached }) = record else {
        check_fresh(disk)?;
        let (used, spare, stale) = (Vec::new(), Vec::new(), Vec::new());
        return Ok(Survey { identity, used, tail: None, spare, stale });
    };
    if let Some((&before, _)) =
        numbers.iter().zip(numbers.iter().skip(1)).find(|&(&a, &b)| a + 1 != b)
    {
        return Err(OpenError::MissingSegment { segment: before + 1 });
    }

    let mut found = Vec::new();
    for number in numbers {
        found.push((number, look_at(disk, number, &known)?));
    }
    let (mut spare, mut stale) = (Vec::new(), Vec::new());
    let used = split_used(disk, found, &mut spare, &mut stale)?;
    let tail = match used.last() {
        Some(last) => Some(find_end(disk, last)?),
        None => None,
    };
    if let (Some(last), Some(tail)) = (used.last(), &tail) {
        check_end(last.segment.number, tail.cut, &reached)?;
    }
    drop_unfit_spares(used.last(), &mut spare, &mut stale);
    let last = used.last().map_or(0, |used| used.segment.number);
    let is_of_closed = |name: &str| {
        used.iter().any(|used| {
            used.segment.number < last && name == segment::index_name(used.segment.number)
        })
    };
    let others = names.iter().filter(|name| segment::number_of(name).is_none());
    let others = others.filter(|name| !is_of_closed(name));
    stale.extend(others.map(|name| format!("{}/{name}", segment::DIR)));
    Ok(Survey { identity, used, tail, spare, stale })
}

/// A directory without an identity is a new one only if nothing else is there: the identity is
/// written first. A fresh node beside an old checkpoint would acknowledge what its next start
/// refuses.
fn check_fresh(disk: &dyn Disk) -> Result<(), OpenError> {
    for beside in [segment::DIR, checkpoint::DIR] {
        let reading = |source| OpenError::Io { what: format!("reading {beside}"), source };
        if !disk.list(beside).map_err(reading)?.is_empty() {
            return Err(OpenError::MissingFile { file: identity::FILE.to_owned(), beside });
        }
    }
    Ok(())
}

fn look_at(disk: &dyn Disk, number: u64, known: &Identity) -> Result<Found, OpenError> {
    let file = open_file(disk, number)?;
    let segment = match Segment::read(&*file).map_err(failed("reading", number))? {
        HeaderRead::Intact(segment) => segment,
        HeaderRead::Damaged => return Ok(Found::Headless),
        HeaderRead::OtherVersion(found) => {
            let file = segment::path(number);
            return Err(OpenError::OtherVersion { file, found, ours: identity::FORMAT });
        }
    };
    let is_ours = segment.cluster == known.cluster && segment.node == known.node;
    if !is_ours || segment.number != number {
        return Err(OpenError::Foreign { segment: number, found: segment.node });
    }
    let n_bytes = file.len_bytes().map_err(failed("reading", number))?;
    Ok(if n_bytes < segment.size { Found::Short } else { Found::Whole(segment) })
}

/// Parts the segments that hold frames from those prepared behind them.
fn split_used(
    disk: &dyn Disk,
    mut found: Vec<(u64, Found)>,
    spare: &mut Vec<Segment>,
    stale: &mut Vec<String>,
) -> Result<Vec<Used>, OpenError> {
    let mut used: Vec<Used> = Vec::new();
    while let Some((number, found)) = found.pop() {
        let segment = match found {
            Found::Whole(segment) => segment,
            Found::Short => return Err(OpenError::MissingSegment { segment: number }),
            Found::Headless => {
                let (position, why) = (Position::ZERO, "its header is not what was written");
                return Err(OpenError::Damaged { segment: number, position, why });
            }
        };
        match look_inside(disk, segment, used.is_empty())? {
            Filling::Used(head) => used.push(Used { segment, head }),
            Filling::Zeros => spare.push(segment),
            Filling::Torn => stale.push(segment::path(number)),
        }
    }
    used.reverse();
    spare.reverse();
    for (before, after) in used.iter().zip(used.iter().skip(1)) {
        if before.segment.end() != after.segment.first {
            let (segment, position) = (after.segment.number, after.segment.first);
            let why = "it does not follow the one before";
            return Err(OpenError::Damaged { segment, position, why });
        }
    }
    Ok(used)
}

/// Reads a segment's Head. Where there is none: `may_be_empty` if no later segment holds frames.
fn look_inside(
    disk: &dyn Disk,
    segment: Segment,
    may_be_empty: bool,
) -> Result<Filling, OpenError> {
    let number = segment.number;
    let position = segment.first_frame();
    let damaged = |why| OpenError::Damaged { segment: number, position, why };
    let mut frames = Frames::new(segment, open_file(disk, number)?, HEAD_STEP_BYTES);
    let reading = || failed("reading", number);
    if let Some(frame) = frames.read(position).map_err(reading())? {
        return head_of(&frame).map(Filling::Used).map_err(damaged);
    }
    if !may_be_empty {
        return Err(damaged("its head is not what was written"));
    }
    if frames.is_zero_from(position).map_err(reading())? {
        return Ok(Filling::Zeros);
    }
    let was_durable = |frame: &Frame| frame.header.durable > position;
    match frames.find(position, was_durable).map_err(reading())? {
        Some(_) => Err(damaged("its head is not what was written, and was durable")),
        None => Ok(Filling::Torn),
    }
}

fn head_of(frame: &Frame) -> Result<Head, &'static str> {
    if frame.header.kind != FrameKind::Head {
        return Err("its first frame is no head");
    }
    let last = (frame.header.index, frame.header.term);
    Head::parse(last, frame.body.clone()).map_err(|malformed| malformed.why)
}

/// Only what follows without a gap is used again; a hole would shift all positions behind it.
fn drop_unfit_spares(last: Option<&Used>, spare: &mut Vec<Segment>, stale: &mut Vec<String>) {
    let mut before = last.map(|used| used.segment);
    let n_fit = spare.iter().take_while(|segment| {
        let fits = before.is_some_and(|before| {
            before.number + 1 == segment.number && before.end() == segment.first
        });
        before = Some(**segment);
        fits
    });
    let unfit = spare.split_off(n_fit.count());
    stale.extend(unfit.iter().map(|segment| segment::path(segment.number)));
    // From the last on, so that a crash in between leaves no gap.
    stale.sort_by(|a, b| b.cmp(a));
}

/// Finds the end of the log in the last segment, by the torn-tail rule.
fn find_end(disk: &dyn Disk, last: &Used) -> Result<Tail, OpenError> {
    let Used { segment, head } = last;
    let mut frames = frames(disk, *segment)?;
    let reading = || failed("reading", segment.number);
    let damaged = |position, why| OpenError::Damaged { segment: segment.number, position, why };
    let (mut head, mut contents) = (head.clone(), Contents::default());
    let (mut cut, mut mark, mut n_frames) = (segment.first_frame(), Position::ZERO, 0);
    while let Some(frame) = frames.read(cut).map_err(reading())? {
        if frame.header.durable > cut {
            return Err(damaged(cut, "a frame's durable mark is ahead of the frame"));
        }
        if n_frames > 0 {
            let noted = note_frame(&mut head, &mut contents, &frame);
            noted.map_err(|why| damaged(cut, why))?;
        }
        mark = mark.max(frame.header.durable);
        cut = frame.end();
        n_frames += 1;
    }
    let is_torn = !frames.is_zero_from(cut).map_err(reading())?;
    if is_torn && !is_planted(Bug::TruncateOnMidlogCrc) {
        let was_durable = |frame: &Frame| frame.header.durable > cut;
        if frames.find(cut, was_durable).map_err(reading())?.is_some() {
            return Err(damaged(cut, "a later frame says that it was durable"));
        }
    }
    Ok(Tail { head, contents, n_frames, cut, mark, is_torn })
}

/// What was surely durable must still be there. The frames before the end say so by their marks,
/// but nothing says so of the last segment if it is gone, or zeroed from some frame on.
fn check_end(segment: u64, end: Position, reached: &Known) -> Result<(), OpenError> {
    let &Known { segment: known_segment, durable: known } = reached;
    if known <= end {
        return Ok(());
    }
    Err(OpenError::EndLost { segment, end, known_segment, known })
}

/// Reads a closed segment from its Head to its end: every frame must be there.
pub(crate) fn walk(
    disk: &dyn Disk,
    used: &Used,
    closed_at: Position,
) -> Result<(Contents, u64), OpenError> {
    let number = used.segment.number;
    let damaged = |position, why| OpenError::Damaged { segment: number, position, why };
    let mut frames = frames(disk, used.segment)?;
    let (mut head, mut contents) = (used.head.clone(), Contents::default());
    let (mut at, mut n_frames) = (used.segment.first_frame(), 0);
    while at < closed_at {
        let frame = frames.read(at).map_err(failed("reading", number))?;
        let frame = frame.ok_or(damaged(at, "the frame is not what was written"))?;
        if n_frames > 0 {
            let noted = note_frame(&mut head, &mut contents, &frame);
            noted.map_err(|why| damaged(at, why))?;
        }
        at = frame.end();
        n_frames += 1;
    }
    if at != closed_at {
        return Err(damaged(at, "it ends elsewhere than the next segment says"));
    }
    Ok((contents, n_frames))
}

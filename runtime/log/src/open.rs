//! Opening a directory: judged first, then repaired, then used.
//!
//! Nothing is changed before the verdict is known. Then what lies past the newest durable mark is
//! written again where it stands, because it may be in the page cache only; the space behind the cut
//! is zeroed, so that no frame of an unfinished write comes back; both are synced before a single
//! entry counts as persisted. Last the incarnation is raised, durably.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;

use tidings_types::bugs::{Bug, is_planted};
use tidings_types::id::Incarnation;
use tidings_types::offset::{LogIndex, Position, Term};

use crate::checkpoint::{self, Checkpoint, Origin};
use crate::contents::Contents;
use crate::disk::{Disk, File};
use crate::entry::HardState;
use crate::error::OpenError;
use crate::head::Head;
use crate::identity::{Identity, Known, Record};
use crate::judge::{Earlier, Judged, Start, judge};
use crate::log::{Log, LogStart};
use crate::options::Options;
use crate::pace::Pace;
use crate::replay::Replay;
use crate::section::Sections;
use crate::segment::{self, Segment, zero};
use crate::shared::Shared;
use crate::stream::Stream;
use crate::survey::{Survey, Tail, failed, frames, survey};
use crate::terms::Terms;
use crate::writer::{Kept, Writer, WriterStart};

/// A log that is ready.
pub struct Opened {
    /// Whose directory it is.
    pub identity: Identity,
    /// The replica's end.
    pub log: Log,
    /// The end that owns the files.
    pub writer: Writer,
    /// Where to start from.
    pub checkpoint: Option<Checkpoint>,
    /// What must not be forgotten.
    pub hard_state: HardState,
    /// Up to which entry the log is purged, and that one's term.
    pub purged: (LogIndex, Term),
    /// The entries behind the checkpoint, or behind the purged ones.
    pub replay: Replay,
}

fn io_failed(what: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { what: what.to_owned(), source }
}

/// Opens a directory; an empty one becomes `fresh`'s, whose incarnation is not looked at.
///
/// # Errors
/// If it cannot be used as it is; nothing in it is changed then.
pub fn open(disk: Arc<dyn Disk>, options: Options, fresh: Identity) -> Result<Opened, OpenError> {
    let free = disk.free_bytes().map_err(io_failed("asking for free space"))?;
    if free < options.free_bytes_min {
        return Err(OpenError::NotEnoughSpace { free, needed: options.free_bytes_min });
    }
    let mut survey = survey(&*disk)?;
    let identity =
        survey.identity.unwrap_or(Identity { incarnation: Incarnation::new(0), ..fresh });
    if let Some(expected) = options.expect_cluster
        && identity.cluster != expected
    {
        return Err(OpenError::OtherCluster { found: identity.cluster, expected });
    }
    match survey.tail.take() {
        Some(tail) => begin_again(disk, &options, identity, &survey, tail),
        None if identity.incarnation == Incarnation::new(0) => {
            begin(disk, &options, identity, &survey)
        }
        None => Err(OpenError::MissingSegment { segment: 0 }),
    }
}

fn next_incarnation(identity: Identity) -> Identity {
    Identity { incarnation: Incarnation::new(identity.incarnation.get() + 1), ..identity }
}

fn write_identity(disk: &dyn Disk, identity: Identity, known: Known) -> Result<(), OpenError> {
    Record { identity, known }.write(disk).map_err(io_failed("writing the identity"))
}

/// A directory that no log ever began in.
fn begin(
    disk: Arc<dyn Disk>,
    options: &Options,
    identity: Identity,
    survey: &Survey,
) -> Result<Opened, OpenError> {
    write_identity(&*disk, identity, Known::default())?;
    disk.make_dir(segment::DIR).map_err(io_failed("making the log's folder"))?;
    let spare = survey.spare.iter().map(|segment| segment::path(segment.number));
    let mut unused: Vec<String> = spare.chain(survey.stale.iter().cloned()).collect();
    // From the last on, so that a crash in between leaves no gap.
    unused.sort_by(|a, b| b.cmp(a));
    remove(&*disk, segment::DIR, unused.into_iter())?;

    let stamp = disk.stamp();
    let segment = Segment {
        number: 0,
        first: Position::ZERO,
        size: options.first_segment_bytes,
        salt: stamp.salt,
        created_ms: stamp.created_ms,
        cluster: identity.cluster,
        node: identity.node,
    };
    let file = segment.prepare(&*disk, &Pace::AtOnce).map_err(failed("preparing", 0))?;
    let identity = next_incarnation(identity);
    let shared = Arc::new(Shared::new(disk.clone()));
    shared.events().index.add_segment(segment, Sections::default());
    let head = Head { incarnation: identity.incarnation, ..Head::default() };
    let mut writer = Writer::new(WriterStart {
        shared: shared.clone(),
        identity,
        segment_bytes: options.segment_bytes,
        free_bytes_kept: options.free_bytes_kept,
        stream: Stream::new(segment, file, segment.first_frame()),
        head,
        contents: Contents::default(),
        prepared: VecDeque::new(),
        kept: VecDeque::new(),
    });
    let begun = writer.begin().and_then(|()| writer.flush());
    begun.map_err(|error| OpenError::Io {
        what: "writing the first frame".to_owned(),
        source: io::Error::other(error),
    })?;
    // From here on a log without a frame is one that was lost.
    write_identity(&*disk, identity, Known { segment: 0, durable: writer.durable() })?;
    let entries = Arc::new(Vec::new());
    let first = LogIndex::ZERO.next();
    let log = Log::new(LogStart {
        shared,
        terms: Terms::default(),
        applied: LogIndex::ZERO,
        replayed: entries.clone(),
        replayed_bytes: 0,
        closed: VecDeque::new(),
        checkpoints: Vec::new(),
        tail_bytes_max: options.tail_bytes_max,
    });
    Ok(Opened {
        identity,
        log,
        writer,
        checkpoint: None,
        hard_state: HardState::default(),
        purged: (LogIndex::ZERO, Term::ZERO),
        replay: Replay::new(disk, vec![segment], entries, first),
    })
}

/// What is found counts as durable from here on. A process that was killed between a rename and the
/// sync of its folder leaves a name that the next one sees, and a power cut takes away.
fn sync_folders(disk: &dyn Disk) -> Result<(), OpenError> {
    for folder in [segment::DIR, checkpoint::DIR] {
        if !disk.list(folder).map_err(io_failed("listing a folder"))?.is_empty() {
            disk.sync_dir(folder).map_err(io_failed("syncing a folder"))?;
        }
    }
    Ok(())
}

/// A directory with a log in it.
fn begin_again(
    disk: Arc<dyn Disk>,
    options: &Options,
    identity: Identity,
    survey: &Survey,
    tail: Tail,
) -> Result<Opened, OpenError> {
    let judged = judge(&*disk, &survey.used, &tail)?;
    sync_folders(&*disk)?;
    let last = survey.used.last().expect("a log that ends has a last segment").segment;
    let file = repair(&*disk, options, &last, &tail)?;
    remove_useless(&*disk, survey, &judged.start)?;
    let mut prepared = VecDeque::new();
    for segment in &survey.spare {
        let file = disk.open(&segment::path(segment.number));
        prepared.push_back((*segment, file.map_err(failed("opening", segment.number))?));
    }
    let identity = next_incarnation(identity);
    let known = Known { segment: last.number, durable: tail.cut };
    write_identity(&*disk, identity, known)?;

    let max_index = |segment: &Segment, earlier: &Earlier| match tail.is_forgotten(segment) {
        true => LogIndex::ZERO,
        false => earlier.max_index(),
    };
    let Judged { earlier, mut start, terms, entries } = judged;
    let shared = Arc::new(Shared::new(disk.clone()));
    let segments: Vec<Segment> = survey.used.iter().map(|used| used.segment).collect();
    let (mut kept, mut closed) = (VecDeque::new(), VecDeque::new());
    for (segment, earlier) in segments.iter().zip(earlier) {
        let (number, size) = (segment.number, segment.size);
        kept.push_back(Kept { number, size, max_index: max_index(segment, &earlier) });
        let index = &mut shared.events().index;
        match earlier {
            Earlier::Filed(head) => index.add_filed(*segment, &head.topics),
            Earlier::Walked(walked) => {
                let sections = start.local.remove(&segment.number).unwrap_or_default();
                index.add_segment(*segment, sections);
                closed.push_back(walked);
            }
        }
    }
    let Tail { mut head, contents, cut, .. } = tail;
    let sections = start.local.remove(&last.number).unwrap_or_default();
    shared.events().index.add_segment(last, sections);

    let (hard_state, purged) = (head.hard_state, head.purged);
    head.incarnation = identity.incarnation;
    if let Some(checkpoint) = &start.checkpoint {
        head.membership.clone_from(&checkpoint.membership);
    }
    let applied = start.checkpoint.as_ref().map_or(purged.0, |checkpoint| checkpoint.index);
    let checkpoints = usable_checkpoints(&*disk, purged.0)?;
    let entries = Arc::new(entries);
    let replayed_bytes = entries.first().map_or(0, |&(_, first)| cut.since(first));
    let writer = Writer::new(WriterStart {
        shared: shared.clone(),
        identity,
        segment_bytes: options.segment_bytes,
        free_bytes_kept: options.free_bytes_kept,
        stream: Stream::new(last, file, cut),
        head,
        contents,
        prepared,
        kept,
    });
    let log = Log::new(LogStart {
        shared,
        terms,
        applied,
        replayed: entries.clone(),
        replayed_bytes,
        closed,
        checkpoints,
        tail_bytes_max: options.tail_bytes_max,
    });
    let replay = Replay::new(disk, segments, entries, applied.next());
    let checkpoint = start.checkpoint;
    Ok(Opened { identity, log, writer, checkpoint, hard_state, purged, replay })
}

/// Those from which a newcomer could begin; a snapshot without its Reset never came.
fn usable_checkpoints(disk: &dyn Disk, purged: LogIndex) -> Result<Vec<LogIndex>, OpenError> {
    let all = checkpoint::list(disk).map_err(io_failed("listing checkpoints"))?;
    let usable = |&(index, origin): &(LogIndex, Origin)| origin == Origin::Own || index == purged;
    Ok(all.into_iter().filter(usable).map(|(index, _)| index).collect())
}

/// Makes sure that the disk holds what was read, and nothing behind it.
fn repair(
    disk: &dyn Disk,
    options: &Options,
    last: &Segment,
    tail: &Tail,
) -> Result<Arc<dyn File>, OpenError> {
    let repairing = || failed("repairing the end of", last.number);
    let mut frames = frames(disk, *last)?;
    let from = tail.mark.max(last.first_frame());
    let unsure = frames.raw(from, tail.cut).map_err(repairing())?;
    let file = frames.file().clone();
    if !is_planted(Bug::TailCountedBeforeRewrite) {
        file.write_at(&mut [IoSlice::new(&unsure)], last.at(from)).map_err(repairing())?;
    }
    let cut = last.at(tail.cut);
    if !is_planted(Bug::SkipTruncateSync) {
        zero(&*file, cut, last.size.min(cut + options.zero_bytes)).map_err(repairing())?;
    }
    file.sync().map_err(repairing())?;
    Ok(file)
}

/// What was begun and not ended, and rotten checkpoints: a purge up to one would leave no way to start.
fn remove_useless(disk: &dyn Disk, survey: &Survey, start: &Start) -> Result<(), OpenError> {
    remove(disk, segment::DIR, survey.stale.iter().cloned())?;
    remove(disk, checkpoint::DIR, start.rotten.iter().cloned())
}

fn remove(
    disk: &dyn Disk,
    folder: &str,
    paths: impl Iterator<Item = String>,
) -> Result<(), OpenError> {
    for path in paths {
        let removed = disk.remove(&path).and_then(|()| disk.sync_dir(folder));
        removed.map_err(|source| OpenError::Io { what: format!("removing {path}"), source })?;
    }
    Ok(())
}

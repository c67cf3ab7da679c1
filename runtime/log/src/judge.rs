//! The verdict over a directory: whether a log can start from it, and from where.

use std::collections::BTreeMap;
use std::io;

use tidings_types::offset::{LogIndex, Position, Term};

use crate::checkpoint::{self, Checkpoint, Origin};
use crate::contents::{Closed, Contents};
use crate::disk::Disk;
use crate::error::OpenError;
use crate::index_file::{self, IndexHead};
use crate::section::{Sections, parse_local};
use crate::segment::index_name;
use crate::survey::{Tail, Used, failed, walk};
use crate::terms::Terms;

/// A log that can start.
pub(crate) struct Judged {
    /// What is known of each segment before the last one.
    pub(crate) earlier: Vec<Earlier>,
    pub(crate) start: Start,
    pub(crate) terms: Terms,
    /// Term and place of each entry behind the start.
    pub(crate) entries: Vec<(Term, Position)>,
}

/// A closed segment.
pub(crate) enum Earlier {
    /// It has its index file.
    Filed(IndexHead),
    /// It was read.
    Walked(Closed),
}

/// The terms of a segment's entries.
struct Outline {
    runs: Vec<(LogIndex, Term)>,
    last: Option<LogIndex>,
    reset: Option<(LogIndex, Term)>,
}

impl Outline {
    fn of(contents: &Contents) -> Self {
        Self { runs: contents.runs(), last: contents.last(), reset: contents.reset }
    }
}

/// The state to start from.
#[derive(Default)]
pub(crate) struct Start {
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The checkpoint's local part.
    pub(crate) local: BTreeMap<u64, Sections>,
    /// Newer ones that are not what was written, by their files: nothing may count on them.
    pub(crate) rotten: Vec<String>,
}

fn reading(what: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { what: what.to_owned(), source }
}

impl Earlier {
    pub(crate) fn max_index(&self) -> LogIndex {
        match self {
            Self::Filed(head) => head.max_index,
            Self::Walked(closed) => closed.contents.max_index,
        }
    }

    fn outline(&self) -> Outline {
        match self {
            Self::Filed(head) => {
                Outline { runs: head.runs.clone(), last: head.last(), reset: head.reset }
            }
            Self::Walked(closed) => Outline::of(&closed.contents),
        }
    }

    fn contents(
        &self,
        disk: &dyn Disk,
        used: &Used,
        closed_at: Position,
    ) -> Result<Contents, OpenError> {
        let number = used.segment.number;
        match self {
            Self::Walked(closed) => Ok(closed.contents.clone()),
            Self::Filed(head) => {
                let rest = head.read_rest(disk, number);
                match rest.map_err(failed("reading the index of", number))? {
                    Some((_, contents)) => Ok(contents),
                    None => walk(disk, used, closed_at).map(|(contents, _)| contents),
                }
            }
        }
    }
}

/// Judges what was surveyed.
pub(crate) fn judge(disk: &dyn Disk, used: &[Used], tail: &Tail) -> Result<Judged, OpenError> {
    let (purged, last) = (tail.head.purged, tail.head.last);
    check_first(used, tail)?;
    let commit = tail.head.hard_state.commit;
    if last.0 < commit {
        let what = "the hard state";
        return Err(OpenError::LogTooShort { last: last.0, what, index: commit });
    }
    let mut earlier = Vec::new();
    for (before, after) in used.iter().zip(used.iter().skip(1)) {
        let head = index_file::read_head(disk, &before.segment);
        let head = head.map_err(failed("reading the index of", before.segment.number))?;
        earlier.push(match head {
            Some(head) if head.follows(before.head.last.0, after.head.last.0) => {
                Earlier::Filed(head)
            }
            _ => {
                let (contents, _) = walk(disk, before, after.head.closed_at)?;
                Earlier::Walked(Closed { segment: before.segment, contents })
            }
        });
    }
    let terms = fold_terms(used, &earlier, tail);
    let mut start = find_start(disk, used, &earlier, tail)?;
    let from = start.checkpoint.as_ref().map_or(purged.0, |checkpoint| checkpoint.index);
    if let Some(checkpoint) = &start.checkpoint
        && terms.term(checkpoint.index).is_some_and(|term| term != checkpoint.term)
    {
        let file = format!("checkpoint {}", checkpoint.index);
        return Err(OpenError::DamagedFile { file, why: "its term is not the log's" });
    }
    let entries = entries_after(disk, used, &earlier, tail, from)?;
    // What is applied again is indexed again.
    if let Some(&(_, first)) = entries.first() {
        for sections in start.local.values_mut().flat_map(|part| part.by_topic.values_mut()) {
            sections.retain(|section| section.position < first);
        }
    }
    Ok(Judged { earlier, start, terms, entries })
}

/// The first segment must be one that a purge can have left as the first.
fn check_first(used: &[Used], tail: &Tail) -> Result<(), OpenError> {
    let Some(first) = used.first() else { return Ok(()) };
    let is_behind_reset = first.segment.first <= tail.head.reset_at;
    let is_left_by_purge = first.head.last.0 <= tail.head.purged.0;
    let is_first_ever = first.segment.number == 0;
    if is_first_ever || is_left_by_purge || is_behind_reset {
        return Ok(());
    }
    Err(OpenError::MissingSegment { segment: first.segment.number - 1 })
}

fn fold_terms(used: &[Used], earlier: &[Earlier], tail: &Tail) -> Terms {
    let mut terms = Terms::new(used.first().map_or_else(Default::default, |first| first.head.last));
    let outlines = earlier.iter().map(Earlier::outline).chain([Outline::of(&tail.contents)]);
    for Outline { runs, last, reset } in outlines {
        if let Some(reset) = reset {
            terms = Terms::new(reset);
        }
        let Some((last, &(first, _))) = last.zip(runs.first()) else { continue };
        if first <= terms.base().0 {
            // It replaced entries of a segment that is purged; what is behind the purge is known.
            terms = Terms::new((LogIndex::new(first.get() - 1), Term::ZERO));
        }
        terms.put_runs(&runs, last);
    }
    if terms.base().0 < tail.head.purged.0 {
        terms.purge(tail.head.purged);
    }
    terms
}

/// Chooses the newest checkpoint from which all can be had: entries, state, and the index of each
/// segment.
fn find_start(
    disk: &dyn Disk,
    used: &[Used],
    earlier: &[Earlier],
    tail: &Tail,
) -> Result<Start, OpenError> {
    let (purged, last) = (tail.head.purged.0, tail.head.last.0);
    let (mut lacking, mut rotten) = (None, Vec::new());
    for (index, origin) in checkpoint::list(disk).map_err(reading("listing checkpoints"))? {
        // A Reset purges up to its snapshot; without it the snapshot never came.
        let is_pending = origin == Origin::Installed && purged < index;
        if index < purged || is_pending {
            continue;
        }
        let checkpoint = checkpoint::read(disk, index, origin);
        let checkpoint = checkpoint.map_err(reading("reading a checkpoint"))?;
        let Some(checkpoint) = checkpoint else {
            tracing::warn!(%index, "a checkpoint is damaged; an older one is tried");
            rotten.push(checkpoint::path(index, origin));
            continue;
        };
        if last < index {
            return Err(OpenError::LogTooShort { last, what: "a checkpoint", index });
        }
        let Ok(local) = parse_local(checkpoint.local.clone().into()) else {
            rotten.push(checkpoint::path(index, origin));
            continue;
        };
        match lacks_index(used, earlier, tail, &local, index) {
            None => return Ok(Start { checkpoint: Some(checkpoint), local, rotten }),
            Some(number) => {
                tracing::warn!(%index, segment = number, "an index file is damaged; made anew");
                lacking = Some(number);
            }
        }
    }
    if purged == LogIndex::ZERO {
        return Ok(Start { rotten, ..Start::default() });
    }
    Err(match lacking {
        Some(number) => {
            let why = "no checkpoint is old enough to make it anew";
            OpenError::DamagedFile { file: index_name(number), why }
        }
        None => OpenError::MissingCheckpoint { purged },
    })
}

/// A segment with entries up to the index that has neither an index file nor a local part.
fn lacks_index(
    used: &[Used],
    earlier: &[Earlier],
    tail: &Tail,
    local: &BTreeMap<u64, Sections>,
    index: LogIndex,
) -> Option<u64> {
    let all = earlier.iter().map(Some).chain([None]);
    let kept = used.iter().zip(all).filter(|(used, _)| !tail.is_forgotten(&used.segment));
    let mut unfiled = kept.filter_map(|(used, earlier)| match earlier {
        Some(Earlier::Filed(_)) => None,
        Some(Earlier::Walked(closed)) => Some((used.segment.number, &closed.contents)),
        None => Some((used.segment.number, &tail.contents)),
    });
    let lacking = unfiled.find(|(number, contents)| {
        let holds_some = !contents.entries.is_empty() && contents.first <= index;
        // A crash may keep a segment from going that is purged.
        let is_needed = holds_some && tail.head.purged.0 < contents.max_index;
        is_needed && !local.contains_key(number)
    });
    lacking.map(|(number, _)| number)
}

/// The entries behind an index, by the conflict rule.
fn entries_after(
    disk: &dyn Disk,
    used: &[Used],
    earlier: &[Earlier],
    tail: &Tail,
    from: LogIndex,
) -> Result<Vec<(Term, Position)>, OpenError> {
    // What the log ended with before a segment lies before it.
    let start = used.iter().rposition(|used| used.head.last.0 <= from).unwrap_or(0);
    let mut entries = Vec::new();
    for (idx, segment) in used.iter().enumerate().skip(start) {
        let closed_at = used.get(idx + 1).map_or(tail.cut, |after| after.head.closed_at);
        let contents = match earlier.get(idx) {
            Some(earlier) => earlier.contents(disk, segment, closed_at)?,
            None => tail.contents.clone(),
        };
        if contents.reset.is_some() {
            entries.clear();
        }
        if contents.entries.is_empty() {
            continue;
        }
        let n_kept = contents.first.get().saturating_sub(from.get() + 1) as usize;
        if entries.len() < n_kept {
            let (segment, position) = (segment.segment.number, segment.segment.first);
            return Err(OpenError::Damaged { segment, position, why: "entries are missing" });
        }
        entries.truncate(n_kept);
        let behind = contents.iter().filter(|&(index, ..)| from < index);
        entries.extend(behind.map(|(_, term, position)| (term, position)));
    }
    if from.plus(entries.len() as u64) != tail.head.last.0 {
        let (last, what) = (tail.head.last.0, "its own list of entries");
        let index = from.plus(entries.len() as u64);
        return Err(OpenError::LogTooShort { last, what, index });
    }
    Ok(entries)
}

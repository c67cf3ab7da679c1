//! `log check`: an offline verdict over a directory; changes nothing.

use std::fmt;

use tidings_types::id::Incarnation;
use tidings_types::offset::{LogIndex, Position};

use crate::disk::Disk;
use crate::error::OpenError;
use crate::identity::Identity;
use crate::judge::judge;
use crate::survey::{Survey, Tail, survey, walk};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose directory it is, as of its last start.
    pub identity: Option<Identity>,
    /// All segments that hold frames, as far as they could be told.
    pub segments: Vec<SegmentReport>,
    /// The last entry.
    pub last_index: LogIndex,
    /// Up to which entry the log is purged.
    pub purged: LogIndex,
    /// Where the log ends.
    pub end: Position,
    /// The checkpoint that a start begins with.
    pub checkpoint: Option<LogIndex>,
    /// What a start would do.
    pub verdict: Verdict,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub number: u64,
    /// Its first position.
    pub first: Position,
    /// Whole frames in it, up to the first bad one.
    pub n_frames: u64,
    /// The first position that is not what was written, if there is one.
    pub bad: Option<Position>,
}

/// What a start would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It would begin a fresh log.
    Empty,
    /// It would go on.
    Sound,
    /// It would cut an unfinished write off, and go on.
    Torn {
        /// Where.
        cut: Position,
    },
    /// It would refuse.
    Refused {
        /// In these words.
        why: String,
    },
}

impl Verdict {
    /// Whether a start would go on.
    pub const fn is_sound(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "empty"),
            Self::Sound => write!(f, "sound"),
            Self::Torn { cut } => write!(f, "sound up to an unfinished write at position {cut}"),
            Self::Refused { why } => write!(f, "refused: {why}"),
        }
    }
}

/// Judges a directory, and reads every frame of it; a start reads the last segment only.
pub fn check(disk: &dyn Disk) -> Report {
    let mut report = Report {
        identity: None,
        segments: Vec::new(),
        last_index: LogIndex::ZERO,
        purged: LogIndex::ZERO,
        end: Position::ZERO,
        checkpoint: None,
        verdict: Verdict::Empty,
    };
    if let Err(error) = look(disk, &mut report) {
        report.verdict = Verdict::Refused { why: error.to_string() };
    }
    report
}

fn look(disk: &dyn Disk, report: &mut Report) -> Result<(), OpenError> {
    let mut survey = survey(disk)?;
    report.identity = survey.identity;
    let Some(tail) = survey.tail.take() else {
        let began = survey.identity.is_some_and(|id| id.incarnation > Incarnation::new(0));
        return if began { Err(OpenError::MissingSegment { segment: 0 }) } else { Ok(()) };
    };
    report.last_index = tail.head.last.0;
    report.purged = tail.head.purged.0;
    report.end = tail.cut;
    report.verdict = Verdict::Sound;
    if tail.is_torn {
        report.verdict = Verdict::Torn { cut: tail.cut };
    }
    let walked = walk_all(disk, &survey, &tail, &mut report.segments);
    let judged = judge(disk, &survey.used, &tail)?;
    report.checkpoint = judged.start.checkpoint.map(|checkpoint| checkpoint.index);
    walked
}

/// Reads all segments; the first error is the result, the rest is read all the same.
fn walk_all(
    disk: &dyn Disk,
    survey: &Survey,
    tail: &Tail,
    reports: &mut Vec<SegmentReport>,
) -> Result<(), OpenError> {
    let mut first_error = Ok(());
    for (used, after) in survey.used.iter().zip(survey.used.iter().skip(1)) {
        let (number, first) = (used.segment.number, used.segment.first);
        let mut report = SegmentReport { number, first, n_frames: 0, bad: None };
        match walk(disk, used, after.head.closed_at) {
            Ok((_, n_frames)) => report.n_frames = n_frames,
            Err(error) => {
                if let OpenError::Damaged { position, .. } = error {
                    report.bad = Some(position);
                }
                first_error = first_error.and(Err(error));
            }
        }
        reports.push(report);
    }
    if let Some(last) = survey.used.last() {
        let bad = tail.is_torn.then_some(tail.cut);
        let (number, first) = (last.segment.number, last.segment.first);
        reports.push(SegmentReport { number, first, n_frames: tail.n_frames, bad });
    }
    first_error
}

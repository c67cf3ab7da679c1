//! Cuts what a member says into messages that fit on a link.

use bytes::Bytes;
use tidings_types::limits::RESUME_PART_BYTES_MAX;

use crate::message::{KeptBatch, Resume};
use crate::session::{Report, Verdict};

/// About what an event takes beside its verdict's content.
const EVENT_BYTES: usize = 64;

fn n_bytes(verdict: &Verdict) -> usize {
    EVENT_BYTES
        + match verdict {
            Verdict::DoneEmitting(emitted) => emitted.iter().map(Bytes::len).sum(),
            Verdict::Again { message, .. } | Verdict::Dead { message, .. } => message.len(),
            Verdict::Skipped { reason } => reason.len(),
            Verdict::Done | Verdict::Unstarted => 0,
        }
}

/// Collects the parts of a resume.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) done: Vec<Resume>,
    open: Resume,
    n_bytes: usize,
}

impl Parts {
    pub(super) fn new(first: Resume) -> Self {
        Self { done: Vec::new(), open: first, n_bytes: 0 }
    }

    /// Adds a batch, in as many pieces as it needs.
    pub(super) fn add(&mut self, batch: KeptBatch) {
        let KeptBatch { group, worker, batch, n_events, n_ended, events } = batch;
        let empty = || KeptBatch { group, worker, batch, n_events, n_ended, events: Vec::new() };
        let mut piece = empty();
        for event in events {
            let n_more = event.verdict.as_ref().map_or(EVENT_BYTES, n_bytes);
            if 0 < self.n_bytes && RESUME_PART_BYTES_MAX < self.n_bytes + n_more {
                let full = std::mem::replace(&mut piece, empty());
                self.open.batches.extend(Some(full).filter(|full| !full.events.is_empty()));
                let number = self.open.number + 1;
                self.done.push(std::mem::replace(
                    &mut self.open,
                    Resume { number, ..Resume::default() },
                ));
                self.n_bytes = 0;
            }
            self.n_bytes += n_more;
            piece.events.push(event);
        }
        self.open.batches.push(piece);
    }

    /// All of them.
    pub(super) fn finish(mut self) -> Vec<Resume> {
        self.open.is_last = true;
        self.done.push(self.open);
        self.done
    }
}

/// The same in one report, or in several if it is large.
pub(super) fn cut(report: Report, mut each: impl FnMut(Report)) {
    let total: usize = report.outcomes.iter().map(|outcome| n_bytes(&outcome.verdict)).sum();
    if total <= RESUME_PART_BYTES_MAX {
        return each(report);
    }
    let Report { batch, outcomes, is_last, took } = report;
    let mut piece = Report { batch, outcomes: Vec::new(), is_last: false, took };
    let mut n_piece = 0;
    for outcome in outcomes {
        let n_more = n_bytes(&outcome.verdict);
        if 0 < n_piece && RESUME_PART_BYTES_MAX < n_piece + n_more {
            let outcomes = std::mem::take(&mut piece.outcomes);
            each(Report { outcomes, ..piece });
            n_piece = 0;
        }
        n_piece += n_more;
        piece.outcomes.push(outcome);
    }
    each(Report { is_last, ..piece });
}

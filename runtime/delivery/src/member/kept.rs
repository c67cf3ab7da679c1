//! A batch that a member was handed, until nobody asks for any outcome of it.

use tidings_types::id::{GroupId, TopicId, WorkerId};
use tidings_types::offset::{LaneEpoch, Offset};

use crate::message::{KeptBatch, KeptEvent};
use crate::session::{BatchId, Delivery, Report, Verdict};

/// See the module's description.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) worker: WorkerId,
    events: Vec<Named>,
    /// Places of events that were dead letters before, and by which redrive they came.
    redriven: Vec<(u32, u64)>,
    /// Of events that have ended, by place; nothing where nobody asks for it.
    verdicts: Vec<Option<Verdict>>,
    n_verdicts: usize,
    /// The worker tells no more of it.
    is_over: bool,
    /// The member was taken out of the group since: what is told of it is told to nobody.
    pub(super) is_disowned: bool,
}

/// What a leader must know to find an event.
#[derive(Clone, Copy, Debug)]
struct Named {
    topic: TopicId,
    offset: Offset,
    key_hash: u64,
    lane_epoch: LaneEpoch,
    attempt: u32,
}

impl Kept {
    pub(super) fn new(
        worker: WorkerId,
        deliveries: &[Delivery],
        redriven: Vec<(u32, u64)>,
    ) -> Self {
        let named = |delivery: &Delivery| {
            let &Delivery { topic, offset, lane_epoch, attempt, .. } = delivery;
            let key_hash = delivery.event.key_hash;
            Named { topic, offset, key_hash, lane_epoch, attempt }
        };
        Self {
            worker,
            events: deliveries.iter().map(named).collect(),
            redriven,
            verdicts: Vec::with_capacity(deliveries.len()),
            n_verdicts: 0,
            is_over: false,
            is_disowned: false,
        }
    }

    /// Its worker has told more of it. An event that was not started is not held any longer, and
    /// there is nothing to keep of it.
    ///
    /// # Panics
    /// If it tells of more events than there are: our own worker's fault.
    pub(super) fn report(&mut self, report: &Report) {
        for outcome in &report.outcomes {
            let is_kept = !self.is_disowned && outcome.verdict != Verdict::Unstarted;
            self.n_verdicts += usize::from(is_kept);
            self.verdicts.push(is_kept.then(|| outcome.verdict.clone()));
        }
        assert!(self.verdicts.len() <= self.events.len(), "a report names what was delivered");
        self.is_over |= report.is_last;
    }

    /// Its worker is gone.
    pub(super) fn end(&mut self) {
        self.events.truncate(self.verdicts.len());
        self.is_over = true;
    }

    /// Nobody asks for these outcomes any more.
    pub(super) fn confirm(&mut self, places: u64) {
        for (place, verdict) in (0..).zip(&mut self.verdicts) {
            if places & (1 << place) != 0 && verdict.take().is_some() {
                self.n_verdicts -= 1;
            }
        }
    }

    /// The member was taken out of the group.
    pub(super) fn disown(&mut self) {
        self.confirm(u64::MAX);
        self.is_disowned = true;
    }

    /// Nothing of it is held, and nothing kept.
    pub(super) const fn is_through(&self) -> bool {
        self.is_over && self.n_verdicts == 0
    }

    /// Its worker still has to tell of it.
    pub(super) const fn is_held(&self) -> bool {
        !self.is_over
    }

    /// As it is named when the member resumes.
    pub(super) fn named(&self, group: GroupId, batch: BatchId) -> KeptBatch {
        let count = |n: usize| u32::try_from(n).expect("a batch is short");
        let n_ended = self.verdicts.len();
        let verdicts = self.verdicts.iter().map(Option::as_ref);
        let verdicts = verdicts.chain(std::iter::repeat(None));
        let named = (0..).zip(&self.events).zip(verdicts);
        let named = named.filter(|((place, _), verdict)| n_ended <= *place || verdict.is_some());
        let redrive = |place: u32| {
            let found = self.redriven.iter().find(|(of, _)| *of == place);
            found.map(|&(_, number)| number)
        };
        let event = |((place, event), verdict): ((usize, &Named), Option<&Verdict>)| KeptEvent {
            place: count(place),
            topic: event.topic,
            offset: event.offset,
            key_hash: event.key_hash,
            lane_epoch: event.lane_epoch,
            attempt: event.attempt,
            redrive: redrive(count(place)),
            verdict: verdict.cloned(),
        };
        KeptBatch {
            group,
            worker: self.worker,
            batch,
            n_events: count(self.events.len()),
            n_ended: count(n_ended),
            events: named.map(event).collect(),
        }
    }
}

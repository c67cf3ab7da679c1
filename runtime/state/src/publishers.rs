//! Who publishes, and which batch of each comes next: a batch that is sent again is stored once.
//!
//! ```text
//!   sequence    … 4 │ 5  6  7  8  9  10  11  12 │ 13 │ 14 …
//!               forgotten      kept answers      next  gap
//! ```
//!
//! Only the next sequence is accepted, so a lost batch can never pass for a stored one, as it could
//! behind a high-water mark. Every answer consumes its sequence, but for a gap's and an expired
//! producer's, which are no one's turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_types::effect::{Placed, Refused};
use tidings_types::id::{ProducerId, Sequence};
use tidings_types::limits::{PRODUCER_IDLE_MAX, PRODUCER_RESULTS_KEPT, PRODUCERS_MAX};

/// The answer to a batch.
pub(crate) type Answer = Result<Placed, Refused>;

/// What is to be done with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the producer's next one: it is to be decided, and [`Publishers::answer`] be told.
    Next,
    /// It has its answer, the one from the first time included.
    Known(Answer),
}

/// All publishers that are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Publishers {
    by_id: BTreeMap<ProducerId, Arc<Publisher>>,
    /// The same, the one that was silent longest first.
    #[serde(skip)]
    by_silence: BTreeSet<(u64, ProducerId)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Publisher {
    next: Sequence,
    heard_ms: u64,
    /// The answers to the sequences right below `next`, oldest first.
    answers: VecDeque<Answer>,
}

impl Publisher {
    fn verdict(&self, sequence: Sequence) -> Verdict {
        let expected = self.next;
        if sequence == expected {
            return Verdict::Next;
        }
        if expected < sequence {
            return Verdict::Known(Err(Refused::SequenceGap { sequence, expected }));
        }
        let n_back = usize::try_from(expected.get() - sequence.get()).ok();
        let answer_idx = n_back.and_then(|n_back| self.answers.len().checked_sub(n_back));
        let answer = answer_idx.and_then(|idx| self.answers.get(idx));
        Verdict::Known(answer.cloned().unwrap_or(Err(Refused::AnswerForgotten { sequence })))
    }
}

impl Publishers {
    /// Forgets who was silent for too long.
    pub(crate) fn expire(&mut self, ts_ms: u64) {
        let idle_ms = u64::try_from(PRODUCER_IDLE_MAX.as_millis()).unwrap_or(u64::MAX);
        while let Some(&(heard_ms, producer)) = self.by_silence.first() {
            if ts_ms <= heard_ms.saturating_add(idle_ms) {
                return;
            }
            self.forget(heard_ms, producer);
        }
    }

    /// What is to be done with a batch.
    pub(crate) fn judge(
        &mut self,
        producer: ProducerId,
        sequence: Sequence,
        ts_ms: u64,
    ) -> Verdict {
        let Some(publisher) = self.by_id.get_mut(&producer) else {
            let is_first = sequence == Sequence::new(0);
            let expired = Verdict::Known(Err(Refused::ProducerExpired));
            return if is_first { Verdict::Next } else { expired };
        };
        if publisher.heard_ms != ts_ms {
            self.by_silence.remove(&(publisher.heard_ms, producer));
            self.by_silence.insert((ts_ms, producer));
            Arc::make_mut(publisher).heard_ms = ts_ms;
        }
        publisher.verdict(sequence)
    }

    /// Remembers the answer to the batch that [`Publishers::judge`] called the next one.
    pub(crate) fn answer(&mut self, producer: ProducerId, answer: Answer, ts_ms: u64) {
        if let Some(publisher) = self.by_id.get_mut(&producer) {
            let publisher = Arc::make_mut(publisher);
            if publisher.answers.len() == PRODUCER_RESULTS_KEPT {
                publisher.answers.pop_front();
            }
            publisher.answers.push_back(answer);
            publisher.next = publisher.next.next();
            return;
        }
        if PRODUCERS_MAX <= self.by_id.len() {
            let &(heard_ms, oldest) = self.by_silence.first().expect("there are many");
            self.forget(heard_ms, oldest);
        }
        let answers = VecDeque::from([answer]);
        let publisher = Publisher { next: Sequence::new(1), heard_ms: ts_ms, answers };
        self.by_id.insert(producer, Arc::new(publisher));
        self.by_silence.insert((ts_ms, producer));
    }

    /// Derives what is not stored. `false`: what was read back is not sound.
    pub(crate) fn restore(&mut self) -> bool {
        let silence = self.by_id.iter().map(|(&id, publisher)| (publisher.heard_ms, id));
        self.by_silence = silence.collect();
        let is_sound = |publisher: &Arc<Publisher>| {
            let n_answers = publisher.answers.len();
            n_answers <= PRODUCER_RESULTS_KEPT && n_answers as u64 <= publisher.next.get()
        };
        self.by_id.len() <= PRODUCERS_MAX && self.by_id.values().all(is_sound)
    }

    fn forget(&mut self, heard_ms: u64, producer: ProducerId) {
        self.by_silence.remove(&(heard_ms, producer));
        self.by_id.remove(&producer);
    }
}

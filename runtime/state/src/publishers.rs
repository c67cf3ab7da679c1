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
//!
//! They are kept in shards by the first byte of their id, and a shard is shared between clones of
//! the state until one of its publishers speaks. So a clone for a checkpoint holds up nobody,
//! however many publishers there are; what it saves is paid later, shard by shard.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::de::Deserializer;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use tidings_types::bugs::{Bug, is_planted};
use tidings_types::effect::{Placed, Refused};
use tidings_types::id::{ProducerId, Sequence};
use tidings_types::limits::{PRODUCER_IDLE_MAX, PRODUCER_RESULTS_KEPT, PRODUCERS_MAX};

/// One for each value of an id's first byte, so that their order is the order of ids.
const SHARDS: usize = 256;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publishers {
    shards: Vec<Arc<Shard>>,
    n_publishers: usize,
    /// The publisher of each shard that was silent longest.
    silent: BTreeSet<Silence>,
}

/// Since when a publisher is silent.
type Silence = (u64, ProducerId);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shard {
    by_id: BTreeMap<ProducerId, Arc<Publisher>>,
    /// The same, the one that was silent longest first.
    by_silence: BTreeSet<Silence>,
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
        let is_past_mark = is_planted(Bug::HwmDedup) && expected < sequence;
        if sequence == expected || is_past_mark {
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
    /// Remembers the answer to the next batch.
    fn answered(&mut self, sequence: Sequence, answer: Answer) {
        assert!(self.next == sequence || is_planted(Bug::HwmDedup), "it was judged");
        if self.answers.len() == PRODUCER_RESULTS_KEPT {
            self.answers.pop_front();
        }
        self.answers.push_back(answer);
        self.next = sequence.next();
    }
}

impl Publishers {
    /// Forgets who was silent for too long.
    pub(crate) fn expire(&mut self, ts_ms: u64) {
        let idle_ms = u64::try_from(PRODUCER_IDLE_MAX.as_millis()).unwrap_or(u64::MAX);
        while let Some(&(heard_ms, producer)) = self.silent.first() {
            if ts_ms <= heard_ms.saturating_add(idle_ms) {
                return;
            }
            self.forget((heard_ms, producer));
        }
    }

    /// What is to be done with a batch.
    pub(crate) fn judge(
        &mut self,
        producer: ProducerId,
        sequence: Sequence,
        ts_ms: u64,
    ) -> Verdict {
        let Some(publisher) = self.shard(producer).by_id.get(&producer) else {
            let is_first = sequence == Sequence::new(0) || is_planted(Bug::HwmDedup);
            let expired = Verdict::Known(Err(Refused::ProducerExpired));
            return if is_first { Verdict::Next } else { expired };
        };
        let (verdict, heard_ms) = (publisher.verdict(sequence), publisher.heard_ms);
        if heard_ms != ts_ms {
            self.change(producer, |shard| {
                shard.by_silence.remove(&(heard_ms, producer));
                shard.by_silence.insert((ts_ms, producer));
                let publisher = shard.by_id.get_mut(&producer).expect("just found");
                Arc::make_mut(publisher).heard_ms = ts_ms;
            });
        }
        verdict
    }

    /// Remembers the answer to the batch that [`Publishers::judge`] called the next one.
    pub(crate) fn answer(
        &mut self,
        (producer, sequence): (ProducerId, Sequence),
        answer: Answer,
        ts_ms: u64,
    ) {
        let shard = Arc::make_mut(self.shard_mut(producer));
        if let Some(publisher) = shard.by_id.get_mut(&producer) {
            return Arc::make_mut(publisher).answered(sequence, answer);
        }
        if PRODUCERS_MAX <= self.n_publishers {
            let &longest = self.silent.first().expect("there are many");
            self.forget(longest);
        }
        let answers = VecDeque::from([answer]);
        let publisher = Publisher { next: sequence.next(), heard_ms: ts_ms, answers };
        self.change(producer, |shard| {
            shard.by_id.insert(producer, Arc::new(publisher));
            shard.by_silence.insert((ts_ms, producer));
        });
        self.n_publishers += 1;
    }

    /// Derives what is not stored. `false`: what was read back is not sound.
    pub(crate) fn restore(&mut self) -> bool {
        let is_sound = |publisher: &Publisher| {
            let n_answers = publisher.answers.len();
            n_answers <= PRODUCER_RESULTS_KEPT && n_answers as u64 <= publisher.next.get()
        };
        for shard in &mut self.shards {
            let shard = Arc::make_mut(shard);
            let silence = shard.by_id.iter().map(|(&id, publisher)| (publisher.heard_ms, id));
            shard.by_silence = silence.collect();
            self.silent.extend(shard.by_silence.first());
        }
        self.n_publishers <= PRODUCERS_MAX && self.iter().all(|(_, found)| is_sound(found))
    }

    /// All of them, by id.
    fn iter(&self) -> impl Iterator<Item = (&ProducerId, &Arc<Publisher>)> {
        self.shards.iter().flat_map(|shard| &shard.by_id)
    }

    fn shard(&self, producer: ProducerId) -> &Shard {
        self.shards.get(shard_idx(producer)).expect("there is one for each byte")
    }

    fn shard_mut(&mut self, producer: ProducerId) -> &mut Arc<Shard> {
        self.shards.get_mut(shard_idx(producer)).expect("there is one for each byte")
    }

    /// Changes who is in a publisher's shard, or since when it is silent.
    fn change(&mut self, producer: ProducerId, change: impl FnOnce(&mut Shard)) {
        let shard = Arc::make_mut(self.shard_mut(producer));
        let before = shard.by_silence.first().copied();
        change(shard);
        let after = shard.by_silence.first().copied();
        if before != after {
            before.map(|longest| self.silent.remove(&longest));
            self.silent.extend(after);
        }
    }

    fn forget(&mut self, (heard_ms, producer): Silence) {
        self.change(producer, |shard| {
            shard.by_silence.remove(&(heard_ms, producer));
            shard.by_id.remove(&producer);
        });
        self.n_publishers -= 1;
    }
}

impl Default for Publishers {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Arc::default()).collect();
        Self { shards, n_publishers: 0, silent: BTreeSet::new() }
    }
}

fn shard_idx(producer: ProducerId) -> usize {
    let [first, ..] = producer.get();
    usize::from(first)
}

// Written as one map: how it is kept is nobody's business.
impl Serialize for Publishers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.n_publishers))?;
        for (producer, publisher) in self.iter() {
            map.serialize_entry(producer, publisher)?;
        }
        map.end()
    }
}

/// [`Publishers::restore`] makes it whole.
impl<'de> Deserialize<'de> for Publishers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let by_id = BTreeMap::<ProducerId, Arc<Publisher>>::deserialize(deserializer)?;
        let mut publishers = Self { n_publishers: by_id.len(), ..Self::default() };
        for (producer, publisher) in by_id {
            let shard = Arc::make_mut(publishers.shard_mut(producer));
            shard.by_id.insert(producer, publisher);
        }
        Ok(publishers)
    }
}

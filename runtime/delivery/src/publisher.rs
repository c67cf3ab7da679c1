//! Gives batches their numbers and sends them until the log answers.
//!
//! ```text
//!   out   5 stray │ 6 proposed │ 7 proposed │ fresh │ fresh
//!         └───────── numbered, in order ────┘
//! ```
//!
//! A batch gets its number when it is first proposed. From then on the number is its own until the
//! log answers, also after its callers were told that the outcome is unknown: another batch under
//! the same number, or the same batch under another, could be stored twice. Only when no proposal
//! of a batch, nor of any behind it, can be anywhere, is its number given back.
//!
//! Invariants:
//! - Each batch that departed ends in exactly one [`Output::Done`].
//! - Batches are proposed in order, and none while one before it waits to be proposed, so the log
//!   sees a gap only when a proposal was lost.
//! - The numbers from the first unanswered one on are no more than the results that the log keeps,
//!   so the answer to any of them can still be had.
//! - A batch that may be stored is given up before the log forgets its producer: after that, number
//!   0 would pass for a first batch and be stored twice.
//! - What comes in may be lost, late or doubled. Only [`Input::Refused`] names its proposal and is
//!   believed to the word.

mod batch;

mod message;

#[cfg(test)]
#[path = "publisher/publisher_test.rs"]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use tidings_types::effect::{Placed, Published, Refused};
use tidings_types::id::{ProducerId, Sequence, Token};
use tidings_types::limits::{
    PRODUCER_BATCHES_OUT, PRODUCER_BATCHES_OUT_MAX, PRODUCER_IDLE_MAX, PUBLISH_REFUSED_PAUSE,
    PUBLISH_RESEND_AFTER, PUBLISH_RESEND_AFTER_MAX, PUBLISH_WAIT_MAX,
};
use tidings_types::seam::Rng;
use tidings_types::sync::Next;

use crate::error::PublishError;
use crate::publisher::batch::Batch;

pub use message::{Input, NotProposed, Output};

/// The first of the tokens that name proposals: none of the driver's own is as large.
const PROPOSAL_TOKEN_MIN: u64 = 1 << 63;

/// A batch that may be stored is sent again for so long after its deadline. Half of the time for
/// which the log remembers a producer: the log's clock may be 10 % slow, and an entry waits.
const GIVE_UP_AFTER: Duration = Duration::from_secs(PRODUCER_IDLE_MAX.as_secs() / 2);

/// Whether a token is one of those that name proposals.
pub const fn is_proposal(token: Token) -> bool {
    PROPOSAL_TOKEN_MIN <= token.get()
}

/// See the module's description.
#[derive(Debug)]
pub struct Publisher<R> {
    /// Makes producer ids; must not be foreseeable.
    rng: R,
    producer: ProducerId,
    /// The next number.
    next: Sequence,
    /// The log has answered a batch of this producer id.
    is_known: bool,
    /// The log knows the producer id no more, or soon will not: a fresh one follows when all of its
    /// batches have ended.
    is_renewing: bool,
    /// What departed and has no answer: numbered ones first, each in order of departure.
    out: VecDeque<Batch>,
    /// There is a leader to propose to.
    is_led: bool,
    n_proposals: u64,
    /// After a refusal nothing is proposed before.
    paused_until: Duration,
    /// Everything is sent again then, unless an answer comes before.
    resend_at: Option<Duration>,
    resend_after: Duration,
    /// What the driver was last asked for.
    wake_at: Option<Duration>,
}

impl<R: Rng> Publisher<R> {
    /// A publisher with a fresh producer id and no leader yet.
    ///
    /// The generator must give other numbers than at any earlier start: under an id that the log
    /// knows, new batches would pass for repeats of old ones and never be stored.
    pub fn new(mut rng: R) -> Self {
        Self {
            producer: fresh_producer(&mut rng),
            rng,
            next: Sequence::new(0),
            is_known: false,
            is_renewing: false,
            out: VecDeque::new(),
            is_led: false,
            n_proposals: 0,
            paused_until: Duration::ZERO,
            resend_at: None,
            resend_after: PUBLISH_RESEND_AFTER,
            wake_at: None,
        }
    }

    /// The producer id in use.
    pub const fn producer(&self) -> ProducerId {
        self.producer
    }

    /// Batches that departed and have no answer from the log.
    pub fn n_out(&self) -> usize {
        self.out.len()
    }

    /// Whether the batch that waits should depart now; else it is better off growing.
    ///
    /// To be asked anew after each step, and at [`PUBLISH_WAIT_MAX`] after the batch was opened: a
    /// batch that waited so long departs to be told that there is no leader.
    pub fn may_depart(&self, next: &Next, now: Duration) -> bool {
        if next.opened + PUBLISH_WAIT_MAX <= now {
            return true;
        }
        let n_out_max = if next.is_full { PRODUCER_BATCHES_OUT_MAX } else { PRODUCER_BATCHES_OUT };
        self.may_propose(now) && self.out.len() < n_out_max && self.has_number()
    }

    /// Takes what happened and says what is to be done.
    ///
    /// # Panics
    /// If a batch departs that has no event, or that [`Publisher::may_depart`] would hold back.
    pub fn step(&mut self, now: Duration, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::Depart { token, topic, builder, opened } => {
                assert!(builder.n_events() > 0, "a batch has an event");
                let deadline = opened + PUBLISH_WAIT_MAX;
                let has_room = self.out.len() < PRODUCER_BATCHES_OUT_MAX;
                assert!(has_room || deadline <= now, "a batch departs when it may");
                self.out.push_back(Batch::new(token, deadline, topic, builder));
            }
            Input::Published(published) => self.on_published(published, outputs),
            Input::Refused { proposal, reason } => self.on_refused(now, proposal, reason),
            Input::Unknown { proposal } => {
                let is_it = |batch: &&mut Batch| batch.proposal == Some(proposal);
                self.out.iter_mut().find(is_it).into_iter().for_each(Batch::lose);
            }
            Input::LeaderIs(is_led) => self.on_leader(is_led),
            Input::Wake => self.wake_at = None,
            Input::Stop => return self.stop(outputs),
        }
        self.resend_if_due(now);
        let is_old = |batch: &Batch| batch.is_stray && batch.deadline + GIVE_UP_AFTER <= now;
        self.is_renewing |= self.out.iter().any(is_old);
        self.give_numbers_back();
        self.renew(outputs);
        self.end_overdue(now, outputs);
        self.propose(now, outputs);
        if self.is_led && self.out.iter().any(|batch| batch.proposal.is_some()) {
            self.resend_at.get_or_insert(now + self.resend_after);
        }
        self.ask_to_wake(now, outputs);
    }

    fn on_published(&mut self, published: Published, outputs: &mut Vec<Output>) {
        let Published { producer, sequence, result } = published;
        let mut numbers = self.out.iter().map(|batch| batch.number);
        let idx = numbers.position(|number| number == Some(sequence));
        let Some(idx) = idx.filter(|_| producer == self.producer) else {
            return; // A repeat's answer, or that of another publisher.
        };
        let expected = match &result {
            Err(Refused::SequenceGap { expected, .. }) => Some(*expected),
            Err(Refused::ProducerExpired) if !self.is_known && self.is_first_out(idx) => {
                Some(Sequence::new(0))
            }
            _ => None,
        };
        if let Some(expected) = expected {
            self.on_gap(idx, expected);
            return;
        }
        self.resend_at = None;
        self.resend_after = PUBLISH_RESEND_AFTER;
        if result == Err(Refused::ProducerExpired) {
            self.is_renewing = true;
            let batch = self.out.get_mut(idx).expect("just found");
            batch.proposal = None;
            return;
        }
        self.is_known = true;
        // Whether a number that goes with a malformed section is consumed, nobody can say.
        self.is_renewing |= result == Err(Refused::Malformed);
        let batch = self.out.remove(idx).expect("just found");
        let result = result.map_err(|refused| match refused {
            Refused::AnswerForgotten { .. } => PublishError::Unknown,
            refused => PublishError::Refused(refused),
        });
        tell(&batch, result, outputs);
    }

    /// The batch at `idx` came to the log before the one with the `expected` number did. Those
    /// before that were proposed earlier are lost, then; those proposed later are on their way, and
    /// sending them anew for each of several gaps would multiply them.
    fn on_gap(&mut self, idx: usize, expected: Sequence) {
        let Some(gap) = self.out.get(idx).and_then(|batch| batch.proposal) else { return };
        for batch in self.out.iter_mut().take(idx + 1) {
            let is_awaited = batch.number.is_some_and(|number| expected <= number);
            if is_awaited && batch.proposal.is_some_and(|proposal| proposal <= gap) {
                // An answer may come twice, so it need not be that of the proposal which is out.
                batch.lose();
            }
        }
    }

    /// Whether the producer's very first batch is out and another one's, at `idx`, was answered: of
    /// a producer that it does not know the log takes number 0 alone.
    fn is_first_out(&self, idx: usize) -> bool {
        let first = self.out.front().and_then(|batch| batch.number);
        idx > 0 && first == Some(Sequence::new(0))
    }

    fn on_refused(&mut self, now: Duration, proposal: Token, reason: NotProposed) {
        let is_it = |batch: &&mut Batch| batch.proposal == Some(proposal);
        if let Some(batch) = self.out.iter_mut().find(is_it) {
            batch.proposal = None;
            batch.is_unstorable = reason == NotProposed::StorageFull;
            self.paused_until = now + PUBLISH_REFUSED_PAUSE;
        }
    }

    fn on_leader(&mut self, is_led: bool) {
        self.is_led = is_led;
        self.resend_at = None;
        self.resend_after = PUBLISH_RESEND_AFTER;
        if is_led {
            self.paused_until = Duration::ZERO;
            self.out.iter_mut().for_each(Batch::lose);
        }
    }

    fn stop(&mut self, outputs: &mut Vec<Output>) {
        for batch in self.out.drain(..) {
            let is_clean = batch.is_clean();
            let error = if is_clean { PublishError::Stopping } else { PublishError::Unknown };
            tell(&batch, Err(error), outputs);
        }
    }

    fn resend_if_due(&mut self, now: Duration) {
        if self.resend_at.is_some_and(|at| at <= now) {
            self.resend_at = None;
            self.resend_after = PUBLISH_RESEND_AFTER_MAX.min(self.resend_after * 2);
            self.out.iter_mut().for_each(Batch::lose);
        }
    }

    /// Numbers at the end that no proposal carries go back.
    fn give_numbers_back(&mut self) {
        for batch in self.out.iter_mut().rev() {
            let Some(number) = batch.number else { continue };
            if !batch.is_clean() {
                return;
            }
            batch.number = None;
            self.next = number;
        }
    }

    /// Takes a fresh producer id as soon as nothing under the old one can still be answered.
    fn renew(&mut self, outputs: &mut Vec<Output>) {
        if !self.is_renewing {
            return;
        }
        // Whether these are stored is forgotten with the producer, so they are never sent again.
        self.out.retain(|batch| {
            let is_lost = batch.is_stray && batch.proposal.is_none();
            if is_lost {
                tell(batch, Err(PublishError::Unknown), outputs);
            }
            !is_lost
        });
        self.give_numbers_back();
        if self.out.iter().all(|batch| batch.number.is_none()) {
            self.producer = fresh_producer(&mut self.rng);
            self.next = Sequence::new(0);
            self.is_known = false;
            self.is_renewing = false;
        }
    }

    /// Tells those whose time is over. What may be in the log stays and is sent until answered.
    fn end_overdue(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        self.out.retain(|batch| {
            let is_over = !batch.is_told && (batch.is_unstorable || batch.deadline <= now);
            if batch.number.is_some() || !is_over {
                return true;
            }
            let is_full = batch.is_unstorable;
            let error = if is_full { PublishError::StorageFull } else { PublishError::Unavailable };
            tell(batch, Err(error), outputs);
            false
        });
        for batch in &mut self.out {
            if batch.deadline <= now {
                tell(batch, Err(PublishError::Unknown), outputs);
                batch.is_told = true;
            }
        }
    }

    fn propose(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if !self.may_propose(now) {
            return;
        }
        for idx in 0..self.out.len() {
            let has_number = self.has_number();
            let batch = self.out.get_mut(idx).expect("within the length");
            if batch.proposal.is_some() {
                continue;
            }
            if batch.number.is_none() && !has_number {
                return;
            }
            let sequence = *batch.number.get_or_insert(self.next);
            self.next = self.next.max(sequence.next());
            let proposal = Token::new(PROPOSAL_TOKEN_MIN + self.n_proposals);
            self.n_proposals += 1;
            batch.proposal = Some(proposal);
            batch.is_unstorable = false;
            let section = batch.seal(self.producer, sequence);
            outputs.push(Output::Propose { proposal, sequence, section });
        }
    }

    fn may_propose(&self, now: Duration) -> bool {
        self.is_led && !self.is_renewing && self.paused_until <= now
    }

    /// Whether the log would still keep the first unanswered batch's result beside one more.
    fn has_number(&self) -> bool {
        let first = self.out.front().and_then(|batch| batch.number).unwrap_or(self.next);
        self.next.get() - first.get() < PRODUCER_BATCHES_OUT_MAX as u64
    }

    fn ask_to_wake(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let untold = self.out.iter().filter(|batch| !batch.is_told);
        let deadlines = untold.map(|batch| batch.deadline);
        let pause = Some(self.paused_until).filter(|&until| self.is_led && now < until);
        let Some(at) = deadlines.chain(pause).chain(self.resend_at).min() else { return };
        // A wish that stands for an earlier time serves too: at that time it is renewed.
        if self.wake_at.is_none_or(|asked| asked <= now || at < asked) {
            self.wake_at = Some(at);
            outputs.push(Output::WakeAt(at));
        }
    }
}

fn tell(batch: &Batch, result: Result<Placed, PublishError>, outputs: &mut Vec<Output>) {
    if !batch.is_told {
        outputs.push(Output::Done { token: batch.token, result });
    }
}

fn fresh_producer(rng: &mut impl Rng) -> ProducerId {
    let number = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
    let producer = ProducerId::new(number.to_le_bytes());
    assert!(producer != ProducerId::NONE, "a generator that gives nothing but zeros is broken");
    producer
}

//! The publishers of one process: their calls fill the open batches that its producer sends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tidings_delivery::publisher::{Input, NotProposed, Output, Publisher};
use tidings_replica::ProposeRefused;
use tidings_types::event::NewEvent;
use tidings_types::id::{Token, TopicId};
use tidings_types::limits::PUBLISH_WAIT_MAX;
use tidings_types::seam::SplitMix;
use tidings_types::sync::{BatchCell, ByteGate, OpenBatch, Permit, Sealed, section_bytes};

/// A call and the place of its first event in its batch.
pub(crate) type Joined = (u64, u32);

/// One topic's batches that wait, and the calls in them.
#[derive(Debug, Default)]
struct Open {
    batch: OpenBatch<()>,
    joined: Vec<(Arc<BatchCell<()>>, Joined)>,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Publishing {
    /// Names it in the history; never given twice.
    pub(crate) publisher: u32,
    n_calls: u64,
    core: Publisher<SplitMix>,
    gate: ByteGate,
    open: BTreeMap<TopicId, Open>,
    waiting: VecDeque<TopicId>,
    is_waiting: BTreeSet<TopicId>,
    /// Of each batch that departed the calls in it, and the bytes that they hold.
    out: BTreeMap<Token, (Permit, Vec<Joined>)>,
    n_tokens: u64,
    /// The next wake that is on its way.
    pub(crate) wake_us: Option<u64>,
}

impl Publishing {
    pub(crate) fn new(publisher: u32, rng: SplitMix, admitted_bytes_max: usize) -> Self {
        Self {
            publisher,
            n_calls: 0,
            core: Publisher::new(rng),
            gate: ByteGate::new(admitted_bytes_max),
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            is_waiting: BTreeSet::new(),
            out: BTreeMap::new(),
            n_tokens: 0,
            wake_us: None,
        }
    }

    pub(crate) const fn core(&self) -> &Publisher<SplitMix> {
        &self.core
    }

    /// The place of the next call among all of this process.
    pub(crate) const fn next_place(&mut self) -> u64 {
        self.n_calls += 1;
        self.n_calls
    }

    /// Room for a call's events, unless too many wait for their answers.
    pub(crate) fn admit(&self, events: &[NewEvent<'_>]) -> Option<Permit> {
        self.gate.try_acquire(section_bytes(events))
    }

    /// A call's events, all into one batch.
    pub(crate) fn push(
        &mut self,
        call: u64,
        topic: TopicId,
        events: &[NewEvent<'_>],
        permit: Permit,
        now: Duration,
    ) {
        let open = self.open.entry(topic).or_default();
        let pushed = open.batch.push_all(events, false, permit, now);
        open.joined.push((pushed.cell, (call, pushed.idx)));
        if pushed.must_kick && self.is_waiting.insert(topic) {
            self.waiting.push_back(topic);
        }
    }

    /// Lets batches leave while the core allows it. Says when the next one is overdue.
    pub(crate) fn depart(&mut self, now: Duration, out: &mut Vec<Output>) -> Option<Duration> {
        let (mut n_held_back, mut overdue_at) = (0, None);
        while n_held_back < self.waiting.len() {
            let Some(topic) = self.waiting.pop_front() else { break };
            let open = self.open.get_mut(&topic).expect("it has something that waits");
            let Some(next) = open.batch.next() else {
                self.is_waiting.remove(&topic);
                continue;
            };
            self.waiting.push_back(topic);
            if !self.core.may_depart(&next, now) {
                let at = next.opened + PUBLISH_WAIT_MAX;
                overdue_at = Some(overdue_at.map_or(at, |earliest: Duration| earliest.min(at)));
                n_held_back += 1;
                continue;
            }
            n_held_back = 0;
            let Some(sealed) = open.batch.take() else { continue };
            let Sealed { builder, cell, permit, opened, .. } = sealed;
            let (departs, stays) = std::mem::take(&mut open.joined)
                .into_iter()
                .partition::<Vec<_>, _>(|(of_call, _)| Arc::ptr_eq(of_call, &cell));
            open.joined = stays;
            self.n_tokens += 1;
            let token = Token::new(self.n_tokens);
            let departs = departs.into_iter().map(|(_, joined)| joined).collect();
            self.out.insert(token, (permit, departs));
            self.core.step(now, Input::Depart { token, topic, builder, opened }, out);
        }
        overdue_at
    }

    pub(crate) fn step(&mut self, now: Duration, input: Input, out: &mut Vec<Output>) {
        self.core.step(now, input, out);
    }

    /// A batch has ended: the calls in it.
    pub(crate) fn done(&mut self, token: Token) -> Vec<Joined> {
        self.out.remove(&token).map(|(_, calls)| calls).unwrap_or_default()
    }
}

/// What a publisher hears when its batch was not proposed.
pub(crate) const fn not_proposed(reason: ProposeRefused) -> NotProposed {
    match reason {
        ProposeRefused::NotLeader => NotProposed::NotLeader,
        ProposeRefused::StorageFull => NotProposed::StorageFull,
        ProposeRefused::Busy | ProposeRefused::TooLarge { .. } | ProposeRefused::ChangeNotNow => {
            NotProposed::Busy
        }
    }
}

//! The batches of one topic that wait to depart: filled by callers, drained by the publisher.
//!
//! An event is encoded in place, once, under one short lock; nothing is allocated for it beyond the
//! batch's growth. Events go into the last batch until it is full, so under load batches grow by
//! themselves while earlier ones are out. Events of one request are never split over two batches:
//! a batch becomes one records section, which the log takes as a whole or not at all.
//!
//! Whoever makes the queue non-empty or fills a batch is told to kick the publisher. Invariant:
//! what waits was announced by a kick after the publisher last found the queue empty. Both sides
//! decide under the lock, which orders them; no other ordering is needed. What is queued is bounded
//! by the permits that the batches hold, of callers who gave up too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::batch_cell::BatchCell;
use super::byte_gate::Permit;
use super::primitives::{Mutex, lock};
use crate::event::NewEvent;
use crate::layout::records::{RECORDS_HEADER_BYTES, RecordsBuilder};
use crate::limits::{BATCH_BYTES_FULL, SECTION_BYTES_MAX};

/// Room that a fresh batch has at least.
const CAPACITY_MIN: usize = 1024;

/// See the module's description.
#[derive(Debug)]
pub struct OpenBatch<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    /// Oldest first. Only the last one may have room.
    batches: VecDeque<Sealed<T>>,
    /// Size of the batch that departed last: the next one will be like it.
    capacity: usize,
}

/// Where an event went.
#[derive(Debug)]
pub struct Pushed<T> {
    /// Gets the answer to its batch.
    pub cell: Arc<BatchCell<T>>,
    /// The place of the event, or of the request's first one, in its batch.
    pub idx: u32,
    /// The publisher must be told: something waits that it does not know of.
    pub must_kick: bool,
}

/// What would be taken next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Its size.
    pub n_bytes: usize,
    /// Waiting longer would not let it grow.
    pub is_full: bool,
    /// When its first event came.
    pub opened: Duration,
}

/// A batch that was taken out.
#[derive(Debug)]
pub struct Sealed<T> {
    /// Its events.
    pub builder: RecordsBuilder,
    /// To be completed with its answer.
    pub cell: Arc<BatchCell<T>>,
    /// The bytes that its events hold; to be dropped with the answer.
    pub permit: Permit,
    /// When its first event came.
    pub opened: Duration,
    is_full: bool,
}

impl<T> Default for OpenBatch<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> OpenBatch<T> {
    /// Nothing waits.
    pub fn new() -> Self {
        let state = State { batches: VecDeque::new(), capacity: CAPACITY_MIN };
        Self { state: Mutex::new(state) }
    }

    /// Appends an event that passed [`NewEvent::check`]. `foreign`: its id came from outside.
    pub fn push(
        &self,
        event: &NewEvent<'_>,
        foreign: bool,
        permit: Permit,
        now: Duration,
    ) -> Pushed<T> {
        self.push_all(std::slice::from_ref(event), foreign, permit, now)
    }

    /// Appends the events of one request, all into the same batch.
    ///
    /// # Panics
    /// If there is no event, or if they exceed [`SECTION_BYTES_MAX`]; see [`section_bytes`].
    pub fn push_all(
        &self,
        events: &[NewEvent<'_>],
        foreign: bool,
        permit: Permit,
        now: Duration,
    ) -> Pushed<T> {
        let n_bytes = section_bytes(events) - RECORDS_HEADER_BYTES;
        assert!(!events.is_empty(), "a request has an event");
        assert!(n_bytes + RECORDS_HEADER_BYTES <= SECTION_BYTES_MAX, "a request fits a section");

        let mut state = lock(&self.state);
        let was_empty = state.batches.is_empty();
        let has_closed = state.close_unless_fits(n_bytes);
        let batch = state.last_with(permit, now);
        let idx = batch.builder.n_events();
        for event in events {
            batch.builder.push(event);
        }
        if foreign {
            batch.builder.mark_foreign_ids();
        }
        batch.is_full = batch.builder.n_bytes() >= BATCH_BYTES_FULL;
        let must_kick = was_empty || has_closed || batch.is_full;
        Pushed { cell: Arc::clone(&batch.cell), idx, must_kick }
    }

    /// What [`OpenBatch::take`] would give.
    pub fn next(&self) -> Option<Next> {
        let state = lock(&self.state);
        let batch = state.batches.front()?;
        let Sealed { builder, is_full, opened, .. } = batch;
        Some(Next { n_bytes: builder.n_bytes(), is_full: *is_full, opened: *opened })
    }

    /// Takes the oldest batch out.
    pub fn take(&self) -> Option<Sealed<T>> {
        let mut state = lock(&self.state);
        let batch = state.batches.pop_front()?;
        state.capacity = batch.builder.n_bytes().clamp(CAPACITY_MIN, BATCH_BYTES_FULL);
        Some(batch)
    }
}

impl<T> State<T> {
    /// Closes the last batch, if so much more would not fit.
    fn close_unless_fits(&mut self, n_bytes: usize) -> bool {
        let Some(last) = self.batches.back_mut().filter(|last| !last.is_full) else {
            return false;
        };
        last.is_full = last.builder.n_bytes() + n_bytes > BATCH_BYTES_FULL;
        last.is_full
    }

    /// The last batch, or a fresh one behind it if it is full.
    fn last_with(&mut self, permit: Permit, now: Duration) -> &mut Sealed<T> {
        if self.batches.back().is_some_and(|last| !last.is_full) {
            let last = self.batches.back_mut().expect("just seen");
            last.permit.merge(permit);
            return last;
        }
        let builder = RecordsBuilder::with_capacity(self.capacity);
        let cell = Arc::new(BatchCell::new());
        self.batches.push_back(Sealed { builder, cell, permit, opened: now, is_full: false });
        self.batches.back_mut().expect("just pushed")
    }
}

/// Size of a records section that holds these events.
pub fn section_bytes(events: &[NewEvent<'_>]) -> usize {
    RECORDS_HEADER_BYTES + events.iter().map(NewEvent::encoded_bytes).sum::<usize>()
}

#[cfg(test)]
fn sample(payload: &[u8]) -> NewEvent<'_> {
    NewEvent { id: "e", kind: "t.v1", key: b"k", time_ms: 9, headers: b"", payload }
}

#[cfg(all(test, not(tidings_loom)))]
mod tests {
    use super::*;
    use crate::id::{ProducerId, Sequence, TopicId};
    use crate::layout::records::Records;
    use crate::sync::byte_gate::ByteGate;

    const NOW: Duration = Duration::from_secs(1);

    struct Fixture {
        gate: ByteGate,
        batch: OpenBatch<u8>,
    }

    impl Fixture {
        fn new() -> Self {
            Self { gate: ByteGate::new(1 << 30), batch: OpenBatch::new() }
        }

        fn push(&self, payload: &[u8]) -> Pushed<u8> {
            let event = sample(payload);
            let permit = self.gate.try_acquire(event.encoded_bytes()).expect("the gate is wide");
            self.batch.push(&event, false, permit, NOW)
        }
    }

    /// Events must come out in the order in which they went in, each at the place it was told, and
    /// one kick must announce them all.
    #[test]
    fn events_are_taken_in_order_after_one_kick() {
        let fixture = Fixture::new();
        assert_eq!(fixture.batch.next(), None);
        let kicks: Vec<_> = (0..5).map(|n| fixture.push(&[n])).collect();
        assert_eq!(kicks.iter().map(|pushed| pushed.idx).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let must_kick: Vec<_> = kicks.iter().map(|pushed| pushed.must_kick).collect();
        assert_eq!(must_kick, [true, false, false, false, false]);

        let next = fixture.batch.next().unwrap();
        let sealed = fixture.batch.take().unwrap();
        assert_eq!(next.n_bytes, sealed.builder.n_bytes());
        assert_eq!((next.is_full, next.opened), (false, NOW));
        assert!(kicks.iter().all(|pushed| Arc::ptr_eq(&pushed.cell, &sealed.cell)));
        let section = sealed.builder.finish(TopicId::new(1), ProducerId::NONE, Sequence::new(0));
        let records = Records::parse(section).unwrap();
        assert_eq!(records.check(), Ok(()));
        let payloads: Vec<_> =
            records.events().map(|event| event.unwrap().payload().to_vec()).collect();
        assert_eq!(payloads, [[0], [1], [2], [3], [4]]);
        assert!(fixture.batch.take().is_none());
        assert!(fixture.push(&[]).must_kick);
    }

    /// What would exceed the limit must open a batch of its own, and a batch that can grow no more
    /// must be announced, for it may depart where an open one has to wait.
    #[test]
    fn full_batches_close_and_are_announced() {
        let fixture = Fixture::new();
        let third = vec![0; BATCH_BYTES_FULL / 3];
        let must_kick: Vec<_> = (0..4).map(|_| fixture.push(&third).must_kick).collect();
        assert_eq!(must_kick, [true, false, true, false]);
        assert!(fixture.push(&vec![0; BATCH_BYTES_FULL]).must_kick);
        let mut sizes = Vec::new();
        while let Some(next) = fixture.batch.next() {
            assert!(next.is_full);
            sizes.push(fixture.batch.take().unwrap().builder.n_events());
        }
        assert_eq!(sizes, [2, 2, 1]);
    }

    /// The events of one request must share a batch, even one that they alone overfill, and come
    /// behind what was pushed before.
    #[test]
    fn requests_are_never_split() {
        let fixture = Fixture::new();
        fixture.push(b"before");
        let half = vec![0; BATCH_BYTES_FULL / 2];
        let request = [sample(&half), sample(&half), sample(&half)];
        let permit = fixture.gate.try_acquire(section_bytes(&request)).unwrap();
        let pushed = fixture.batch.push_all(&request, true, permit, NOW);
        assert!(pushed.must_kick);
        assert_eq!(pushed.idx, 0);
        assert_eq!(fixture.batch.take().unwrap().builder.n_events(), 1);
        assert!(fixture.batch.next().unwrap().is_full);
        let sealed = fixture.batch.take().unwrap();
        assert!(Arc::ptr_eq(&pushed.cell, &sealed.cell));
        assert_eq!(sealed.builder.n_events(), 3);
        assert_eq!(sealed.builder.n_bytes(), section_bytes(&request));
    }

    /// A batch must hold its events' bytes until it is dropped, whatever became of the callers.
    #[test]
    fn bytes_are_held_until_the_batch_is_dropped() {
        let fixture = Fixture::new();
        let n_bytes: usize =
            [&b"a"[..], b"bb"].map(|payload| sample(payload).encoded_bytes()).iter().sum();
        drop(fixture.push(b"a"));
        drop(fixture.push(b"bb"));
        assert_eq!(fixture.gate.n_held(), n_bytes);
        let sealed = fixture.batch.take().unwrap();
        assert_eq!(fixture.gate.n_held(), n_bytes);
        drop(sealed);
        assert_eq!(fixture.gate.n_held(), 0);
    }
}

#[cfg(all(test, tidings_loom))]
mod models {
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::thread;

    use super::*;
    use crate::sync::byte_gate::ByteGate;
    use crate::sync::model::explore;

    /// Two callers push while the publisher takes. Every event must be taken once, and each batch
    /// must have been announced by exactly one kick, so that none waits unnoticed.
    #[test]
    fn every_batch_is_announced_once() {
        explore("open batch: two callers, kicks and takes", || {
            let gate = ByteGate::new(1_000);
            let batch = Arc::new(OpenBatch::<()>::new());
            let n_kicks = Arc::new(AtomicUsize::new(0));
            let callers = [(); 2].map(|()| {
                let (batch, n_kicks) = (Arc::clone(&batch), Arc::clone(&n_kicks));
                let permit = gate.try_acquire(100).unwrap();
                thread::spawn(move || {
                    let pushed = batch.push(&sample(b""), false, permit, Duration::ZERO);
                    n_kicks.fetch_add(usize::from(pushed.must_kick), Ordering::Relaxed);
                })
            });
            let mut taken = Vec::from_iter(batch.take());
            for caller in callers {
                caller.join().unwrap();
            }
            taken.extend(batch.take());
            assert!(batch.take().is_none());
            assert_eq!(taken.len(), n_kicks.load(Ordering::Relaxed));
            let n_events: u32 = taken.iter().map(|sealed| sealed.builder.n_events()).sum();
            assert_eq!(n_events, 2);
            assert_eq!(gate.n_held(), 200);
            drop(taken);
            assert_eq!(gate.n_held(), 0);
        });
    }
}

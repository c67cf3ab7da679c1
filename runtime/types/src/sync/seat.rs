//! The place of one worker's life: who sits there, and what runs. It outlives the worker in it.
//!
//! Three sides share it. Who hands work out posts it, the worker records what it starts and ends,
//! and whoever sees the worker's end takes back what is left and learns which event ran then: the
//! culprit. Invariant: work is posted to a worker whose end nobody has seen, and is ended by it or
//! taken back at that end, once; or the post says that nobody is there, and leaves nothing behind.
//! One lock over all of it makes it hold: with the address beside the lock, work could be posted
//! between the look at the address and the end, and lie there for ever.
//!
//! Each life has a seat of its own: in one that is taken again, work could go to the new worker and
//! be taken back all the same.

use super::primitives::{Mutex, MutexGuard};

/// See the module's description. `A` is how the worker is reached, `W` what it has in hand.
#[derive(Debug)]
pub struct Seat<A, W> {
    inner: Mutex<Inner<A, W>>,
}

#[derive(Debug)]
struct Inner<A, W> {
    address: Option<A>,
    is_vacated: bool,
    has_timed_out: bool,
    work: W,
}

impl<A: Clone, W> Seat<A, W> {
    /// A seat that nobody has taken yet.
    pub fn new(work: W) -> Self {
        let inner = Inner { address: None, is_vacated: false, has_timed_out: false, work };
        Self { inner: Mutex::new(inner) }
    }

    /// The worker begins.
    ///
    /// # Panics
    /// If it has been vacated.
    pub fn occupy(&self, address: A) {
        let mut inner = self.lock();
        assert!(!inner.is_vacated, "each life has a seat of its own");
        inner.address = Some(address);
    }

    /// How the worker is reached, while it sits here.
    pub fn address(&self) -> Option<A> {
        self.lock().address.clone()
    }

    /// Changes what the worker has in hand and says whom to tell; `None` if nobody is here, and then
    /// nothing was changed.
    pub fn post(&self, change: impl FnOnce(&mut W)) -> Option<A> {
        let mut inner = self.lock();
        let address = inner.address.clone()?;
        change(&mut inner.work);
        Some(address)
    }

    /// Lets the worker record what it does.
    pub fn record<R>(&self, change: impl FnOnce(&mut W) -> R) -> R {
        change(&mut self.lock().work)
    }

    /// What runs exceeded its time; the worker is about to end for it.
    pub fn time_out(&self) {
        self.lock().has_timed_out = true;
    }

    /// The worker has ended: `take` gets what it had in hand, and whether that was for time.
    /// Nothing is posted any more.
    pub fn vacate<R>(&self, take: impl FnOnce(&mut W, bool) -> R) -> R {
        let mut inner = self.lock();
        inner.address = None;
        inner.is_vacated = true;
        let has_timed_out = inner.has_timed_out;
        take(&mut inner.work, has_timed_out)
    }

    /// The critical sections run what callers pass in: a few moves, never a handler, never a wait.
    fn lock(&self) -> MutexGuard<'_, Inner<A, W>> {
        self.inner.lock().expect("an invariant broke under this lock: the service must not go on")
    }
}

#[cfg(all(test, not(tidings_loom)))]
mod tests {
    use super::*;

    /// What is posted after a worker's end was seen must reach nobody: whoever posted takes it
    /// back, and a successor that got it as well would handle it twice.
    #[test]
    fn vacated_seat_takes_nothing() {
        let seat = Seat::new(Vec::new());
        assert_eq!(seat.post(|work| work.push(1)), None, "nobody has come yet");
        seat.occupy('w');
        assert_eq!((seat.post(|work| work.push(2)), seat.address()), (Some('w'), Some('w')));
        seat.time_out();
        assert_eq!(seat.vacate(|work, late| (std::mem::take(work), late)), (vec![2], true));
        assert_eq!((seat.post(|work| work.push(3)), seat.address()), (None, None));
        assert!(seat.record(|work| work.is_empty()));
    }

    #[test]
    #[should_panic(expected = "a seat of its own")]
    fn seat_is_taken_once() {
        let seat = Seat::new(());
        seat.occupy(1);
        seat.vacate(|(), _| ());
        seat.occupy(2);
    }
}

#[cfg(all(test, tidings_loom))]
mod models {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::sync::model::explore;

    #[derive(Debug, Default)]
    struct Hand {
        waiting: Vec<u8>,
        running: Option<u8>,
        ended: Vec<u8>,
    }

    /// Two events are posted while a worker starts one and dies in the second or before. Each event
    /// must be ended or taken back, once, or its post must have said that nobody is there; and only
    /// what ran at the end may be blamed.
    #[test]
    fn what_is_posted_is_ended_or_taken_back_once() {
        explore("seat: posted beside the end", || {
            let seat = Arc::new(Seat::new(Hand::default()));
            seat.occupy(());
            let poster = thread::spawn({
                let seat = Arc::clone(&seat);
                move || [1, 2].map(|event| seat.post(|hand| hand.waiting.push(event)).is_some())
            });
            let worker = thread::spawn({
                let seat = Arc::clone(&seat);
                move || {
                    let start = |hand: &mut Hand| {
                        hand.running = hand.waiting.pop();
                        hand.running.is_some()
                    };
                    if seat.record(start) {
                        seat.record(|hand| {
                            let ended = hand.running.take();
                            hand.ended.extend(ended);
                        });
                        // It dies in what it starts now.
                        seat.record(start);
                    }
                }
            });
            worker.join().unwrap();
            let (culprit, given_back, ended) = seat.vacate(|hand, _| {
                let culprit = hand.running.take();
                (culprit, std::mem::take(&mut hand.waiting), hand.ended.clone())
            });
            let posted = poster.join().unwrap();
            let mut accounted: Vec<u8> =
                ended.iter().chain(&given_back).copied().chain(culprit).collect();
            accounted.sort_unstable();
            let expected: Vec<u8> = [1, 2]
                .into_iter()
                .zip(posted)
                .filter(|(_, is_in)| *is_in)
                .map(|(n, _)| n)
                .collect();
            assert_eq!(accounted, expected);
            assert!(culprit.is_none() || !ended.is_empty(), "the second one is to blame");
            assert!(seat.record(|hand| hand.waiting.is_empty()), "nothing lies there for ever");
        });
    }

    /// The end for want of time must be seen as such by whoever takes the seat back, and what had
    /// ended before must not be blamed.
    #[test]
    fn late_end_is_told_from_another() {
        explore("seat: end for want of time", || {
            let seat = Arc::new(Seat::new(Some(1)));
            seat.occupy(());
            let worker = thread::spawn({
                let seat = Arc::clone(&seat);
                move || seat.record(|running| running.take())
            });
            let timer = thread::spawn({
                let seat = Arc::clone(&seat);
                move || {
                    let is_running = seat.record(|running| running.is_some());
                    if is_running {
                        seat.time_out();
                    }
                    is_running
                }
            });
            let was_running = timer.join().unwrap();
            let (culprit, is_late) = seat.vacate(|running, is_late| (running.take(), is_late));
            let ended = worker.join().unwrap();
            assert_eq!(is_late, was_running);
            assert_ne!(culprit.is_some(), ended.is_some(), "ended by one side only");
        });
    }
}

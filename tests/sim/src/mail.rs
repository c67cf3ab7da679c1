//! What the cores of one process tell each other, in a box each.
//!
//! In a node each core is an actor. Only what one is told comes in order; which of two actors runs
//! first is up to the machine, and one may be put to sleep between any two messages, while all others
//! go on.

use std::collections::VecDeque;

use tidings_replica::Proposal;
use tidings_types::offset::Term;

use crate::chance::Chance;
use crate::serving::{Place, ToDispatcher};

/// A word from one core to another.
#[derive(Debug)]
pub(crate) enum Mail {
    Publisher(tidings_delivery::publisher::Input),
    Propose(Vec<Proposal>),
    /// For the replica in this leadership.
    ProposeIn(Term, Vec<Proposal>),
    Member(tidings_delivery::member::Input),
    /// For the member: a worker begins, in this life.
    WorkerUp(Place, u64),
    Dispatcher(ToDispatcher),
}

impl Mail {
    const fn to(&self) -> usize {
        match self {
            Self::Publisher(_) => 0,
            Self::Propose(_) | Self::ProposeIn(..) => 1,
            Self::Member(_) | Self::WorkerUp(..) => 2,
            Self::Dispatcher(_) => 3,
        }
    }
}

/// One of so many messages is followed by a sleep.
const SLEEPS: u64 = 300;
/// The longest sleep but for one of so many, which may last for longer than an election.
const SLEEP_US_MAX: u64 = 5_000;
const LONG_SLEEPS: u64 = 50;
const LONG_SLEEP_US_MAX: u64 = 3_000_000;

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Boxes {
    boxes: [VecDeque<Mail>; 4],
    /// Whose box is not opened before.
    asleep_until: [u64; 4],
    n_waiting: usize,
}

impl Boxes {
    pub(crate) fn push(&mut self, mail: Mail) {
        if let Some(found) = self.boxes.get_mut(mail.to()) {
            found.push_back(mail);
            self.n_waiting += 1;
        }
    }

    /// The next message that is taken, of a box that chance picks; and for how long its owner sleeps
    /// then, if it does.
    pub(crate) fn take(&mut self, now_us: u64, chance: &mut Chance) -> Option<(Mail, Option<u64>)> {
        if self.n_waiting == 0 {
            return None;
        }
        let Self { boxes, asleep_until, .. } = self;
        let is_open = |&to: &usize| {
            let is_awake = asleep_until.get(to).is_some_and(|&until| until <= now_us);
            is_awake && boxes.get(to).is_some_and(|found| !found.is_empty())
        };
        let n_open = (0..boxes.len()).filter(is_open).count();
        let pick = if 1 < n_open { chance.below(n_open as u64) as usize } else { 0 };
        let to = (0..boxes.len()).filter(is_open).nth(pick)?;
        let mail = boxes.get_mut(to)?.pop_front()?;
        self.n_waiting -= 1;
        let sleep_us = (chance.below(SLEEPS) == 0).then(|| {
            let is_long = chance.below(LONG_SLEEPS) == 0;
            1 + chance.below(if is_long { LONG_SLEEP_US_MAX } else { SLEEP_US_MAX })
        });
        if let (Some(sleep_us), Some(until)) = (sleep_us, asleep_until.get_mut(to)) {
            *until = now_us + sleep_us;
        }
        Some((mail, sleep_us))
    }
}

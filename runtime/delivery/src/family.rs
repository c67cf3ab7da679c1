//! What a supervisor does when one of its children ends: a pure decision, so time is passed in.
//!
//! ```text
//!   one for one     a   b†  c   d      b begins again
//!   one for all     a†  b†  c†  d†     all begin again, in their order
//!   rest for one    a   b†  c†  d†     b and all behind it begin again, in their order
//! ```
//!
//! Who has to begin again with another is asked to end first, and none begins before all of them have
//! ended: two lives of one child never overlap. A death over an event costs that event an attempt and
//! no restart; any other counts against the child's own budget ([`Restarts`]), and when that is spent
//! the whole family ends, since a fault that restarting does not cure needs a person.

use std::time::Duration;

use crate::restart::{Decision, Restarts};

/// Who begins again with a child that does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody.
    #[default]
    OneForOne,
    /// All others.
    OneForAll,
    /// Those that were started after it.
    RestForOne,
}

/// When a child that ended by itself begins again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// If it died; not if it was done.
    Transient,
    /// Never.
    Temporary,
}

/// How a child ended that nobody had asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was done.
    Done,
    /// It died over an event, which is charged for it.
    OverEvent,
    /// It died.
    Died,
}

/// What the supervisor is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Ask this child to end, and report its end.
    Stop(usize),
    /// Start this child after the delay, if [`Family::starts`] still says so.
    Start {
        /// The child.
        idx: usize,
        /// After this delay.
        after: Duration,
        /// To be shown then.
        ticket: u64,
    },
    /// The family ends because of this child; the others are asked to end.
    GiveUp(usize),
}

/// See the module's description. Children have numbers, in the order of their start.
///
/// ```
/// use std::time::Duration;
/// use tidings_delivery::family::{End, Family, Order, Restart, Strategy};
/// let mut orders = Vec::new();
/// let mut family = Family::new(Strategy::RestForOne, &[Restart::Permanent; 3], &mut orders);
/// for order in orders.drain(..) {
///     let Order::Start { idx, ticket, .. } = order else { panic!("all of them begin") };
///     assert!(family.starts(idx, ticket));
/// }
/// // The second one dies: the third is asked to end before both begin again.
/// family.ended(1, End::Died, Duration::ZERO, &mut orders);
/// assert_eq!(orders, [Order::Stop(2)]);
/// ```
#[derive(Clone, Debug)]
pub struct Family {
    strategy: Strategy,
    children: Vec<Child>,
    /// A child and the others that begin again with it, while some of them have not ended.
    round: Option<Round>,
    n_tickets: u64,
    has_given_up: bool,
}

#[derive(Clone, Debug)]
struct Child {
    restart: Restart,
    restarts: Restarts,
    life: Life,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Somebody is about to start it, with this ticket.
    Due(u64),
    Up,
    /// It was asked to end.
    Ending,
    /// It waits for others to end.
    Down,
    /// It does not come back.
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    first: usize,
    after: Duration,
}

impl Family {
    /// Children that are to be started, in this order.
    pub fn new(strategy: Strategy, restarts: &[Restart], orders: &mut Vec<Order>) -> Self {
        let child = |&restart| Child { restart, restarts: Restarts::default(), life: Life::Down };
        let children = restarts.iter().map(child).collect();
        let round = Some(Round { first: 0, after: Duration::ZERO });
        let mut family = Self { strategy, children, round, n_tickets: 0, has_given_up: false };
        family.go_on(orders);
        family
    }

    /// Whether a child whose delay is over is to be started now; then it counts as up.
    pub fn starts(&mut self, idx: usize, ticket: u64) -> bool {
        let child = self.children.get_mut(idx).filter(|child| child.life == Life::Due(ticket));
        child.map(|child| child.life = Life::Up).is_some()
    }

    /// A child ended, or could not be started.
    ///
    /// # Panics
    /// If there is none of that number, or if time goes back.
    pub fn ended(&mut self, idx: usize, end: End, now: Duration, orders: &mut Vec<Order>) {
        let child = self.children.get_mut(idx).expect("it is one of them");
        if self.has_given_up {
            child.life = Life::Gone;
            return;
        }
        if child.life == Life::Ending {
            child.life = Life::Down;
            return self.go_on(orders);
        }
        child.life = Life::Down;
        let is_back = match child.restart {
            Restart::Permanent => true,
            Restart::Transient => end != End::Done,
            Restart::Temporary => false,
        };
        if !is_back {
            child.life = Life::Gone;
            return self.go_on(orders);
        }
        let after = match end {
            End::OverEvent => Duration::ZERO,
            End::Done | End::Died => match child.restarts.on_crash(now) {
                Decision::RestartAfter(after) => after,
                Decision::GiveUp => return self.give_up(idx, orders),
            },
        };
        self.begin_again(idx, after, orders);
    }

    /// No child comes back, and those that are up are asked to end.
    pub fn end(&mut self, orders: &mut Vec<Order>) {
        self.has_given_up = true;
        self.round = None;
        self.stop_from(0, orders);
        for child in &mut self.children {
            if matches!(child.life, Life::Due(_) | Life::Down) {
                child.life = Life::Gone;
            }
        }
    }

    /// Whether no child is up any more, nor comes back.
    pub fn is_over(&self) -> bool {
        self.children.iter().all(|child| child.life == Life::Gone)
    }

    /// Whether a child was asked to end and has not.
    pub fn is_ending(&self, idx: usize) -> bool {
        self.children.get(idx).is_some_and(|child| child.life == Life::Ending)
    }

    /// Whether a child does not come back.
    pub fn is_gone(&self, idx: usize) -> bool {
        self.children.get(idx).is_none_or(|child| child.life == Life::Gone)
    }

    fn give_up(&mut self, idx: usize, orders: &mut Vec<Order>) {
        orders.push(Order::GiveUp(idx));
        self.end(orders);
    }

    fn begin_again(&mut self, idx: usize, after: Duration, orders: &mut Vec<Order>) {
        let first = match self.strategy {
            Strategy::OneForOne => return self.start(idx, after, orders),
            Strategy::OneForAll => 0,
            Strategy::RestForOne => idx,
        };
        // Those of a round that goes on already wait with the new ones.
        let round = self.round.unwrap_or(Round { first, after });
        let (first, after) = (round.first.min(first), round.after.max(after));
        self.round = Some(Round { first, after });
        self.stop_from(first, orders);
        self.go_on(orders);
    }

    /// The last started first.
    fn stop_from(&mut self, first: usize, orders: &mut Vec<Order>) {
        for (idx, child) in self.children.iter_mut().enumerate().skip(first).rev() {
            match child.life {
                Life::Up => {
                    child.life = Life::Ending;
                    orders.push(Order::Stop(idx));
                }
                Life::Due(_) => child.life = Life::Down,
                Life::Ending | Life::Down | Life::Gone => {}
            }
        }
    }

    /// Starts those of a round once all of them have ended.
    fn go_on(&mut self, orders: &mut Vec<Order>) {
        let Some(Round { first, after }) = self.round else { return };
        let of_round = self.children.iter().skip(first);
        if of_round.clone().any(|child| child.life == Life::Ending) {
            return;
        }
        self.round = None;
        for idx in first..self.children.len() {
            if self.children.get(idx).is_some_and(|child| child.life == Life::Down) {
                self.start(idx, after, orders);
            }
        }
    }

    fn start(&mut self, idx: usize, after: Duration, orders: &mut Vec<Order>) {
        self.n_tickets += 1;
        let ticket = self.n_tickets;
        let child = self.children.get_mut(idx).expect("it is one of them");
        child.life = Life::Due(ticket);
        orders.push(Order::Start { idx, after, ticket });
    }
}

#[cfg(test)]
#[path = "family/family_test.rs"]
mod tests;

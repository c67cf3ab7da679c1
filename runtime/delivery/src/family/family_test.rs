//! A supervisor that obeys, and children that end as they like.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tidings_types::limits::{RESTART_DELAY_MIN, RESTARTS_MAX};

use crate::family::{End, Family, Order, Restart, Strategy};

/// A supervisor that obeys at once, and what its children do.
struct World {
    family: Family,
    orders: Vec<Order>,
    now: Duration,
    up: BTreeSet<usize>,
    /// Children that were asked to end and have not.
    asked: BTreeSet<usize>,
    due: Vec<(usize, u64)>,
    /// All that was started, in order.
    started: Vec<usize>,
    has_given_up: bool,
}

impl World {
    fn new(strategy: Strategy, restarts: &[Restart]) -> Self {
        let mut orders = Vec::new();
        let family = Family::new(strategy, restarts, &mut orders);
        let (up, asked) = (BTreeSet::new(), BTreeSet::new());
        let (due, started) = (Vec::new(), Vec::new());
        let now = Duration::ZERO;
        let mut world = Self { family, orders, now, up, asked, due, started, has_given_up: false };
        world.obey();
        world.ring();
        world
    }

    fn obey(&mut self) {
        for order in std::mem::take(&mut self.orders) {
            match order {
                Order::Stop(idx) => {
                    assert!(self.up.contains(&idx), "only who is up can be asked to end");
                    assert!(self.asked.insert(idx), "it is asked once");
                }
                Order::Start { idx, ticket, .. } => self.due.push((idx, ticket)),
                Order::GiveUp(_) => self.has_given_up = true,
            }
        }
    }

    /// All delays are over.
    fn ring(&mut self) {
        for (idx, ticket) in std::mem::take(&mut self.due) {
            if self.family.starts(idx, ticket) {
                assert!(self.up.insert(idx), "two lives of one child overlap");
                self.started.push(idx);
            }
        }
    }

    fn end(&mut self, idx: usize, end: End) {
        self.up.remove(&idx);
        self.asked.remove(&idx);
        self.family.ended(idx, end, self.now, &mut self.orders);
        self.obey();
    }

    /// All that were asked to end do, and all delays go by.
    fn settle(&mut self) {
        while let Some(idx) = self.asked.first().copied() {
            self.end(idx, End::Done);
        }
        self.ring();
    }
}

const PERMANENT: [Restart; 4] = [Restart::Permanent; 4];

/// Each strategy must begin those again that it says, and no others, after all of them have ended.
#[test]
fn strategies_begin_those_again_that_they_say() {
    let expected: [(Strategy, &[usize]); 3] = [
        (Strategy::OneForOne, &[1]),
        (Strategy::OneForAll, &[0, 1, 2, 3]),
        (Strategy::RestForOne, &[1, 2, 3]),
    ];
    for (strategy, begin_again) in expected {
        let mut world = World::new(strategy, &PERMANENT);
        world.started.clear();
        world.end(1, End::Died);
        world.ring();
        let is_alone = strategy == Strategy::OneForOne;
        assert_eq!(world.started.is_empty(), !is_alone, "nobody begins before the others ended");
        world.settle();
        assert_eq!(world.started, begin_again, "{strategy:?}");
        assert_eq!(world.up.len(), 4);
    }
}

/// A child that is done is gone if it is transient or temporary; one that died is gone only if it is
/// temporary. It must not come back with the others either.
#[test]
fn children_come_back_as_their_kind_says() {
    for (restart, after_done, after_death) in [
        (Restart::Permanent, true, true),
        (Restart::Transient, false, true),
        (Restart::Temporary, false, false),
    ] {
        for (end, is_back) in [(End::Done, after_done), (End::Died, after_death)] {
            let mut world = World::new(Strategy::OneForAll, &[restart, Restart::Permanent]);
            world.end(0, end);
            world.settle();
            assert_eq!(world.up.contains(&0), is_back, "{restart:?}, {end:?}");
            world.end(1, End::Died);
            world.settle();
            assert_eq!(world.up.contains(&0), is_back, "{restart:?}, {end:?}, with the others");
        }
    }
}

/// An event that kills its worker is charged for it, the worker is not: it must begin again at once,
/// however often.
#[test]
fn deaths_over_events_are_not_charged() {
    let mut world = World::new(Strategy::OneForOne, &PERMANENT);
    for _ in 0..10 * RESTARTS_MAX {
        world.family.ended(2, End::OverEvent, world.now, &mut world.orders);
        assert!(matches!(world.orders[..], [Order::Start { idx: 2, after: Duration::ZERO, .. }]));
        world.up.remove(&2);
        world.obey();
        world.ring();
    }
}

/// A child that dies again and again must end the family and nothing else: the others are asked to
/// end, and nobody comes back.
#[test]
fn budget_that_is_spent_ends_the_family() {
    let mut world = World::new(Strategy::OneForOne, &PERMANENT);
    for n_deaths in 0..RESTARTS_MAX {
        world.family.ended(3, End::Died, world.now, &mut world.orders);
        let after = RESTART_DELAY_MIN * 2_u32.pow(n_deaths);
        assert!(
            matches!(world.orders[..], [Order::Start { idx: 3, after: it, .. }] if it == after)
        );
        world.up.remove(&3);
        world.obey();
        world.ring();
    }
    world.end(3, End::Died);
    assert!(world.has_given_up && !world.family.is_over());
    assert_eq!(world.asked, BTreeSet::from([0, 1, 2]));
    world.settle();
    assert!(world.family.is_over() && world.up.is_empty());
}

/// A child that dies while others end for an earlier death must widen what begins again, not start
/// beside it; and a start that was on its way then must come to nothing.
#[test]
fn deaths_during_a_round_join_it() {
    let mut world = World::new(Strategy::RestForOne, &PERMANENT);
    world.started.clear();
    world.end(2, End::Died);
    assert_eq!(world.asked, BTreeSet::from([3]));
    world.end(1, End::Died);
    assert_eq!(world.asked, BTreeSet::from([3]));
    world.end(3, End::Died);
    assert!(world.due.len() == 3 && world.started.is_empty());
    world.end(0, End::Died);
    world.settle();
    assert_eq!(world.started, [0, 1, 2, 3], "the starts on their way came to nothing");
}

proptest! {
    /// Whatever ends whenever: no two lives of a child overlap, nobody is asked twice (both asserted
    /// in the world), and when all have obeyed, each child that must be up is, unless the family is
    /// over.
    #[test]
    fn everybody_is_up_or_gone_in_the_end(
        strategy in prop_oneof![
            Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)
        ],
        restarts in prop::collection::vec(
            prop_oneof![
                Just(Restart::Permanent), Just(Restart::Transient), Just(Restart::Temporary)
            ],
            1..6,
        ),
        steps in prop::collection::vec((0..6_usize, 0..5_u8, 0..4_000_u64), 0..80),
    ) {
        let mut world = World::new(strategy, &restarts);
        for (child, what, wait_ms) in steps {
            world.now += Duration::from_millis(wait_ms);
            let up: Vec<usize> = world.up.iter().copied().collect();
            let picked = up.get(child % up.len().max(1)).copied();
            match (what, picked) {
                (0, Some(idx)) => world.end(idx, End::Done),
                (1, Some(idx)) => world.end(idx, End::OverEvent),
                (2, Some(idx)) => world.end(idx, End::Died),
                (3, _) => world.ring(),
                _ => {
                    if let Some(idx) = world.asked.first().copied() {
                        world.end(idx, End::Died);
                    }
                }
            }
        }
        world.settle();
        prop_assert!(world.asked.is_empty());
        let n_permanent = restarts.iter().filter(|it| **it == Restart::Permanent).count();
        if world.has_given_up {
            prop_assert!(world.up.is_empty() && world.family.is_over());
        } else {
            let is_up = |idx: &usize| world.up.contains(idx);
            let permanent = (0..restarts.len()).filter(|&idx| restarts[idx] == Restart::Permanent);
            prop_assert_eq!(permanent.filter(is_up).count(), n_permanent);
        }
    }
}

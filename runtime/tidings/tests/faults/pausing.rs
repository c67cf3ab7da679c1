//! Keys that wait for a person, and dead letters that go for good, on a whole node.

use std::sync::atomic::{AtomicBool, Ordering};

use tidings::prelude::*;
use tidings::testkit::TestNode;
use tidings_node::error::SeekError;
use tidings_node::handle::{Letters, SeekTo, Waiting};
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::Offset;
use tokio::time::sleep;

use crate::{Dose, Journal, dose};

/// Cannot take number 13 until it is mended; its keys are paused.
struct Careful {
    journal: Journal,
}

static IS_MENDED: AtomicBool = AtomicBool::new(false);

impl Service for Careful {
    const GROUP: &'static str = "careful";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        let retry = Retry::exponential(1.secs()..=1.secs()).attempts(3);
        plan.workers(2).on::<Dose>(|handler| handler.retry(retry).give_up(PauseKey))
    }
}

impl Handle<Dose> for Careful {
    async fn handle(&mut self, dose: Dose, cx: &mut Cx) -> Handled {
        self.journal.note(&dose, cx);
        match dose.number {
            13 if !IS_MENDED.load(Ordering::Relaxed) => Err(Failure::again("thirteen")),
            _ => Ok(()),
        }
    }
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).expect("it is a name")
}

/// A key whose event used up its attempts must wait, in order, for a person: over hours and over a
/// restart, with no dead letter, while other keys go on. Let go too early it must fail once and pause
/// again; mended and let go, it must go on where it stopped.
#[tokio::test(start_paused = true)]
async fn paused_key_waits_for_a_person_over_hours_and_restarts() {
    let journal = Journal::default();
    let new_service = |journal: &Journal| {
        let journal = journal.clone();
        move || Careful { journal: journal.clone() }
    };
    let node = TestNode::start(new_service(&journal)).await;
    for (who, number) in [("ann", 13), ("ann", 14), ("bob", 1)] {
        node.publish(dose(who, number)).await;
    }
    sleep(3.mins()).await;
    let node =
        TestNode::builder().service(new_service(&journal)).start_on(node.crash().await).await;
    sleep(40.mins()).await;
    assert_eq!(journal.attempts("ann", 13), [1, 2, 3]);
    assert_eq!((journal.attempts("ann", 14).len(), journal.attempts("bob", 1).len()), (0, 1));
    let name = group("careful");
    let shown = node.handle().group(&name).await.unwrap();
    assert_eq!((shown.lag, shown.retrying, shown.paused, shown.dead), (2, 1, 1, 0));
    let (waiting, n_all) = node.handle().waiting(&name, 9).await.unwrap();
    let paused = &waiting[0];
    assert_eq!((n_all, paused.offset, paused.attempts), (1, 0, 3));
    assert_eq!((&paused.next_attempt_at, paused.message.as_str()), (&None, "thirteen"));

    let these = Waiting::These(vec![(TopicName::new("doses").unwrap(), Offset::new(0))]);
    assert_eq!(node.handle().retry_now(&name, these).await, Ok(1));
    sleep(40.mins()).await;
    assert_eq!(journal.attempts("ann", 13), [1, 2, 3, 4], "one more, and it is paused again");
    assert_eq!(node.handle().group(&name).await.unwrap().paused, 1);

    IS_MENDED.store(true, Ordering::Relaxed);
    assert_eq!(node.handle().retry_now(&name, Waiting::All).await, Ok(1));
    node.settled("careful").await;
    assert_eq!((journal.attempts("ann", 13).len(), journal.attempts("ann", 14).len()), (5, 1));
    assert_eq!(node.handle().retry_now(&name, Waiting::All).await, Ok(0));
}

/// Gives up on what is negative, waits long after what is odd.
struct Picky {
    journal: Journal,
}

impl Service for Picky {
    const GROUP: &'static str = "picky";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(2).on::<Dose>(|handler| handler)
    }
}

impl Handle<Dose> for Picky {
    async fn handle(&mut self, dose: Dose, cx: &mut Cx) -> Handled {
        self.journal.note(&dose, cx);
        match (dose.number, cx.attempt()) {
            (666, _) => Err(Failure::fatal("never")),
            (number, 1) if number % 2 == 1 => Err(Failure::again_in(60.mins(), "the shop is shut")),
            _ => Ok(()),
        }
    }
}

/// An event in back-off must be tried at once if a person says so, and a dead letter that is dropped
/// must be gone, also after a restart; what is not there must be passed over.
#[tokio::test(start_paused = true)]
async fn back_off_ends_and_letters_go_when_a_person_says_so() {
    let journal = Journal::default();
    let for_workers = journal.clone();
    let node = TestNode::start(move || Picky { journal: for_workers.clone() }).await;
    let begun = tokio::time::Instant::now();
    node.publish(dose("ann", 1)).await;
    node.publish(dose("bob", 666)).await;
    node.publish(dose("cid", 666)).await;
    journal.until(|seen| seen.1 == 1).await;
    let name = group("picky");
    while node.handle().waiting(&name, 9).await.unwrap().1 == 0 {
        sleep(10.millis()).await;
    }
    assert_eq!(node.handle().retry_now(&name, Waiting::All).await, Ok(1));
    node.settled("picky").await;
    assert!(begun.elapsed() < 5.mins(), "nobody waited for the hour");

    assert_eq!(node.dead_letters().await.len(), 2);
    let doses = TopicName::new("doses").unwrap();
    let letters = [1, 1, 0, 77].map(|offset| (doses.clone(), Offset::new(offset)));
    let dropped = node.handle().discard(&name, Letters::These(letters.to_vec())).await;
    assert_eq!(dropped, Ok(1), "one is there, and goes once");
    let remains = node.crash().await;
    let for_workers = journal.clone();
    let picky = move || Picky { journal: for_workers.clone() };
    let node = TestNode::builder().service(picky).start_on(remains).await;
    let left: Vec<_> = node.dead_letters().await.iter().map(|letter| letter.event.offset).collect();
    assert_eq!(left, [2]);
    assert_eq!(node.handle().discard(&name, Letters::All).await, Ok(1));
    assert!(node.dead_letters().await.is_empty());
}

/// A group that a person paused must stay so over a restart, with all that was published waiting in its
/// order, and go on where it was.
#[tokio::test(start_paused = true)]
async fn paused_group_waits_over_a_restart() {
    let journal = Journal::default();
    let picky = |journal: &Journal| {
        let journal = journal.clone();
        move || Picky { journal: journal.clone() }
    };
    let node = TestNode::start(picky(&journal)).await;
    let name = group("picky");
    node.publish(dose("ann", 0)).await;
    node.settled("picky").await;
    assert_eq!(node.handle().pause(&name).await.unwrap().state, "paused");
    node.publish(dose("ann", 2)).await;
    let node = TestNode::builder().service(picky(&journal)).start_on(node.crash().await).await;
    node.publish(dose("ann", 4)).await;
    sleep(30.mins()).await;
    let shown = node.handle().group(&name).await.unwrap();
    assert_eq!((shown.state.as_str(), shown.lag, journal.all().len()), ("paused", 2, 1));
    node.handle().resume(&name).await.unwrap();
    node.settled("picky").await;
    let numbers: Vec<_> = journal.all().into_iter().map(|seen| seen.1).collect();
    assert_eq!(numbers, [0, 2, 4]);
}

/// A group that is sent back must handle again what is behind and nothing else, from the first attempt
/// on, also what it had given up; sent forth it must leave out what is before. A dry run does nothing; a
/// place that is none is refused. It is so after a restart, too.
#[tokio::test(start_paused = true)]
async fn group_is_sent_elsewhere() {
    let journal = Journal::default();
    let picky = |journal: &Journal| {
        let journal = journal.clone();
        move || Picky { journal: journal.clone() }
    };
    let numbers = |journal: &Journal, n_seen: usize| -> Vec<u32> {
        journal.all().into_iter().skip(n_seen).map(|seen| seen.1).collect()
    };
    let node = TestNode::start(picky(&journal)).await;
    let (name, doses) = (group("picky"), TopicName::new("doses").unwrap());
    let begun_ms = node.handle().wall_ms();
    for number in [0, 2, 666, 4, 6] {
        node.publish(dose("ann", number)).await;
        sleep(1.secs()).await;
    }
    node.settled("picky").await;
    let seek = async |node: &TestNode, to: SeekTo, dry_run: bool| {
        node.handle().seek(&name, &doses, to, dry_run).await
    };
    let told = seek(&node, SeekTo::Offset(Offset::new(1)), true).await.unwrap();
    assert_eq!((told.from, told.to, told.redelivers, told.skips), (5, 1, 4, 0));
    assert_eq!((told.drops_dead, told.dry_run), (1, true));
    assert_eq!((journal.all().len(), node.dead_letters().await.len()), (5, 1));
    let told = seek(&node, SeekTo::Time(begun_ms + 2_500), true).await.unwrap();
    assert_eq!((told.to, told.redelivers), (3, 2), "one was published each second");
    let beyond = seek(&node, SeekTo::Offset(Offset::new(6)), false).await;
    assert!(matches!(beyond, Err(SeekError::NoSuchOffset { start: 0, end: 5, .. })), "{beyond:?}");

    seek(&node, SeekTo::Offset(Offset::new(1)), false).await.unwrap();
    node.settled("picky").await;
    assert_eq!(numbers(&journal, 5), [2, 666, 4, 6]);
    assert_eq!(node.dead_letters().await.len(), 1, "it is given up once more");
    assert_eq!(journal.attempts("ann", 666), [1, 1]);

    node.handle().pause(&name).await.unwrap();
    node.publish(dose("ann", 8)).await;
    node.publish(dose("ann", 10)).await;
    let told = seek(&node, SeekTo::Offset(Offset::new(6)), false).await.unwrap();
    assert_eq!((told.redelivers, told.skips), (0, 1));
    let node = TestNode::builder().service(picky(&journal)).start_on(node.crash().await).await;
    assert_eq!(node.handle().group(&name).await.unwrap().state, "paused", "as it was before");
    node.handle().resume(&name).await.unwrap();
    node.settled("picky").await;
    assert_eq!(numbers(&journal, 9), [10]);

    seek(&node, SeekTo::Start, false).await.unwrap();
    node.settled("picky").await;
    assert_eq!(numbers(&journal, 10), [0, 2, 666, 4, 6, 8, 10]);
    let told = seek(&node, SeekTo::End, false).await.unwrap();
    assert_eq!((told.redelivers, told.skips, told.drops_dead), (0, 0, 0));
}

/// Takes a long time over number 30.
struct Slow;

impl Service for Slow {
    const GROUP: &'static str = "slow";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(1).on::<Dose>(|handler| handler.timeout(5.mins()))
    }
}

impl Handle<Dose> for Slow {
    async fn handle(&mut self, dose: Dose, _: &mut Cx) -> Handled {
        sleep(u64::from(dose.number).secs()).await;
        Ok(())
    }
}

/// An event must not run twice at once, so a group whose handler goes on is not sent elsewhere: that is
/// said after 5 s, and the group works on as before. Once it has come to rest it is sent, also if nobody
/// waits for that any more.
#[tokio::test(start_paused = true)]
async fn group_that_works_is_not_sent_elsewhere() {
    let node = TestNode::start(|| Slow).await;
    let (name, doses) = (group("slow"), TopicName::new("doses").unwrap());
    node.publish(dose("ann", 30)).await;
    sleep(1.secs()).await;
    let refused = node.handle().seek(&name, &doses, SeekTo::Start, false).await;
    assert!(matches!(refused, Err(SeekError::NoRest { .. })), "{refused:?}");
    assert_eq!(node.handle().group(&name).await.unwrap().state, "running");
    node.settled("slow").await;
    node.publish(dose("ann", 5)).await;
    sleep(1.secs()).await;
    let told = node.handle().seek(&name, &doses, SeekTo::Start, false).await.unwrap();
    assert_eq!((told.from, told.redelivers, told.skips), (2, 2, 0), "it has waited for it");
    node.settled("slow").await;

    node.publish(dose("ann", 4)).await;
    sleep(1.secs()).await;
    let seek = node.handle().seek(&name, &doses, SeekTo::Offset(Offset::new(1)), false);
    assert!(tokio::time::timeout(1.secs(), seek).await.is_err(), "the caller goes away");
    sleep(4.secs()).await;
    let shown = node.handle().group(&name).await.unwrap();
    assert_eq!((shown.state.as_str(), shown.reason, shown.lag), ("running", None, 2));
    node.settled("slow").await;
}

/// Needs a server that is down at first.
struct Dependent {
    journal: Journal,
}

static IS_DOWN: AtomicBool = AtomicBool::new(true);

impl Service for Dependent {
    const GROUP: &'static str = "dependent";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(4).on::<Dose>(|handler| handler)
    }
}

impl Handle<Dose> for Dependent {
    async fn handle(&mut self, dose: Dose, cx: &mut Cx) -> Handled {
        self.journal.note(&dose, cx);
        match IS_DOWN.load(Ordering::Relaxed) {
            true => Err(Failure::again("connection refused")),
            false => Ok(()),
        }
    }
}

/// An outage of an hour must not use up the attempts of what was published meanwhile, which without
/// the breaker would all be dead letters after six minutes: the group pauses, says so, probes with one
/// event at a time, and goes on by itself, in order per key.
#[tokio::test(start_paused = true)]
async fn outage_pauses_the_group_and_gives_nothing_up() {
    let journal = Journal::default();
    let for_workers = journal.clone();
    let node = TestNode::start(move || Dependent { journal: for_workers.clone() }).await;
    let events: Vec<_> = (0..600).map(|n| dose(&format!("u{}", n % 100), n)).collect();
    node.publisher().publish_all(&events).await.unwrap();
    sleep(60.mins()).await;
    let name = group("dependent");
    let shown = node.handle().group(&name).await.unwrap();
    assert_eq!((shown.state.as_str(), shown.dead, shown.lag), ("paused", 0, 600));
    let reason = shown.reason.expect("it says why");
    assert!(reason.contains("failed at their first attempt"), "{reason}");
    let n_attempts = journal.all().len();
    // At first each key has an attempt or two, then there is a probe each 30 s.
    assert!((150..700).contains(&n_attempts), "{n_attempts} attempts");

    IS_DOWN.store(false, Ordering::Relaxed);
    node.settled("dependent").await;
    assert!(node.dead_letters().await.is_empty());
    assert_eq!(node.handle().group(&name).await.unwrap().state, "running");
    for n in 0..100 {
        let who = format!("u{n}");
        let of_key = journal.all().into_iter().filter(|seen| seen.0 == who).map(|seen| seen.1);
        assert!(of_key.collect::<Vec<_>>().is_sorted(), "{who} is out of order");
    }
}

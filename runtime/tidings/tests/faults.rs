//! Rows of the fault matrix that a whole node in memory can show: clocks, poison, panics, purges.
#![cfg(feature = "testkit")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings::prelude::*;
use tidings::testkit::TestNode;
use tidings_node::error::{CommandError, ReadError};
use tidings_types::effect::{Answer, Refused};
use tidings_types::layout::command::Command;
use tidings_types::name::TopicName;
use tidings_types::offset::{LogIndex, Offset};
use tokio::time::{Instant, sleep};

#[path = "faults/letters.rs"]
mod letters;

#[path = "faults/pausing.rs"]
mod pausing;

#[path = "faults/supervision.rs"]
mod supervision;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(topic = "doses", kind = "dose.given.v1", key = who)]
struct Dose {
    who: String,
    number: u32,
}

fn dose(who: &str, number: u32) -> Dose {
    Dose { who: who.to_owned(), number }
}

const LOCK: &str = "nobody panics while holding the lock";

/// One attempt as a handler saw it: whose event, which, which attempt, when.
type Seen = (String, u32, u32, Instant);

/// What handlers saw, over all lives of a node.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<Seen>>>);

impl Journal {
    fn note(&self, dose: &Dose, cx: &Cx) {
        let seen = (dose.who.clone(), dose.number, cx.attempt(), Instant::now());
        self.0.lock().expect(LOCK).push(seen);
    }

    fn all(&self) -> Vec<Seen> {
        self.0.lock().expect(LOCK).clone()
    }

    /// The attempts on one event.
    fn attempts(&self, who: &str, number: u32) -> Vec<u32> {
        let of_event = |seen: &Seen| seen.0 == who && seen.1 == number;
        self.all().into_iter().filter(of_event).map(|seen| seen.2).collect()
    }

    /// Waits, in virtual time, for the first attempt of this kind.
    async fn until(&self, what: impl Fn(&Seen) -> bool) {
        for _ in 0..100_000 {
            if self.all().iter().any(&what) {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
        panic!("it did not come about: {:?}", self.all());
    }
}

/// Cannot take number 13.
struct Drinker {
    journal: Journal,
}

const ATTEMPTS: u32 = 5;

impl Service for Drinker {
    const GROUP: &'static str = "drinkers";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        let retry = Retry::exponential(10.secs()..=10.secs()).attempts(ATTEMPTS);
        plan.workers(2).on::<Dose>(|handler| handler.retry(retry))
    }
}

impl Handle<Dose> for Drinker {
    async fn handle(&mut self, dose: Dose, cx: &mut Cx) -> Handled {
        self.journal.note(&dose, cx);
        if dose.number == 13 { Err(Failure::again("thirteen")) } else { Ok(()) }
    }
}

fn drinkers(journal: &Journal) -> impl Fn() -> Drinker + Send + Sync + 'static {
    let journal = journal.clone();
    move || Drinker { journal: journal.clone() }
}

/// F34: whatever the wall clock does, no retry may come before its back-off is over, none may stay
/// out, and who was silent for less than an hour must still be known as a publisher. We turn the
/// clock by an hour forth and back, again and again, while an event waits out its back-offs; cluster
/// time may run 10 % fast and no faster.
#[tokio::test(start_paused = true)]
async fn f34_turning_the_wall_clock_rings_no_timer_early() {
    const HOUR_MS: i64 = 3_600_000;
    let journal = Journal::default();
    let node = TestNode::start(drinkers(&journal)).await;
    let begun = Instant::now();
    node.publish(dose("ann", 13)).await;
    let mut turn = HOUR_MS;
    while node.dead_letters().await.is_empty() {
        node.turn_wall_clock(turn);
        turn = -turn;
        sleep(Duration::from_millis(70)).await;
        assert!(begun.elapsed() < Duration::from_secs(70), "the event stays out");
    }
    let at: Vec<_> = journal.all().into_iter().map(|seen| seen.3).collect();
    assert_eq!(at.len(), ATTEMPTS as usize);
    for pair in at.windows(2) {
        // A back-off has jitter: at least half of it is sure.
        let waited = pair[1] - pair[0];
        assert!(Duration::from_millis(4_500) <= waited, "an attempt came after {waited:?}");
        assert!(waited <= Duration::from_secs(13), "an attempt came only after {waited:?}");
    }

    // Turned by an hour for good, while the publisher says nothing for 50 minutes.
    node.turn_wall_clock(HOUR_MS);
    sleep(Duration::from_secs(50 * 60)).await;
    node.turn_wall_clock(-2 * HOUR_MS);
    node.publish(dose("ann", 1)).await;
    node.settled("drinkers").await;
    assert_eq!(journal.attempts("ann", 1), [1]);
    assert_eq!(node.published::<Dose>().await, [dose("ann", 13), dose("ann", 1)]);
}

/// F37: a poison event must cost its own key alone, and its attempts must be counted over the death
/// of the node; then it is a dead letter with payload, reason and attempts, and its key goes on. We
/// cut the power while the third attempt runs, whose outcome is lost with it, and once more at the
/// end.
#[tokio::test(start_paused = true)]
async fn f37_poison_is_counted_over_a_crash_and_blocks_nobody_else() {
    let journal = Journal::default();
    let node = TestNode::start(drinkers(&journal)).await;
    node.publish(dose("ann", 13)).await;
    node.publish(dose("ann", 14)).await;
    for number in 0..20 {
        node.publish(dose("bob", number + 100)).await;
    }
    journal.until(|seen| seen.1 == 13 && seen.2 == 3).await;
    assert_eq!(journal.all().iter().filter(|seen| seen.0 == "bob").count(), 20);
    let remains = node.crash().await;

    let node = TestNode::builder().service(drinkers(&journal)).start_on(remains).await;
    node.publish(dose("cid", 1)).await;
    journal.until(|seen| seen.0 == "cid").await;
    assert!(node.dead_letters().await.is_empty(), "given up too soon");
    node.settled("drinkers").await;
    assert_eq!(journal.attempts("ann", 13), [1, 2, 3, 3, 4, 5]);
    assert_eq!(journal.attempts("ann", 14), [1]);
    let order: Vec<_> = journal.all().into_iter().filter(|seen| seen.0 == "ann").collect();
    assert_eq!(order.last().map(|seen| seen.1), Some(14), "the key went on too soon");
    assert_eq!(journal.all().iter().filter(|seen| seen.0 == "bob").count(), 20, "handled twice");

    let remains = node.crash().await;
    let node = TestNode::builder().service(drinkers(&journal)).start_on(remains).await;
    let letters = node.dead_letters().await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((letter.attempts, letter.reason.as_str()), (ATTEMPTS, "attempts_exhausted"));
    assert_eq!((letter.message.as_str(), letter.event.key.as_deref()), ("thirteen", Some("ann")));
    let payload: Dose = serde_json::from_str(letter.event.data.as_ref().unwrap().get()).unwrap();
    assert_eq!(payload, dose("ann", 13));
}

/// Panics while it is dropped, if it may: once a minute at most.
struct Grenade {
    may_explode: Arc<AtomicBool>,
}

impl Drop for Grenade {
    fn drop(&mut self) {
        let explodes = self.may_explode.swap(false, Ordering::Relaxed);
        assert!(!explodes || std::thread::panicking(), "meant to happen in a drop");
    }
}

/// Panics on one event in a hundred, inside or in a drop, and at times when its value is dropped.
struct Clumsy {
    journal: Journal,
    may_explode: Arc<AtomicBool>,
    /// Goes with the worker's value.
    _grenade: Grenade,
}

impl Service for Clumsy {
    const GROUP: &'static str = "clumsy";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        let retry = Retry::exponential(100.millis()..=1.secs()).attempts(3);
        plan.workers(4).on::<Dose>(|handler| handler.retry(retry))
    }
}

impl Handle<Dose> for Clumsy {
    async fn handle(&mut self, dose: Dose, cx: &mut Cx) -> Handled {
        self.journal.note(&dose, cx);
        match dose.number % 100 {
            13 => panic!("meant to happen"),
            // The value is dropped because of this, and panics again while it is.
            26 if cx.attempt() == 1 => {
                self.may_explode.store(true, Ordering::Relaxed);
                panic!("meant to happen with a panic behind it")
            }
            39 if cx.attempt() == 1 => {
                let may_explode = Arc::new(AtomicBool::new(true));
                drop(Grenade { may_explode });
            }
            52 if cx.attempt() == 1 => {
                let _later = Grenade { may_explode: Arc::new(AtomicBool::new(true)) };
                tokio::task::yield_now().await;
            }
            _ => {}
        }
        Ok(())
    }
}

/// F38: a handler that panics, also in a `Drop`, must lose no event but the attempt of its own. We
/// queue a thousand events of fifty keys, of which some panic always and some at first.
#[tokio::test(start_paused = true)]
async fn f38_panics_lose_nothing_else() {
    const N_EVENTS: u32 = 1_000;
    let (journal, may_explode) = (Journal::default(), Arc::new(AtomicBool::new(false)));
    let (for_workers, grenades) = (journal.clone(), Arc::clone(&may_explode));
    let node = TestNode::start(move || Clumsy {
        journal: for_workers.clone(),
        may_explode: Arc::clone(&grenades),
        _grenade: Grenade { may_explode: Arc::clone(&grenades) },
    });
    let node = node.await;
    let events: Vec<_> = (0..N_EVENTS).map(|n| dose(&format!("key-{}", n % 50), n)).collect();
    node.publisher().publish_all(&events).await.unwrap();
    node.settled("clumsy").await;

    for number in 0..N_EVENTS {
        let attempts = journal.attempts(&format!("key-{}", number % 50), number);
        let expected: &[u32] = match number % 100 {
            13 => &[1, 2, 3],
            26 | 39 | 52 => &[1, 2],
            _ => &[1],
        };
        assert_eq!(attempts, expected, "event {number}");
    }
    let mut dead: Vec<_> = node.dead_letters().await.iter().map(|d| d.event.offset).collect();
    dead.sort_unstable();
    assert_eq!(dead, (0..10).map(|n| n * 100 + 13).collect::<Vec<_>>());
    // Within a key each event ends before the next one begins.
    for key in 0..50 {
        let who = format!("key-{key}");
        let numbers: Vec<_> =
            journal.all().into_iter().filter(|s| s.0 == who).map(|s| s.1).collect();
        assert!(numbers.is_sorted(), "{who}: {numbers:?}");
    }
}

/// Cannot be made any more once it has panicked.
struct Broken {
    _value: (),
}

impl Service for Broken {
    const GROUP: &'static str = "broken";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(1).on::<Dose>(|handler| handler)
    }
}

impl Handle<Dose> for Broken {
    async fn handle(&mut self, _: Dose, _: &mut Cx) -> Handled {
        panic!("meant to happen");
    }
}

/// F38: a service that dies again and again must be paused, with its reason shown and its backlog
/// kept; the node and the other services go on. The worker's value cannot be made after the first
/// panic; a node that is started with a whole service takes up the backlog.
#[tokio::test(start_paused = true)]
async fn f38_a_service_that_melts_down_pauses_alone() {
    let (journal, n_made) = (Journal::default(), Arc::new(AtomicU32::new(0)));
    let made = Arc::clone(&n_made);
    let broken = move || {
        assert_eq!(made.fetch_add(1, Ordering::Relaxed), 0, "meant to happen");
        Broken { _value: () }
    };
    let node = TestNode::builder().service(broken).service(drinkers(&journal)).start().await;
    let events: Vec<_> = (100..200).map(|n| dose("ann", n)).collect();
    node.publisher().publish_all(&events).await.unwrap();
    sleep(Duration::from_secs(600)).await;
    let groups = node.handle().groups().await.unwrap();
    let group = groups.iter().find(|group| group.name == "broken").unwrap();
    assert_eq!((group.lag, group.state.as_str()), (100, "stopped"));
    assert!(group.reason.as_ref().unwrap().contains("died too often"), "{group:?}");
    let n_tries = n_made.load(Ordering::Relaxed);
    assert!((2..=10).contains(&n_tries), "made {n_tries} times");
    node.publish(dose("bob", 1)).await;
    node.settled("drinkers").await;
    assert_eq!(journal.all().len(), 101);
    assert!(node.dead_letters().await.is_empty());

    let remains = node.stop().await;
    let mended = Journal::default();
    let for_workers = mended.clone();
    let node = TestNode::builder().service(move || Mended { journal: for_workers.clone() });
    let node = node.start_on(remains).await;
    node.settled("broken").await;
    assert_eq!(mended.all().len(), 101);
    assert_eq!(mended.attempts("ann", 100), [2], "the panic cost one attempt");
}

/// The broken service with its fault mended.
struct Mended {
    journal: Journal,
}

impl Service for Mended {
    const GROUP: &'static str = "broken";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(1).on::<Dose>(|handler| handler)
    }
}

impl Handle<Dose> for Mended {
    async fn handle(&mut self, dose: Dose, cx: &mut Cx) -> Handled {
        self.journal.note(&dose, cx);
        Ok(())
    }
}

async fn purge(node: &TestNode, index: LogIndex) -> Result<Answer, CommandError> {
    node.core().command(Command::Purge { index }).await
}

async fn read(node: &TestNode, from: u64) -> Result<usize, ReadError> {
    let topic = TopicName::new("doses").expect("it is a name");
    node.handle().read(&topic, Offset::new(from), 100).await.map(|events| events.len())
}

/// F45: a purge must not take what a group still needs, whoever asks for it; and once it took
/// something, a reader of it must be told so and never be given later events instead. The group
/// lags behind an event in back-off. Dead letters are redriven from behind the purge, and a group
/// that comes later reads from the start that is left, also after a restart.
#[tokio::test(start_paused = true)]
async fn f45_a_purge_waits_for_a_lagging_group_and_is_never_silent() {
    let journal = Journal::default();
    let node = TestNode::start(drinkers(&journal)).await;
    node.publish(dose("ann", 13)).await;
    for number in 0..9 {
        node.publish(dose("bob", number + 20)).await;
    }
    journal.until(|seen| seen.1 == 28).await;
    node.core().command(Command::Checkpoint).await.unwrap();
    let index = node.core().checkpoints().await[0];
    node.publish(dose("bob", 40)).await;
    let refused = purge(&node, index).await.unwrap_err();
    let CommandError::Refused(Refused::PurgePinned { floor, .. }) = refused else {
        panic!("{refused}");
    };
    assert_eq!((floor.get(), read(&node, 0).await.unwrap()), (0, 11));

    node.settled("drinkers").await;
    assert_eq!(purge(&node, index).await, Ok(Answer::Done));
    let ReadError::BelowStart { from, start, .. } = read(&node, 3).await.unwrap_err() else {
        panic!("what is gone can be read");
    };
    assert_eq!((from, start, read(&node, 10).await.unwrap()), (3, 10, 1));
    let letter = &node.dead_letters().await[0];
    assert_eq!((letter.event.offset, letter.attempts), (0, ATTEMPTS));
    let remains = node.crash().await;

    let late = Journal::default();
    let for_workers = late.clone();
    let node = TestNode::builder()
        .service(drinkers(&journal))
        .service(move || Mended { journal: for_workers.clone() });
    let node = node.start_on(remains).await;
    node.settled("broken").await;
    assert_eq!(late.all().iter().map(|seen| seen.1).collect::<Vec<_>>(), [40]);
    let group = tidings_types::name::GroupName::new("drinkers").unwrap();
    let redriven = node.handle().redrive(&group, tidings_node::handle::Letters::All).await;
    assert_eq!(redriven, Ok(1));
    node.settled("drinkers").await;
    assert_eq!(journal.attempts("ann", 13).len(), 2 * ATTEMPTS as usize);
}

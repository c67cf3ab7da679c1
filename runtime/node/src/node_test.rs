//! A whole node in memory: publish, deliver, fail, crash, restart; nothing acknowledged is lost.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidings_delivery::family::Strategy;
use tidings_delivery::retry::RetryPolicy;
use tidings_delivery::session::Verdict;
use tidings_log::MemoryDisk;
use tidings_types::event::NewEvent;
use tidings_types::layout::acks::FailureClass;
use tidings_types::layout::command::GroupStart;
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::Offset;
use tokio::time::{sleep, timeout};

use crate::handle::Letters;
use crate::service::{GiveUp, Handler, Policy, ServiceSpec, Work};
use crate::testkit::TestCore;

/// What handlers saw, over all lives of a node: each start of an event, in order.
#[derive(Clone, Debug, Default)]
struct Journal(Arc<Mutex<Vec<(String, u64, u32)>>>);

impl Journal {
    fn note(&self, key: &[u8], offset: Offset, attempt: u32) {
        let key = String::from_utf8_lossy(key).into_owned();
        self.0.lock().unwrap().push((key, offset.get(), attempt));
    }

    fn entries(&self) -> Vec<(String, u64, u32)> {
        self.0.lock().unwrap().clone()
    }
}

/// What the handler does with an event, by its payload.
struct Scripted(Journal);

impl Handler for Scripted {
    fn run<'a>(&'a mut self, work: &'a mut Work) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move {
            while let Some(delivery) = work.next() {
                self.0.note(delivery.event.key(), delivery.offset, delivery.attempt);
                let verdict = match (delivery.event.payload(), delivery.attempt) {
                    (b"panic", _) => panic!("meant to happen"),
                    (b"panic once", 1) => panic!("meant to happen once"),
                    (b"hang", _) => {
                        sleep(Duration::from_secs(3_600)).await;
                        Verdict::Done
                    }
                    (b"fail twice", 1 | 2) => {
                        work.failed(&delivery, FailureClass::Error, "no luck".to_owned())
                    }
                    _ => Verdict::Done,
                };
                work.finish(verdict);
            }
        })
    }
}

fn topic() -> TopicName {
    TopicName::new("users").unwrap()
}

fn group() -> GroupName {
    GroupName::new("readers").unwrap()
}

fn service(journal: &Journal, workers: usize) -> ServiceSpec {
    let journal = journal.clone();
    let retry = RetryPolicy { attempts: 4, ..RetryPolicy::default() };
    ServiceSpec {
        tasks: Vec::new(),
        strategy: Strategy::OneForOne,
        group: group(),
        topics: vec![topic()],
        start: GroupStart::Earliest,
        everywhere: false,
        workers,
        new_handler: Arc::new(move |_| Box::new(Scripted(journal.clone()))),
        policy: Arc::new(move |_| Policy {
            retry,
            timeout: Duration::from_secs(2),
            give_up: GiveUp::DeadLetter,
        }),
    }
}

async fn start_on(disk: Arc<MemoryDisk>, journal: &Journal, workers: usize) -> TestCore {
    TestCore::start_on(disk, vec![service(journal, workers)], "nowhere").await.unwrap()
}

async fn publish(node: &TestCore, key: &str, payload: &str) -> Offset {
    let publisher = node.handle.publisher();
    let topic = publisher.topic(&topic()).await.unwrap();
    let mut buffer = [0; tidings_types::event::ID_BYTES];
    let event = NewEvent {
        id: publisher.new_id(&mut buffer),
        kind: "test.v1",
        key: key.as_bytes(),
        time_ms: publisher.wall_ms(),
        headers: b"",
        payload: payload.as_bytes(),
    };
    publisher.publish(topic, &event).await.unwrap()
}

/// Waits in virtual time until the group has settled everything.
async fn settled(node: &TestCore) {
    let settled = async {
        loop {
            let group = node.handle.group(&group()).await;
            if group.is_ok_and(|group| group.lag == 0 && group.redriven == 0) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(600), settled).await.expect("events are not settled");
}

/// Each event must be handled once, in order per key, and read back from the topic. We publish
/// three keys in turn to four workers.
#[tokio::test(start_paused = true)]
async fn events_are_handled_once_and_in_order_per_key() {
    let journal = Journal::default();
    let node = start_on(Arc::default(), &journal, 4).await;
    for n in 0..30_u64 {
        assert_eq!(publish(&node, &format!("key-{}", n % 3), "fine").await, Offset::new(n));
    }
    settled(&node).await;

    let mut by_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (key, offset, attempt) in journal.entries() {
        assert_eq!(attempt, 1);
        by_key.entry(key).or_default().push(offset);
    }
    assert_eq!(by_key.values().map(Vec::len).sum::<usize>(), 30);
    assert!(by_key.values().all(|offsets| offsets.is_sorted()), "{by_key:?}");

    let read = node.handle.read(&topic(), Offset::new(10), 5).await.unwrap();
    let offsets: Vec<_> = read.iter().map(|(offset, _)| offset.get()).collect();
    assert_eq!(offsets, [10, 11, 12, 13, 14]);
    assert!(node.handle.read(&topic(), Offset::new(30), 5).await.unwrap().is_empty());
}

/// A failing event must come again by its policy and hold up its own key only; what is given up
/// must be a dead letter with its payload. We let one event panic for ever, one hang for ever, one
/// panic once and one fail twice, each with a follower of its key.
#[tokio::test(start_paused = true)]
async fn failures_cost_their_own_event_only() {
    let journal = Journal::default();
    let node = start_on(Arc::default(), &journal, 2).await;
    for payload in ["panic", "hang", "panic once", "fail twice"] {
        publish(&node, payload, payload).await;
        publish(&node, payload, "fine").await;
    }
    settled(&node).await;

    let attempts = |offset: u64| {
        let entries = journal.entries();
        entries.iter().filter(|(_, o, _)| *o == offset).map(|(.., n)| *n).collect::<Vec<_>>()
    };
    assert_eq!(attempts(0), [1, 2, 3, 4]);
    assert_eq!(attempts(2), [1, 2, 3, 4]);
    assert_eq!(attempts(4), [1, 2]);
    assert_eq!(attempts(6), [1, 2, 3]);
    for follower in [1, 3, 5, 7] {
        assert_eq!(attempts(follower), [1], "follower {follower}");
    }
    let entries = journal.entries();
    for (key, offset, _) in entries.iter().filter(|(_, offset, _)| offset % 2 == 1) {
        let last = entries.iter().rposition(|(k, o, _)| k == key && o + 1 == *offset).unwrap();
        let followed = entries.iter().position(|(_, o, _)| o == offset).unwrap();
        assert!(last < followed, "{key} was overtaken");
    }

    let dead = node.handle.dead_letters(None).await.unwrap();
    let shown: Vec<_> = dead.iter().map(|d| (d.event.offset, d.attempts, &*d.reason)).collect();
    assert_eq!(shown, [(0, 4, "attempts_exhausted"), (2, 4, "attempts_exhausted")]);
    assert!(dead[0].message.contains("meant to happen"), "{}", dead[0].message);
    assert!(dead[1].message.contains("deadline"), "{}", dead[1].message);

    // A redriven letter comes with fresh attempts, and is dead again if nothing was mended.
    assert_eq!(node.handle.redrive(&group(), Letters::All).await, Ok(2));
    settled(&node).await;
    assert_eq!(attempts(0), [1, 2, 3, 4, 1, 2, 3, 4]);
    assert_eq!(node.handle.dead_letters(Some(&group())).await.unwrap().len(), 2);
}

/// What was acknowledged must outlive the process, and what was settled must not come again. We cut
/// the power twice with everything acknowledged, and let the second life fail events, too.
#[tokio::test(start_paused = true)]
async fn acknowledged_events_outlive_a_power_cut() {
    let journal = Journal::default();
    let node = start_on(Arc::default(), &journal, 2).await;
    for n in 0..20_u64 {
        publish(&node, &format!("key-{n}"), "fine").await;
    }
    settled(&node).await;
    let before = journal.entries().len();
    let disk = node.crash().await;

    let node = start_on(disk, &journal, 2).await;
    settled(&node).await;
    assert_eq!(journal.entries().len(), before, "settled events came again");
    assert_eq!(publish(&node, "key", "panic once").await, Offset::new(20));
    let disk = node.crash().await;

    let node = start_on(disk, &journal, 2).await;
    settled(&node).await;
    let last: Vec<_> = journal.entries().into_iter().filter(|(_, o, _)| *o == 20).collect();
    assert!(!last.is_empty(), "an acknowledged event was lost");
    assert_eq!(node.handle.topic(&topic()).await.unwrap().end, 21);
}

/// A drained node must finish what runs, and nothing may come again after its next start.
#[tokio::test(start_paused = true)]
async fn drained_node_repeats_nothing() {
    let journal = Journal::default();
    let node = start_on(Arc::default(), &journal, 2).await;
    for n in 0..50_u64 {
        publish(&node, &format!("key-{}", n % 7), "fine").await;
    }
    let disk = node.drain().await;
    let handled = journal.entries().len();

    let node = start_on(disk, &journal, 2).await;
    settled(&node).await;
    let mut offsets: Vec<_> = journal.entries().into_iter().map(|(_, o, _)| o).collect();
    assert!(handled <= 50);
    offsets.sort_unstable();
    assert_eq!(offsets, (0..50).collect::<Vec<_>>());
}

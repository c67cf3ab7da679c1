//! What a service author is promised, each tried on a whole node with a paused clock.
#![cfg(feature = "testkit")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tidings::prelude::*;
use tidings::testkit::TestNode;

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(topic = "jobs", kind = "job.asked.v1", key = who)]
struct Asked {
    who: String,
    what: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(topic = "done", kind = "job.done.v1", key = who, codec = "bincode")]
struct Done {
    who: String,
    attempt: u32,
}

/// Another version of a type that is handled, and a type that nobody handles.
#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(topic = "jobs", kind = "job.asked.v2", key = who)]
struct AskedNewly {
    who: String,
}

#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(topic = "jobs", kind = "job.forgotten.v1", unordered)]
struct Forgotten;

/// The same type by its name, and other content.
#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(topic = "jobs", kind = "job.asked.v1", unordered)]
struct Garbled(u8);

fn ask(who: &str, what: &str) -> Asked {
    Asked { who: who.to_owned(), what: what.to_owned() }
}

const POISON: &str = "nobody panics while holding the lock";

type Seen = Arc<Mutex<Vec<String>>>;

fn see(seen: &Seen, text: impl Into<String>) {
    seen.lock().expect(POISON).push(text.into());
}

fn seen(seen: &Seen) -> Vec<String> {
    seen.lock().expect(POISON).clone()
}

/// Does as each event says.
struct Obedient {
    seen: Seen,
}

impl Service for Obedient {
    const GROUP: &'static str = "obedient";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(4).on::<Asked>(|handler| {
            handler
                .timeout(10.secs())
                .retry(Retry::exponential(100.millis()..=30.secs()).attempts(5))
                .give_up(DeadLetter)
        })
    }
}

impl Handle<Asked> for Obedient {
    async fn handle(&mut self, asked: Asked, cx: &mut Cx) -> Handled {
        see(&self.seen, format!("{} {} {}", asked.who, asked.what, cx.attempt()));
        assert_eq!(cx.key(), asked.who.as_bytes());
        assert_eq!((cx.topic(), cx.kind(), cx.group()), ("jobs", "job.asked.v1", "obedient"));
        assert!(!cx.event_id().is_empty());
        cx.emit(Done { who: asked.who, attempt: cx.attempt() });
        match asked.what.as_str() {
            "fail twice" if cx.attempt() <= 2 => Err(Failure::again("not yet")),
            "fail" => Err(Failure::again("never")),
            "give up" => {
                "x".parse::<u8>().fatal()?;
                Ok(())
            }
            "come back" if cx.attempt() <= 2 => {
                "x".parse::<u8>().retry_in(10.mins())?;
                Ok(())
            }
            "skip" => {
                None::<()>.skip("the user is gone")?;
                Ok(())
            }
            "panic once" if cx.attempt() == 1 => panic!("meant to happen"),
            "hang once" if cx.attempt() == 1 => std::future::pending().await,
            "emit too much" => {
                let who = "w".repeat(2 * 1024 * 1024);
                cx.emit(Done { who, attempt: 0 });
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

async fn obedient() -> (TestNode, Seen) {
    let seen = Seen::default();
    let handlers = Arc::clone(&seen);
    let node = TestNode::start(move || Obedient { seen: Arc::clone(&handlers) }).await;
    (node, seen)
}

/// A failed attempt must come again, in order within its key, and what it emitted must not exist.
/// We let the first of two events of a key fail twice, with another key beside it.
#[tokio::test(start_paused = true)]
async fn an_error_means_again_and_holds_up_its_own_key_only() {
    let (node, seen_by) = obedient().await;
    node.publish(ask("ann", "fail twice")).await;
    node.publish(ask("ann", "next")).await;
    node.publish(ask("bob", "first")).await;
    node.settled("obedient").await;

    let of = |who: &str| -> Vec<String> {
        seen(&seen_by).into_iter().filter(|line| line.starts_with(who)).collect()
    };
    assert_eq!(
        of("ann"),
        ["ann fail twice 1", "ann fail twice 2", "ann fail twice 3", "ann next 1"]
    );
    assert_eq!(of("bob"), ["bob first 1"]);
    assert_eq!(node.attempts(), 5);
    let mut emitted = node.published::<Done>().await;
    emitted.sort_by_key(|done| (done.who.clone(), done.attempt));
    let done = |who: &str, attempt| Done { who: who.to_owned(), attempt };
    assert_eq!(emitted, [done("ann", 1), done("ann", 3), done("bob", 1)]);
    assert!(node.dead_letters().await.is_empty());
}

/// What can never work must become a dead letter with its reason: at once if the handler says so,
/// after its attempts if it does not. Its key must go on.
#[tokio::test(start_paused = true)]
async fn dead_letters_tell_their_reason() {
    let (node, _) = obedient().await;
    node.publish(ask("ann", "give up")).await;
    node.publish(ask("ann", "next")).await;
    node.publish(ask("bob", "fail")).await;
    node.publish(ask("cid", "emit too much")).await;
    node.settled("obedient").await;

    let mut letters = node.dead_letters().await;
    letters.sort_by_key(|letter| letter.event.offset);
    let told: Vec<_> =
        letters.iter().map(|letter| (letter.reason.as_str(), letter.attempts)).collect();
    assert_eq!(told, [("fatal", 1), ("attempts_exhausted", 5), ("fatal", 1)]);
    let messages: Vec<_> = letters.iter().map(|letter| letter.message.as_str()).collect();
    assert_eq!(messages[..2], ["invalid digit found in string", "never"]);
    assert!(messages[2].starts_with("emitting job.done.v1: "), "{}", messages[2]);
    assert_eq!(node.published::<Done>().await, [Done { who: "ann".to_owned(), attempt: 1 }]);
}

/// A handler may say when to come back, and that there is nothing to do: the delay must be kept and
/// hold up its own key only; what is skipped must be settled with its reason and without what it
/// emitted.
#[tokio::test(start_paused = true)]
async fn handlers_say_when_to_come_back_and_what_to_skip() {
    let (node, seen_by) = obedient().await;
    let begun = tokio::time::Instant::now();
    node.publish(ask("ann", "come back")).await;
    node.publish(ask("ann", "next")).await;
    let skipped = node.publish(ask("bob", "skip")).await;
    node.publish(ask("bob", "next")).await;
    node.settled("obedient").await;
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    // Cluster time may run a tenth fast or slow.
    assert!((18.0..23.0).contains(&minutes), "two delays of ten minutes took {minutes:.1}");
    let of_ann: Vec<_> =
        seen(&seen_by).into_iter().filter(|line| line.starts_with("ann")).collect();
    let expected = ["ann come back 1", "ann come back 2", "ann come back 3", "ann next 1"];
    assert_eq!(of_ann, expected);
    let of_bob =
        node.published::<Done>().await.into_iter().filter(|done| done.who == "bob").count();
    assert_eq!(of_bob, 1, "what the skipped turn emitted is not there");
    assert!(node.dead_letters().await.is_empty());
    let story = node.handle().story(&skipped.id.to_string()).await.unwrap();
    let attempt = &story.groups[0].attempts[0];
    assert_eq!(attempt.outcome, "skipped");
    assert!(attempt.message.as_ref().unwrap().starts_with("the user is gone: "), "{attempt:?}");
}

/// A panic and a handler that hangs must each cost one attempt of their event, and lose nothing.
#[tokio::test(start_paused = true)]
async fn panics_and_hangs_cost_one_attempt() {
    let (node, seen_by) = obedient().await;
    node.publish(ask("ann", "panic once")).await;
    node.publish(ask("bob", "hang once")).await;
    node.publish(ask("cid", "first")).await;
    node.settled("obedient").await;
    let mut lines = seen(&seen_by);
    lines.sort();
    let expected = [
        "ann panic once 1",
        "ann panic once 2",
        "bob hang once 1",
        "bob hang once 2",
        "cid first 1",
    ];
    assert_eq!(lines, expected);
    assert!(node.dead_letters().await.is_empty());
}

/// Version skew is normal: an unknown version and undecodable content must be kept as dead letters,
/// an unknown type must be passed over, and none of them may reach the handler.
#[tokio::test(start_paused = true)]
async fn unknown_versions_are_kept_and_unknown_types_are_skipped() {
    let (node, seen_by) = obedient().await;
    node.publish(AskedNewly { who: "ann".to_owned() }).await;
    node.publish(Forgotten).await;
    node.publish(Garbled(7)).await;
    node.publish(ask("ann", "next")).await;
    node.settled("obedient").await;

    assert_eq!(seen(&seen_by), ["ann next 1"]);
    let letters = node.dead_letters().await;
    let told: Vec<_> =
        letters.iter().map(|letter| (letter.reason.as_str(), letter.event.kind.as_str())).collect();
    assert_eq!(told, [("undecodable", "job.asked.v2"), ("undecodable", "job.asked.v1")]);
    assert_eq!(letters[0].message, "version job.asked.v2 is unknown; job.asked.v1 is handled");
    assert_eq!(letters[1].event.data.as_ref().unwrap().get(), "7");
}

/// Commits batches, unless one of them says otherwise.
struct Sink {
    seen: Seen,
}

impl Service for Sink {
    const GROUP: &'static str = "sink";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.everywhere().workers(1).on::<Batch<Asked>>(|handler| {
            // Short, so that events that failed together come again together.
            handler.retry(Retry::exponential(1.millis()..=1.millis()).attempts(3))
        })
    }
}

impl Handle<Batch<Asked>> for Sink {
    async fn handle(&mut self, batch: Batch<Asked>, cx: &mut BatchCx) -> Handled {
        let whats: Vec<_> = batch.iter().map(|item| item.event.what.as_str()).collect();
        see(&self.seen, whats.join(","));
        // So that the next events gather behind this batch.
        tokio::time::sleep(Duration::from_millis(5)).await;
        for item in &batch {
            let attempt = item.attempt();
            match item.event.what.as_str() {
                "alone" if attempt == 1 => cx.fail(item.idx(), Failure::again("this one")),
                "poison" => return Err(Failure::fatal("all of them")),
                "panic" => panic!("meant to happen"),
                _ => cx.emit(item.idx(), Done { who: item.event.who.clone(), attempt }),
            }
        }
        Ok(())
    }
}

async fn sink() -> (TestNode, Seen) {
    let seen = Seen::default();
    let handlers = Arc::clone(&seen);
    let node = TestNode::start(move || Sink { seen: Arc::clone(&handlers) }).await;
    (node, seen)
}

/// Events that wait must come together, one of them may fail alone, and later ones of its key must
/// come behind it.
#[tokio::test(start_paused = true)]
async fn one_event_of_a_batch_fails_alone() {
    let (node, seen_by) = sink().await;
    let events = [ask("ann", "a"), ask("bob", "b"), ask("bob", "alone"), ask("bob", "behind")];
    let published = node.publisher().publish_all(&events).await.unwrap();
    assert_eq!(published.len(), 4);
    node.settled("sink").await;

    let batches = seen(&seen_by);
    let all = batches.join(",");
    let place = |what: &str| all.rfind(what).unwrap();
    assert!(batches.len() < 6, "{batches:?}");
    assert!(place("alone") < place("behind"), "{batches:?}");
    assert!(node.dead_letters().await.is_empty());
    assert_eq!(node.published::<Done>().await.len(), 4, "{batches:?}");
}

/// A batch that fails as a whole must not take the innocent along: each event is then tried alone,
/// and only the one that fails alone is given up.
#[tokio::test(start_paused = true)]
async fn failed_batch_blames_its_culprit_only() {
    let (node, _) = sink().await;
    let events = ["a", "b", "poison", "c", "d", "e", "f"].map(|what| ask(what, what));
    node.publisher().publish_all(&events).await.unwrap();
    node.settled("sink").await;
    let letters = node.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].reason.as_str(), letters[0].message.as_str()), ("fatal", "all of them"));
    let content = json!({"who": "poison", "what": "poison"});
    let data: serde_json::Value =
        serde_json::from_str(letters[0].event.data.as_ref().unwrap().get()).unwrap();
    assert_eq!(data, content);
    assert_eq!(node.published::<Done>().await.len(), 6);
}

/// A panic must not take the rest of its batch along either, nor stop the service.
#[tokio::test(start_paused = true)]
async fn panic_in_a_batch_blames_its_culprit_only() {
    let (node, _) = sink().await;
    let whats = (0..40).map(|n| if n == 30 { "panic".to_owned() } else { format!("w-{n}") });
    let events: Vec<_> = whats.map(|what| ask(&what, &what)).collect();
    node.publisher().publish_all(&events).await.unwrap();
    node.settled("sink").await;
    let letters = node.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].reason.as_str(), letters[0].attempts), ("attempts_exhausted", 3));
    assert_eq!(letters[0].event.key.as_deref(), Some("panic"));
    assert_eq!(node.published::<Done>().await.len(), 39);
}

#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(topic = "jobs", kind = "job.answered.v1", key = who)]
struct Answered {
    who: String,
}

/// Takes two types in batches.
struct Ledger {
    seen: Seen,
    n_batches: Arc<Mutex<usize>>,
}

impl Service for Ledger {
    const GROUP: &'static str = "ledger";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(1)
            .on::<Batch<Asked>>(|handler| handler)
            .on::<Batch<Answered>>(|handler| handler)
    }
}

impl Ledger {
    async fn note(&self, lines: Vec<String>) {
        *self.n_batches.lock().expect(POISON) += 1;
        self.seen.lock().expect(POISON).extend(lines);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

impl Handle<Batch<Asked>> for Ledger {
    async fn handle(&mut self, batch: Batch<Asked>, cx: &mut BatchCx) -> Handled {
        for item in &batch {
            if item.event.what == "fail once" && item.attempt() == 1 {
                cx.fail(item.idx(), Failure::again("not yet"));
            }
        }
        self.note(batch.iter().map(|item| format!("{} asked", item.event.who)).collect()).await;
        Ok(())
    }
}

impl Handle<Batch<Answered>> for Ledger {
    async fn handle(&mut self, batch: Batch<Answered>, _: &mut BatchCx) -> Handled {
        self.note(batch.iter().map(|item| format!("{} answered", item.event.who)).collect()).await;
        Ok(())
    }
}

/// Types that come mixed must still be handled in large batches, with the order per key kept, also
/// behind an event that fails. Each of fifty keys asks, gets an answer and asks again.
#[tokio::test(start_paused = true)]
async fn mixed_types_come_in_large_batches_and_in_order() {
    let (seen_by, n_batches) = (Seen::default(), Arc::new(Mutex::new(0)));
    let (for_workers, n_for_workers) = (Arc::clone(&seen_by), Arc::clone(&n_batches));
    let node = TestNode::start(move || Ledger {
        seen: Arc::clone(&for_workers),
        n_batches: Arc::clone(&n_for_workers),
    });
    let node = node.await;
    let publisher = node.publisher();
    let mut receipts = Vec::new();
    for n in 0..50 {
        let who = format!("who-{n}");
        let what = if n % 10 == 0 { "fail once" } else { "" };
        receipts.push(publisher.submit(&ask(&who, what)).await.unwrap());
        receipts.push(publisher.submit(&Answered { who: who.clone() }).await.unwrap());
        receipts.push(publisher.submit(&ask(&who, "")).await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    node.settled("ledger").await;

    let lines = seen(&seen_by);
    for n in 0..50 {
        let who = format!("who-{n} ");
        let of_key: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix(&who)).collect();
        let expected: &[_] = match n % 10 {
            0 => &["asked", "asked", "answered", "asked"],
            _ => &["asked", "answered", "asked"],
        };
        assert_eq!(of_key, expected, "{who}");
    }
    let n_batches = *n_batches.lock().expect(POISON);
    assert!(n_batches < 50, "{n_batches} batches for {} events", lines.len());
}

/// The publisher must tell where an event stands, and refuse what cannot be stored, by type.
#[tokio::test(start_paused = true)]
async fn publishing_tells_the_place_or_the_reason() {
    let (node, _) = obedient().await;
    let publisher = node.publisher();
    let receipts =
        [publisher.submit(&ask("ann", "1")).await, publisher.try_submit(&ask("ann", "2")).await];
    for (n, receipt) in (0..).zip(receipts) {
        let receipt = receipt.unwrap();
        let id = receipt.id();
        let published = receipt.await.unwrap();
        assert_eq!((published.id, published.topic, published.offset.get()), (id, "jobs", n));
    }
    let error = publisher.publish(&ask(&"k".repeat(2_000), "")).await.unwrap_err();
    assert_eq!(error.to_string(), "key of 2000 bytes exceeds 1024 bytes");
    let error = publisher.publish(&ask("a\nb", "")).await.unwrap_err();
    assert_eq!(error.to_string(), "key has the control character 0x0a");
    let error = publisher.publish(&ask("ann", &"x".repeat(2 << 20))).await.unwrap_err();
    assert!(error.to_string().contains("exceeds 1048576 bytes"), "{error}");
}

/// Cannot be made at first.
struct Late;

impl Service for Late {
    const GROUP: &'static str = "late";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(1).on::<Asked>(|handler| handler)
    }
}

impl Handle<Asked> for Late {
    async fn handle(&mut self, _: Asked, _: &mut Cx) -> Handled {
        Ok(())
    }
}

/// A service whose value cannot be made must be tried again, and its events must wait for it.
#[tokio::test(start_paused = true)]
async fn service_that_cannot_be_made_is_tried_again() {
    let n_tries = Arc::new(Mutex::new(0));
    let tries = Arc::clone(&n_tries);
    let node = TestNode::builder().service_with(move |cx| {
        assert!(cx.data_dir().ends_with("services"));
        let mut n_tries = tries.lock().unwrap();
        *n_tries += 1;
        if *n_tries < 3 { Err("not yet") } else { Ok(Late) }
    });
    let node = node.start().await;
    node.publish(ask("ann", "x")).await;
    node.settled("late").await;
    assert_eq!((*n_tries.lock().unwrap(), node.attempts()), (3, 1));
}

//! The notifications service on a test node: one mail for each sign-up, whatever happens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;
use tidings::prelude::{Cx, Failure, Handle, Handled, Plan, Service};
use tidings::testkit::TestNode;
use tidings_notifications::event::{MailSent, UserSignedUp};
use tidings_notifications::mailer::{Mail, Mailer};
use tidings_notifications::outbox::{Outbox, OutboxError};
use tidings_notifications::service::Notifications;

fn signed_up(n: usize) -> UserSignedUp {
    let (user_id, email) = (format!("u-{n}"), format!("u-{n}@example.org"));
    UserSignedUp { user_id, email, name: "Ada".to_owned() }
}

fn outbox_path(dir: &TempDir) -> PathBuf {
    dir.path().join("outbox.jsonl")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("each line is whole")).collect()
}

/// Each sign-up must have its mail, and an event that tells of it.
#[tokio::test(start_paused = true)]
async fn each_sign_up_has_its_mail() {
    let dir = TempDir::new().unwrap();
    let outbox = Outbox::at(outbox_path(&dir));
    let node = TestNode::start(move || Notifications::new(outbox.clone())).await;
    let mut ids = Vec::new();
    for n in 0..50 {
        ids.push(node.publish(signed_up(n)).await.id.to_string());
    }
    node.settled("notifications").await;

    let lines = lines(&outbox_path(&dir));
    let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    let mut mailed: Vec<_> = lines.iter().map(|line| text(line, "event_id")).collect();
    mailed.sort();
    ids.sort();
    assert_eq!(mailed, ids);
    let line = lines.iter().find(|line| line["to"] == "u-7@example.org").unwrap();
    assert_eq!(text(line, "subject"), "Welcome");
    assert!(text(line, "body").starts_with("Dear Ada,"));
    assert!(text(line, "at").ends_with('Z'));
    let mut told: Vec<_> =
        node.published::<MailSent>().await.into_iter().map(|sent| sent.about).collect();
    told.sort();
    assert_eq!(told, ids);
}

/// An address that can never work must be a dead letter at once, and hold up nobody.
#[tokio::test(start_paused = true)]
async fn bad_address_is_given_up_at_once() {
    let dir = TempDir::new().unwrap();
    let outbox = Outbox::at(outbox_path(&dir));
    let node = TestNode::start(move || Notifications::new(outbox.clone())).await;
    node.publish(UserSignedUp { email: "not an address".to_owned(), ..signed_up(1) }).await;
    node.publish(UserSignedUp { email: "nobody".to_owned(), ..signed_up(2) }).await;
    node.publish(signed_up(3)).await;
    node.settled("notifications").await;
    let letters = node.dead_letters().await;
    assert_eq!(letters.len(), 2);
    assert!(letters.iter().all(|letter| letter.reason == "fatal" && letter.attempts == 1));
    assert!(letters.iter().any(|letter| letter.message == "invalid address: missing '@'"));
    assert_eq!(lines(&outbox_path(&dir)).len(), 1);
}

/// A mailer that is down for a while.
#[derive(Clone)]
struct Flaky {
    outbox: Outbox,
    n_refusals: Arc<AtomicU32>,
}

impl Mailer for Flaky {
    type Error = OutboxError;

    async fn send(&self, mail: &Mail) -> Result<(), OutboxError> {
        let left = |n: u32| n.checked_sub(1);
        match self.n_refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
            Ok(_) => Err(OutboxError::TakenBack),
            Err(_) => self.outbox.send(mail).await,
        }
    }
}

/// A mailer that fails must delay its mails and lose none.
#[tokio::test(start_paused = true)]
async fn a_flaky_mailer_is_tried_again() {
    let dir = TempDir::new().unwrap();
    let outbox = Outbox::at(outbox_path(&dir));
    let mailer = Flaky { outbox, n_refusals: Arc::new(AtomicU32::new(2)) };
    let node = TestNode::start(move || Notifications::new(mailer.clone())).await;
    node.publish(signed_up(1)).await;
    node.settled("notifications").await;
    assert_eq!((node.attempts(), node.published::<MailSent>().await.len()), (3, 1));
    assert_eq!(lines(&outbox_path(&dir)).len(), 1);
}

/// Sends, and then fails as if the process had died before its ack.
struct Forgetful(Notifications<Outbox>);

impl Service for Forgetful {
    const GROUP: &'static str = "notifications";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.on::<UserSignedUp>(|handler| handler)
    }
}

impl Handle<UserSignedUp> for Forgetful {
    async fn handle(&mut self, user: UserSignedUp, cx: &mut Cx) -> Handled {
        self.0.handle(user, cx).await?;
        if cx.attempt() == 1 { Err(Failure::again("died before the ack")) } else { Ok(()) }
    }
}

/// An event that comes again must not be mailed again, and others must hear of its mail once. We let
/// every first ack get lost after its mail.
#[tokio::test(start_paused = true)]
async fn redelivered_events_are_mailed_once() {
    let dir = TempDir::new().unwrap();
    let path = outbox_path(&dir);
    let outbox = Outbox::at(&path);
    let node = TestNode::start(move || Forgetful(Notifications::new(outbox.clone()))).await;
    for n in 0..50 {
        node.publish(signed_up(n)).await;
    }
    node.settled("notifications").await;
    assert_eq!(node.attempts(), 100);
    assert_eq!(lines(&path).len(), 50);
    assert_eq!(node.published::<MailSent>().await.len(), 50);
}

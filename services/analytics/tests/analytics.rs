//! The analytics service on a test node: each event counts once, whatever happens to its ack.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidings::axum::body::{Body, to_bytes};
use tidings::axum::http::{Request, StatusCode};
use tidings::prelude::{Batch, BatchCx, Failure, Handle, Handled, Plan, Service};
use tidings::testkit::TestNode;
use tidings_analytics::counts::Counts;
use tidings_analytics::event::{MailSent, UserSignedUp};
use tidings_analytics::routes::routes;
use tidings_analytics::service::Analytics;
use tower::ServiceExt;

fn signed_up(n: usize, domain: &str) -> UserSignedUp {
    UserSignedUp { user_id: format!("u-{n}"), email: format!("u-{n}@{domain}") }
}

fn counts(dir: &Path) -> Counts {
    Counts::at(dir.join("analytics.redb"))
}

async fn shown(counts: Counts) -> Value {
    let request = Request::get("/analytics/signups").body(Body::empty());
    let request = request.expect("the request is well-formed");
    let response = routes(counts).oneshot(request).await.expect("routes never fail");
    assert_eq!(response.status(), StatusCode::OK);
    let body = to_bytes(response.into_body(), 10_000).await.expect("the answer is short");
    serde_json::from_slice(&body).expect("the answer is JSON")
}

/// Every event must be in the totals, by day and by domain in any case.
#[tokio::test(start_paused = true)]
async fn events_are_counted() {
    let dir = TempDir::new().unwrap();
    let counts = counts(dir.path());
    assert_eq!(
        shown(counts.clone()).await,
        json!({"total": 0, "by_day": {}, "by_domain": {}, "mails": 0})
    );
    let for_workers = counts.clone();
    let node = TestNode::start(move || Analytics::new(for_workers.clone())).await;
    for n in 0..100 {
        node.publish(signed_up(n, if n % 4 == 0 { "Example.org" } else { "example.net" })).await;
    }
    node.publish(MailSent { user_id: "u-1".to_owned() }).await;
    node.settled("analytics").await;

    let shown = shown(counts).await;
    assert_eq!((&shown["total"], &shown["mails"]), (&json!(100), &json!(1)));
    assert_eq!(shown["by_domain"], json!({"example.net": 75, "example.org": 25}));
    let by_day = shown["by_day"].as_object().unwrap();
    assert_eq!(by_day.values().filter_map(Value::as_u64).sum::<u64>(), 100);
    assert!(by_day.keys().all(|day| day.len() == "2026-01-31".len()), "{by_day:?}");
}

/// Counts, and then fails as if the process had died before its ack.
struct Forgetful(Analytics);

impl Service for Forgetful {
    const GROUP: &'static str = "analytics";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.everywhere().workers(1).on::<Batch<UserSignedUp>>(|handler| handler)
    }
}

impl Handle<Batch<UserSignedUp>> for Forgetful {
    async fn handle(&mut self, batch: Batch<UserSignedUp>, cx: &mut BatchCx) -> Handled {
        let is_first = batch.iter().any(|item| item.attempt() == 1);
        self.0.handle(batch, cx).await?;
        if is_first { Err(Failure::again("died before the ack")) } else { Ok(()) }
    }
}

/// An event that comes again must count once. We let every first ack get lost after its commit.
#[tokio::test(start_paused = true)]
async fn redelivered_events_count_once() {
    let dir = TempDir::new().unwrap();
    let counts = counts(dir.path());
    let for_workers = counts.clone();
    let node = TestNode::start(move || Forgetful(Analytics::new(for_workers.clone()))).await;
    for n in 0..100 {
        node.publish(signed_up(n, "example.org")).await;
    }
    node.settled("analytics").await;
    assert_eq!(node.attempts(), 200);
    assert_eq!(counts.totals().unwrap().total, 100);
}

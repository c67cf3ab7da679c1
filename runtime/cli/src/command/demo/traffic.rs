//! Sign-ups over HTTP at a steady rate, from a task of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::server::{JSON, Server};

const TICK: Duration = Duration::from_millis(2);
/// Requests without an answer; when there are more, the rate gives way.
const REQUESTS_MAX: usize = 256;
const DOMAINS: [&str; 4] = ["example.org", "example.com", "example.net", "mail.example"];

/// How the requests ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Got their 201.
    pub(crate) signed_up: u64,
    /// Surely not stored.
    pub(crate) refused: u64,
    /// Nobody knows.
    pub(crate) unknown: u64,
}

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    signed_up: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    task: JoinSet<()>,
}

#[derive(Deserialize)]
struct SignedUp {
    #[serde(rename = "user_id")]
    _user_id: String,
}

impl Traffic {
    /// Starts; 0 a second means none.
    pub(crate) fn start(server: &Server, rate: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let mut task = JoinSet::new();
        if rate > 0 {
            task.spawn(send(server.clone(), rate, Arc::clone(&shared)));
        }
        Self { shared, task }
    }

    /// Sign-ups that got their 201 so far.
    pub(crate) fn n_signed_up(&self) -> u64 {
        self.shared.signed_up.load(Ordering::Relaxed)
    }

    /// Sends no more and waits for the answers that are out.
    pub(crate) async fn stop(mut self) -> Counts {
        self.shared.is_over.store(true, Ordering::Relaxed);
        while self.task.join_next().await.is_some() {}
        let Shared { signed_up, refused, unknown, .. } = &*self.shared;
        let [signed_up, refused, unknown] =
            [signed_up, refused, unknown].map(|count| count.load(Ordering::Relaxed));
        Counts { signed_up, refused, unknown }
    }
}

async fn send(server: Server, rate: u64, shared: Arc<Shared>) {
    let (began, mut n_sent) = (Instant::now(), 0);
    let mut requests = JoinSet::new();
    while !shared.is_over.load(Ordering::Relaxed) {
        let n_due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        while n_sent < n_due && requests.len() < REQUESTS_MAX {
            requests.spawn(sign_up(server.clone(), n_sent, Arc::clone(&shared)));
            n_sent += 1;
        }
        tokio::time::sleep(TICK).await;
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

async fn sign_up(server: Server, number: u64, shared: Arc<Shared>) {
    let domain = DOMAINS.iter().cycle().nth(number as usize % DOMAINS.len());
    let domain = domain.expect("a cycle has no end");
    let name = format!("User {number}");
    let email = format!("user-{}-{number}@{domain}", std::process::id());
    let body = json!({ "email": email, "name": name }).to_string();
    let answer: Result<SignedUp, Failure> = server.post("/users", JSON, body).await;
    let count = match answer {
        Ok(_) => &shared.signed_up,
        Err(failure) if failure.exit() == 4 => &shared.unknown,
        Err(_) => &shared.refused,
    };
    count.fetch_add(1, Ordering::Relaxed);
}

//! A load of sign-ups that records every answer, and the judgement over what became of it.
//!
//! Each sign-up has an address of its own, so that its mail is found in the outbox. `201` is
//! acknowledged; an answer that did not come is unknown, and both ends are allowed for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Failed;
use crate::http::Client;
use crate::node::Process;

const CONNECTIONS: usize = 64;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    /// Surely not stored: the status and the code of the problem.
    Refused(u16, String),
    /// 504, or no answer.
    Unknown,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) sent: SystemTime,
    pub(crate) answered: SystemTime,
    pub(crate) outcome: Outcome,
}

struct Shared {
    port: u16,
    rate: u64,
    began: Instant,
    next: AtomicU64,
    is_over: AtomicBool,
    requests: Mutex<Vec<Request>>,
}

/// A load that goes on until it is stopped.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many requests a second, as long as the node answers.
    pub(crate) fn start(port: u16, rate: u64) -> Self {
        let shared = Arc::new(Shared {
            port,
            rate,
            began: Instant::now(),
            next: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            requests: Mutex::default(),
        });
        let client = |_| tokio::runtime::Handle::current().spawn(sign_up(Arc::clone(&shared)));
        let clients = (0..CONNECTIONS).map(client).collect();
        Self { shared, clients }
    }

    /// What was answered so far.
    pub(crate) fn so_far(&self) -> Vec<Request> {
        self.shared.requests.lock().expect("no panic under it").clone()
    }

    /// Ends it and gives every request.
    pub(crate) async fn stop(self) -> Result<Vec<Request>, Failed> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await?;
        }
        Ok(std::mem::take(&mut *self.shared.requests.lock().expect("no panic under it")))
    }
}

/// One connection's share of the load: the next number when its time has come.
async fn sign_up(load: Arc<Shared>) {
    let mut client = Client::new(load.port);
    while !load.is_over.load(Ordering::Relaxed) {
        if client.connect().await.is_err() {
            sleep(Duration::from_millis(5)).await;
            continue;
        }
        let number = load.next.fetch_add(1, Ordering::Relaxed);
        // A load that waited for a dead node goes on at its pace; it does not catch up.
        let due = Duration::from_secs_f64(number as f64 / load.rate as f64);
        sleep(due.saturating_sub(load.began.elapsed())).await;
        let (email, name) = (address(number), format!("User {number}"));
        let body = serde_json::json!({ "email": email, "name": name }).to_string();
        let sent = SystemTime::now();
        let answer = client.send("POST", "/users", "application/json", body).await;
        let answered = SystemTime::now();
        let outcome = match answer {
            Ok(answer) if answer.status == 201 => Outcome::Acknowledged,
            Ok(answer) if answer.status == 504 => Outcome::Unknown,
            Ok(answer) => {
                let code = answer.json().ok().and_then(|body| Some(body["code"].as_str()?.into()));
                Outcome::Refused(answer.status, code.unwrap_or_default())
            }
            Err(_) => Outcome::Unknown,
        };
        let request = Request { number, sent, answered, outcome };
        load.requests.lock().expect("no panic under it").push(request);
    }
}

fn address(number: u64) -> String {
    format!("user-{number}@d{}.example", number % 7)
}

/// What the requests came to.
pub(crate) struct Judgement {
    pub(crate) line: String,
    pub(crate) holds: bool,
}

/// Holds what was answered against what the node, the outbox and the projection have. No group has
/// an event that is not settled.
pub(crate) async fn judge(node: &mut Process, requests: &[Request]) -> Result<Judgement, Failed> {
    let mut client = Client::new(node.port);
    let stored = client.get("/v1/topics/users").await?.json()?;
    let stored = stored["end"].as_u64().ok_or("topic users has no end")?;
    let shown = analytics(&mut client, stored).await?;

    let outbox = std::fs::read_to_string(node.data.join("outbox.jsonl"))?;
    let (mut mailed, mut ids, mut n_mails) = (BTreeSet::new(), BTreeSet::new(), 0);
    for line in outbox.lines() {
        let mail: Value = serde_json::from_str(line)?;
        mailed.insert(mail["to"].as_str().unwrap_or_default().to_owned());
        ids.insert(mail["event_id"].as_str().unwrap_or_default().to_owned());
        n_mails += 1;
    }
    let is_mailed = |request: &&Request| mailed.contains(&address(request.number));
    let all = |outcome: fn(&Outcome) -> bool| {
        requests.iter().filter(move |request| outcome(&request.outcome))
    };
    let acknowledged = all(|outcome| *outcome == Outcome::Acknowledged).count();
    let missing =
        all(|outcome| *outcome == Outcome::Acknowledged).filter(|r| !is_mailed(r)).count();
    let unknown = all(|outcome| *outcome == Outcome::Unknown).count();
    let is_refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(..));
    let refused = all(is_refused).count();
    let stored_though_refused = all(is_refused).filter(is_mailed).count();
    let double = shown.saturating_sub(stored);
    let uncounted = stored.saturating_sub(shown);
    let line = format!(
        "sent={} acknowledged={acknowledged} unknown={unknown} refused={refused} \
         stored_though_refused={stored_though_refused} missing={missing} double_counted={double} \
         uncounted={uncounted} stored={stored} analytics={shown} mails={} repeated_mails={}",
        requests.len(),
        ids.len(),
        n_mails - ids.len(),
    );
    let is_whole = missing == 0
        && stored_though_refused == 0
        && double == 0
        && uncounted == 0
        && ids.len() as u64 == stored;
    Ok(Judgement { line, holds: is_whole && acknowledged > 0 })
}

/// How many refusals of each kind there were.
pub(crate) fn refusals(requests: &[Request]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for request in requests {
        if let Outcome::Refused(status, code) = &request.outcome {
            *kinds.entry(format!("{status} {code}")).or_default() += 1;
        }
    }
    kinds
}

/// The total that analytics shows, once it has come up to what is stored or time is over.
async fn analytics(client: &mut Client, stored: u64) -> Result<u64, Failed> {
    let began = Instant::now();
    loop {
        let total = client.get("/analytics/signups").await?.json()?["total"].as_u64();
        let total = total.ok_or("analytics shows no total")?;
        if stored <= total || began.elapsed() > Duration::from_secs(10) {
            return Ok(total);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

//! A node is SIGKILLed again and again under a load of sign-ups; nothing acknowledged may be lost.
//!
//! Each sign-up has an address of its own, so that its mail is found in the outbox. `201` is
//! acknowledged; an answer that did not come is unknown, and both ends are allowed for it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::http::Client;
use crate::node::Process;
use crate::{Failed, Item};

const CONNECTIONS: usize = 64;
/// Between a start and the next SIGKILL.
const LIFE: Duration = Duration::from_millis(1_500);

#[derive(Default)]
struct Ledger {
    next: AtomicU64,
    sent: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
    acknowledged: Mutex<Vec<u64>>,
    is_over: AtomicBool,
}

pub(crate) async fn run(binary: PathBuf, kills: u32, rate: u64) -> Result<Item, Failed> {
    let folder = tempfile::tempdir()?;
    let mut node = Process::new(&binary, &["demo", "--rate", "0"], &folder.path().join("data"))?;
    node.start()?;
    node.ready().await?;
    let ledger = Arc::new(Ledger::default());
    let began = Instant::now();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let client = sign_up(node.port, Arc::clone(&ledger), began, rate);
            tokio::runtime::Handle::current().spawn(client)
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for _ in 0..kills {
        sleep(LIFE).await;
        node.kill()?;
        node.start()?;
        slowest = slowest.max(node.ready().await?);
    }
    sleep(LIFE).await;
    ledger.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await?;
    }
    let took = began.elapsed().as_secs_f64();
    node.settled().await?;
    let item = judge(&mut node, &ledger, kills, slowest, took).await?;
    let status = node.terminate().await?;
    let holds = item.holds && status.success();
    Ok(Item { line: format!("{} exit={status}", item.line), holds })
}

/// One connection's share of the load: the next number when its time has come.
async fn sign_up(port: u16, ledger: Arc<Ledger>, began: Instant, rate: u64) {
    let mut client = Client::new(port);
    while !ledger.is_over.load(Ordering::Relaxed) {
        if client.connect().await.is_err() {
            sleep(Duration::from_millis(5)).await;
            continue;
        }
        let number = ledger.next.fetch_add(1, Ordering::Relaxed);
        // A load that waited for a dead node goes on at its pace; it does not catch up.
        let due = Duration::from_secs_f64(number as f64 / rate as f64);
        sleep(due.saturating_sub(began.elapsed())).await;
        let (email, name) = (address(number), format!("User {number}"));
        let body = serde_json::json!({ "email": email, "name": name }).to_string();
        ledger.sent.fetch_add(1, Ordering::Relaxed);
        match client.send("POST", "/users", "application/json", body).await {
            Ok(answer) if answer.status == 201 => {
                ledger.acknowledged.lock().expect("no panic under it").push(number);
            }
            Ok(answer) if answer.status == 504 => {
                ledger.unknown.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {
                ledger.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                ledger.unknown.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn address(number: u64) -> String {
    format!("user-{number}@d{}.example", number % 7)
}

async fn judge(
    node: &mut Process,
    ledger: &Ledger,
    kills: u32,
    slowest: Duration,
    took: f64,
) -> Result<Item, Failed> {
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
    let acknowledged = ledger.acknowledged.lock().expect("no panic under it");
    let missing = acknowledged.iter().filter(|&&n| !mailed.contains(&address(n))).count();
    let double = shown.saturating_sub(stored);
    let uncounted = stored.saturating_sub(shown);
    let [sent, unknown, refused] = [&ledger.sent, &ledger.unknown, &ledger.refused]
        .map(|counter| counter.load(Ordering::Relaxed));
    let line = format!(
        "kills={kills} took={took:.1}s sent={sent} acknowledged={} unknown={unknown} \
         refused={refused} missing={missing} double_counted={double} uncounted={uncounted} \
         stored={stored} analytics={shown} mails={} repeated_mails={} slowest_start={slowest:.0?}",
        acknowledged.len(),
        ids.len(),
        n_mails - ids.len(),
    );
    let is_whole = missing == 0 && double == 0 && uncounted == 0 && ids.len() as u64 == stored;
    Ok(Item { line, holds: is_whole && !acknowledged.is_empty() })
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

//! Asks a node all the time whether it lives, is ready, and can be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Failed;
use crate::http::Client;

const PATHS: [&str; 3] = ["/livez", "/readyz", "/v1/topics/users/events?from=0&limit=5"];
const EVERY: Duration = Duration::from_millis(25);
/// No answer to a probe may wait for the disk.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What the probes saw.
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) holds: bool,
}

struct OfPath {
    n_asked: u32,
    n_bad: u32,
    slowest: Duration,
}

/// Probes that go on until they are stopped.
pub(crate) struct Probes {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<OfPath>>,
}

impl Probes {
    pub(crate) fn start(port: u16) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let client = |path| {
            let probe = probe(port, path, Arc::clone(&is_over));
            tokio::runtime::Handle::current().spawn(probe)
        };
        let clients = PATHS.into_iter().map(client).collect();
        Self { is_over, clients }
    }

    pub(crate) async fn stop(self) -> Result<Seen, Failed> {
        self.is_over.store(true, Ordering::Relaxed);
        let (mut words, mut holds) = (Vec::new(), true);
        for (name, client) in ["livez", "readyz", "reads"].into_iter().zip(self.clients) {
            let OfPath { n_asked, n_bad, slowest } = client.await?;
            holds &= n_bad == 0 && n_asked > 0 && slowest < WAIT_MAX;
            words.push(format!("{name}={}/{n_asked} slowest={slowest:.0?}", n_asked - n_bad));
        }
        Ok(Seen { line: words.join(" "), holds })
    }
}

async fn probe(port: u16, path: &'static str, is_over: Arc<AtomicBool>) -> OfPath {
    let mut client = Client::new(port);
    let mut seen = OfPath { n_asked: 0, n_bad: 0, slowest: Duration::ZERO };
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = client.get(path).await;
        seen.n_asked += 1;
        seen.n_bad += u32::from(!answer.is_ok_and(|answer| answer.status == 200));
        seen.slowest = seen.slowest.max(began.elapsed());
        sleep(EVERY).await;
    }
    seen
}

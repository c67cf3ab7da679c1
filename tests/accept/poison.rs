//! A handler that panics on one event in a thousand, from outside.
//!
//! The others must be handled, in order per key; the poison must end as dead letters, and a redrive
//! after the fix must deliver it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};

use tidings::prelude::*;

use crate::args::Args;
use crate::http::Client;
use crate::node::Process;
use crate::{Failed, Item};

const KEYS: u64 = 50;
/// One event in so many is poison.
const POISON_EACH: u64 = 1_000;
const ATTEMPTS: u32 = 3;

#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(topic = "doses", kind = "dose.given.v1", key = key)]
struct DoseGiven {
    key: String,
    number: u64,
}

const fn is_poison(number: u64) -> bool {
    number % POISON_EACH == POISON_EACH / 2
}

struct Drinker {
    journal: Arc<Mutex<File>>,
    is_fixed: bool,
}

impl Service for Drinker {
    const GROUP: &'static str = "drinkers";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        let retry = Retry::exponential(10.millis()..=50.millis()).attempts(ATTEMPTS);
        plan.workers(4).on::<DoseGiven>(|handler| handler.retry(retry))
    }
}

impl Handle<DoseGiven> for Drinker {
    async fn handle(&mut self, dose: DoseGiven, _: &mut Cx) -> Handled {
        assert!(self.is_fixed || !is_poison(dose.number), "poison {}", dose.number);
        let line = format!("{} {}\n", dose.key, dose.number);
        self.journal.lock().expect("no panic under it").write_all(line.as_bytes())?;
        Ok(())
    }
}

/// The node under test: this program, with the handler above.
pub(crate) fn node(args: &Args) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system gives threads");
    let mut config = tidings::config::config::Config::default();
    config.node.data_dir.clone_from(&args.data);
    config.http.port = args.port;
    let path = args.data.with_extension("journal");
    let journal = File::options().create(true).append(true).open(path);
    let journal = Arc::new(Mutex::new(journal.expect("the test's folder takes files")));
    let is_fixed = args.is_fixed;
    let new = move || Drinker { journal: Arc::clone(&journal), is_fixed };
    match runtime.block_on(Node::with(config).service(new).run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) async fn run(binary: PathBuf, events: u64) -> Result<Item, Failed> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let this = std::env::current_exe()?;
    let mut node = Process::new(&this, &["poison-node"], &data)?;
    node.start()?;
    node.ready().await?;
    publish(node.port, events).await?;
    node.settled().await?;

    let handled = journal(&data)?;
    let n_poison = (0..events).filter(|&n| is_poison(n)).count();
    let all: Vec<u64> = handled.values().flatten().copied().collect();
    let n_handled = all.len();
    let wanted: Vec<u64> = (0..events).filter(|&n| !is_poison(n)).collect();
    let mut unique = all.clone();
    unique.sort_unstable();
    unique.dedup();
    let in_order = handled.values().all(|numbers| first_times(numbers).is_sorted());
    let letters = Client::new(node.port).get("/v1/groups/drinkers/dead").await?.json()?;
    let letters = letters["letters"].as_array().cloned().unwrap_or_default();
    let kept = letters.iter().filter(|letter| {
        let has_reason = letter["message"].as_str().is_some_and(|text| text.contains("poison"));
        let payload = letter["event"]["data"]["number"].as_u64();
        has_reason && letter["attempts"] == ATTEMPTS && payload.is_some_and(is_poison)
    });
    let n_kept = kept.count();

    // The fix: the same node with a handler that can take it.
    let status = node.terminate().await?;
    let mut fixed = Process::new(&this, &["poison-node", "--fixed"], &data)?;
    fixed.start()?;
    fixed.ready().await?;
    let server = format!("http://127.0.0.1:{}", fixed.port);
    let redrive = Command::new(&binary)
        .args(["dead", "redrive", "drinkers", "--all", "--server", &server, "-o", "json"])
        .output()?;
    fixed.settled().await?;
    let delivered = journal(&data)?.values().flatten().filter(|&&n| is_poison(n)).count();
    fixed.terminate().await?;

    // A panic gives back what was only prefetched, and what had ended is told: nothing comes twice.
    let n_repeated = n_handled - unique.len();
    let holds = unique == wanted
        && n_repeated == 0
        && in_order
        && (letters.len(), n_kept, delivered) == (n_poison, n_poison, n_poison)
        && status.success()
        && redrive.status.success();
    let line = format!(
        "events={events} poison={n_poison} handled={n_handled} missing={} repeated={n_repeated} in_order={in_order} \
         dead_letters={} with_payload_and_reason={n_kept} delivered_after_redrive={delivered} \
         redrive={}",
        wanted.len() - unique.len(),
        letters.len(),
        redrive.status,
    );
    Ok(Item { line, holds })
}

async fn publish(port: u16, events: u64) -> Result<(), Failed> {
    let mut client = Client::new(port);
    let numbers: Vec<u64> = (0..events).collect();
    for chunk in numbers.chunks(500) {
        let line = |n: &u64| {
            let key = format!("key-{}", n % KEYS);
            let data = serde_json::json!({ "key": key, "number": n });
            serde_json::json!({ "type": "dose.given.v1", "key": key, "data": data }).to_string()
        };
        let body = chunk.iter().map(line).collect::<Vec<_>>().join("\n");
        let path = "/v1/topics/doses/events";
        let answer = client.send("POST", path, "application/x-ndjson", body).await?;
        if answer.status != 201 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(format!("publishing answered {}: {text}", answer.status).into());
        }
    }
    Ok(())
}

fn journal(data: &std::path::Path) -> Result<BTreeMap<String, Vec<u64>>, Failed> {
    let mut handled: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in std::fs::read_to_string(data.with_extension("journal"))?.lines() {
        let (key, number) = line.split_once(' ').ok_or("a line of the journal has no space")?;
        handled.entry(key.to_owned()).or_default().push(number.parse()?);
    }
    Ok(handled)
}

/// Without repeats: an event that came again does not count against the order.
fn first_times(numbers: &[u64]) -> Vec<u64> {
    let mut seen = std::collections::BTreeSet::new();
    numbers.iter().copied().filter(|number| seen.insert(*number)).collect()
}

//! A node as `main` sees it: real files, real threads, its own address.
#![cfg(feature = "http")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidings::axum::Router;
use tidings::axum::http::StatusCode;
use tidings::axum::routing::post;
use tidings::config::config::Config;
use tidings::prelude::*;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(topic = "greetings", kind = "greeting.sent.v1", key = to)]
struct Greeting {
    to: String,
}

struct Listener {
    heard: UnboundedSender<String>,
}

impl Service for Listener {
    const GROUP: &'static str = "listener";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(2).on::<Greeting>(|handler| handler)
    }
}

impl Handle<Greeting> for Listener {
    async fn handle(&mut self, greeting: Greeting, _: &mut Cx) -> Handled {
        self.heard.send(greeting.to)?;
        Ok(())
    }
}

fn config(dir: &Path) -> Config {
    let mut config = Config::default();
    config.http.port = 0;
    config.node.data_dir = dir.to_owned();
    config
}

fn node(dir: &Path) -> (Node, UnboundedReceiver<String>) {
    let (heard, hears) = unbounded_channel();
    let greet = |publisher: Publisher| {
        let greet = async move |to: String| -> Result<StatusCode, PublishError> {
            publisher.publish(&Greeting { to }).await?;
            Ok(StatusCode::CREATED)
        };
        Router::new().route("/greet", post(greet))
    };
    let node = Node::with(config(dir));
    (node.service(move || Listener { heard: heard.clone() }).routes(greet), hears)
}

/// One request on a connection of its own. It blocks, and needs no runtime.
fn ask(addr: SocketAddr, method: &str, path: &str, content: (&str, &str)) -> String {
    let (content_type, body) = content;
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let n_bytes = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\
             content-type: {content_type}\r\ncontent-length: {n_bytes}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    exchange().expect("the node listens and answers")
}

async fn greet(addr: SocketAddr, to: &'static str) -> String {
    let exchange = move || ask(addr, "POST", "/greet", ("text/plain", to));
    spawn_blocking(exchange).await.expect("the node answers")
}

async fn next<T>(hears: &mut UnboundedReceiver<T>) -> T {
    let heard = timeout(Duration::from_secs(10), hears.recv()).await;
    heard.expect("the event comes in time").expect("the service lives")
}

/// What came in by a route must reach the service, and a node that ended in order must neither lose
/// nor repeat anything after its next start. A second node on the directory must be refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_serves_and_goes_on_where_it_ended() {
    let dir = TempDir::new().expect("there is room");
    let (first, mut hears) = node(dir.path());
    let running = first.start().await.expect("the directory is fresh");
    let answer = greet(running.addr(), "ann").await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(next(&mut hears).await, "ann");
    let refused = greet(running.addr(), "a\tb").await;
    assert!(refused.starts_with("HTTP/1.1 422"), "{refused}");
    assert!(refused.contains("application/problem+json"), "{refused}");

    let (second, _) = node(dir.path());
    let error = second.start().await.expect_err("the directory is in use");
    assert!(matches!(error, tidings::Error::Start(_)), "{error}");
    running.stop().await;

    let (third, mut hears) = node(dir.path());
    let running = third.start().await.expect("the directory is free again");
    running.publisher().publish(&Greeting { to: "bob".to_owned() }).await.expect("it runs");
    assert_eq!(next(&mut hears).await, "bob");
    running.stop().await;
    assert!(hears.try_recv().is_err());
}

/// What one of the publishers says.
#[derive(Event, Serialize, Deserialize, Clone, Debug)]
#[event(topic = "numbers", kind = "number.said.v1", key = by)]
struct Said {
    by: u64,
    n: u64,
}

/// Handles as many events as it has leave to.
struct Counter {
    heard: UnboundedSender<Said>,
    leave: Arc<Semaphore>,
}

impl Service for Counter {
    const GROUP: &'static str = "counter";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(4).on::<Said>(|handler| handler)
    }
}

impl Handle<Said> for Counter {
    async fn handle(&mut self, said: Said, _: &mut Cx) -> Handled {
        // A semaphore that is closed gives leave to all.
        if let Ok(leave) = self.leave.acquire().await {
            leave.forget();
        }
        self.heard.send(said)?;
        Ok(())
    }
}

fn counting(dir: &Path, n_leaves: usize) -> (Node, UnboundedReceiver<Said>, Arc<Semaphore>) {
    let (heard, hears) = unbounded_channel();
    let leave = Arc::new(Semaphore::new(n_leaves));
    let leaves = Arc::clone(&leave);
    let counter = move || Counter { heard: heard.clone(), leave: Arc::clone(&leaves) };
    (Node::with(config(dir)).service(counter), hears, leave)
}

fn is_unknown(error: &PublishError) -> bool {
    error.retry() == tidings_types::retry::Retry::Unknown
}

/// Says 0, 1, 2 … until the node takes no more. Returns how many were acknowledged, and how many
/// are stored at most.
async fn say_all(by: u64, publisher: Publisher, acked: UnboundedSender<u64>) -> (u64, u64, u64) {
    let mut n = 0;
    loop {
        match publisher.publish(&Said { by, n }).await {
            // Nobody counts any more: the node is ending.
            Ok(_) => drop(acked.send(by)),
            Err(error) => return (by, n, n + u64::from(is_unknown(&error))),
        }
        n += 1;
    }
}

/// A node that ends in order under load must lose nothing that was acknowledged and repeat nothing
/// that was handled, and the order within a key must hold over both lives. We end it while many
/// publish, with a backlog of more than its workers may hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ending_under_load_loses_and_repeats_nothing() {
    const N_PUBLISHERS: u64 = 64;
    const N_HANDLED: usize = 300;
    const N_ACKED: usize = 3_000;
    const LAST: u64 = u64::MAX;
    let dir = TempDir::new().expect("there is room");
    let (first, mut hears, leave) = counting(dir.path(), N_HANDLED);
    let running = first.start().await.expect("the directory is fresh");
    let (acked, mut acks) = unbounded_channel();
    let mut publishers = JoinSet::new();
    for by in 0..N_PUBLISHERS {
        publishers.spawn(say_all(by, running.publisher(), acked.clone()));
    }
    let mut heard: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut hear = |said: Said| heard.entry(said.by).or_default().push(said.n);
    for _ in 0..N_HANDLED {
        hear(next(&mut hears).await);
    }
    for _ in 0..N_ACKED {
        next(&mut acks).await;
    }
    // From here on all may go on that is at a worker, beside the end.
    leave.close();
    running.stop().await;
    let mut n_heard = 0;
    while let Ok(said) = hears.try_recv() {
        n_heard += 1;
        hear(said);
    }
    let ended = timeout(Duration::from_secs(20), publishers.join_all()).await;
    let published = ended.expect("each publisher is told that the node ends");

    let (second, mut hears, leave) = counting(dir.path(), 0);
    leave.close();
    let running = second.start().await.expect("the directory is free again");
    for by in 0..N_PUBLISHERS {
        running.publisher().publish(&Said { by, n: LAST }).await.expect("it runs");
    }
    let (mut n_ended, mut n_left) = (0, 0);
    while n_ended < N_PUBLISHERS {
        let said = next(&mut hears).await;
        n_ended += u64::from(said.n == LAST);
        n_left += u64::from(said.n != LAST);
        hear(said);
    }
    running.stop().await;
    assert!(0 < n_left, "there was no load: {n_heard} events were handled while the node ended");
    assert!(hears.try_recv().is_err(), "an event came behind the last one of its key");
    for (by, n_acked, n_stored_max) in published {
        let heard = heard.remove(&by).expect("its last event was heard");
        let n_heard = heard.len() as u64 - 1;
        let expected: Vec<_> = (0..n_heard).chain([LAST]).collect();
        assert_eq!(heard, expected, "publisher {by}");
        assert!((n_acked..=n_stored_max).contains(&n_heard), "publisher {by}: {n_acked} acked");
    }
}

/// Blocks every thread that comes by, until it is opened.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    is_open: bool,
    n_blocked: usize,
    n_through: usize,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().expect("nobody panics while holding the lock")
    }

    /// Blocks the thread. It ends by itself so late that only a failed test waits for that.
    fn pass(&self) {
        self.state().n_blocked += 1;
        self.changed.notify_all();
        let open = |state: &GateState| state.is_open;
        self.wait(Duration::from_secs(25), open);
        let mut state = self.state();
        state.n_blocked -= 1;
        state.n_through += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Blocks the thread until it is so. `false` if it is not within this time.
    fn wait(&self, wait_max: Duration, is_so: impl Fn(&GateState) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), wait_max, |state| !is_so(state));
        is_so(&waited.expect("nobody panics while holding the lock").0)
    }

    fn open(&self) {
        self.state().is_open = true;
        self.changed.notify_all();
    }
}

/// A failed test must not leave threads blocked that its runtime waits for.
struct OpenAtLast(Arc<Gate>);

impl Drop for OpenAtLast {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Blocks whichever thread runs it, which no handler should do.
struct Stubborn {
    gate: Arc<Gate>,
}

impl Service for Stubborn {
    const GROUP: &'static str = "stubborn";

    fn plan(plan: Plan<Self>) -> Plan<Self> {
        plan.workers(8).on::<Greeting>(|handler| handler)
    }
}

impl Handle<Greeting> for Stubborn {
    async fn handle(&mut self, _: Greeting, _: &mut Cx) -> Handled {
        self.gate.pass();
        Ok(())
    }
}

fn is_ready(addr: SocketAddr) -> bool {
    ask(addr, "GET", "/readyz", ("text/plain", "")).starts_with("HTTP/1.1 200")
}

fn publish(addr: SocketAddr, n: usize) {
    let event =
        format!("{{\"type\":\"{}\",\"key\":\"{n}\",\"data\":{{\"to\":\"{n}\"}}}}", Greeting::KIND);
    let answer = ask(addr, "POST", "/v1/topics/greetings/events", ("application/json", &event));
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

/// Term and commit of the replica.
fn progress(addr: SocketAddr) -> (u64, u64) {
    let answer = ask(addr, "GET", "/v1/status", ("text/plain", ""));
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has a body");
    let status: Value = serde_json::from_str(body).expect("a status is JSON");
    let of = |name: &str| status.get(name).and_then(Value::as_u64).expect("a status has it");
    (of("term"), of("commit"))
}

/// Handlers that block every thread they may have must stop neither probes nor publishing nor the
/// replica. We block all of them for 5 s, prove that nothing runs on them any more, and go on asking
/// from a thread of our own.
#[test]
fn blocked_handlers_stop_nobody_else() {
    const N_THREADS: usize = 2;
    const BLOCKED: Duration = Duration::from_secs(5);
    const WAIT_MAX: Duration = Duration::from_secs(10);
    let ambient = Builder::new_multi_thread().worker_threads(N_THREADS).enable_all().build();
    let ambient = ambient.expect("there are threads");
    let dir = TempDir::new().expect("there is room");
    let gate = Arc::<Gate>::default();
    let gates = Arc::clone(&gate);
    let node = Node::with(config(dir.path()));
    let node = node.service(move || Stubborn { gate: Arc::clone(&gates) });
    let running = ambient.block_on(node.start()).expect("the directory is fresh");
    let at_last = OpenAtLast(Arc::clone(&gate));
    let addr = running.addr();
    let pause = || gate.wait(Duration::from_millis(50), |_| false);
    let until_ready = Instant::now() + WAIT_MAX;
    while !is_ready(addr) {
        assert!(Instant::now() < until_ready, "the node must become ready");
        pause();
    }

    let mut n_published = 16;
    (0..n_published).for_each(|n| publish(addr, n));
    assert!(gate.wait(WAIT_MAX, |state| state.n_blocked == N_THREADS), "each thread is blocked");
    let beside = ambient.spawn(async {});
    let until = Instant::now() + BLOCKED;
    let (term, mut commit) = progress(addr);
    while Instant::now() < until {
        assert!(is_ready(addr));
        publish(addr, n_published);
        n_published += 1;
        let (term_now, commit_now) = progress(addr);
        assert!(term_now == term && commit < commit_now, "{commit} and then {commit_now}");
        commit = commit_now;
        pause();
    }
    assert!(!beside.is_finished(), "a thread was free all the time");
    let is_blocked = |state: &GateState| (state.n_blocked, state.n_through) == (N_THREADS, 0);
    assert!(gate.wait(Duration::ZERO, is_blocked), "nobody came through");

    drop(at_last);
    assert!(gate.wait(WAIT_MAX, |state| state.n_through == n_published), "all are handled");
    ambient.block_on(running.stop());
    assert_eq!(gate.state().n_through, n_published, "none came twice");
}

/// A plan that cannot be carried out must be refused before anything is touched.
#[tokio::test]
async fn bad_plans_are_refused() {
    struct Idle;

    impl Service for Idle {
        const GROUP: &'static str = "Idle";

        fn plan(plan: Plan<Self>) -> Plan<Self> {
            plan
        }
    }

    struct Busy;

    impl Service for Busy {
        const GROUP: &'static str = "busy";

        fn plan(plan: Plan<Self>) -> Plan<Self> {
            plan.on::<Greeting>(|handler| handler).on::<Greeting>(|handler| handler)
        }
    }

    impl Handle<Greeting> for Busy {
        async fn handle(&mut self, _: Greeting, _: &mut Cx) -> Handled {
            Ok(())
        }
    }

    let dir = TempDir::new().expect("there is room");
    let data = dir.path().join("data");
    let told = async |node: Node| node.start().await.expect_err("its plan is bad").to_string();
    let idle = told(node(&data).0.service(|| Idle)).await;
    assert_eq!(
        idle,
        "group \"Idle\": name has the character 'I'; allowed are a-z, 0-9, '.', '_' and '-'"
    );
    let busy = told(node(&data).0.service(|| Busy)).await;
    assert_eq!(busy, "group busy: plan names greeting.sent.v1 twice");
    assert!(!data.exists());
}

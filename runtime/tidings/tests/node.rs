//! A node as `main` sees it: real files, real threads, its own address.
#![cfg(feature = "http")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tidings::axum::Router;
use tidings::axum::http::StatusCode;
use tidings::axum::routing::post;
use tidings::config::config::Config;
use tidings::prelude::*;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_blocking;
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

fn node(dir: &Path) -> (Node, UnboundedReceiver<String>) {
    let (heard, hears) = unbounded_channel();
    let mut config = Config::default();
    config.http.port = 0;
    config.node.data_dir = dir.to_owned();
    let greet = |publisher: Publisher| {
        let greet = async move |to: String| -> Result<StatusCode, PublishError> {
            publisher.publish(&Greeting { to }).await?;
            Ok(StatusCode::CREATED)
        };
        Router::new().route("/greet", post(greet))
    };
    let node = Node::with(config).service(move || Listener { heard: heard.clone() }).routes(greet);
    (node, hears)
}

async fn greet(addr: SocketAddr, to: &'static str) -> String {
    let exchange = move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let n_bytes = to.len();
        write!(
            stream,
            "POST /greet HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\
             content-type: text/plain\r\ncontent-length: {n_bytes}\r\n\r\n{to}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    spawn_blocking(exchange).await.expect("it does not panic").expect("the node listens")
}

async fn next(hears: &mut UnboundedReceiver<String>) -> String {
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

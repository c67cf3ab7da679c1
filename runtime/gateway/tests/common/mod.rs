//! A real node with its gateway, and a client that speaks plain HTTP over a plain socket.
//!
//! The client blocks its own thread and shares none with the node, so that a test can block all
//! the threads of the services and still ask.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tempfile::TempDir;
use tidings_gateway::serve::{GatewayOptions, Running, serve};
use tidings_node::handle::NodeHandle;
use tidings_node::node::{NodeOptions, RunningNode, start};
use tidings_node::service::ServiceSpec;
use tidings_node::testkit::TestCore;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// No answer takes longer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);

/// A node that serves.
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    /// The services' threads.
    pub(crate) ambient: Runtime,
    pub(crate) running: Option<Running>,
    end: Option<oneshot::Sender<()>>,
    node: Option<RunningNode>,
    /// The node in its place if it is one in memory.
    pub(crate) core: Option<TestCore>,
    _data: TempDir,
}

impl Served {
    /// Starts one with these routes of a service. It is ready when this returns.
    pub(crate) fn start(routes: Router, token: Option<&str>) -> Self {
        Self::start_with(Vec::new(), routes, token)
    }

    /// The same with services.
    pub(crate) fn start_with(
        services: Vec<ServiceSpec>,
        routes: Router,
        token: Option<&str>,
    ) -> Self {
        let (ambient, data) = ground();
        let options = NodeOptions { services, ..NodeOptions::new(data.path()) };
        let node = ambient.block_on(start(options)).unwrap();
        let handle = node.handle.clone();
        let mut served = Self::on(ambient, data, &handle, (routes, token));
        served.node = Some(node);
        served
    }

    /// Starts one in memory, which takes every command. It is ready when this returns.
    pub(crate) fn start_in_memory() -> Self {
        let (ambient, data) = ground();
        let core = ambient.block_on(TestCore::start(Vec::new(), data.path())).unwrap();
        let handle = core.handle.clone();
        let mut served = Self::on(ambient, data, &handle, (Router::new(), None));
        served.core = Some(core);
        served
    }

    fn on(
        ambient: Runtime,
        data: TempDir,
        handle: &NodeHandle,
        (routes, token): (Router, Option<&str>),
    ) -> Self {
        let (end, ended) = oneshot::channel();
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = GatewayOptions { listen, token: token.map(str::to_owned) };
        let shutdown = async move { drop(ended.await) };
        let running = serve(options, handle.clone(), routes, shutdown).unwrap();
        let addr = running.local_addr();
        let (running, end) = (Some(running), Some(end));
        let served = Self { addr, ambient, running, end, node: None, core: None, _data: data };
        let is_ready = || served.get("/readyz").status == 200;
        assert!((0..2_000).any(|_| is_ready() || pause()), "the node must become ready");
        served
    }

    /// Asks the gateway to end, without waiting for it.
    pub(crate) fn end(&mut self) {
        drop(self.end.take());
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, "content-type: application/json\r\n", body)
    }

    pub(crate) fn post_lines(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, "content-type: application/x-ndjson\r\n", body)
    }

    /// One request on a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let n_bytes = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-length: {n_bytes}\r\n{headers}\r\n{body}",
            self.addr
        );
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        Answer::read(&mut stream)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(ANSWER_WAIT_MAX)).unwrap();
        stream.set_write_timeout(Some(ANSWER_WAIT_MAX)).unwrap();
        stream
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
        if let Some(running) = self.running.take() {
            self.ambient.block_on(running.ended());
        }
        if let Some(node) = self.node.take() {
            self.ambient.block_on(node.drain());
        }
        if let Some(core) = self.core.take() {
            self.ambient.block_on(core.drain());
        }
    }
}

/// Threads for the services, and a folder.
fn ground() -> (Runtime, TempDir) {
    let ambient = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    (ambient.unwrap(), tempfile::tempdir().unwrap())
}

/// Lets others run for a moment; `false`, for use in a chain.
pub(crate) fn pause() -> bool {
    let (_never, ended) = std::sync::mpsc::channel::<()>();
    ended.recv_timeout(Duration::from_millis(5)).is_ok()
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads to the connection's end.
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
        let status = head[9..12].parse().unwrap();
        Self { status, head: head.to_lowercase(), body: bytes[at + 4..].to_vec() }
    }

    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?} is not JSON"))
    }

    /// The code of a problem, which all errors must be.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        assert!(self.status >= 400, "{self:?}");
        assert!(self.head.contains("content-type: application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["code"].as_str().unwrap().to_owned()
    }
}

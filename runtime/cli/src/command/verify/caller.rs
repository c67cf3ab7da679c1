//! One keep-alive connection to the node. It never repeats a request: what got no answer is unknown.

use std::error::Error;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::server::{JSON, NDJSON};

/// Longer than the node itself waits, so that as a rule the node says what it does not know.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Caller {
    sender: Option<SendRequest<Full<Bytes>>>,
    port: u16,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// What a publish came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// All of it is stored, from this offset on.
    Stored { first: u64 },
    /// Surely nothing is stored.
    Refused { error: String },
    /// It may be stored, or not.
    Unknown { error: String },
}

/// Why there is no answer.
type NoAnswer = Box<dyn Error + Send + Sync>;

impl Caller {
    /// Connects, unless there is a connection to that port that takes a request. If it fails,
    /// nothing was sent.
    pub(super) async fn connect(&mut self, port: u16) -> Result<(), NoAnswer> {
        if self.is_ready(port).await {
            return Ok(());
        }
        self.sender = None;
        let stream = timeout(CONNECT_WAIT_MAX, TcpStream::connect(("127.0.0.1", port))).await??;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        Handle::current().spawn(connection);
        (self.sender, self.port) = (Some(sender), port);
        Ok(())
    }

    /// A connection that has just given an answer may not take the next request yet: sent too early
    /// it would be given up here, and nobody could tell that from an answer that was lost.
    async fn is_ready(&mut self, port: u16) -> bool {
        let Some(sender) = self.sender.as_mut().filter(|_| self.port == port) else { return false };
        timeout(CONNECT_WAIT_MAX, sender.ready()).await.is_ok_and(|ready| ready.is_ok())
    }

    /// Publishes on the connection that there is.
    pub(super) async fn publish(&mut self, path: &str, is_batch: bool, body: String) -> Told {
        let content_type = if is_batch { NDJSON } else { JSON };
        let request = Request::post(path).header(CONTENT_TYPE, content_type);
        match self.send(request, body.into()).await {
            Ok(answer) => told(&answer),
            Err(error) => Told::Unknown { error: error.to_string() },
        }
    }

    /// Asks the node at this port for JSON.
    pub(super) async fn get<T: DeserializeOwned>(
        &mut self,
        port: u16,
        path: &str,
    ) -> Result<T, NoAnswer> {
        Ok(serde_json::from_slice(&self.fetch(port, path, JSON).await?)?)
    }

    /// Asks the node at this port for one JSON value a line.
    pub(super) async fn lines<T: DeserializeOwned>(
        &mut self,
        port: u16,
        path: &str,
    ) -> Result<Vec<T>, NoAnswer> {
        let body = self.fetch(port, path, NDJSON).await?;
        let lines = body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
    }

    /// Has the node at this port do something.
    pub(super) async fn post(
        &mut self,
        port: u16,
        path: &str,
        body: String,
    ) -> Result<(), NoAnswer> {
        self.connect(port).await?;
        let request = Request::post(path).header(CONTENT_TYPE, JSON);
        self.send(request, body.into()).await?.good().map(|_| ())
    }

    async fn fetch(&mut self, port: u16, path: &str, accept: &str) -> Result<Bytes, NoAnswer> {
        self.connect(port).await?;
        self.send(Request::get(path).header(ACCEPT, accept), Bytes::new()).await?.good()
    }

    async fn send(
        &mut self,
        request: hyper::http::request::Builder,
        body: Bytes,
    ) -> Result<Answer, NoAnswer> {
        let request = request.header(HOST, "127.0.0.1").body(Full::new(body))?;
        let sender = self.sender.as_mut().ok_or("there is no connection")?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?;
            Ok::<_, NoAnswer>(Answer { status, body: body.to_bytes() })
        };
        let answer = timeout(ANSWER_WAIT_MAX, exchange).await;
        if !matches!(answer, Ok(Ok(_))) {
            // What still comes on this connection would be taken for the next request's answer.
            self.sender = None;
        }
        answer?
    }
}

impl Answer {
    fn good(self) -> Result<Bytes, NoAnswer> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let text = String::from_utf8_lossy(&self.body);
        Err(format!("status {}: {}", self.status, text.trim()).into())
    }
}

#[derive(Deserialize)]
struct Stored {
    #[serde(alias = "first_offset")]
    offset: u64,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    retry: String,
}

/// Only what the node itself says in so many words counts: everything else may have been stored.
fn told(answer: &Answer) -> Told {
    let Answer { status, body } = answer;
    if *status == 201 {
        return match serde_json::from_slice(body) {
            Ok(Stored { offset }) => Told::Stored { first: offset },
            Err(error) => Told::Unknown { error: format!("201 without an offset: {error}") },
        };
    }
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let code = problem.as_ref().map_or("no code", |problem| problem.code.as_str());
    let error = format!("{status} {code}");
    let proves = matches!(status, 400..500 | 503);
    match problem {
        Some(problem) if proves && problem.retry != "unknown" => Told::Refused { error },
        _ => Told::Unknown { error },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Calls on one connection must all be sent: one that stays here is called unknown although
    /// nothing left. We call many times, each as soon as the answer before it is there, while the
    /// connection's own end of it runs on another thread.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn each_call_on_a_connection_is_sent() {
        const N_CALLS: u64 = 5_000;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut request = vec![0; 4_096];
            for _ in 0..N_CALLS {
                assert!(0 < stream.read(&mut request).await.unwrap());
                let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 12\r\n\r\n{\"offset\":7}";
                stream.write_all(answer).await.unwrap();
            }
        };
        let call = async {
            let mut caller = Caller::default();
            for n in 0..N_CALLS {
                caller.connect(port).await.unwrap();
                let told = caller.publish("/", false, String::new()).await;
                assert_eq!(told, Told::Stored { first: 7 }, "call {n}");
            }
        };
        let serve = Handle::current().spawn(serve);
        call.await;
        serve.await.unwrap();
    }

    /// An answer that proves nothing must count as unknown: a tester that takes it for a refusal
    /// calls a stored event made up, one that takes it for an ack calls it lost.
    #[test]
    fn only_plain_words_are_believed() {
        let of = |status, body: &'static str| {
            told(&Answer { status, body: Bytes::from_static(body.as_bytes()) })
        };
        assert_eq!(of(201, r#"{"id":"x","topic":"t","offset":7}"#), Told::Stored { first: 7 });
        assert_eq!(
            of(201, r#"{"topic":"t","first_offset":3,"count":2}"#),
            Told::Stored { first: 3 }
        );
        let busy = r#"{"code":"T0123","retry":"same"}"#;
        let open = r#"{"code":"T0127","retry":"unknown"}"#;
        for (status, body) in [(429, busy), (503, busy), (404, busy)] {
            assert!(matches!(of(status, body), Told::Refused { .. }), "{status}");
        }
        for (status, body) in
            [(201, "{}"), (504, open), (503, open), (503, "down"), (500, busy), (200, busy)]
        {
            assert!(matches!(of(status, body), Told::Unknown { .. }), "{status} {body}");
        }
    }
}

//! A client that never repeats a request: an answer that did not come is unknown, not failed.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use std::time::Duration;

use crate::Failed;

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// One keep-alive connection.
pub(crate) struct Client {
    port: u16,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// What was answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<serde_json::Value, Failed> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl Client {
    pub(crate) const fn new(port: u16) -> Self {
        Self { port, sender: None }
    }

    /// Connects if there is no connection. An error here proves that nothing was sent.
    pub(crate) async fn connect(&mut self) -> Result<(), Failed> {
        if self.sender.as_ref().is_some_and(|sender| !sender.is_closed()) {
            return Ok(());
        }
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::runtime::Handle::current().spawn(connection);
        self.sender = Some(sender);
        Ok(())
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, Failed> {
        self.send("GET", path, "application/json", Bytes::new()).await
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Failed> {
        self.connect().await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1")
            .header("content-type", content_type)
            .body(Full::new(body.into()))?;
        let sender = self.sender.as_mut().expect("just connected");
        let answer = async {
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok::<_, Failed>(Answer { status, body })
        };
        let answer = timeout(ANSWER_WAIT_MAX, answer).await;
        if !matches!(answer, Ok(Ok(_))) {
            self.sender = None;
        }
        answer?
    }
}

//! Talks to a node over HTTP: every request has a deadline, every answer is checked.

use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use tidings_config::config::Config;

use crate::failure::{Failure, Problem};

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// A node, by its URL.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    url: String,
    authorization: Option<String>,
    wait_max: Duration,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Server {
    pub(crate) fn new(config: &Config) -> Self {
        let token = config.client_token();
        let authorization = (!token.is_empty()).then(|| format!("Bearer {}", token.expose()));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            url: config.server_url(),
            authorization,
            wait_max: config.client.timeout,
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Asks for JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.ask(Method::GET, path, JSON, None).await?;
        self.understand(&answer)
    }

    /// Asks for one JSON value a line.
    pub(crate) async fn lines<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        let answer = self.ask(Method::GET, path, NDJSON, None).await?;
        let lines = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| self.understand(line)).collect()
    }

    /// Sends a body of this content type and takes JSON.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Result<T, Failure> {
        let answer = self.ask(Method::POST, path, JSON, Some((content_type, body.into()))).await?;
        self.understand(&answer)
    }

    /// Puts a body of this content type in the place of what is there, and takes JSON.
    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Result<T, Failure> {
        let answer = self.ask(Method::PUT, path, JSON, Some((content_type, body.into()))).await?;
        self.understand(&answer)
    }

    fn understand<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|error| self.not_understood(error))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<Bytes, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        request = request.header(header::ACCEPT, accept);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = match body {
            Some((content_type, body)) => {
                request = request.header(header::CONTENT_TYPE, content_type);
                body
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(body)).map_err(|error| self.not_understood(error))?;
        match tokio::time::timeout(self.wait_max, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(Failure::TimedOut { server: self.url.clone(), waited_max: self.wait_max })
            }
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, Failure> {
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => {
                return Err(Failure::Unreachable {
                    server: self.url.clone(),
                    reason: deepest(&error),
                });
            }
            Err(error) => return Err(self.lost(&error)),
        };
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.lost(error.as_ref()))?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    fn lost(&self, error: &(dyn Error + 'static)) -> Failure {
        Failure::Lost { server: self.url.clone(), reason: deepest(error) }
    }

    fn not_understood(&self, error: impl Error) -> Failure {
        Failure::NotUnderstood { server: self.url.clone(), reason: error.to_string() }
    }
}

/// The innermost reason: `connection refused` says more than `client error (Connect)`.
fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let mut problem: Problem = serde_json::from_slice(body).unwrap_or_else(|_| Problem {
        detail: format!("{status}: {}", String::from_utf8_lossy(body).trim()),
        ..Problem::default()
    });
    problem.status = status.as_u16();
    Failure::Refused(Box::new(problem))
}

/// One segment of a path, with what would break it escaped.
pub(crate) fn segment(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a string takes everything");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cannot_leave_their_path() {
        assert_eq!(segment("orders.eu"), "orders.eu");
        assert_eq!(segment("../a?b c/ü"), "..%2Fa%3Fb%20c%2F%C3%BC");
    }

    /// Whatever stands between us and the node may answer, and not with a problem of ours.
    #[test]
    fn foreign_errors_are_shown_as_they_are() {
        let failure = refused(StatusCode::BAD_GATEWAY, b"upstream is down\n");
        assert_eq!(failure.to_string(), "502 Bad Gateway: upstream is down");
        assert_eq!(failure.code(), "T0603");
    }
}

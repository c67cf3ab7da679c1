//! Runs users' routes on the users' threads, so that what blocks there blocks nothing of ours.
//!
//! A request is handed over whole and runs to its end even if its client goes away: a handler that
//! stops between two of its steps would lose the second one. Its errors come back as problems.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};

use crate::codes;
use crate::limits::{
    BODY_WAIT_MAX, USER_ANSWER_BYTES_MAX, USER_ERROR_BYTES_MAX, USER_REQUESTS_MAX, USER_WAIT_MAX,
};
use crate::problem::Problem;

/// Pieces of a streamed answer between a user's thread and ours.
const PIECES_MAX: usize = 4;

/// The users' routes and the threads that they run on.
#[derive(Debug)]
pub(crate) struct Ambient {
    routes: TowerToHyperService<Router>,
    threads: Handle,
    free: Arc<Semaphore>,
}

impl Ambient {
    pub(crate) fn new(routes: Router, threads: Handle) -> Self {
        let free = Arc::new(Semaphore::new(USER_REQUESTS_MAX));
        Self { routes: TowerToHyperService::new(routes), threads, free }
    }

    /// Hands a request over and waits for the beginning of its answer.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            let detail = format!("{USER_REQUESTS_MAX} requests to services run already");
            return Problem::new(codes::TOO_MANY_REQUESTS, detail).into_response();
        };
        let request = request.map(|body| Body::new(Timed::new(body)));
        let task = self.threads.spawn(run(self.routes.clone(), request, permit));
        match timeout(USER_WAIT_MAX, task).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_panic() => {
                Problem::new(codes::DEFECT, "service panicked on this request").into_response()
            }
            Ok(Err(_)) => {
                Problem::new(codes::DEFECT, "service's threads have ended").into_response()
            }
            Err(_) => {
                let detail = format!("service gave no answer within {USER_WAIT_MAX:?}");
                Problem::new(codes::SERVICE_SLOW, detail).into_response()
            }
        }
    }
}

/// Runs on a user's thread, to its end.
async fn run(
    routes: TowerToHyperService<Router>,
    request: Request,
    permit: OwnedSemaphorePermit,
) -> Response {
    let Ok(response) = routes.call(request).await;
    let response = as_problem(response).await;
    let (parts, body) = response.into_parts();
    let body = if is_short(&body, USER_ANSWER_BYTES_MAX) {
        // Polled to its end here: who wrote it may block in it.
        match body.collect().await {
            Ok(whole) => Body::from(whole.to_bytes()),
            Err(error) => {
                let detail = format!("service broke off its answer: {error}");
                return Problem::new(codes::DEFECT, detail).into_response();
            }
        }
    } else {
        let (pieces, answer) = channel(PIECES_MAX);
        Handle::current().spawn(pump(body, pieces, permit));
        Body::new(answer_body(answer))
    };
    Response::from_parts(parts, body)
}

fn is_short(body: &Body, bytes_max: usize) -> bool {
    body.size_hint().upper().is_some_and(|n_bytes| n_bytes <= bytes_max as u64)
}

/// Carries a streamed answer to the connection until it ends or nobody wants it.
async fn pump(
    mut body: Body,
    pieces: Sender<Result<Frame<Bytes>, axum::Error>>,
    _permit: OwnedSemaphorePermit,
) {
    while let Some(piece) = body.frame().await {
        if pieces.send(piece).await.is_err() {
            return;
        }
    }
}

/// Gives a service's bare errors the shape that all errors have: those of its missing routes and of
/// its extractors, and those that are plain text. An error with a type of its own stays as it is.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || !is_bare(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = match Limited::new(body, USER_ERROR_BYTES_MAX).collect().await {
        Ok(whole) => String::from_utf8_lossy(&whole.to_bytes()).into_owned(),
        Err(_) => String::new(),
    };
    let is_empty = text.trim().is_empty();
    let problem = match status.canonical_reason() {
        // So answers a router without such a route: no service was asked.
        _ if is_empty && status == StatusCode::NOT_FOUND => {
            Problem::new(codes::NO_ROUTE, "neither the node nor a service has this path")
        }
        Some(reason) if is_empty => Problem::of_service(status, reason.to_lowercase()),
        _ => Problem::of_service(status, text),
    };
    let problem = problem.into_response();
    // What else the service said, such as `allow` or `retry-after`, stays.
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut response = problem;
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != header::CONTENT_TYPE) {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

fn is_bare(headers: &HeaderMap) -> bool {
    match headers.get(header::CONTENT_TYPE) {
        None => true,
        Some(value) => value.as_bytes().to_ascii_lowercase().starts_with(b"text/plain"),
    }
}

/// A request's body that must be whole in time.
struct Timed {
    body: Body,
    // Made when the body first lets someone wait: most never do.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    fn new(body: Body) -> Self {
        Self { body, deadline: None }
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(ctx) {
            return Poll::Ready(frame);
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(BODY_WAIT_MAX)));
        ready!(deadline.as_mut().poll(ctx));
        let slow = format!("body did not arrive within {BODY_WAIT_MAX:?}");
        Poll::Ready(Some(Err(axum::Error::new(slow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The connection's end of a streamed answer.
struct Pumped(Receiver<Result<Frame<Bytes>, axum::Error>>);

fn answer_body(pieces: Receiver<Result<Frame<Bytes>, axum::Error>>) -> Pumped {
    Pumped(pieces)
}

impl HttpBody for Pumped {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.0.poll_recv(ctx)
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::{Json, Query};
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use serde_json::{Value, json};

    use super::*;

    fn ambient() -> Ambient {
        #[derive(serde::Deserialize)]
        struct Page {
            page: u32,
        }
        let routes = Router::new()
            .route("/good", get(|| async { "good" }))
            .route("/json", post(|Json(body): Json<Value>| async move { Json(body) }))
            .route("/page", get(|Query(page): Query<Page>| async move { page.page.to_string() }))
            .route("/taken", get(|| async { (StatusCode::CONFLICT, "name is taken") }))
            .route("/own", get(|| async { (StatusCode::CONFLICT, Json(json!({"own": 1}))) }))
            .route("/panic", get(panics))
            .route("/never", get(std::future::pending::<()>))
            .route("/large", get(|| async { "x".repeat(3 * USER_ANSWER_BYTES_MAX) }));
        Ambient::new(routes, Handle::current())
    }

    async fn panics() -> &'static str {
        panic!("a defect of the service")
    }

    async fn ask(request: axum::http::request::Builder, body: &'static str) -> (u16, Bytes) {
        let response = ambient().answer(request.body(Body::from(body)).unwrap()).await;
        let is_problem = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value == crate::problem::PROBLEM_JSON);
        let status = response.status().as_u16();
        assert!(status < 400 || is_problem || status == 409, "{status} is not a problem");
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    async fn problem(path: &str) -> Value {
        let (status, body) = ask(Request::get(path), "").await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["status"], status);
        body
    }

    #[tokio::test]
    async fn answers_come_back_whole() {
        assert_eq!(ask(Request::get("/good"), "").await, (200, Bytes::from("good")));
        let (status, body) = ask(Request::get("/large"), "").await;
        assert_eq!((status, body.len()), (200, 3 * USER_ANSWER_BYTES_MAX));
        let request = Request::post("/json").header("content-type", "application/json");
        assert_eq!(ask(request, "[1]").await, (200, Bytes::from("[1]")));
        // An error that has a type of its own is the service's word.
        assert_eq!(ask(Request::get("/own"), "").await, (409, Bytes::from(r#"{"own":1}"#)));
    }

    /// Whatever goes wrong in a service, the client is told in the one shape.
    #[tokio::test(start_paused = true)]
    async fn errors_are_problems() {
        assert_eq!(problem("/nothing").await["status"], 404);
        assert_eq!(problem("/json").await["status"], 405);
        assert_eq!(problem("/page?page=x").await["status"], 400);
        let taken = problem("/taken").await;
        assert_eq!((&taken["detail"], &taken["retry"]), (&json!("name is taken"), &json!("never")));
        let panicked = problem("/panic").await;
        assert_eq!((&panicked["status"], &panicked["code"]), (&json!(500), &json!("T0217")));
        assert_eq!(problem("/never").await["status"], 504);
        let request = Request::post("/json").header("content-type", "application/json");
        assert_eq!(ask(request, "{").await.0, 400);
        assert_eq!(ask(Request::post("/json"), "{}").await.0, 415);
    }
}

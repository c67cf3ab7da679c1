//! One request's way: the guard, our routes or the users', the count, and no panic without answer.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tidings_node::handle::NodeHandle;

use crate::ambient::Ambient;
use crate::api::Api;
use crate::codes;
use crate::guard::Guard;
use crate::problem::Problem;
use crate::routes::{Labels, is_reserved, router};

/// What metrics call all of the users' routes, whose patterns we do not know.
const USERS: &str = "user";

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Front {
    guard: Guard,
    ours: TowerToHyperService<Router>,
    users: Ambient,
    labels: Labels,
    handle: NodeHandle,
}

impl Front {
    pub(crate) fn new(guard: Guard, handle: NodeHandle, users: Router) -> Self {
        Self {
            guard,
            ours: TowerToHyperService::new(router(Api::new(handle.clone()))),
            users: Ambient::new(users, handle.ambient().clone()),
            labels: Labels::new(),
            handle,
        }
    }

    /// Answers a request, whatever happens.
    pub(crate) async fn answer(&self, request: hyper::Request<Incoming>) -> Response {
        let request: Request = request.map(Body::new);
        let path = request.uri().path();
        let is_ours = is_reserved(path);
        let label = if is_ours { self.labels.of(path) } else { USERS };
        let response = match self.guard.check(path, request.headers()) {
            Err(problem) => problem.into_response(),
            Ok(()) if is_ours => answer_ours(&self.ours, request).await,
            Ok(()) => self.users.answer(request).await,
        };
        self.handle.metrics().edge_request(label, response.status().as_u16());
        response
    }
}

async fn answer_ours(ours: &TowerToHyperService<Router>, request: Request) -> Response {
    let may_have_stored = request.method() == Method::POST;
    match unless_panic(ours.call(request)).await {
        Some(Ok(response)) => response,
        None if may_have_stored => {
            let detail = "node panicked on this request; it may have been carried out";
            Problem::new(codes::NO_ANSWER, detail).into_response()
        }
        None => Problem::new(codes::DEFECT, "node panicked on this request").into_response(),
    }
}

/// `None` if the future panics. It is not polled again, so that a half-changed one is not seen.
async fn unless_panic<T>(
    future: impl Future<Output = Result<T, Infallible>>,
) -> Option<Result<T, Infallible>> {
    let mut future = pin!(future);
    std::future::poll_fn(|ctx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(ctx)));
        match polled {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use axum::routing::post;

    use super::*;

    /// A panic of ours is answered too, and after a POST it is not taken for "not stored".
    #[tokio::test]
    async fn panics_are_answered() {
        async fn panics() -> &'static str {
            tokio::task::yield_now().await;
            panic!("a defect")
        }
        let ours = TowerToHyperService::new(Router::new().route("/", post(panics).get(panics)));
        for (request, status) in [(Request::post("/"), 504), (Request::get("/"), 500)] {
            let response = answer_ours(&ours, request.body(Body::empty()).unwrap()).await;
            assert_eq!(response.status(), status);
        }
    }
}

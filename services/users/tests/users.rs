//! The users service on a test node: its routes, its event, its directory.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidings::axum::Router;
use tidings::axum::body::{Body, to_bytes};
use tidings::axum::http::{Request, StatusCode};
use tidings::testkit::TestNode;
use tidings_users::directory::Directory;
use tidings_users::event::UserSignedUp;
use tidings_users::routes::routes;
use tidings_users::service::Users;
use tower::ServiceExt;

const GOOD: &str = "the request is well-formed";

async fn start(dir: &Path) -> (TestNode, Router) {
    let directory = Directory::at(dir.join("users.redb"));
    let shown = directory.clone();
    let node = TestNode::start(move || Users::new(directory.clone())).await;
    let routes = routes(node.publisher().clone(), shown);
    (node, routes)
}

async fn answer(routes: &Router, request: Request<Body>) -> (StatusCode, Value) {
    let response = routes.clone().oneshot(request).await.expect("routes never fail");
    let status = response.status();
    let body = to_bytes(response.into_body(), 10_000).await.expect("answers are short");
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn sign_up(routes: &Router, body: Value) -> (StatusCode, Value) {
    let request = Request::post("/users").header("content-type", "application/json");
    answer(routes, request.body(Body::from(body.to_string())).expect(GOOD)).await
}

async fn show(routes: &Router, user_id: &str) -> (StatusCode, Value) {
    answer(routes, Request::get(format!("/users/{user_id}")).body(Body::empty()).expect(GOOD)).await
}

/// Who has signed up must be found at once, though the directory follows behind: we look without
/// waiting for it.
#[tokio::test(start_paused = true)]
async fn who_signed_up_is_found_at_once() {
    let dir = TempDir::new().unwrap();
    let (node, routes) = start(dir.path()).await;
    let (status, answer) =
        sign_up(&routes, json!({"email": "ada@example.org", "name": "Ada"})).await;
    assert_eq!(status, StatusCode::CREATED);
    let user_id = answer["user_id"].as_str().unwrap();

    let (status, user) = show(&routes, user_id).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&user["email"], &user["name"]), (&json!("ada@example.org"), &json!("Ada")));
    let event = UserSignedUp {
        user_id: user_id.to_owned(),
        email: "ada@example.org".to_owned(),
        name: "Ada".to_owned(),
    };
    assert_eq!(node.published::<UserSignedUp>().await, [event]);
}

/// What cannot be a sign-up must be refused and not published; an unknown user is not found.
#[tokio::test(start_paused = true)]
async fn bad_requests_are_told_and_not_published() {
    let dir = TempDir::new().unwrap();
    let (node, routes) = start(dir.path()).await;
    let long = "n".repeat(201);
    let bad = [
        json!({"email": "ada", "name": "Ada"}),
        json!({"email": "ada@example.org\nbcc: x@y.zz", "name": "Ada"}),
        json!({"email": "ada@example.org", "name": long}),
        json!({"name": "Ada"}),
    ];
    for bad in bad {
        let (status, _) = sign_up(&routes, bad.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
    }
    assert_eq!(show(&routes, "nobody").await.0, StatusCode::NOT_FOUND);
    assert!(node.published::<UserSignedUp>().await.is_empty());
}

/// The directory must not change when an event comes again, and outlive the process: the same
/// sign-up comes twice, and the file is opened anew.
#[tokio::test(start_paused = true)]
async fn directory_keeps_the_first_sign_up() {
    let dir = TempDir::new().unwrap();
    let event = |name: &str| UserSignedUp {
        user_id: "u-1".to_owned(),
        email: "ada@example.org".to_owned(),
        name: name.to_owned(),
    };
    {
        let (node, _) = start(dir.path()).await;
        node.publish(event("first")).await;
        node.publish(event("second")).await;
        node.settled("users").await;
        node.stop().await;
    }
    let directory = Directory::at(dir.path().join("users.redb"));
    let user = directory.find("u-1").unwrap().unwrap();
    assert_eq!(user.name, "first");
    assert_eq!(directory.find("u-2").unwrap(), None);
}

//! The routes: sign up, and look a user up.

use std::time::Duration;

use thiserror::Error;
use tidings::axum::extract::{Path, State};
use tidings::axum::http::StatusCode;
use tidings::axum::response::{IntoResponse, Response};
use tidings::axum::routing::{get, post};
use tidings::axum::{Json, Router};
use tidings::prelude::{Deserialize, PublishError, Publisher, Serialize, Uuid};

use crate::address::{self, BadAddress};
use crate::directory::{Directory, User};
use crate::event::UserSignedUp;

/// How long a look-up waits for a user that the directory does not know yet.
const FIND_WAIT_MAX: Duration = Duration::from_secs(1);
const NAME_CHARS_MAX: usize = 200;

#[derive(Clone, Debug)]
struct Web {
    publisher: Publisher,
    directory: Directory,
}

/// The service's routes.
pub fn routes(publisher: Publisher, directory: Directory) -> Router {
    Router::new()
        .route("/users", post(sign_up))
        .route("/users/{user_id}", get(show))
        .with_state(Web { publisher, directory })
}

#[derive(Debug, Deserialize)]
struct SignUp {
    email: String,
    #[serde(default)]
    name: String,
}

#[derive(Debug, Serialize)]
struct SignedUp {
    user_id: String,
}

/// 201: the sign-up is stored durably. 4xx, 429 and 503: it surely is not. 504: nobody knows.
async fn sign_up(
    State(web): State<Web>,
    Json(SignUp { email, name }): Json<SignUp>,
) -> Result<(StatusCode, Json<SignedUp>), WebError> {
    address::check(&email)?;
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(WebError::NameTooLong);
    }
    let user_id = Uuid::now_v7().to_string();
    web.publisher.publish(&UserSignedUp { user_id: user_id.clone(), email, name }).await?;
    Ok((StatusCode::CREATED, Json(SignedUp { user_id })))
}

async fn show(State(web): State<Web>, Path(user_id): Path<String>) -> Result<Json<User>, WebError> {
    let found = web.directory.wait_for(&user_id, FIND_WAIT_MAX).await?;
    found.map(Json).ok_or(WebError::NoSuchUser { user_id })
}

/// Why a request has another answer than it hoped for.
#[derive(Debug, Error)]
enum WebError {
    #[error(transparent)]
    Address(#[from] BadAddress),
    #[error("name has more than {NAME_CHARS_MAX} characters")]
    NameTooLong,
    #[error("user {user_id} does not exist")]
    NoSuchUser { user_id: String },
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("directory cannot be read: {0}")]
    Directory(#[from] redb::Error),
}

/// The node makes problem+json of plain text; a [`PublishError`] brings its own.
impl IntoResponse for WebError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Publish(error) => return error.into_response(),
            Self::Address(_) | Self::NameTooLong => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoSuchUser { .. } => StatusCode::NOT_FOUND,
            Self::Directory(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, self.to_string()).into_response()
    }
}

//! The one shape of all errors over HTTP: problem+json (RFC 9457) with a stable code.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidings_delivery::error::PublishError;
use tidings_node::error::{CallError, CommandError, EditError, FindError, ReadError, SeekError};
use tidings_types::effect::Refused;
use tidings_types::event::BadEvent;
use tidings_types::retry::Retry;

use crate::codes::{self, Code};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// How long a client that was told "busy" should wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An error as HTTP tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: &'static Code,
    status: u16,
    retry: Retry,
    detail: String,
    line: Option<usize>,
    start: Option<u64>,
}

#[derive(Serialize)]
struct Wire<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    retry: &'a str,
    help: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<u64>,
}

impl Problem {
    /// An error of this kind; `detail` names the thing and the limit.
    pub fn new(code: &'static Code, detail: impl Into<String>) -> Self {
        let (status, retry) = (code.status, code.retry);
        Self { code, status, retry, detail: detail.into(), line: None, start: None }
    }

    /// The same, blamed on one line of a batch, counted from 1. All other lines are untouched too.
    #[must_use]
    pub fn at_line(mut self, line: usize) -> Self {
        self.detail = format!("line {line}: {}", self.detail);
        self.line = Some(line);
        self
    }

    /// An error of a user's route, which has its own status.
    pub(crate) fn of_service(status: StatusCode, detail: String) -> Self {
        let retry = match status.as_u16() {
            429 | 503 => Retry::SameRequest,
            400..500 => Retry::Never,
            _ => Retry::Unknown,
        };
        Self { status: status.as_u16(), retry, ..Self::new(codes::SERVICE_ERROR, detail) }
    }

    /// Its kind.
    pub fn code(&self) -> &'static Code {
        self.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).expect("each row has a status that HTTP knows")
    }

    /// What went wrong, in words.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    fn retry_after(&self) -> Option<Duration> {
        matches!(self.status, 429 | 503).then_some(RETRY_AFTER)
    }

    fn body(&self) -> Vec<u8> {
        let wire = Wire {
            r#type: format!("/v1/problems/{}", self.code.code),
            title: self.code.title,
            status: self.status,
            detail: &self.detail,
            code: self.code.code,
            retry: self.retry.word(),
            help: self.code.help,
            retry_after_ms: self.retry_after().map(|wait| wait.as_secs() * 1_000),
            line: self.line,
            start: self.start,
        };
        serde_json::to_vec(&wire).expect("a struct of text and numbers is always JSON")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.body()).into_response();
        let mut set = |name: HeaderName, value| response.headers_mut().insert(name, value);
        set(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(wait) = self.retry_after() {
            set(header::RETRY_AFTER, wait.as_secs().into());
        }
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            set(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<&PublishError> for Problem {
    fn from(error: &PublishError) -> Self {
        let code = codes::find(error.code()).unwrap_or(codes::PUBLISH_REFUSED);
        let status = match error {
            PublishError::BadEvent(BadEvent::TooLarge { .. }) => 413,
            // The class decides, so that a new refusal keeps the promise about statuses too.
            PublishError::Refused(refused) => match refused.retry() {
                Retry::Never => 422,
                Retry::AfterRefresh => 404,
                Retry::SameRequest => 503,
                Retry::Unknown => 504,
            },
            _ => code.status,
        };
        Self { status, retry: error.retry(), ..Self::new(code, error.to_string()) }
    }
}

impl From<&BadEvent> for Problem {
    fn from(error: &BadEvent) -> Self {
        Self::from(&PublishError::BadEvent(error.clone()))
    }
}

impl From<&Refused> for Problem {
    fn from(error: &Refused) -> Self {
        let code = match error.retry() {
            Retry::Unknown => codes::COMMAND_UNKNOWN,
            Retry::SameRequest => codes::NOT_PROPOSED,
            Retry::AfterRefresh => codes::NOT_FOUND,
            Retry::Never => codes::COMMAND_REFUSED,
        };
        Self::new(code, error.to_string())
    }
}

impl From<&CallError> for Problem {
    fn from(error: &CallError) -> Self {
        let code = match error {
            CallError::Stopped => codes::STOPPED,
            CallError::NoAnswer { .. } => codes::NO_ANSWER,
        };
        Self::new(code, error.to_string())
    }
}

impl From<&CommandError> for Problem {
    fn from(error: &CommandError) -> Self {
        let code = match error {
            CommandError::Refused(refused) => return refused.into(),
            CommandError::Call(call) => return call.into(),
            CommandError::NotProposed => codes::NOT_PROPOSED,
            CommandError::Unknown => codes::COMMAND_UNKNOWN,
        };
        Self::new(code, error.to_string())
    }
}

impl From<&ReadError> for Problem {
    fn from(error: &ReadError) -> Self {
        match error {
            ReadError::NoSuchTopic { .. } => Self::new(codes::UNKNOWN_TOPIC, error.to_string()),
            ReadError::BelowStart { start, .. } => {
                Self { start: Some(*start), ..Self::new(codes::GONE, error.to_string()) }
            }
            ReadError::Log { .. } => Self::new(codes::LOG_UNREADABLE, error.to_string()),
            ReadError::Call(call) => call.into(),
        }
    }
}

impl From<&SeekError> for Problem {
    fn from(error: &SeekError) -> Self {
        let code = match error {
            SeekError::NoSuchOffset { .. } => codes::NOT_FOUND,
            SeekError::NoRest { .. } => codes::NOT_PROPOSED,
            SeekError::Find(find) => return find.into(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<&EditError> for Problem {
    fn from(error: &EditError) -> Self {
        match error {
            EditError::Bad(bad) => bad.into(),
            EditError::Find(find) => find.into(),
        }
    }
}

impl From<&FindError> for Problem {
    fn from(error: &FindError) -> Self {
        match error {
            FindError::NotFound { .. } => Self::new(codes::NOT_FOUND, error.to_string()),
            FindError::Call(call) => call.into(),
            FindError::Read(read) => read.into(),
            FindError::Command(command) => command.into(),
        }
    }
}

macro_rules! owned {
    ($($error:ty),*) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self::from(&error)
            }
        }
    )*};
}

owned!(
    BadEvent,
    Refused,
    CallError,
    CommandError,
    ReadError,
    EditError,
    FindError,
    SeekError,
    PublishError
);

#[cfg(test)]
mod tests {
    use tidings_types::id::TopicId;
    use tidings_types::name::TopicName;

    use super::*;

    fn publish_errors() -> Vec<(PublishError, u16)> {
        vec![
            (BadEvent::KeyTooLong { n_bytes: 2_000 }.into(), 422),
            (BadEvent::TooLarge { n_bytes: 2 << 20 }.into(), 413),
            (PublishError::TooLarge { n_bytes: 2 << 20 }, 413),
            (PublishError::NoSuchTopic { name: TopicName::new("users").unwrap() }, 404),
            (Refused::NoSuchTopic { topic: TopicId::new(1) }.into(), 404),
            (PublishError::Busy, 429),
            (PublishError::StorageFull, 503),
            (PublishError::Unavailable, 503),
            (PublishError::Stopping, 503),
            (PublishError::Unknown, 504),
            (Refused::ProducerExpired.into(), 504),
            (Refused::Malformed.into(), 422),
        ]
    }

    /// The status says whether an event may be stored: 504 when, and only when, the error says so.
    #[test]
    fn statuses_of_a_publish_keep_the_promise() {
        for (error, status) in publish_errors() {
            let problem = Problem::from(&error);
            assert_eq!(problem.status(), status, "{error}");
            assert_eq!(problem.code().code, error.code(), "{error}");
            assert_eq!(status == 504, error.retry() == Retry::Unknown, "{error}");
        }
    }

    #[tokio::test]
    async fn a_problem_says_all_that_a_script_needs() {
        let below = ReadError::BelowStart { name: "users".to_owned(), from: 1, start: 7 };
        for (problem, status, field, value) in [
            (Problem::from(&PublishError::Busy).at_line(7), 429, "line", 7),
            (Problem::from(&PublishError::Busy), 429, "retry_after_ms", 1_000),
            (Problem::from(&below), 410, "start", 7),
        ] {
            let response = problem.clone().into_response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), status == 429);
            let body: serde_json::Value = serde_json::from_slice(&problem.body()).unwrap();
            assert_eq!(body[field], value);
            assert_eq!(body["type"], format!("/v1/problems/{}", problem.code().code));
            assert_eq!(body["status"], status);
            assert_eq!(body["detail"], problem.detail());
        }
    }
}

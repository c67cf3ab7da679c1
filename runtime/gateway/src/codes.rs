//! Every error that HTTP answers with: its stable code, status, title and what to do.
//!
//! Scripts and people rely on the codes: a row is added and never changes its meaning. A running
//! node explains each row under `/v1/problems/{code}`.

use serde::Serialize;
use tidings_types::retry::Retry;

/// One kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Code {
    /// The stable code: `T0201`.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The kind in a few words.
    pub title: &'static str,
    /// What the caller may do, as a class.
    #[serde(serialize_with = "word")]
    pub retry: Retry,
    /// What the caller may do, in words.
    pub help: &'static str,
}

fn word<S: serde::Serializer>(retry: &Retry, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(retry.word())
}

/// The row of a code.
pub fn find(code: &str) -> Option<&'static Code> {
    ALL.iter().find(|row| row.code == code)
}

macro_rules! codes {
    ($($name:ident = $code:literal $status:literal $retry:ident $title:literal $help:literal;)*) => {
        $(
            #[doc = concat!("`", $code, "`: ", $title, ".")]
            pub const $name: &Code = &Code {
                code: $code,
                status: $status,
                title: $title,
                retry: Retry::$retry,
                help: $help,
            };
        )*

        /// All rows.
        pub const ALL: &[Code] = &[$(*$name),*];
    };
}

codes! {
    // T012: a publish. The runtime gives these codes itself.
    BAD_EVENT = "T0120" 422 Never "event is not acceptable"
        "change what the detail names; nothing was stored";
    BATCH_TOO_LARGE = "T0121" 413 Never "batch is too large"
        "send less in one request; nothing was stored";
    UNKNOWN_TOPIC = "T0122" 404 AfterRefresh "topic does not exist"
        "create it with `tidings topic create NAME` or POST /v1/topics; nothing was stored";
    BUSY = "T0123" 429 SameRequest "node is busy"
        "send the same request again after the time in retry-after; nothing was stored";
    STORAGE_FULL = "T0124" 503 SameRequest "no space for events is left"
        "free disk space on the node; nothing was stored";
    UNAVAILABLE = "T0125" 503 SameRequest "log cannot take events now"
        "send the same request again; nothing was stored";
    STOPPING = "T0126" 503 SameRequest "node is stopping"
        "send the same request again; nothing was stored";
    OUTCOME_UNKNOWN = "T0127" 504 Unknown "nobody knows whether the events are stored"
        "read the topic, or send the same events with the same ids: they may be stored twice";
    PUBLISH_REFUSED = "T0128" 503 SameRequest "log refused the events"
        "look at the status: 504 means that they may be stored, all others that they are not";

    // T02: the form of a request.
    NOT_JSON = "T0201" 400 Never "body is not JSON"
        "correct the place that the detail names; nothing was stored";
    NOT_UTF8 = "T0202" 400 Never "body is not UTF-8"
        "encode the body as UTF-8; nothing was stored";
    WRONG_SHAPE = "T0203" 422 Never "JSON has another shape than the route takes"
        "compare the body with the fields that the detail names; nothing was done";
    CONTENT_TYPE = "T0204" 415 Never "content type is not accepted"
        "send the content-type that the detail names; nothing was done";
    BODY_TOO_LARGE = "T0205" 413 Never "body is too large"
        "send less in one request; nothing was done";
    BODY_SLOW = "T0206" 408 SameRequest "body did not arrive in time"
        "send the request again; nothing was done";
    BODY_LOST = "T0207" 400 SameRequest "body ended early"
        "send the request again; nothing was done";
    BAD_QUERY = "T0208" 400 Never "query is not understood"
        "correct the parameter that the detail names";
    BAD_PATH = "T0209" 400 Never "path is not understood"
        "correct the part of the path that the detail names";
    NO_ROUTE = "T0210" 404 Never "there is nothing at this path"
        "look at the list of routes in the README";
    METHOD = "T0211" 405 Never "path does not take this method"
        "use a method of the allow header";
    NO_TOKEN = "T0212" 401 Never "request has no valid token"
        "send `authorization: Bearer TOKEN` with the token that the node was started with";
    FOREIGN_HOST = "T0213" 421 Never "request was meant for another host"
        "use localhost or an address: a node without a token answers to no other name, so that \
         no page in a browser can reach it";
    TOO_MANY_REQUESTS = "T0214" 429 SameRequest "too many requests run at a time"
        "send the same request again after the time in retry-after; nothing was done";
    SERVICE_SLOW = "T0215" 504 Unknown "service did not answer in time"
        "look whether it was done before repeating it";
    SERVICE_ERROR = "T0216" 500 Unknown "service answered with an error"
        "the status is the service's own; its words are in the detail";
    DEFECT = "T0217" 500 Unknown "defect in the node or in a service"
        "look into the node's log; whether the request was carried out is not known";

    // T03: asking the node.
    NOT_FOUND = "T0301" 404 AfterRefresh "what was asked for does not exist"
        "list what there is";
    GONE = "T0302" 410 AfterRefresh "events are no longer retained"
        "read from the start that the answer names";
    STOPPED = "T0303" 503 AfterRefresh "node is ending"
        "ask another node, or this one after its restart";
    NO_ANSWER = "T0304" 504 Unknown "node gave no answer in time"
        "ask again; whether a command was carried out is not known";
    NOT_PROPOSED = "T0305" 503 SameRequest "command cannot be taken now"
        "send the same request again; nothing was done";
    COMMAND_UNKNOWN = "T0306" 504 Unknown "nobody knows whether the command was carried out"
        "look at the present state before repeating it";
    COMMAND_REFUSED = "T0307" 409 Never "command was refused"
        "the detail names the rule that it would break; nothing was done";
    LOG_UNREADABLE = "T0308" 500 SameRequest "log cannot be read"
        "run `tidings log check` on the node's directory";
    NOT_READY = "T0309" 503 SameRequest "node is not ready"
        "wait; the detail names what is missing";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A code names one row: two rows of one code would explain each other's errors.
    #[test]
    fn codes_are_unique_and_well_formed() {
        for (at, row) in ALL.iter().enumerate() {
            assert_eq!(row.code.len(), 5, "{}", row.code);
            assert!(row.code.starts_with('T'));
            assert!(row.code[1..].bytes().all(|byte| byte.is_ascii_digit()));
            assert!(ALL[..at].iter().all(|other| other.code != row.code), "{}", row.code);
            assert_eq!(find(row.code), Some(row));
        }
        assert_eq!(find("T9999"), None);
    }

    /// The promise about statuses: what may have happened is 504 or 500, and nothing else is.
    #[test]
    fn statuses_keep_the_promise() {
        for row in ALL {
            let is_open = matches!(row.status, 500 | 504) && row.code != LOG_UNREADABLE.code;
            assert_eq!(row.retry == Retry::Unknown, is_open, "{}", row.code);
        }
    }
}

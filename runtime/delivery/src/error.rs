//! What can go wrong with a publish, as its caller sees it.
//!
//! Each error says by its type whether the events may be stored: all but [`PublishError::Unknown`]
//! and what a [`Refused`] of that class says prove that they are not.

use thiserror::Error;
use tidings_types::effect::Refused;
use tidings_types::event::BadEvent;
use tidings_types::limits::{NODE_ADMITTED_BYTES_MAX, PUBLISH_WAIT_MAX, SECTION_BYTES_MAX};
use tidings_types::name::TopicName;
use tidings_types::retry::Retry;

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishError {
    /// The event is not one that can be stored.
    #[error(transparent)]
    BadEvent(#[from] BadEvent),
    /// The events of one request must fit into one section, for they are stored all or none.
    #[error("request of {n_bytes} bytes exceeds {SECTION_BYTES_MAX} bytes")]
    TooLarge {
        /// What the request's events take, encoded.
        n_bytes: usize,
    },
    /// There is no topic of that name.
    #[error("topic {name} does not exist")]
    NoSuchTopic {
        /// The name.
        name: TopicName,
    },
    /// The node holds as many unanswered events as it may, and the caller did not want to wait.
    #[error("node holds {NODE_ADMITTED_BYTES_MAX} bytes of unanswered events")]
    Busy,
    /// The disk has no room for more events.
    #[error("storage is full")]
    StorageFull,
    /// The events were not taken in time, as a rule because there is no leader. They are surely not
    /// stored.
    #[error("event was not taken within {PUBLISH_WAIT_MAX:?}; there may be no leader")]
    Unavailable,
    /// The node ends. The events are surely not stored.
    #[error("node is stopping")]
    Stopping,
    /// The events were sent, and no answer came in time: they may be stored or not.
    #[error("no answer within {PUBLISH_WAIT_MAX:?}: the event may be stored or not")]
    Unknown,
    /// The log took the request and refused it.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl PublishError {
    /// What the caller may do.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::BadEvent(error) => error.retry(),
            Self::TooLarge { .. } => Retry::Never,
            Self::NoSuchTopic { .. } => Retry::AfterRefresh,
            Self::Busy | Self::StorageFull | Self::Unavailable | Self::Stopping => {
                Retry::SameRequest
            }
            Self::Unknown => Retry::Unknown,
            Self::Refused(refused) => refused.retry(),
        }
    }

    /// The error's stable code, under which people look it up.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadEvent(_) => "T0120",
            Self::TooLarge { .. } => "T0121",
            Self::NoSuchTopic { .. } | Self::Refused(Refused::NoSuchTopic { .. }) => "T0122",
            Self::Busy => "T0123",
            Self::StorageFull => "T0124",
            Self::Unavailable => "T0125",
            Self::Stopping => "T0126",
            Self::Unknown => "T0127",
            Self::Refused(_) => "T0128",
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_types::id::TopicId;

    use super::*;

    /// Scripts rely on the codes, and a caller of unknown reasons on the class.
    #[test]
    fn codes_and_classes_are_stable() {
        let name = TopicName::new("users").unwrap();
        let by_id = Refused::NoSuchTopic { topic: TopicId::new(1) };
        let key_too_long = BadEvent::KeyTooLong { n_bytes: 2_000 };
        let expected = [
            (PublishError::from(key_too_long), "T0120", Retry::Never),
            (PublishError::TooLarge { n_bytes: 2 << 20 }, "T0121", Retry::Never),
            (PublishError::NoSuchTopic { name }, "T0122", Retry::AfterRefresh),
            (PublishError::from(by_id), "T0122", Retry::AfterRefresh),
            (PublishError::Busy, "T0123", Retry::SameRequest),
            (PublishError::StorageFull, "T0124", Retry::SameRequest),
            (PublishError::Unavailable, "T0125", Retry::SameRequest),
            (PublishError::Stopping, "T0126", Retry::SameRequest),
            (PublishError::Unknown, "T0127", Retry::Unknown),
            (PublishError::from(Refused::Malformed), "T0128", Retry::Never),
        ];
        for (error, code, retry) in expected {
            assert_eq!((error.code(), error.retry()), (code, retry), "{error}");
        }
    }
}

//! An event type: it owns its topic, its name on the wire and its ordering key.

use std::fmt::{self, Display};

use serde::{Serialize, Serializer};
use tidings_types::event::ID_BYTES;

use crate::codec::{DecodeError, EncodeError};

/// Something that happened, as services publish and handle it.
///
/// Derive it: `#[derive(Event)]` with `#[event(topic = "…", kind = "…", key = field)]`. Topic and key
/// stand with the type and not with who publishes or handles it, because the order of events is
/// decided when they are published, and no reader can repair a wrong key.
///
/// Whoever implements it by hand makes `decode` read what `encode` wrote, and gives equal keys to
/// events whose order matters.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "this type has no topic, kind and key",
    note = "add `#[derive(Event)]` with `#[event(topic = \"…\", kind = \"….v1\", key = field)]`"
)]
pub trait Event: Sized + Send + Sync + 'static {
    /// Where events of this type are published.
    const TOPIC: &'static str;
    /// The name of the type on the wire, with its version: `user.signed_up.v1`.
    ///
    /// A group that handles `user.signed_up.v1` and meets `user.signed_up.v2` makes it a dead
    /// letter; a type that it does not know at all is skipped.
    const KIND: &'static str;

    /// Events with the same key are handled in the order of their publishing. If it shows as
    /// nothing, the event stands for itself.
    fn key(&self) -> impl Display;

    /// Appends the content to `target`.
    ///
    /// # Errors
    /// If the content cannot be encoded: the event is then not published.
    fn encode(&self, target: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Reads the content.
    ///
    /// # Errors
    /// If the bytes are something else: the event then becomes a dead letter.
    fn decode(payload: &[u8]) -> Result<Self, DecodeError>;
}

/// A type's name without its version: `user.signed_up` of `user.signed_up.v1`.
pub(crate) fn family(kind: &str) -> &str {
    match kind.rsplit_once(".v") {
        Some((family, version)) if is_number(version) => family,
        _ => kind,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The id that a published event got: a UUIDv7 in its usual form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; ID_BYTES]);

impl EventId {
    pub(crate) const fn new(text: [u8; ID_BYTES]) -> Self {
        Self(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("it was made from a UUID's digits")
    }
}

impl Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::family;

    #[test]
    fn family_is_the_name_without_its_version() {
        assert_eq!(family("user.signed_up.v1"), "user.signed_up");
        assert_eq!(family("user.signed_up.v12"), "user.signed_up");
        for plain in ["user.signed_up", "user.vip", "user.v", "v1"] {
            assert_eq!(family(plain), plain);
        }
    }
}

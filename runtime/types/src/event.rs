//! An event as its publisher hands it in, and the checks that it must pass to be taken.

use thiserror::Error;
use uuid::Builder;

use crate::limits::{EVENT_BYTES_MAX, HEADERS_BYTES_MAX, KEY_BYTES_MAX, WORD_BYTES_MAX};
use crate::retry::Retry;
use crate::seam::Rng;

/// Size of an event without its id, type, key, headers and payload.
pub const EVENT_HEADER_BYTES: usize = 28;

/// An event before it is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEvent<'a> {
    /// Names this event, for ever and everywhere: a UUIDv7 unless it came from outside.
    pub id: &'a str,
    /// The name of its type and version: `user.signed_up.v1`.
    pub kind: &'a str,
    /// Events of one key are handled in order. Empty: the id is the key.
    pub key: &'a [u8],
    /// The publisher's wall time in milliseconds since 1970: shown, never decided by.
    pub time_ms: u64,
    /// Encoded by [`layout::headers`](crate::layout::headers).
    pub headers: &'a [u8],
    /// The content, encoded as the type says; JSON as a rule.
    pub payload: &'a [u8],
}

/// Why an event is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadEvent {
    /// It is larger than anything that the cluster stores.
    #[error("event of {n_bytes} bytes exceeds {EVENT_BYTES_MAX} bytes")]
    TooLarge {
        /// Its encoded size.
        n_bytes: usize,
    },
    /// Its key is too long.
    #[error("key of {n_bytes} bytes exceeds {KEY_BYTES_MAX} bytes")]
    KeyTooLong {
        /// The key's size.
        n_bytes: usize,
    },
    /// Its key has control characters, which no tool could show.
    #[error("key has the control character 0x{byte:02x}")]
    KeyControl {
        /// The first such character.
        byte: u8,
    },
    /// Its headers are too large.
    #[error("headers of {n_bytes} bytes exceed {HEADERS_BYTES_MAX} bytes")]
    HeadersTooLarge {
        /// Their encoded size.
        n_bytes: usize,
    },
    /// Its id is empty, too long, or has characters other than visible ASCII.
    #[error("id {found:?} is not 1 to {WORD_BYTES_MAX} visible ASCII characters")]
    Id {
        /// The id, cut short.
        found: String,
    },
    /// Its type is empty, too long, or has characters other than visible ASCII.
    #[error("type {found:?} is not 1 to {WORD_BYTES_MAX} visible ASCII characters")]
    Kind {
        /// The type, cut short.
        found: String,
    },
}

impl BadEvent {
    /// The same event is never taken.
    pub const fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl NewEvent<'_> {
    /// Checks all that is demanded of an event.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), BadEvent> {
        if !is_word(self.id) {
            return Err(BadEvent::Id { found: cut_short(self.id) });
        }
        if !is_word(self.kind) {
            return Err(BadEvent::Kind { found: cut_short(self.kind) });
        }
        if self.key.len() > KEY_BYTES_MAX {
            return Err(BadEvent::KeyTooLong { n_bytes: self.key.len() });
        }
        if let Some(&byte) = self.key.iter().find(|byte| byte.is_ascii_control()) {
            return Err(BadEvent::KeyControl { byte });
        }
        if self.headers.len() > HEADERS_BYTES_MAX {
            return Err(BadEvent::HeadersTooLarge { n_bytes: self.headers.len() });
        }
        let n_bytes = self.encoded_bytes();
        if n_bytes > EVENT_BYTES_MAX {
            return Err(BadEvent::TooLarge { n_bytes });
        }
        Ok(())
    }

    /// The event's size in a records section.
    pub const fn encoded_bytes(&self) -> usize {
        EVENT_HEADER_BYTES
            + self.id.len()
            + self.kind.len()
            + self.key.len()
            + self.headers.len()
            + self.payload.len()
    }
}

fn is_word(word: &str) -> bool {
    (1..=WORD_BYTES_MAX).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic())
}

fn cut_short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Makes ids for events: UUIDv7, so that an id's time narrows the search for it.
#[derive(Debug)]
pub struct IdMaker<R> {
    rng: R,
}

/// Length of an id that [`IdMaker`] made.
pub const ID_BYTES: usize = 36;

impl<R: Rng> IdMaker<R> {
    /// Ids are as hard to foresee as the generator's numbers.
    pub const fn new(rng: R) -> Self {
        Self { rng }
    }

    /// A fresh id of this wall time, written into `buffer`.
    pub fn make<'b>(&mut self, wall_ms: u64, buffer: &'b mut [u8; ID_BYTES]) -> &'b str {
        let [a, b] = [self.rng.next_u64(), self.rng.next_u64()].map(u64::to_le_bytes);
        let mut random = [0; 10];
        for (target, source) in random.iter_mut().zip(a.into_iter().chain(b)) {
            *target = source;
        }
        let id = Builder::from_unix_timestamp_millis(wall_ms, &random).into_uuid();
        id.hyphenated().encode_lower(buffer)
    }
}

/// The wall time inside an id that [`IdMaker`] made; `None` if it came from elsewhere.
pub fn id_time_ms(id: &str) -> Option<u64> {
    let id = uuid::Uuid::try_parse(id).ok().filter(|id| id.get_version_num() == 7)?;
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    Some(seconds * 1_000 + u64::from(nanoseconds) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::SplitMix;

    const GOOD: NewEvent<'_> = NewEvent {
        id: "e-1",
        kind: "user.signed_up.v1",
        key: b"user-1",
        time_ms: 1,
        headers: &[],
        payload: b"{}",
    };

    #[test]
    fn bad_events_are_named() {
        assert_eq!(GOOD.check(), Ok(()));
        let long = vec![b'k'; KEY_BYTES_MAX + 1];
        let huge = vec![b'{'; EVENT_BYTES_MAX];
        let too_long = BadEvent::KeyTooLong { n_bytes: long.len() };
        assert_eq!(NewEvent { key: &long, ..GOOD }.check(), Err(too_long));
        let control = BadEvent::KeyControl { byte: b'\n' };
        assert_eq!(NewEvent { key: b"a\nb", ..GOOD }.check(), Err(control));
        assert!(matches!(
            NewEvent { payload: &huge, ..GOOD }.check(),
            Err(BadEvent::TooLarge { .. })
        ));
        assert!(matches!(NewEvent { id: "", ..GOOD }.check(), Err(BadEvent::Id { .. })));
        assert!(matches!(NewEvent { kind: "a b", ..GOOD }.check(), Err(BadEvent::Kind { .. })));
    }

    #[test]
    fn ids_tell_their_time_and_differ() {
        let mut ids = IdMaker::new(SplitMix::new(7));
        let (mut a, mut b) = ([0; ID_BYTES], [0; ID_BYTES]);
        let a = ids.make(1_700_000_000_123, &mut a);
        let b = ids.make(1_700_000_000_123, &mut b);
        assert_ne!(a, b);
        assert_eq!(id_time_ms(a), Some(1_700_000_000_123));
        assert_eq!(id_time_ms("order-17"), None);
    }
}

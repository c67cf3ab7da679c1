//! The event that is measured: bytes of the size that was asked for, with the time of its sending.

use std::fmt::Display;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tidings::Event;
use tidings::codec::{DecodeError, EncodeError};

const TIME_BYTES: usize = 8;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// See the module's description.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    sent: Duration,
    key: u64,
    size: usize,
}

impl Sample {
    /// An event that is sent now.
    pub(super) fn now(key: u64, size: usize) -> Self {
        Self { sent: BEGAN.elapsed(), key, size }
    }

    /// How long ago it was sent.
    pub(super) fn age(&self) -> Duration {
        BEGAN.elapsed().saturating_sub(self.sent)
    }
}

impl Event for Sample {
    const TOPIC: &'static str = "bench";
    const KIND: &'static str = "bench.sample.v1";

    fn key(&self) -> impl Display {
        self.key
    }

    fn encode(&self, target: &mut Vec<u8>) -> Result<(), EncodeError> {
        let n_before = target.len();
        target.extend_from_slice(&(self.sent.as_nanos() as u64).to_le_bytes());
        target.resize(n_before + self.size.max(TIME_BYTES), 0x5a);
        Ok(())
    }

    fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (sent, _) = payload
            .split_first_chunk::<TIME_BYTES>()
            .ok_or_else(|| DecodeError::new("a sample begins with its time"))?;
        let sent = Duration::from_nanos(u64::from_le_bytes(*sent));
        Ok(Self { sent, key: 0, size: payload.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_size_that_was_asked_for_and_keep_their_time() {
        for (size, expected) in [(0, 8), (8, 8), (256, 256)] {
            let sample = Sample::now(7, size);
            let mut payload = Vec::new();
            sample.encode(&mut payload).unwrap();
            assert_eq!(payload.len(), expected);
            let age = Sample::decode(&payload).unwrap().age();
            assert!(age < Duration::from_secs(60), "{age:?}");
        }
        assert!(Sample::decode(b"short").is_err());
    }
}

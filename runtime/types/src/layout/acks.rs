//! An acks section: what a group's workers have done with the events of one topic.
//!
//! ```text
//!   group u32 · topic u32 · n_ranges u32 · n_failures u32
//!   range    start u64 · len u32                                            (n_ranges times)
//!   failure  offset u64 · lane epoch u32 · class u8 · retry at u64
//!            message len u16 · message                                      (n_failures times)
//! ```
//!
//! A range is of events that succeeded. A failure costs its event an attempt and says when, in
//! cluster time, the next one may begin. An event that is given up is a command, because its dead
//! letter carries the payload.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::take::{Malformed, Take};
use crate::id::{GroupId, TopicId};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::offset::{LaneEpoch, Offset};

/// Why an attempt failed. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum FailureClass {
    /// The handler returned an error.
    Error = 1,
    /// The handler panicked.
    Panic = 2,
    /// The handler took longer than its deadline.
    Timeout = 3,
}

impl FailureClass {
    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Error),
            2 => Some(Self::Panic),
            3 => Some(Self::Timeout),
            _ => None,
        }
    }

    /// The word that people see.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
        }
    }
}

/// Consecutive events that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckRange {
    /// The first one.
    pub start: Offset,
    /// How many; never 0.
    pub len: u32,
}

/// An attempt that failed and will be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The event.
    pub offset: Offset,
    /// The epoch in which its lane was worked.
    pub lane_epoch: LaneEpoch,
    /// What happened.
    pub class: FailureClass,
    /// No attempt begins before, in milliseconds of cluster time.
    pub retry_at_ms: u64,
    /// The error's text, cut at [`MESSAGE_BYTES_MAX`].
    pub message: String,
}

/// See the module's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acks {
    /// Whose mailbox.
    pub group: GroupId,
    /// On which topic.
    pub topic: TopicId,
    /// What succeeded, in ascending order.
    pub ranges: Vec<AckRange>,
    /// What failed.
    pub failures: Vec<Failure>,
}

impl Acks {
    /// The section's bytes.
    pub fn encode(&self) -> Bytes {
        let n_bytes = 16 + self.ranges.len() * 12 + self.failures.len() * 64;
        let mut bytes = BytesMut::with_capacity(n_bytes);
        let length = |n| u32::try_from(n).expect("outcomes are bounded by the group's window");
        bytes.put_u32_le(self.group.get());
        bytes.put_u32_le(self.topic.get());
        bytes.put_u32_le(length(self.ranges.len()));
        bytes.put_u32_le(length(self.failures.len()));
        for range in &self.ranges {
            bytes.put_u64_le(range.start.get());
            bytes.put_u32_le(range.len);
        }
        for failure in &self.failures {
            let message = cut_message(&failure.message);
            bytes.put_u64_le(failure.offset.get());
            bytes.put_u32_le(failure.lane_epoch.get());
            bytes.put_u8(failure.class as u8);
            bytes.put_u64_le(failure.retry_at_ms);
            bytes.put_u16_le(u16::try_from(message.len()).expect("just cut"));
            bytes.put_slice(message.as_bytes());
        }
        bytes.freeze()
    }

    /// Reads a section.
    ///
    /// # Errors
    /// If the bytes are not one.
    pub fn parse(section: Bytes) -> Result<Self, Malformed> {
        let mut take = Take::new("acks section", section);
        let group = GroupId::new(take.u32()?);
        let topic = TopicId::new(take.u32()?);
        let (n_ranges, n_failures) = (take.u32()?, take.u32()?);
        let mut ranges = Vec::new();
        for _ in 0..n_ranges {
            let range = AckRange { start: Offset::new(take.u64()?), len: take.u32()? };
            let is_sound =
                range.len > 0 && range.start.get().checked_add(range.len.into()).is_some();
            if !is_sound {
                return Err(take.malformed("a range is empty or has no end"));
            }
            ranges.push(range);
        }
        let mut failures = Vec::new();
        for _ in 0..n_failures {
            failures.push(take_failure(&mut take)?);
        }
        take.end()?;
        Ok(Self { group, topic, ranges, failures })
    }
}

fn take_failure(take: &mut Take) -> Result<Failure, Malformed> {
    let offset = Offset::new(take.u64()?);
    let lane_epoch = LaneEpoch::new(take.u32()?);
    let class = FailureClass::of(take.u8()?).ok_or(take.malformed("unknown class"))?;
    let retry_at_ms = take.u64()?;
    let n_bytes = take.u16()?;
    let message = take.bytes(n_bytes.into())?;
    let message = String::from_utf8(message.to_vec());
    let message = message.map_err(|_| take.malformed("message is not UTF-8"))?;
    Ok(Failure { offset, lane_epoch, class, retry_at_ms, message })
}

/// The front of a message that is kept.
pub fn cut_message(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.split_at(end).0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(message: &str) -> Acks {
        Acks {
            group: GroupId::new(1),
            topic: TopicId::new(2),
            ranges: vec![AckRange { start: Offset::new(3), len: 4 }],
            failures: vec![Failure {
                offset: Offset::new(5),
                lane_epoch: LaneEpoch::new(6),
                class: FailureClass::Panic,
                retry_at_ms: 7,
                message: message.to_owned(),
            }],
        }
    }

    #[test]
    fn acks_have_their_golden_bytes() {
        let golden = b"\x01\0\0\0\x02\0\0\0\x01\0\0\0\x01\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\
            \x05\0\0\0\0\0\0\0\x06\0\0\0\x02\x07\0\0\0\0\0\0\0\x02\0no";
        assert_eq!(sample("no").encode(), &golden[..]);
        assert_eq!(Acks::parse(Bytes::from_static(golden)), Ok(sample("no")));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let acks = Acks::parse(sample(&"ü".repeat(400)).encode()).unwrap();
        assert_eq!(acks.failures[0].message, "ü".repeat(256));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = Acks::parse(bytes.into());
        }
    }
}

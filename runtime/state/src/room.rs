//! What all groups together may keep of payloads and messages, so that a checkpoint has a bound.

use std::sync::Arc;

use tidings_types::limits::{DEAD_LETTER_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Bytes of failed attempts' messages over all groups; beyond, attempts are kept without theirs.
pub(crate) const FAILED_MESSAGE_BYTES_MAX: usize = 8 << 20;
/// What a dead letter takes beside its payload: its message at its longest and its other fields.
/// So a redriven event that dies again fits into the room that it left.
pub(crate) const LETTER_OVERHEAD_BYTES: usize = MESSAGE_BYTES_MAX + 128;

/// What is taken. Derived from the groups, so it is not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    letter_bytes: usize,
    message_bytes: usize,
}

impl Room {
    /// Takes room for a dead letter with this much payload, if there is any.
    pub(crate) fn take_letter(&mut self, payload_bytes: usize) -> bool {
        let letter_bytes = self.letter_bytes + payload_bytes + LETTER_OVERHEAD_BYTES;
        let has_room = letter_bytes <= DEAD_LETTER_BYTES_MAX;
        if has_room {
            self.letter_bytes = letter_bytes;
        }
        has_room
    }

    /// Gives back what [`Room::take_letter`] took.
    pub(crate) fn give_letter(&mut self, payload_bytes: usize) {
        let n_bytes = payload_bytes + LETTER_OVERHEAD_BYTES;
        assert!(n_bytes <= self.letter_bytes, "more is given back than was taken");
        self.letter_bytes -= n_bytes;
    }

    /// Takes or gives back what a letter's payload takes more or less. `false`: there is no room.
    pub(crate) fn resize_letter(&mut self, bytes_before: usize, bytes_after: usize) -> bool {
        self.give_letter(bytes_before);
        let has_room = self.take_letter(bytes_after);
        if !has_room {
            assert!(self.take_letter(bytes_before), "it has just been there");
        }
        has_room
    }

    /// The message if there is room for it, else an empty one.
    pub(crate) fn take_message(&mut self, message: &str) -> Arc<str> {
        if FAILED_MESSAGE_BYTES_MAX < self.message_bytes + message.len() {
            return Arc::from("");
        }
        self.message_bytes += message.len();
        Arc::from(message)
    }

    /// Gives back what [`Room::take_message`] took.
    pub(crate) fn give_message(&mut self, message: &str) {
        assert!(message.len() <= self.message_bytes, "more is given back than was taken");
        self.message_bytes -= message.len();
    }
}

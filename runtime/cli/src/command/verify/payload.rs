//! What an event of the run carries: its number, its key, its length and a checksum over all of it.
//!
//! So whoever reads it, the handler or the judge, knows which event it is and that it is whole.

use std::fmt::Write;

use serde::Deserialize;

/// Fewest bytes of a payload: so many hold the largest numbers.
pub(super) const SIZE_MIN: u64 = 112;
/// Most bytes of a payload.
pub(super) const SIZE_MAX: u64 = 256 << 10;

/// What a reader finds in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The event's number; the largest there is if the payload does not tell.
    pub(super) event: u64,
    /// Its key.
    pub(super) key: u64,
    /// Length and checksum are right.
    pub(super) is_whole: bool,
}

/// A payload of `size` bytes, as JSON.
///
/// # Panics
/// If `size` is less than [`SIZE_MIN`].
pub(super) fn make(event: u64, key: u64, size: usize) -> String {
    let mut text = String::with_capacity(size);
    let head = format!(r#"{{"event":{event},"key":{key},"length":{size},"crc":"#);
    let around = head.len() + "0000000000".len() + r#","pad":""}"#.len();
    let n_pad = size.checked_sub(around).expect("the size has room for all numbers");
    // Letters that differ from event to event, so that a piece of another event shows.
    let mut letters = event.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let pad: String = (0..n_pad)
        .map(|_| {
            letters = letters.rotate_left(5).wrapping_mul(0xD134_2543_DE82_EF95);
            char::from(b'a' + (letters >> 59) as u8 % 26)
        })
        .collect();
    let crc = checksum(event, key, size as u64, &pad);
    // Ten characters whatever the sum: it stands as text.
    write!(text, r#"{head}"{crc:08x}","pad":"{pad}"}}"#).expect("a string takes everything");
    text
}

/// Reads a payload. Whatever the bytes are, there is an answer.
pub(super) fn look(payload: &[u8]) -> Found {
    let Ok(shape) = serde_json::from_slice::<Shape<'_>>(payload) else {
        return Found { event: u64::MAX, key: u64::MAX, is_whole: false };
    };
    let Shape { event, key, length, crc, pad } = shape;
    let is_sound = u32::from_str_radix(crc, 16) == Ok(checksum(event, key, length, pad));
    Found { event, key, is_whole: is_sound && length == payload.len() as u64 }
}

/// The event's key as the node is told it.
pub(super) fn key_text(key: u64) -> String {
    format!("k{key}")
}

#[derive(Deserialize)]
struct Shape<'a> {
    event: u64,
    key: u64,
    length: u64,
    crc: &'a str,
    pad: &'a str,
}

fn checksum(event: u64, key: u64, length: u64, pad: &str) -> u32 {
    let sum = crc32c::crc32c(&event.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &key.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &length.to_le_bytes());
    crc32c::crc32c_append(sum, pad.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_their_size_and_tell_what_they_are() {
        for (event, key, size) in
            [(0, 0, SIZE_MIN), (u64::MAX - 1, u64::MAX, SIZE_MIN), (7, 3, 256), (9, 1, 70_000)]
        {
            let payload = make(event, key, size as usize);
            assert_eq!(payload.len() as u64, size);
            assert_eq!(look(payload.as_bytes()), Found { event, key, is_whole: true });
        }
    }

    /// One bit anywhere must show. We flip each one, and cut at each byte.
    #[test]
    fn no_damage_goes_unseen() {
        let payload = make(4_711, 42, SIZE_MIN as usize).into_bytes();
        for at in 0..payload.len() {
            for bit in 0..8 {
                let mut damaged = payload.clone();
                damaged[at] ^= 1 << bit;
                let found = look(&damaged);
                // Hexadecimal digits may be written large: the same sum, and nothing is lost.
                let is_same_sum = payload[at].is_ascii_lowercase() && bit == 5 && found.is_whole;
                assert!(!found.is_whole || is_same_sum && found.event == 4_711, "{at} {bit}");
            }
            assert!(!look(&payload[..at]).is_whole, "{at}");
        }
        let of_others = [make(4_711, 42, 200).as_bytes(), b"x"].concat();
        assert!(!look(&of_others).is_whole);
    }
}

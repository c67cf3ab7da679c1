//! What an event says of itself: which one it is, and whether it is whole.
//!
//! ```text
//!    0 mark 8 B    8 event u64    16 key u64    24 length u32 (of all)    28 filler
//!    at the end: crc32c u32 over what comes before
//! ```

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Stands before the event's number; nothing else that is written looks like it.
const MARK: [u8; 8] = *b"\xF7t1d1ng\xF5";
const HEADER_BYTES: usize = 28;
const CRC_BYTES: usize = 4;
/// Making one costs more than most searches.
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&MARK));

/// What an event says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) event: u64,
    pub(crate) key: u64,
    /// It is as it was published.
    pub(crate) is_whole: bool,
}

/// The payload of an event.
pub(crate) fn encode(event: u64, key: u64, n_filler: usize) -> Vec<u8> {
    let n_bytes = HEADER_BYTES + n_filler + CRC_BYTES;
    let mut bytes = Vec::with_capacity(n_bytes);
    bytes.extend(MARK);
    bytes.extend(event.to_le_bytes());
    bytes.extend(key.to_le_bytes());
    bytes.extend((n_bytes as u32).to_le_bytes());
    bytes.resize(HEADER_BYTES + n_filler, b'.');
    bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
    bytes
}

/// Reads a payload; what cannot be read belongs to no event.
pub(crate) fn decode(bytes: &[u8]) -> Content {
    let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let is_whole = bytes.split_last_chunk::<CRC_BYTES>().is_some_and(|(before, crc)| {
        before.starts_with(&MARK)
            && before.get(24..28) == Some(&(bytes.len() as u32).to_le_bytes())
            && crc32c::crc32c(before) == u32::from_le_bytes(*crc)
    });
    Content { event: number(8).unwrap_or_default(), key: number(16).unwrap_or_default(), is_whole }
}

/// The numbers of all events whose payloads begin in these bytes.
pub(crate) fn events_in(bytes: &[u8]) -> impl Iterator<Item = u64> {
    FINDER.find_iter(bytes).filter_map(|at| {
        let number = bytes.get(at + 8..at + 16)?;
        number.try_into().ok().map(u64::from_le_bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written must be read, found amid other bytes, and any other byte be noticed.
    #[test]
    fn payload_tells_whether_it_is_whole() {
        let bytes = encode(7, 3, 20);
        assert_eq!(decode(&bytes), Content { event: 7, key: 3, is_whole: true });
        for idx in 0..bytes.len() {
            let mut other = bytes.clone();
            other[idx] ^= 1;
            assert!(!decode(&other).is_whole, "byte {idx}");
        }
        assert!(!decode(&bytes[1..]).is_whole);
        assert!(!decode(&[]).is_whole);
        let amid = [&[0; 99][..], &bytes, b"\xF7t1d", &encode(9, 1, 0)].concat();
        assert_eq!(events_in(&amid).collect::<Vec<_>>(), [7, 9]);
    }
}

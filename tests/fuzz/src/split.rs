//! One input as several: each part is preceded by its length, so that real inputs make good seeds.

/// The parts; a length that is too large takes what is left.
pub fn parts(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (part, rest) = rest.split_at(length);
        parts.push(part);
        bytes = rest;
    }
    parts
}

/// The input that [`parts`] takes apart again.
pub fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(u16::try_from(part.len()).expect("a seed is short").to_le_bytes());
        bytes.extend(*part);
    }
    bytes
}

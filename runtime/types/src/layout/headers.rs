//! The headers of an event: names and values.
//!
//! ```text
//!   name length u16 · value length u16 · name · value   (again for each)
//! ```

use super::take::Malformed;

/// Appends one header.
///
/// # Panics
/// If name or value is longer than 64 KiB; the caller bounds all headers far below.
pub fn put(target: &mut Vec<u8>, name: &str, value: &str) {
    let length = |text: &str| u16::try_from(text.len()).expect("the caller bounds headers");
    target.extend(length(name).to_le_bytes());
    target.extend(length(value).to_le_bytes());
    target.extend(name.as_bytes());
    target.extend(value.as_bytes());
}

/// Reads all headers.
///
/// # Errors
/// If the bytes are not headers.
pub fn iter(mut bytes: &[u8]) -> Result<Vec<(&str, &str)>, Malformed> {
    let malformed = |why| Malformed { what: "headers", why };
    let mut headers = Vec::new();
    while !bytes.is_empty() {
        let (&[n0, n1, v0, v1], rest) = bytes.split_first_chunk().ok_or(malformed("too short"))?;
        let (n_name, n_value) = (u16::from_le_bytes([n0, n1]), u16::from_le_bytes([v0, v1]));
        let (name, rest) = rest.split_at_checked(n_name.into()).ok_or(malformed("too short"))?;
        let (value, rest) = rest.split_at_checked(n_value.into()).ok_or(malformed("too short"))?;
        let text = |part| str::from_utf8(part).map_err(|_| malformed("not UTF-8"));
        headers.push((text(name)?, text(value)?));
        bytes = rest;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_their_golden_bytes() {
        let mut bytes = Vec::new();
        put(&mut bytes, "a", "bc");
        assert_eq!(bytes, b"\x01\0\x02\0abc");
        put(&mut bytes, "d", "");
        assert_eq!(iter(&bytes), Ok(vec![("a", "bc"), ("d", "")]));
        bytes.pop();
        assert!(iter(&bytes).is_err());
    }
}

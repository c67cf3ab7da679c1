//! Durations and sizes as people write them: `7d`, `250ms`, `10 GiB`.
//!
//! What is shown reads back as the same quantity, so that a printed configuration can be used.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// Units from the largest down, in bytes. A bare number is bytes.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Units from the largest down, in milliseconds.
const TIMES: [(&str, u128); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration: `10s`, `1h 30m`, `7d`; a day has 24 hours.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is not a duration such as 250ms, 10s or 7d");
    let span: Span = text.trim().parse().map_err(|_| expected())?;
    let duration: SignedDuration =
        span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| expected())?;
    Duration::try_from(duration).map_err(|_| format!("{text:?} is negative"))
}

/// Shows a duration, to the millisecond.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut parts = Vec::new();
    for (unit, unit_ms) in TIMES {
        if rest >= unit_ms {
            parts.push(format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Reads a size: `1048576`, `512 MiB`, `10GB`.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is not a size such as 1048576, 512MiB or 10GB");
    let text = text.trim();
    let unit_idx = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_idx);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let unit = unit.trim();
    let is_unit = |(name, _): &&(&str, u64)| name.eq_ignore_ascii_case(unit);
    let unit_bytes = match unit {
        "" => 1,
        _ => SIZES.iter().find(is_unit).ok_or_else(expected)?.1,
    };
    number.checked_mul(unit_bytes).ok_or_else(|| format!("{text:?} is more than any disk holds"))
}

/// Shows a size exactly, in the unit that gives the smallest number.
pub fn show_size(bytes: u64) -> String {
    let divides =
        |(_, unit_bytes): &&(&str, u64)| bytes >= *unit_bytes && bytes.is_multiple_of(*unit_bytes);
    match SIZES.iter().filter(divides).min_by_key(|(_, unit_bytes)| bytes / unit_bytes) {
        Some((unit, unit_bytes)) => format!("{} {unit}", bytes / unit_bytes),
        None => "0 B".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_shown() {
        for (text, ms, shown) in [
            ("10s", 10_000, "10s"),
            ("7d", 604_800_000, "7d"),
            ("90m", 5_400_000, "1h 30m"),
            ("1 hour 250 ms", 3_600_250, "1h 250ms"),
            ("0s", 0, "0s"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration.as_millis(), ms, "{text}");
            assert_eq!(show_duration(duration), shown);
            assert_eq!(parse_duration(shown), Ok(duration));
        }
        for bad in ["", "10", "soon", "-5s", "1 month"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_back_as_shown() {
        for (text, bytes, shown) in [
            ("0", 0, "0 B"),
            ("1048576", 1 << 20, "1 MiB"),
            ("512MiB", 512 << 20, "512 MiB"),
            ("10 gb", 10_000_000_000, "10 GB"),
            ("1001", 1001, "1001 B"),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(show_size(bytes), shown);
            assert_eq!(parse_size(shown), Ok(bytes));
        }
        for bad in ["", "MiB", "-1", "1.5GiB", "12 parsecs", "99999999999 TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}

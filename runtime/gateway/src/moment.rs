//! A moment as people write it: `2026-01-02T03:04:05Z`, or `10m` for ten minutes ago.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tidings_node::handle::NodeHandle;

/// See the module's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Moment {
    /// In milliseconds since 1970.
    At(u64),
    /// So many milliseconds before now.
    Ago(u64),
}

impl Moment {
    /// In cluster time.
    pub(crate) fn at_ms(self, node: &NodeHandle) -> u64 {
        match self {
            Self::At(wall_ms) => node.cluster_ms_at(wall_ms),
            Self::Ago(ago_ms) => node.cluster_ms().saturating_sub(ago_ms),
        }
    }
}

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong =
            || "expected a moment in RFC 3339 since 1970, or how long ago, as in 10m".to_owned();
        if let Ok(at) = text.parse::<Timestamp>() {
            return u64::try_from(at.as_millisecond()).map(Self::At).map_err(|_| wrong());
        }
        let ago: SignedDuration = text.parse().map_err(|_| wrong())?;
        u64::try_from(ago.as_millis()).map(Self::Ago).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_written() {
        let read = |text: &str| Moment::try_from(text.to_owned());
        assert_eq!(read("1970-01-01T00:00:01.5Z"), Ok(Moment::At(1_500)));
        assert_eq!(read("10m"), Ok(Moment::Ago(600_000)));
        assert_eq!(read("1h 30m"), Ok(Moment::Ago(5_400_000)));
        for bad in ["", "10", "yesterday", "-5m", "1969-12-31T23:59:59Z", "10m ago?"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}

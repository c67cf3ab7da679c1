//! An event's place as people write it: `users@4711`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::json;

/// A topic and an offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    pub(crate) topic: String,
    pub(crate) offset: u64,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (topic, offset) = text.split_once('@').ok_or("expected TOPIC@OFFSET")?;
        let offset = offset.parse().map_err(|_| format!("{offset:?} is not an offset"))?;
        if topic.is_empty() {
            return Err("expected TOPIC@OFFSET".to_owned());
        }
        Ok(Self { topic: topic.to_owned(), offset })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.topic, self.offset)
    }
}

/// Which events of a group are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// The events, each as TOPIC@OFFSET
    #[arg(required_unless_present = "all")]
    events: Vec<Place>,
    /// Every one of the group
    #[arg(long, conflicts_with = "events")]
    all: bool,
}

impl Which {
    /// As the node wants to hear it, with the events under this name.
    pub(crate) fn body(&self, name: &str) -> String {
        if self.all { json!({ "all": true }) } else { json!({ name: self.events }) }.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back_as_shown() {
        let place: Place = "orders.eu@12".parse().unwrap();
        assert_eq!(place.to_string(), "orders.eu@12");
        for bad in ["users", "users@", "@3", "users@x", "users@-1"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}

//! Which dead letters are meant: by name, by what they are like, or every one.

use serde_json::{Map, Value, json};

use crate::command::place::Place;
use crate::failure::Failure;
use crate::server::segment;

/// What a dead letter must be like.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Fit {
    /// Events of this topic
    #[arg(long)]
    topic: Option<String>,
    /// Events of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Given up for this: fatal, attempts_exhausted or undecodable
    #[arg(long)]
    reason: Option<String>,
    /// With this in the last error
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Given up since then, 2026-01-02T03:04:05Z, or 10m for ten minutes ago
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Given up before then
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
}

impl Fit {
    fn words(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let Self { topic, kind, reason, error, since, until } = self;
        let words = [
            ("topic", topic),
            ("type", kind),
            ("reason", reason),
            ("text", error),
            ("since", since),
            ("until", until),
        ];
        words.into_iter().filter_map(|(name, word)| Some((name, word.as_ref()?)))
    }

    /// As a query, with more words behind it.
    pub(crate) fn query(&self, more: &[(&str, String)]) -> String {
        let words = self.words().map(|(name, word)| (name, word.clone()));
        let words = words.chain(more.iter().map(|(name, word)| (*name, word.clone())));
        let words: Vec<_> =
            words.map(|(name, word)| format!("{name}={}", segment(&word))).collect();
        if words.is_empty() { String::new() } else { format!("?{}", words.join("&")) }
    }
}

/// Which dead letters of a group are meant.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Meant {
    /// The events, each as TOPIC@OFFSET
    pub(crate) events: Vec<Place>,
    /// Every one of the group
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    pub(crate) fit: Fit,
}

impl Meant {
    /// As the node wants to hear it.
    ///
    /// # Errors
    /// If nothing is meant, or it is said in two ways.
    pub(crate) fn body(&self, dry_run: bool) -> Result<String, Failure> {
        let fit: Map<_, _> =
            self.fit.words().map(|(name, word)| (name.to_owned(), Value::from(&**word))).collect();
        let body = match (self.events.is_empty(), self.all, fit.is_empty()) {
            (false, false, true) => json!({ "letters": self.events, "dry_run": dry_run }),
            (true, true, true) => json!({ "all": true, "dry_run": dry_run }),
            (true, false, false) => json!({ "where": fit, "dry_run": dry_run }),
            _ => {
                return Err(Failure::Usage {
                    what: "which dead letters are meant is said in no way, or in two".to_owned(),
                    help: "name them as TOPIC@OFFSET, or say --all, or what they are like: \
                           --topic, --type, --reason, --error, --since, --until",
                });
            }
        };
        Ok(body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit() -> Fit {
        Fit { reason: Some("fatal".to_owned()), since: Some("10 m".to_owned()), ..Fit::default() }
    }

    #[test]
    fn it_is_said_in_one_way() {
        let none = Meant { events: Vec::new(), all: false, fit: Fit::default() };
        let events = vec!["users@7".parse().unwrap()];
        let body = |meant: &Meant| meant.body(true).ok();
        let all = Meant { all: true, ..none.clone() };
        assert_eq!(body(&all).unwrap(), r#"{"all":true,"dry_run":true}"#);
        let named = Meant { events: events.clone(), ..none.clone() };
        let expected = r#"{"dry_run":true,"letters":[{"offset":7,"topic":"users"}]}"#;
        assert_eq!(body(&named).unwrap(), expected);
        let fitting = Meant { fit: fit(), ..none.clone() };
        let expected = r#"{"dry_run":true,"where":{"reason":"fatal","since":"10 m"}}"#;
        assert_eq!(body(&fitting).unwrap(), expected);
        for bad in [
            none.clone(),
            Meant { events: events.clone(), all: true, ..none.clone() },
            Meant { all: true, fit: fit(), ..none.clone() },
            Meant { events, fit: fit(), ..none },
        ] {
            assert!(bad.body(false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(Fit::default().query(&[]), "");
        let more = [("after", "users@7".to_owned())];
        assert_eq!(fit().query(&more), "?reason=fatal&since=10%20m&after=users%407");
    }
}

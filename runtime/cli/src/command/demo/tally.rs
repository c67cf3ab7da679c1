//! What became of the sign-ups: counted where a person would look.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};

use serde::{Deserialize, Serialize};
use tidings::api::GroupInfo;
use tidings_config::config::Config;

use crate::command::demo::traffic::Counts;
use crate::failure::Failure;
use crate::output::{count, counted};
use crate::server::Server;

/// What there is at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    mails: u64,
    analytics: u64,
    dead_letters: u64,
}

#[derive(Deserialize)]
struct Signups {
    total: u64,
}

#[derive(Deserialize)]
struct Mail {
    event_id: String,
}

impl Seen {
    pub(crate) async fn look(server: &Server, config: &Config) -> Result<Self, Failure> {
        let Signups { total } = server.get("/analytics/signups").await?;
        let groups: Vec<GroupInfo> = server.get("/v1/groups").await?;
        let dead_letters = groups.iter().map(|group| group.dead).sum();
        Ok(Self { mails: mails(config)?, analytics: total, dead_letters })
    }

    /// What has come about since `before`, beside what the load client counted.
    pub(crate) fn since(&self, before: &Self, counts: Counts) -> Tally {
        let Counts { signed_up, refused, unknown } = counts;
        Tally {
            signed_up,
            mails: self.mails.saturating_sub(before.mails),
            analytics: self.analytics.saturating_sub(before.analytics),
            dead_letters: self.dead_letters.saturating_sub(before.dead_letters),
            refused,
            unknown,
        }
    }
}

/// Different events in the outbox. Its last line may be in writing, and then does not count yet.
fn mails(config: &Config) -> Result<u64, Failure> {
    let path = config.node.data_dir.join("outbox.jsonl");
    let unreadable =
        |error: io::Error| Failure::File { path: path.clone(), reason: error.to_string() };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(unreadable(error)),
    };
    let mut ids = BTreeSet::new();
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(unreadable)?;
        if let Ok(Mail { event_id }) = serde_json::from_slice(&line) {
            ids.insert(event_id);
        }
    }
    Ok(ids.len() as u64)
}

/// What became of the sign-ups of one run. Scripts rely on the first four names.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Tally {
    /// 201s that the load client counted.
    signed_up: u64,
    /// Different events in the outbox.
    mails: u64,
    /// Sign-ups that analytics tells of.
    analytics: u64,
    dead_letters: u64,
    refused: u64,
    unknown: u64,
}

impl Tally {
    /// Every sign-up that got its 201 was handled by both services. There can be more: yours.
    pub(crate) fn is_settled(&self) -> bool {
        self.mails >= self.signed_up && self.analytics >= self.signed_up
    }

    /// Whether all was handled.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        if self.is_settled() {
            return Ok(());
        }
        let what = format!(
            "of {} not all were handled in time: {self}",
            counted(self.signed_up, "sign-up")
        );
        let help = "`tidings group ls` and `tidings dead ls` say where they wait".to_owned();
        Err(Failure::Node { exit: 1, code: "T0610", what, help })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signed_up, mails, analytics, dead_letters, refused, unknown } = *self;
        let [signed_up, mails, analytics] = [signed_up, mails, analytics].map(count);
        write!(f, "signed up {signed_up}   mails {mails}   analytics {analytics}   ")?;
        write!(f, "dead letters {dead_letters}   refused {refused}   unknown {unknown}")
    }
}

/// One line about how it goes.
pub(crate) async fn line(server: &Server, per_second: u64) -> Result<String, Failure> {
    let groups: Vec<GroupInfo> = server.get("/v1/groups").await?;
    let of_group = |group: &GroupInfo| {
        format!("   {} lag {} retrying {}", group.name, count(group.lag), count(group.retrying))
    };
    let lags: String = groups.iter().map(of_group).collect();
    let dead_letters: u64 = groups.iter().map(|group| group.dead).sum();
    Ok(format!("  users {per_second}/s{lags}   dead letters {dead_letters}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A torn last line must not stop the count, and a mail that was sent twice counts once.
    #[test]
    fn mails_are_counted_by_event() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.node.data_dir = dir.path().to_owned();
        assert_eq!(mails(&config).unwrap(), 0);
        let mail = |id: &str| format!("{{\"to\":\"a@b\",\"event_id\":\"{id}\"}}\n");
        let text = [mail("1"), mail("2"), mail("1")].concat() + "{\"to\":\"c";
        std::fs::write(dir.path().join("outbox.jsonl"), text).unwrap();
        assert_eq!(mails(&config).unwrap(), 2);
    }

    #[test]
    fn a_run_is_settled_when_both_services_have_handled_all() {
        let before = Seen { mails: 5, analytics: 5, dead_letters: 1 };
        let counts = Counts { signed_up: 10, ..Counts::default() };
        let late = Seen { mails: 14, analytics: 15, dead_letters: 1 }.since(&before, counts);
        assert!(!late.is_settled() && late.verdict().is_err());
        let done = Seen { mails: 15, analytics: 15, dead_letters: 1 }.since(&before, counts);
        assert!(done.is_settled() && done.verdict().is_ok());
        assert_eq!(done.dead_letters, 0);
    }
}

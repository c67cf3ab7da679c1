//! The counts: a redb file that holds them together with the ids of what was counted.
//!
//! Invariant: an id is in the file if and only if its event is in the counts. One transaction
//! changes both, and is on the disk before its events are acked.
//!
//! Ids are forgotten after one to two weeks, or the file would grow for ever. An event comes again
//! while it is not acked: it was handled just now, or just before the service went down. So ids go
//! by when they were counted, and nothing is forgotten while the service is down.

use std::collections::BTreeMap;
use std::fs::create_dir_all;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use redb::{
    Database, Error, ReadableDatabase, ReadableTable, TableDefinition, TableError, WriteTransaction,
};
use tidings::prelude::Serialize;

/// `total`, `mails`, `day/2026-01-31`, `domain/example.org`, and `week`: the one of `SEEN`.
const COUNTS: TableDefinition<'_, &str, u64> = TableDefinition::new("counts");
/// Ids counted this week.
const SEEN: TableDefinition<'_, &str, ()> = TableDefinition::new("seen");
/// Ids counted in the last week before it in which anything was.
const SEEN_BEFORE: TableDefinition<'_, &str, ()> = TableDefinition::new("seen_before");

const WEEK_SECONDS: i64 = 7 * 24 * 3_600;

/// What there is to count in one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The event's id.
    pub event_id: String,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Somebody signed up.
    SignUp {
        /// On this day: `2026-01-31`.
        day: String,
        /// With an address of this domain.
        domain: String,
    },
    /// A mail went out.
    Mail,
}

/// What is counted by now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Sign-ups.
    pub total: u64,
    /// Sign-ups by day.
    pub by_day: BTreeMap<String, u64>,
    /// Sign-ups by mail domain.
    pub by_domain: BTreeMap<String, u64>,
    /// Mails sent.
    pub mails: u64,
}

/// See the module's description. Cheap to clone; all clones are one file.
#[derive(Clone, Debug)]
pub struct Counts {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: PathBuf,
    /// Opened at first use and not before: by then the node holds the lock on its directory.
    database: Mutex<Option<Arc<Database>>>,
}

impl Counts {
    /// The counts in this file, which is made if there is none.
    pub fn at(file: impl Into<PathBuf>) -> Self {
        Self { shared: Arc::new(Shared { file: file.into(), database: Mutex::default() }) }
    }

    /// Counts what was not counted before, in one transaction; returns when that is on the disk.
    /// Blocks its thread.
    ///
    /// # Errors
    /// If the file cannot be written: then nothing is counted.
    pub fn add(&self, facts: &[Fact]) -> Result<(), Error> {
        let week = Timestamp::now().as_second() / WEEK_SECONDS;
        self.add_in_week(facts, u64::try_from(week).unwrap_or_default())
    }

    fn add_in_week(&self, facts: &[Fact], week: u64) -> Result<(), Error> {
        let transaction = self.database()?.begin_write()?;
        forget_old_ids(&transaction, week)?;
        {
            let mut seen = transaction.open_table(SEEN)?;
            let seen_before = transaction.open_table(SEEN_BEFORE)?;
            let mut counts = transaction.open_table(COUNTS)?;
            let mut added = BTreeMap::<String, u64>::new();
            for Fact { event_id, what } in facts {
                let id = event_id.as_str();
                if seen_before.get(id)?.is_some() || seen.insert(id, ())?.is_some() {
                    continue;
                }
                for key in keys(what) {
                    *added.entry(key).or_default() += 1;
                }
            }
            for (key, n) in added {
                let so_far = counts.get(key.as_str())?.map_or(0, |count| count.value());
                counts.insert(key.as_str(), so_far + n)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// What is counted by now.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn totals(&self) -> Result<Totals, Error> {
        let mut totals = Totals::default();
        let transaction = self.database()?.begin_read()?;
        let table = match transaction.open_table(COUNTS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(totals),
            Err(error) => return Err(error.into()),
        };
        for row in table.iter()? {
            let (key, count) = row?;
            let count = count.value();
            match key.value().split_once('/') {
                Some(("day", day)) => drop(totals.by_day.insert(day.to_owned(), count)),
                Some(("domain", domain)) => {
                    totals.by_domain.insert(domain.to_owned(), count);
                }
                _ if key.value() == "total" => totals.total = count,
                _ if key.value() == "mails" => totals.mails = count,
                _ => {}
            }
        }
        Ok(totals)
    }

    fn database(&self) -> Result<Arc<Database>, Error> {
        let mut database = self.shared.database.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = &*database {
            return Ok(Arc::clone(database));
        }
        if let Some(parent) = self.shared.file.parent() {
            create_dir_all(parent)?;
        }
        let opened = Arc::new(Database::create(&self.shared.file)?);
        *database = Some(Arc::clone(&opened));
        Ok(opened)
    }
}

fn keys(what: &What) -> Vec<String> {
    match what {
        What::Mail => vec!["mails".to_owned()],
        What::SignUp { day, domain } => {
            vec!["total".to_owned(), format!("day/{day}"), format!("domain/{domain}")]
        }
    }
}

/// In a new week, drops the ids of the week before the last one and begins another table.
fn forget_old_ids(transaction: &WriteTransaction, week: u64) -> Result<(), Error> {
    {
        let mut counts = transaction.open_table(COUNTS)?;
        let last = counts.insert("week", week)?.map(|last| last.value());
        if last == Some(week) {
            return Ok(());
        }
    }
    drop(transaction.open_table(SEEN)?);
    transaction.delete_table(SEEN_BEFORE)?;
    transaction.rename_table(SEEN, SEEN_BEFORE)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Counts, Fact, What};

    fn mail(event_id: &str) -> Fact {
        Fact { event_id: event_id.to_owned(), what: What::Mail }
    }

    /// An event must count once: twice in one batch, again in the next, after the file was closed,
    /// and when a new week has begun in between.
    #[test]
    fn repeated_events_count_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub").join("counts.redb");
        let counts = Counts::at(&file);
        assert_eq!(counts.totals().unwrap().mails, 0);
        counts.add_in_week(&[mail("a"), mail("a"), mail("b")], 7).unwrap();
        counts.add_in_week(&[mail("b")], 7).unwrap();
        assert_eq!(counts.totals().unwrap().mails, 2);

        drop(counts);
        let counts = Counts::at(&file);
        counts.add_in_week(&[mail("a"), mail("c")], 9).unwrap();
        assert_eq!(counts.totals().unwrap().mails, 3);
    }

    /// Ids must not stay for ever: in the second week after it, an id is forgotten.
    #[test]
    fn ids_are_forgotten_in_the_second_week() {
        let dir = tempfile::tempdir().unwrap();
        let counts = Counts::at(dir.path().join("counts.redb"));
        counts.add_in_week(&[mail("a")], 1).unwrap();
        counts.add_in_week(&[mail("b")], 2).unwrap();
        counts.add_in_week(&[mail("a")], 2).unwrap();
        assert_eq!(counts.totals().unwrap().mails, 2);
        counts.add_in_week(&[mail("a")], 3).unwrap();
        assert_eq!(counts.totals().unwrap().mails, 3);
    }
}

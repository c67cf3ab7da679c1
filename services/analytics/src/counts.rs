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
use std::sync::{Arc, PoisonError, RwLock};

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
    database: RwLock<Option<Database>>,
}

impl Counts {
    /// The counts in this file, which is made if there is none.
    pub fn at(file: impl Into<PathBuf>) -> Self {
        Self { shared: Arc::new(Shared { file: file.into(), database: RwLock::default() }) }
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
        self.with(|database| add_in_week(database, facts, week))
    }

    /// What is counted by now.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn totals(&self) -> Result<Totals, Error> {
        self.with(totals)
    }

    /// Does this with the file, which is opened if it is not.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        let database = &self.shared.database;
        let result = loop {
            let opened = database.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(opened) = &*opened {
                break work(opened);
            }
            drop(opened);
            self.open()?;
        };
        // After one I/O error, redb refuses all that follows until the file is opened anew: kept,
        // one moment of a full disk would last until the process is restarted. The lock waits for
        // whoever else is at it, because redb opens no file that is still open.
        if let Err(Error::Io(_) | Error::Backend(_) | Error::PreviousIo) = &result {
            *database.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        result
    }

    fn open(&self) -> Result<(), Error> {
        let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            if let Some(parent) = self.shared.file.parent() {
                create_dir_all(parent)?;
            }
            *database = Some(Database::create(&self.shared.file)?);
        }
        Ok(())
    }
}

fn add_in_week(database: &Database, facts: &[Fact], week: u64) -> Result<(), Error> {
    let transaction = database.begin_write()?;
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

fn totals(database: &Database) -> Result<Totals, Error> {
    let mut totals = Totals::default();
    let transaction = database.begin_read()?;
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
    use std::io::{self, ErrorKind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::backends::InMemoryBackend;
    use redb::{Database, Error, StorageBackend};

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

    /// A disk in memory that has no room left once it is told so.
    #[derive(Debug)]
    struct Full(InMemoryBackend, Arc<AtomicBool>);

    impl StorageBackend for Full {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            if self.1.load(Ordering::Relaxed) {
                return Err(ErrorKind::StorageFull.into());
            }
            self.0.write(offset, data)
        }
    }

    fn on_full_disk() -> Database {
        let is_full = Arc::new(AtomicBool::new(false));
        let disk = Full(InMemoryBackend::new(), Arc::clone(&is_full));
        let database = Database::builder().create_with_backend(disk).unwrap();
        is_full.store(true, Ordering::Relaxed);
        database
    }

    /// One failed write must not be the end: what comes next has the file opened anew.
    #[test]
    fn file_is_opened_anew_after_an_io_error() {
        let dir = tempfile::tempdir().unwrap();
        let counts = Counts::at(dir.path().join("counts.redb"));
        counts.add_in_week(&[mail("a")], 7).unwrap();
        *counts.shared.database.write().unwrap() = Some(on_full_disk());
        let failed = counts.add_in_week(&[mail("b")], 7);
        assert!(matches!(failed, Err(Error::Io(_))), "{failed:?}");
        assert_eq!(counts.totals().unwrap().mails, 1);
        counts.add_in_week(&[mail("b")], 7).unwrap();
        assert_eq!(counts.totals().unwrap().mails, 2);
    }
}

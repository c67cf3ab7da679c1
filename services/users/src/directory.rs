//! The directory of users: a redb file that is a projection of the sign-ups.
//!
//! - One commit for a batch of events: redb syncs at each commit, some thousand times a second at
//!   most, so single commits would be the limit of the whole service.
//! - A commit is on the disk before the batch is acked. The other way round, a power cut after the
//!   ack would lose users for good, because acked events do not come again.
//! - An event that comes again changes nothing, since its row is there. The row carries the event's
//!   id: where a result has its own key, that is all that idempotence needs. (Where it does not, as
//!   with counters, the ids need a table: see the analytics service.)

use std::fs::create_dir_all;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redb::{Database, Error, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use tidings::prelude::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

const USERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("users");

/// A user as the directory shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's id.
    pub user_id: String,
    /// Where mail reaches the user.
    pub email: String,
    /// What to call the user.
    pub name: String,
    /// When the user signed up, RFC 3339.
    pub signed_up_at: String,
    /// The sign-up's event.
    pub event_id: String,
}

/// See the module's description. Cheap to clone; all clones are one directory.
#[derive(Clone, Debug)]
pub struct Directory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: PathBuf,
    /// Opened at first use and not before: by then the node holds the lock on its directory.
    database: RwLock<Option<Database>>,
    changed: watch::Sender<()>,
}

impl Directory {
    /// The directory in this file, which is made if there is none.
    pub fn at(file: impl Into<PathBuf>) -> Self {
        let database = RwLock::default();
        let (changed, _) = watch::channel(());
        Self { shared: Arc::new(Shared { file: file.into(), database, changed }) }
    }

    /// Adds users in one transaction; returns when they are on the disk. Blocks its thread.
    ///
    /// # Errors
    /// If the file cannot be written: then none of them is added.
    pub fn add(&self, users: &[User]) -> Result<(), Error> {
        self.with(|database| add(database, users))?;
        self.shared.changed.send_replace(());
        Ok(())
    }

    /// The user of this id, as far as the directory knows by now.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find(&self, user_id: &str) -> Result<Option<User>, Error> {
        self.with(|database| find(database, user_id))
    }

    /// The user of this id, once the directory knows; `None` if it does not within `wait_max`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn wait_for(&self, user_id: &str, wait_max: Duration) -> Result<Option<User>, Error> {
        // Before the first look, so that no change falls between a look and the waiting.
        let mut changed = self.shared.changed.subscribe();
        let found = timeout(wait_max, async {
            loop {
                // One row from the page cache: too short to be worth another thread.
                if let Some(user) = self.find(user_id)? {
                    return Ok(Some(user));
                }
                changed.changed().await.expect("the sender is in `self`");
            }
        });
        found.await.unwrap_or(Ok(None))
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

fn add(database: &Database, users: &[User]) -> Result<(), Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(USERS)?;
        for user in users {
            let row = serde_json::to_vec(user).expect("a struct of text is always JSON");
            // The first sign-up stands, so that whoever repeats an id takes nobody's place.
            if table.get(user.user_id.as_str())?.is_none() {
                table.insert(user.user_id.as_str(), row.as_slice())?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn find(database: &Database, user_id: &str) -> Result<Option<User>, Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(USERS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let row = table.get(user_id)?;
    let user = row.map(|row| serde_json::from_slice(row.value()));
    user.transpose().map_err(|error| Error::Corrupted(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use redb::backends::InMemoryBackend;
    use redb::{Database, Error, StorageBackend};

    use super::{Directory, User};

    fn user(user_id: &str) -> User {
        let [email, name, signed_up_at, event_id] = Default::default();
        User { user_id: user_id.to_owned(), email, name, signed_up_at, event_id }
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
        let directory = Directory::at(dir.path().join("directory.redb"));
        directory.add(&[user("a")]).unwrap();
        *directory.shared.database.write().unwrap() = Some(on_full_disk());
        let failed = directory.add(&[user("b")]);
        assert!(matches!(failed, Err(Error::Io(_))), "{failed:?}");
        assert_eq!(directory.find("a").unwrap(), Some(user("a")));
        directory.add(&[user("b")]).unwrap();
        assert_eq!(directory.find("b").unwrap(), Some(user("b")));
    }
}

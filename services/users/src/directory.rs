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
use std::sync::{Arc, Mutex, PoisonError};
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
    database: Mutex<Option<Arc<Database>>>,
    changed: watch::Sender<()>,
}

impl Directory {
    /// The directory in this file, which is made if there is none.
    pub fn at(file: impl Into<PathBuf>) -> Self {
        let database = Mutex::default();
        let (changed, _) = watch::channel(());
        Self { shared: Arc::new(Shared { file: file.into(), database, changed }) }
    }

    /// Adds users in one transaction; returns when they are on the disk. Blocks its thread.
    ///
    /// # Errors
    /// If the file cannot be written: then none of them is added.
    pub fn add(&self, users: &[User]) -> Result<(), Error> {
        let transaction = self.database()?.begin_write()?;
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
        self.shared.changed.send_replace(());
        Ok(())
    }

    /// The user of this id, as far as the directory knows by now.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find(&self, user_id: &str) -> Result<Option<User>, Error> {
        let transaction = self.database()?.begin_read()?;
        let table = match transaction.open_table(USERS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let row = table.get(user_id)?;
        let user = row.map(|row| serde_json::from_slice(row.value()));
        user.transpose().map_err(|error| Error::Corrupted(error.to_string()))
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

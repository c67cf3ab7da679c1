//! The default mailer: appends each mail as one line of JSON to a file.
//!
//! - A line is whole or absent: one write under a lock, cut off again if it fails, and a torn line
//!   that a power cut left is cut off at the next start.
//! - A mail counts as sent when its line is synced. Workers share syncs: while one sync runs, lines
//!   gather, and the next one covers them all.
//! - Once for each event: the ids of all lines are indexed when the file is opened. They came with
//!   the lines, so no crash can part them. The index takes some 20 bytes a line; a mail server in
//!   this place would need none.
//! - After a failed sync nobody can tell what is on the disk: everything since the last good one is
//!   cut off and counts as not sent.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, create_dir_all};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use thiserror::Error;
use tidings::prelude::{Deserialize, Serialize, Uuid};
use tokio::task::{JoinError, spawn_blocking};

use crate::mailer::{Mail, Mailer};

/// See the module's description. Cheap to clone; all clones are one file.
#[derive(Clone, Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
}

/// A mail is not, or perhaps not, in the outbox. Sending it again is safe.
#[derive(Debug, Error)]
pub enum OutboxError {
    /// The file cannot be written.
    #[error("outbox {}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The line was cut off after a failed sync, together with others.
    #[error("outbox could not be synced; the mail was taken back")]
    TakenBack,
    /// The thread that wrote has failed.
    #[error("writing the outbox failed: {0}")]
    Thread(#[from] JoinError),
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// Opened at first use and not before: by then the node holds the lock on its directory.
    open: Mutex<Opening>,
    /// Held by the one that syncs; its queue is those whose lines the next sync may cover.
    syncing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Opening {
    /// Counts how often the file was opened.
    life: u64,
    lines: Option<Lines>,
}

#[derive(Debug)]
struct Lines {
    file: Arc<File>,
    /// All bytes up to here are whole lines.
    len: u64,
    /// All bytes up to here are on the disk.
    synced: u64,
    sent: HashSet<u128>,
}

/// Where a line ends. It is sent when the file is synced up to there.
#[derive(Clone, Copy, Debug)]
struct Place {
    life: u64,
    end: u64,
}

/// A line. The names are read by scripts.
#[derive(Serialize)]
struct Line<'a> {
    to: &'a str,
    subject: &'a str,
    body: &'a str,
    event_id: &'a str,
    at: String,
}

#[derive(Deserialize)]
struct Sent {
    event_id: String,
}

impl Outbox {
    /// The outbox in this file, which is made if there is none.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let (open, syncing) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { shared: Arc::new(Shared { path: path.into(), open, syncing }) }
    }
}

impl Mailer for Outbox {
    type Error = OutboxError;

    async fn send(&self, mail: &Mail) -> Result<(), OutboxError> {
        let line = Line {
            to: mail.to.as_str(),
            subject: &mail.subject,
            body: &mail.body,
            event_id: &mail.event_id,
            at: Timestamp::now().to_string(),
        };
        let mut line = serde_json::to_vec(&line).expect("a struct of text is always JSON");
        line.push(b'\n');
        let id = fingerprint(&mail.event_id);
        let place = self.blocking(move |shared| shared.append(id, &line)).await??;

        let _turn = self.shared.syncing.lock().await;
        // Most find here that the sync before theirs has covered their line.
        if self.shared.is_synced(place) {
            return Ok(());
        }
        self.blocking(move |shared| shared.sync(place)).await?
    }
}

impl Outbox {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let shared = Arc::clone(&self.shared);
        spawn_blocking(move || work(&shared)).await
    }
}

impl Shared {
    /// Appends a line, unless its event has one. Either way it must be synced before it counts.
    fn append(&self, id: u128, line: &[u8]) -> Result<Place, OutboxError> {
        let mut opening = self.lock();
        if opening.lines.is_none() {
            opening.lines = Some(Lines::open(&self.path).map_err(|error| self.error(error))?);
            opening.life += 1;
        }
        let life = opening.life;
        let lines = opening.lines.as_mut().expect("just opened");
        if !lines.sent.contains(&id) {
            if let Err(error) = lines.write(line) {
                // Opened again by the next one, which looks at what there is.
                opening.lines = None;
                return Err(self.error(error));
            }
            lines.sent.insert(id);
        }
        Ok(Place { life, end: lines.len })
    }

    fn is_synced(&self, place: Place) -> bool {
        let opening = self.lock();
        let lines = opening.lines.as_ref().filter(|_| opening.life == place.life);
        lines.is_some_and(|lines| place.end <= lines.synced)
    }

    fn sync(&self, place: Place) -> Result<(), OutboxError> {
        let opening = self.lock();
        let Some(lines) = opening.lines.as_ref().filter(|_| opening.life == place.life) else {
            return Err(OutboxError::TakenBack);
        };
        let (file, end) = (Arc::clone(&lines.file), lines.len);
        // Not under the lock: others append meanwhile, for the next sync to cover.
        drop(opening);
        let synced = file.sync_data();

        let mut opening = self.lock();
        let is_same_life = opening.life == place.life;
        match (synced, opening.lines.as_mut().filter(|_| is_same_life)) {
            (Ok(()), Some(lines)) => {
                lines.synced = end;
                Ok(())
            }
            (Ok(()), None) => Err(OutboxError::TakenBack),
            (Err(error), lines) => {
                if let Some(lines) = lines {
                    // If this fails too, the lines stay, and the next opening takes them as sent:
                    // it syncs before it does.
                    let _ = lines.file.set_len(lines.synced);
                    opening.lines = None;
                }
                Err(self.error(error))
            }
        }
    }

    fn error(&self, source: io::Error) -> OutboxError {
        OutboxError::File { file: self.path.clone(), source }
    }

    fn lock(&self) -> MutexGuard<'_, Opening> {
        // Each change is whole, so what a panic poisoned is still sound.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            create_dir_all(parent)?;
        }
        let is_new = !path.exists();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if is_new && let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        let (len, sent) = read(&file)?;
        file.set_len(len)?;
        // What is found may be in the page cache only.
        file.sync_data()?;
        Ok(Self { file: Arc::new(file), len, synced: len, sent })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(line, self.len) {
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.len += line.len() as u64;
        Ok(())
    }
}

/// The length of the whole lines, and their events.
fn read(file: &File) -> io::Result<(u64, HashSet<u128>)> {
    let mut reader = BufReader::new(file);
    let mut sent = HashSet::new();
    let mut len = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let n_bytes = reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok((len, sent));
        }
        len += n_bytes as u64;
        // A line that somebody else wrote is left alone.
        if let Ok(Sent { event_id }) = serde_json::from_slice(&line) {
            sent.insert(fingerprint(&event_id));
        }
    }
}

/// 128 bits that stand for an id in this process: the id itself, if it is a UUID.
fn fingerprint(event_id: &str) -> u128 {
    let hash = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, event_id).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    match Uuid::try_parse(event_id) {
        Ok(id) => id.as_u128(),
        Err(_) => hash(0) << 64 | hash(1),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::task::JoinSet;

    use super::Outbox;
    use crate::mailer::{Mail, Mailer};

    fn mail(event_id: &str) -> Mail {
        let to = "ada@example.org".parse().unwrap();
        let text = || "x\ny".to_owned();
        Mail { to, subject: text(), body: text(), event_id: event_id.to_owned() }
    }

    fn ids(path: &std::path::Path) -> Vec<String> {
        let id = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["event_id"].as_str().unwrap().to_owned()
        };
        let mut ids: Vec<_> = fs::read_to_string(path).unwrap().lines().map(id).collect();
        ids.sort();
        ids
    }

    /// One event must have one line: sent twice, sent by many at once, sent again after a restart,
    /// and with a torn line at the end of the file, which must not spoil the next one.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_event_has_one_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox.jsonl");
        let outbox = Outbox::at(&path);
        let mut senders = JoinSet::new();
        for n in 0..100 {
            let outbox = outbox.clone();
            senders.spawn(async move { outbox.send(&mail(&format!("e-{}", n % 40))).await });
        }
        senders.join_all().await.into_iter().for_each(|sent| sent.unwrap());
        assert_eq!(ids(&path).len(), 40);

        let mut torn = fs::read(&path).unwrap();
        torn.extend(b"{\"to\":\"ada@exa");
        fs::write(&path, torn).unwrap();
        let outbox = Outbox::at(&path);
        outbox.send(&mail("e-7")).await.unwrap();
        outbox.send(&mail("e-new")).await.unwrap();
        let ids = ids(&path);
        assert_eq!((ids.len(), ids.last().unwrap().as_str()), (41, "e-new"));
    }

    /// An outbox that cannot be written must say so, and work once it can be.
    #[tokio::test]
    async fn failure_is_told_and_passes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox.jsonl");
        fs::create_dir(&path).unwrap();
        let outbox = Outbox::at(&path);
        let error = outbox.send(&mail("e-1")).await.unwrap_err();
        assert!(error.to_string().contains("outbox.jsonl"), "{error}");
        fs::remove_dir(&path).unwrap();
        outbox.send(&mail("e-1")).await.unwrap();
        assert_eq!(ids(&path), ["e-1"]);
    }
}

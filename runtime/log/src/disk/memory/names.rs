//! The names of files in memory: as a reader sees them, and as the folders on the disk say.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::fate::Judge;

/// A change of a folder that no sync of it has made durable.
enum Change<T> {
    Made(String, Arc<T>),
    Renamed(String, String, Arc<T>),
    Removed(String),
}

/// Files of some kind by their path.
pub(super) struct Names<T> {
    cached: BTreeMap<String, Arc<T>>,
    durable: BTreeMap<String, Arc<T>>,
    changes: Vec<Change<T>>,
    dirs: BTreeSet<String>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self {
            cached: BTreeMap::new(),
            durable: BTreeMap::new(),
            changes: Vec::new(),
            dirs: BTreeSet::new(),
        }
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl<T> Change<T> {
    /// The name that it is about.
    fn path(&self) -> &str {
        match self {
            Self::Made(path, _) | Self::Renamed(_, path, _) | Self::Removed(path) => path,
        }
    }

    fn apply(self, names: &mut BTreeMap<String, Arc<T>>) {
        match self {
            Self::Made(path, file) => {
                names.insert(path, file);
            }
            Self::Renamed(from, to, file) => {
                names.remove(&from);
                names.insert(to, file);
            }
            Self::Removed(path) => {
                names.remove(&path);
            }
        }
    }
}

impl<T> Names<T> {
    pub(super) fn get(&self, path: &str) -> io::Result<Arc<T>> {
        self.cached.get(path).cloned().ok_or_else(not_found)
    }

    /// All files, as a reader sees them.
    pub(super) fn files(&self) -> impl Iterator<Item = (&String, &Arc<T>)> {
        self.cached.iter()
    }

    /// All files, as the disk has them.
    pub(super) fn durable_files(&self) -> impl Iterator<Item = (&String, &Arc<T>)> {
        self.durable.iter()
    }

    pub(super) fn make(&mut self, path: &str, file: Arc<T>) {
        self.cached.insert(path.to_owned(), file.clone());
        self.changes.push(Change::Made(path.to_owned(), file));
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<Arc<T>> {
        let file = self.cached.remove(from).ok_or_else(not_found)?;
        self.cached.insert(to.to_owned(), file.clone());
        self.changes.push(Change::Renamed(from.to_owned(), to.to_owned(), file.clone()));
        Ok(file)
    }

    pub(super) fn remove(&mut self, path: &str) -> io::Result<Arc<T>> {
        let file = self.cached.remove(path).ok_or_else(not_found)?;
        self.changes.push(Change::Removed(path.to_owned()));
        Ok(file)
    }

    /// Puts a file there, durably.
    pub(super) fn put(&mut self, path: &str, file: Arc<T>) {
        self.lose(path);
        self.cached.insert(path.to_owned(), file.clone());
        self.durable.insert(path.to_owned(), file);
    }

    /// Takes a file away, durably.
    pub(super) fn lose(&mut self, path: &str) {
        self.changes.retain(|change| change.path() != path);
        self.cached.remove(path);
        self.durable.remove(path);
    }

    pub(super) fn sync(&mut self, folder: &str) {
        for change in std::mem::take(&mut self.changes) {
            if folder_of(change.path()) == folder {
                change.apply(&mut self.durable);
            } else {
                self.changes.push(change);
            }
        }
    }

    pub(super) fn has_dir(&self, path: &str) -> bool {
        self.dirs.contains(path)
    }

    /// Folders are durable at once, as the contract has it.
    pub(super) fn make_dir(&mut self, path: &str) {
        self.dirs.insert(path.to_owned());
    }

    pub(super) fn list(&self, folder: &str) -> Vec<String> {
        let within = self.cached.keys().filter(|path| folder_of(path) == folder);
        let names =
            within.map(|path| path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name));
        names.map(str::to_owned).collect()
    }

    /// The power goes.
    pub(super) fn crash(&mut self, judge: &mut dyn Judge) {
        for change in std::mem::take(&mut self.changes) {
            if judge.name() {
                change.apply(&mut self.durable);
            }
        }
        self.cached = self.durable.clone();
    }
}

//! The one seam through which the log touches files: a real directory, or one in memory.
//!
//! Paths are relative to the data directory, with `/` between their parts. Contract for
//! implementers: what [`File::sync`] returned `Ok` for survives a power cut, and a name survives one
//! only after [`Disk::sync_dir`] on its folder. A failed sync proves nothing about what was
//! written before it; the log never repeats one.

use std::io::{self, IoSlice};
use std::sync::Arc;

mod watch;

mod memory;

mod real;

#[cfg(test)]
mod suite_test;

#[cfg(test)]
mod fault_test;

pub use memory::{Call, Fate, Fault, Kept, MemoryDisk};
pub use real::RealDisk;
pub use watch::Watch;

/// What makes a new segment unlike any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// A number that nobody can foresee; it seeds the crc of frames.
    pub salt: u32,
    /// Wall time in milliseconds since 1970, for people.
    pub created_ms: u64,
}

/// A data directory.
pub trait Disk: Send + Sync {
    /// Makes a file, or empties the one of that name.
    ///
    /// # Errors
    /// What the file system says.
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// What the file system says.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, in the same folder; one of that name is replaced at once.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. A reader that has it open keeps it.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder durable; `""` is the data directory itself.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Makes a folder and those above it, durably, if there is none.
    ///
    /// # Errors
    /// What the file system says.
    fn make_dir(&self, path: &str) -> io::Result<()>;

    /// The names of the files in a folder, sorted; none if there is no such folder.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// How much room is left.
    ///
    /// # Errors
    /// What the file system says.
    fn free_bytes(&self) -> io::Result<u64>;

    /// For a new segment.
    fn stamp(&self) -> Stamp;
}

/// An open file.
pub trait File: Send + Sync {
    /// Writes all parts, one behind the other, from `at` on. What is left in `parts` means nothing.
    ///
    /// # Errors
    /// What the file system says; some of it may be written then.
    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()>;

    /// Reads from `at` on until the buffer is full or the file ends; says how much.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Makes what was written durable, and the length if it grew.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&self) -> io::Result<()>;

    /// The file's length.
    ///
    /// # Errors
    /// What the file system says.
    fn len_bytes(&self) -> io::Result<u64>;
}

//! The real directory, held by one process at a time.

use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tidings_types::bugs::{Bug, is_planted};

use super::{Disk, File, Stamp};
use crate::error::OpenError;

const LOCK: &str = "LOCK";
/// The kernel takes no more parts in one call.
const PARTS_MAX: usize = 1024;

/// See the module's description.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    is_read_only: bool,
    /// Locked as long as it is open.
    _lock: Option<fs::File>,
}

/// Makes a folder for its owner only: it holds every event in clear.
fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::fsync(fs::File::open(path)?)?)
}

/// Makes folders below `base`, each durable in the one above. One that is there already may be of a
/// process that was killed before it made it durable.
fn make_folders(
    base: &Path,
    path: &Path,
    mut make: impl FnMut(&Path) -> io::Result<()>,
    mut sync: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let mut at = base.to_path_buf();
    for part in path.components() {
        let above = at.clone();
        at.push(part);
        match make(&at) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync(&above)?,
        }
    }
    Ok(())
}

/// Makes the directory and those above it, durably.
fn make_root(root: &Path) -> io::Result<()> {
    let root = std::path::absolute(root)?;
    let is_there = root.try_exists()?;
    let above = root.ancestors().skip(1).find(|above| above.is_dir());
    let Some(base) = above else { return Ok(()) };
    let path = root.strip_prefix(base).expect("it is above");
    match make_folders(base, path, make_private, sync_folder) {
        // What holds it may be another's and not ours to open: then another made it, too.
        Err(error) if is_there => {
            tracing::debug!(root = %root.display(), %error, "could not sync the folder above");
            Ok(())
        }
        made => made,
    }
}

fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let what = format!("{what} {}", path.display());
    move |source| OpenError::Io { what, source }
}

impl RealDisk {
    /// Makes the directory if it is not there, and locks it.
    ///
    /// # Errors
    /// If another process holds it, or the file system refuses.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let root = root.into();
        make_root(&root).map_err(failed("making", &root))?;
        let path = root.join(LOCK);
        let lock =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut lock = lock.map_err(failed("opening", &path))?;
        take_lock(&mut lock, &path)?;
        // Only for the message that the next process prints.
        let written = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
        written.map_err(failed("writing", &path))?;
        Ok(Self { root, is_read_only: false, _lock: Some(lock) })
    }

    /// For looking only: every change is refused. Locks the directory if that was ever done.
    ///
    /// # Errors
    /// If another process holds it, or the directory cannot be read.
    pub fn open_read_only(root: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let root = root.into();
        fs::read_dir(&root).map_err(failed("reading", &root))?;
        let path = root.join(LOCK);
        let lock = match fs::File::open(&path) {
            Ok(mut lock) => {
                take_lock(&mut lock, &path)?;
                Some(lock)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("opening", &path)(error)),
        };
        Ok(Self { root, is_read_only: true, _lock: lock })
    }

    fn changing(&self, path: &str) -> io::Result<PathBuf> {
        if self.is_read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(self.root.join(path))
    }
}

fn take_lock(lock: &mut fs::File, path: &Path) -> Result<(), OpenError> {
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let is_read = lock.read_to_string(&mut pid).is_ok() && !pid.is_empty();
            Err(OpenError::InUse { pid: if is_read { pid } else { "unknown".to_owned() } })
        }
        Err(TryLockError::Error(error)) => Err(failed("locking", path)(error)),
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let path = self.changing(path)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
        Ok(Arc::new(RealFile { file: file? }))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let path = self.root.join(path);
        let file = OpenOptions::new().read(true).write(!self.is_read_only).open(path);
        Ok(Arc::new(RealFile { file: file? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.changing(from)?, self.changing(to)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.changing(path)?)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        if is_planted(Bug::NoDirFsync) {
            return Ok(());
        }
        sync_folder(&self.changing(path)?)
    }

    fn make_dir(&self, path: &str) -> io::Result<()> {
        make_folders(&self.changing("")?, Path::new(path), make_private, sync_folder)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(path)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort();
        Ok(names)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    #[expect(clippy::disallowed_methods, reason = "the disk is the seam to the world")]
    fn stamp(&self) -> Stamp {
        let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        // The hasher's keys come from the kernel's random numbers.
        let random = RandomState::new().hash_one(now.as_nanos());
        Stamp { salt: (random >> 32) as u32, created_ms }
    }
}

struct RealFile {
    file: fs::File,
}

/// Writes all parts with a call that may take fewer bytes than it is given. A short write goes on
/// behind what was taken; it says nothing bad.
fn write_all(
    parts: &mut [IoSlice<'_>],
    mut at: u64,
    mut call: impl FnMut(&[IoSlice<'_>], u64) -> rustix::io::Result<usize>,
) -> io::Result<()> {
    let mut left = parts;
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let some = left.get(..PARTS_MAX).unwrap_or(left);
        match call(some, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n_bytes) => {
                IoSlice::advance_slices(&mut left, n_bytes);
                at += n_bytes as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads until the buffer is full or the call says that the file ends.
fn read_all(
    mut buffer: &mut [u8],
    mut at: u64,
    mut call: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let wanted = buffer.len();
    while !buffer.is_empty() {
        match call(buffer, at) {
            Ok(0) => break,
            Ok(n_bytes) => {
                buffer = buffer.get_mut(n_bytes..).unwrap_or_default();
                at += n_bytes as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(wanted - buffer.len())
}

impl File for RealFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        write_all(parts, at, |some, at| rustix::io::pwritev(&self.file, some, at))
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        read_all(buffer, at, |buffer, at| self.file.read_at(buffer, at))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// Row F28: a process is killed between making a folder and syncing the one above. Whoever finds
    /// the folder must sync it, or a power cut takes away what is built in it.
    #[test]
    fn f28_folders_that_are_there_already_are_made_durable() {
        for is_there in [false, true] {
            let mut synced = Vec::new();
            let make = |_: &Path| match is_there {
                true => Err(io::ErrorKind::AlreadyExists.into()),
                false => Ok(()),
            };
            let sync = |path: &Path| {
                synced.push(path.to_owned());
                Ok(())
            };
            make_folders(Path::new("/data"), Path::new("ckpt/0"), make, sync).unwrap();
            assert_eq!(synced, [Path::new("/data"), Path::new("/data/ckpt")]);
        }
        let refused = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        let made = make_folders(Path::new("/"), Path::new("a"), refused, |_| Ok(()));
        assert_eq!(made.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    /// Row F23: a call that takes only some bytes, or is interrupted, must change nothing about what
    /// is written and where. We let it take every number of bytes from one on.
    #[test]
    fn f23_short_writes_go_on_behind_what_was_taken() {
        let parts: Vec<Vec<u8>> = (0..2100_u32).map(|n| vec![n as u8; (n % 5) as usize]).collect();
        let whole = parts.concat();
        for taken in [1, 2, 3, 7, 100, 4096, usize::MAX] {
            let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let (mut file, mut n_calls) = (vec![0; 9], 0);
            let written = write_all(&mut slices, 9, |some, at| {
                assert!(some.len() <= PARTS_MAX);
                assert_eq!(at, file.len() as u64);
                n_calls += 1;
                if n_calls % 3 == 0 {
                    return Err(Errno::INTR);
                }
                let given: Vec<u8> = some.iter().flat_map(|part| part.iter().copied()).collect();
                let n_bytes = given.len().min(taken);
                file.extend(&given[..n_bytes]);
                Ok(n_bytes)
            });
            written.unwrap();
            assert_eq!(file[9..], whole, "{taken} bytes at a time");
        }
    }

    /// An error in the middle, or a call that takes nothing, is an error of the whole: nothing of it
    /// may be called written.
    #[test]
    fn f23_error_behind_a_short_write_is_told() {
        for (end, kind) in [
            (Err(Errno::IO), io::Error::from(Errno::IO).kind()),
            (Err(Errno::NOSPC), io::ErrorKind::StorageFull),
            (Ok(0), io::ErrorKind::WriteZero),
        ] {
            let mut answers = vec![end, Ok(5)];
            let error = write_all(&mut [IoSlice::new(b"0123456789")], 0, |_, _| {
                answers.pop().expect("it is not called again after an error")
            });
            assert_eq!(error.unwrap_err().kind(), kind);
        }
    }

    /// Row F29: short reads are filled up, a read error is told.
    #[test]
    fn f29_short_reads_are_filled_up() {
        let file: Vec<u8> = (0..=255).collect();
        for taken in [1, 3, 64, 999] {
            let (mut buffer, mut n_calls) = ([0; 200], 0);
            let n_read = read_all(&mut buffer, 100, |buffer, at| {
                n_calls += 1;
                if n_calls % 2 == 0 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                let left = &file[at as usize..];
                let n_bytes = left.len().min(taken).min(buffer.len());
                buffer[..n_bytes].copy_from_slice(&left[..n_bytes]);
                Ok(n_bytes)
            });
            assert_eq!(n_read.unwrap(), 156);
            assert_eq!(buffer[..156], file[100..]);
        }
        let failed = read_all(&mut [0; 9], 0, |_, _| Err(Errno::IO.into()));
        assert_eq!(failed.unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
    }
}

//! Whole small files: read at once, replaced at once.

use std::io::{self, IoSlice};

use crate::disk::Disk;

/// Ends the name of a file that is not whole yet.
const HALF: &str = ".tmp";

/// What a file will be called once it is whole; `None` if it is not one that is being written.
pub(crate) fn whole_name(name: &str) -> Option<&str> {
    name.strip_suffix(HALF)
}

/// The file's bytes; `None` if there is none of that name.
pub(crate) fn read(disk: &dyn Disk, path: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let n_bytes = usize::try_from(file.len_bytes()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; n_bytes];
    let n_read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(n_read);
    Ok(Some(bytes))
}

/// Removes the file if there is one; whether there was. It may come back until its folder is synced.
pub(crate) fn remove(disk: &dyn Disk, path: &str) -> io::Result<bool> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

/// Replaces the file, so that after a crash it is the old one or the new one and whole.
pub(crate) fn replace(disk: &dyn Disk, dir: &str, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let path = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
    let fresh = format!("{path}{HALF}");
    let file = disk.create(&fresh)?;
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    file.write_at(&mut slices, 0)?;
    file.sync()?;
    disk.rename(&fresh, &path)?;
    disk.sync_dir(dir)
}

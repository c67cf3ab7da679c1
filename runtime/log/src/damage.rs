//! The word of a node that it lost what it had acknowledged, so that no restart forgets it.
//!
//! The log that is left may be whole and is only too short: after a restart nothing in it would tell,
//! and the node would vote again.

use std::io;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::identity;
use crate::small_file;

/// Beside the identity; its content is for people.
pub(crate) const FILE: &str = "DAMAGED";

/// From here on the directory is refused.
///
/// A full disk has no room for the reason; then the identity becomes the mark, which takes none. The
/// node is to be replaced under another one.
///
/// # Errors
/// What the file system says.
pub fn mark(disk: &dyn Disk, why: &str) -> io::Result<()> {
    small_file::replace(disk, "", FILE, &[why.as_bytes()]).or_else(|error| {
        tracing::warn!(%error, "no room for the reason; the identity marks the damage");
        disk.rename(identity::FILE, FILE)?;
        disk.sync_dir("")
    })
}

/// Refuses a directory that is marked.
pub(crate) fn check(disk: &dyn Disk) -> Result<(), OpenError> {
    let reading = |source| OpenError::Io { what: format!("reading {FILE}"), source };
    let Some(why) = small_file::read(disk, FILE).map_err(reading)? else { return Ok(()) };
    // Whoever marked it may have been killed before it synced. Who only looks cannot.
    if let Err(error) = disk.sync_dir("") {
        tracing::debug!(%error, "could not sync the folder with the mark");
    }
    let why = String::from_utf8(why).ok().filter(|why| !why.contains('\0'));
    let why = why.unwrap_or_else(|| "it lost entries that it had acknowledged".to_owned());
    Err(OpenError::MustBeReplaced { why })
}

//! The word of a node that it lost what it had acknowledged, so that no restart forgets it.
//!
//! The log that is left may be whole and is only too short: after a restart nothing in it would tell,
//! and the node would vote again.

use std::io;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::small_file;

/// Beside the identity; its content is for people.
pub(crate) const FILE: &str = "DAMAGED";

/// From here on the directory is refused.
///
/// # Errors
/// What the file system says.
pub fn mark(disk: &dyn Disk, why: &str) -> io::Result<()> {
    small_file::replace(disk, "", FILE, &[why.as_bytes()])
}

/// Refuses a directory that is marked.
pub(crate) fn check(disk: &dyn Disk) -> Result<(), OpenError> {
    let reading = |source| OpenError::Io { what: format!("reading {FILE}"), source };
    match small_file::read(disk, FILE).map_err(reading)? {
        Some(why) => {
            Err(OpenError::MustBeReplaced { why: String::from_utf8_lossy(&why).into_owned() })
        }
        None => Ok(()),
    }
}

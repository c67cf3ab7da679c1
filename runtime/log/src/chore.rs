//! What is done beside writing: segments prepared, index files written, purged segments removed.

use std::io;
use std::sync::Arc;

use crate::contents::Closed;
use crate::disk::{Disk, File};
use crate::error::WriteError;
use crate::index_file;
use crate::pace::Pace;
use crate::segment::{self, Segment};
use crate::shared::Shared;
use crate::small_file;

/// Something to do on whichever thread.
pub(crate) enum Chore {
    /// Makes a segment if so much of the disk is still free afterwards.
    Prepare {
        segment: Segment,
        free_bytes_kept: u64,
    },
    File(Closed),
    Remove(u64),
}

/// How it ended.
pub(crate) enum ChoreDone {
    Prepared(Segment, Arc<dyn File>),
    /// There is no space for a segment.
    NoSpace,
    /// It goes back and is tried again some time.
    Later,
    Nothing,
}

/// Whether an error says that the disk is full.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Chore {
    /// Does it, and waits for the disk.
    pub(crate) fn run(self, shared: &Shared, pace: &Pace<'_>) -> Result<ChoreDone, WriteError> {
        match self {
            Self::Prepare { segment, free_bytes_kept } => {
                let is_room = check_room(&*shared.disk, segment.size + free_bytes_kept);
                let made = is_room.and_then(|()| segment.prepare(&*shared.disk, pace));
                prepared(segment, made)
            }
            Self::File(closed) => Ok(file(closed, shared)),
            Self::Remove(number) => remove(number, shared),
        }
    }
}

/// Asked before a byte is written: a fill that ends on a full disk takes from everybody else what
/// was left, again at each try.
fn check_room(disk: &dyn Disk, needed: u64) -> io::Result<()> {
    let free = disk.free_bytes()?;
    if free < needed {
        let what = format!("{free} bytes are free on the disk, {needed} are needed");
        return Err(io::Error::new(io::ErrorKind::StorageFull, what));
    }
    Ok(())
}

fn prepared(segment: Segment, made: io::Result<Arc<dyn File>>) -> Result<ChoreDone, WriteError> {
    match made {
        Ok(file) => Ok(ChoreDone::Prepared(segment, file)),
        Err(error) if is_no_space(&error) => {
            tracing::warn!(segment = segment.number, %error, "no space for a further segment");
            Ok(ChoreDone::NoSpace)
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(ChoreDone::Nothing),
        Err(source) => {
            let what = format!("preparing segment {}", segment.number);
            Err(WriteError::Io { what, source })
        }
    }
}

/// The file is derived, so a failure costs nothing but memory: the index stays there.
fn file(closed: Closed, shared: &Shared) -> ChoreDone {
    let number = closed.segment.number;
    let Some(sections) = shared.events().index.open_sections(number) else {
        return ChoreDone::Nothing; // Purged since.
    };
    match index_file::write(&*shared.disk, &closed, &sections) {
        Ok(()) => {
            shared.events().index.filed(number);
            ChoreDone::Nothing
        }
        Err(error) => {
            tracing::warn!(segment = number, %error, "the index file could not be written");
            shared.put_to_file(closed);
            ChoreDone::Later
        }
    }
}

/// The folder is synced after each one, so that no crash leaves a gap between those that stay.
fn remove(number: u64, shared: &Shared) -> Result<ChoreDone, WriteError> {
    let disk = &*shared.disk;
    let index = format!("{}/{}", segment::DIR, segment::index_name(number));
    // A start clears away an index file without a segment; the other way round it would miss it.
    for path in [segment::path(number), index] {
        let removed = small_file::remove(disk, &path);
        let synced = removed.and_then(|was_there| match was_there {
            true => disk.sync_dir(segment::DIR),
            false => Ok(()),
        });
        synced.map_err(|source| WriteError::Io { what: format!("removing {path}"), source })?;
    }
    Ok(ChoreDone::Nothing)
}

//! What is done beside writing: segments prepared, index files written, purged segments removed.

use std::io;
use std::sync::Arc;

use crate::contents::Closed;
use crate::disk::File;
use crate::error::WriteError;
use crate::index_file;
use crate::pace::Pace;
use crate::segment::{self, Segment};
use crate::shared::Shared;

/// Something to do on whichever thread.
pub(crate) enum Chore {
    Prepare(Segment),
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

fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Chore {
    /// Does it, and waits for the disk.
    pub(crate) fn run(self, shared: &Shared, pace: &Pace<'_>) -> Result<ChoreDone, WriteError> {
        match self {
            Self::Prepare(segment) => prepare(segment, shared, pace),
            Self::File(closed) => Ok(file(closed, shared)),
            Self::Remove(number) => remove(number, shared),
        }
    }
}

fn prepare(segment: Segment, shared: &Shared, pace: &Pace<'_>) -> Result<ChoreDone, WriteError> {
    match segment.prepare(&*shared.disk, pace) {
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
        let removed = match disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| disk.sync_dir(segment::DIR)),
        };
        removed.map_err(|source| WriteError::Io { what: format!("removing {path}"), source })?;
    }
    Ok(ChoreDone::Nothing)
}

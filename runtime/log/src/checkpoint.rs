//! Checkpoints of the state machine, one file each, and which of them are kept.
//!
//! ```text
//!    0 magic u32       4 format u32      8 xxh3 u64 over the rest   16 shard u32   20 0 u32
//!   24 index u64      32 term u64       40 membership length u64    48 state length u64
//!   56 local length u64                 64 membership · state · local
//! ```

use std::io;

use tidings_types::limits::CHECKPOINTS_KEPT;
use tidings_types::offset::{LogIndex, Term};
use xxhash_rust::xxh3::Xxh3;

use crate::disk::Disk;
use crate::identity::FORMAT;
use crate::small_file;

/// The folder of checkpoints.
pub(crate) const DIR: &str = "ckpt/0";
const MAGIC: u32 = 0x504B_4354; // "TCKP"
const HEADER_BYTES: usize = 64;

/// The state as it was after one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The entry.
    pub index: LogIndex,
    /// The entry's term.
    pub term: Term,
    /// Who the voters were, in the replica's own form.
    pub membership: Vec<u8>,
    /// The state, in its own form. Replicas agree on it.
    pub state: Vec<u8>,
    /// The index of this node's segments that have no index file; see
    /// [`Log::local_part`](crate::log::Log::local_part).
    pub local: Vec<u8>,
}

/// How a checkpoint came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This replica's own state.
    Own,
    /// A snapshot from a peer: it counts once its Reset is in the log.
    Installed,
}

impl Origin {
    const fn suffix(self) -> &'static str {
        match self {
            Self::Own => "ckpt",
            Self::Installed => "snap",
        }
    }
}

fn name(index: LogIndex, origin: Origin) -> String {
    format!("{:016x}.{}", index.get(), origin.suffix())
}

/// Its file.
pub(crate) fn path(index: LogIndex, origin: Origin) -> String {
    format!("{DIR}/{}", name(index, origin))
}

fn parse_name(name: &str) -> Option<(LogIndex, Origin)> {
    let (digits, suffix) = name.split_once('.')?;
    let origin = [Origin::Own, Origin::Installed].into_iter().find(|it| it.suffix() == suffix)?;
    Some((LogIndex::new(u64::from_str_radix(digits, 16).ok()?), origin))
}

fn digest(parts: &[&[u8]]) -> u64 {
    let mut hasher = Xxh3::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.digest()
}

/// Writes a checkpoint durably and removes old ones.
///
/// # Errors
/// What the file system says; the older checkpoints are untouched then.
pub fn write(disk: &dyn Disk, checkpoint: &Checkpoint) -> io::Result<()> {
    write_keeping(disk, checkpoint, LogIndex::ZERO)
}

/// As [`write()`], and of the old ones that of `kept` stays, too: newcomers begin with the one up to
/// which the log is purged.
///
/// Old ones that cannot be removed are no error: they are only too many, and the next one tries again.
///
/// # Errors
/// What the file system says; the older checkpoints are untouched then.
pub fn write_keeping(disk: &dyn Disk, checkpoint: &Checkpoint, kept: LogIndex) -> io::Result<()> {
    write_as(disk, checkpoint, Origin::Own)?;
    if let Err(error) = prune(disk, kept) {
        tracing::warn!(%error, "old checkpoints could not be removed");
    }
    Ok(())
}

/// Writes a snapshot that came from a peer, durably. It counts once the log has its Reset, see
/// [`Log::reset`](crate::log::Log::reset): a crash before leaves the log as it was. Gives the
/// digest that the Reset names.
///
/// # Errors
/// What the file system says; all else is untouched then.
pub fn write_installed(disk: &dyn Disk, checkpoint: &Checkpoint) -> io::Result<u64> {
    write_as(disk, checkpoint, Origin::Installed)
}

fn write_as(disk: &dyn Disk, checkpoint: &Checkpoint, origin: Origin) -> io::Result<u64> {
    disk.make_dir(DIR)?;
    let mut fields = Vec::with_capacity(HEADER_BYTES);
    fields.extend([0; 8]);
    fields.extend(checkpoint.index.get().to_le_bytes());
    fields.extend(checkpoint.term.get().to_le_bytes());
    let content = [&checkpoint.membership, &checkpoint.state, &checkpoint.local];
    for part in content {
        fields.extend((part.len() as u64).to_le_bytes());
    }
    let [membership, state, local] = content.map(Vec::as_slice);
    let digest = digest(&[&fields, membership, state, local]);
    let mut start = MAGIC.to_le_bytes().to_vec();
    start.extend(FORMAT.to_le_bytes());
    start.extend(digest.to_le_bytes());
    let parts = [&start, fields.as_slice(), membership, state, local];
    small_file::replace(disk, DIR, &name(checkpoint.index, origin), &parts)?;
    Ok(digest)
}

fn prune(disk: &dyn Disk, kept: LogIndex) -> io::Result<()> {
    let names = disk.list(DIR)?;
    let known: Vec<_> = names.iter().map(|name| (name, parse_name(name))).collect();
    let own = known.iter().filter_map(|(_, parsed)| parsed.filter(|it| it.1 == Origin::Own));
    let mut own: Vec<LogIndex> = own.map(|(index, _)| index).collect();
    own.sort();
    let n_old = own.len().saturating_sub(CHECKPOINTS_KEPT);
    let oldest_kept = own.get(n_old).copied().unwrap_or_default();
    let newest = own.last().copied().unwrap_or_default();
    for (name, parsed) in known {
        let is_kept = match parsed {
            Some((index, _)) if index == kept => true,
            Some((index, Origin::Own)) => oldest_kept <= index,
            // It may be on its way in, and be half written.
            Some((index, Origin::Installed)) => newest < index,
            None => {
                let whole = small_file::whole_name(name).and_then(parse_name);
                whole.is_some_and(|(index, from)| from == Origin::Installed && newest < index)
            }
        };
        if !is_kept {
            // It may have its own name by now.
            small_file::remove(disk, &format!("{DIR}/{name}"))?;
        }
    }
    disk.sync_dir(DIR)
}

/// Reads a part of a checkpoint's file, for a peer: at most `max_bytes` from `at` on, and the size of
/// the whole. `None` if there is no such checkpoint.
///
/// # Errors
/// What the file system says.
pub fn read_part(
    disk: &dyn Disk,
    index: LogIndex,
    at: u64,
    max_bytes: usize,
) -> io::Result<Option<(Vec<u8>, u64)>> {
    for origin in [Origin::Own, Origin::Installed] {
        let file = match disk.open(&path(index, origin)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut bytes = vec![0; max_bytes];
        let n_read = file.read_at(&mut bytes, at)?;
        bytes.truncate(n_read);
        return Ok(Some((bytes, file.len_bytes()?)));
    }
    Ok(None)
}

/// A checkpoint from all the bytes of its file; `None` if they are not what was written.
pub fn parse(bytes: &[u8]) -> Option<Checkpoint> {
    decode(bytes)
}

/// What checkpoints there are, newest first.
pub(crate) fn list(disk: &dyn Disk) -> io::Result<Vec<(LogIndex, Origin)>> {
    let names = disk.list(DIR)?;
    Ok(names.iter().rev().filter_map(|name| parse_name(name)).collect())
}

/// Reads one; `None` if it is not whole.
pub(crate) fn read(
    disk: &dyn Disk,
    index: LogIndex,
    origin: Origin,
) -> io::Result<Option<Checkpoint>> {
    let bytes = small_file::read(disk, &path(index, origin))?;
    Ok(bytes.and_then(|bytes| decode(&bytes)).filter(|checkpoint| checkpoint.index == index))
}

fn decode(bytes: &[u8]) -> Option<Checkpoint> {
    let u64_at = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let start = u64::from(MAGIC) | u64::from(FORMAT) << 32;
    if u64_at(0)? != start || u64_at(8)? != digest(&[bytes.get(16..)?]) {
        return None;
    }
    let length = |at| usize::try_from(u64_at(at)?).ok();
    let (membership, rest) = bytes.get(HEADER_BYTES..)?.split_at_checked(length(40)?)?;
    let (state, local) = rest.split_at_checked(length(48)?)?;
    if local.len() != length(56)? {
        return None;
    }
    Some(Checkpoint {
        index: LogIndex::new(u64_at(24)?),
        term: Term::new(u64_at(32)?),
        membership: membership.to_vec(),
        state: state.to_vec(),
        local: local.to_vec(),
    })
}

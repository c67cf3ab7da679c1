//! Who is told what a disk does: so that what is durable is known without asking the log.

/// Told of each write and sync, in their order, while the file is locked: it must not touch the
/// disk. A file goes by the name that it has at that moment.
pub trait Watch: Send + Sync {
    /// Bytes were written; they are readable and not durable.
    fn wrote(&self, path: &str, at: u64, bytes: &[u8]);

    /// What was written to the file since the last word about a sync of it is durable.
    fn synced(&self, path: &str);

    /// What was written to the file since then is not durable, and no later sync makes it so.
    fn sync_failed(&self, path: &str);

    /// The power went: what was written and not synced may be there or not, and is not counted as
    /// durable until it is written again and synced.
    fn crashed(&self);
}

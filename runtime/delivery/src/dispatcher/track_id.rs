//! The place of an event in the table of those that are on their way.

/// See the module's description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TrackId(pub(super) u32);

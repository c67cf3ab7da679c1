//! Where things stand: offsets, log positions, Raft indexes and terms, lanes and their epochs.
//!
//! A raw `u64` never crosses a module: each count is a type, and arithmetic lives with the type.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::LANES;

macro_rules! place {
    ($(#[$doc:meta])* $name:ident($inner:ty), $show:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize,
            Deserialize,
        )]
        pub struct $name($inner);

        impl $name {
            /// The first one.
            pub const ZERO: Self = Self(0);

            /// Wraps the number.
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// The number, for layouts and messages.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The one that follows.
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }

            /// The one `n` further on.
            pub const fn plus(self, n: $inner) -> Self {
                Self(self.0 + n)
            }

            /// The one `n` further on, if numbers reach so far: for a count that is not ours.
            pub const fn checked_plus(self, n: $inner) -> Option<Self> {
                match self.0.checked_add(n) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }

            /// How far it lies behind `earlier`.
            ///
            /// # Panics
            /// If `earlier` is the later one.
            pub const fn since(self, earlier: Self) -> $inner {
                assert!(earlier.0 <= self.0, "counted backwards");
                self.0 - earlier.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $show, self.0)
            }
        }
    };
}

place!(
    /// The place of an event in its topic: 0, 1, 2 … without a gap, assigned when it is applied.
    Offset(u64), "{}"
);
place!(
    /// A byte in this node's log, counted over all segments that ever were.
    Position(u64), "{}"
);
place!(
    /// The index of a Raft entry; the first one is 1.
    LogIndex(u64), "{}"
);
place!(
    /// A Raft term; the first one is 1.
    Term(u64), "{}"
);
place!(
    /// Names one move of one lane from owner to owner; fences what an earlier owner reports. Made
    /// by the state machine alone; to all others a number that must be equal.
    LaneEpoch(u32), "{}"
);

/// One of the [`LANES`] slices of keys inside a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lane(u8);

const _: () = assert!(LANES == 1 << 8, "a lane is a byte");

impl Lane {
    /// The lane of a key's hash. Frozen: the order per key depends on all nodes agreeing.
    pub const fn of(key_hash: u64) -> Self {
        Self((key_hash >> 56) as u8)
    }

    /// The lane's place in a table of all lanes.
    pub const fn idx(self) -> usize {
        self.0 as usize
    }

    /// All lanes.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }
}

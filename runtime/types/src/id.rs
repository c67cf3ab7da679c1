//! Who is who: nodes, shards, topics, groups, producers, each a type of its own.
//!
//! Numbers are persisted, so a number is never given twice: topics and groups count up in the
//! state machine, node ids are fresh for each replaced node, producer ids are random.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $show:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize,
            Deserialize,
        )]
        pub struct $name($inner);

        impl $name {
            /// Wraps the number.
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// The number, for layouts and messages.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $show, self.0)
            }
        }
    };
}

number!(
    /// A node of the cluster; never 0, never used again for another node.
    NodeId(u32), "n{}"
);
number!(
    /// A consensus group. The first versions run exactly one, shard 0.
    ShardId(u32), "shard {}"
);
number!(
    /// A topic, in the order of creation.
    TopicId(u32), "topic {}"
);
number!(
    /// A group, in the order of creation.
    GroupId(u32), "group {}"
);
number!(
    /// Counts the starts of one node on one directory.
    Incarnation(u64), "incarnation {}"
);
number!(
    /// Numbers a producer's batches: 0, 1, 2 … over all topics.
    Sequence(u64), "sequence {}"
);
number!(
    /// Ties an answer to its request inside one process.
    Token(u64), "token {}"
);
number!(
    /// A worker of one service in one process.
    WorkerId(u32), "worker {}"
);

impl Sequence {
    /// The one that follows.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

macro_rules! random {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name([u8; 16]);

        impl $name {
            /// Wraps the bytes.
            pub const fn new(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The bytes, for layouts.
            pub const fn get(self) -> [u8; 16] {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

random!(
    /// One publishing process: 128 random bits, fresh at each start. All zeros means none.
    ProducerId
);
random!(
    /// One cluster: 128 random bits, made when the first directory is.
    ClusterId
);

impl ProducerId {
    /// Stands for no producer, in the records of a turn.
    pub const NONE: Self = Self([0; 16]);
}

//! Links from a process to the process of the leader: ordered, and broken at any moment.
//!
//! ```text
//!   client ── asks ──▶ a node ── leads? ──▶ link │ "ask that one"
//!   client ◀── messages, in order ──▶ leader      until an end closes it, dies, or misses one
//! ```
//!
//! A message that the network swallows takes all later ones of its direction with it: the ends
//! notice after a while, each by itself, and until then what still comes is taken.

use std::collections::BTreeMap;

use tidings_delivery::message::{SessionId, ToLeader, ToMember};
use tidings_delivery::publisher::NotProposed;
use tidings_types::effect::Published;
use tidings_types::id::{GroupId, Incarnation, ProducerId, Token};

use bytes::Bytes;

/// How a process reaches the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uplink {
    /// It looks for it; the number of the attempt.
    Looking(u32),
    /// Over a link.
    Link(u64),
    /// It is itself the leader's process.
    Own,
}

/// What goes over a link.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    /// Client: propose this batch.
    Propose { proposal: Token, producer: ProducerId, section: Bytes },
    /// Leader: surely not proposed.
    Refused { proposal: Token, reason: NotProposed },
    /// Leader: nobody knows.
    Unknown { proposal: Token },
    /// Leader: the log's answer.
    Published(Published),
    /// Client: its member speaks.
    ToLeader { session: SessionId, message: ToLeader },
    /// Leader: to the client's member.
    ToMember { session: SessionId, message: ToMember },
    /// Client: its process wants to be a member.
    Join { group: GroupId, incarnation: Incarnation, n_left: u32 },
    /// Leader: what became of that.
    Joined { group: GroupId, joined: Joined },
    /// Either: this was the last message.
    Close,
}

/// The answer to whoever wants to join.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Joined {
    Done,
    /// It has to know that it was taken out so often.
    LeftSince(u32),
    Unknown,
}

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Leader,
}

/// A link.
#[derive(Debug)]
pub(crate) struct Link {
    /// Node and start of it.
    pub(crate) client: (usize, u32),
    /// Node and start of it.
    pub(crate) leader: (usize, u32),
    /// The newest message of the client's and of the leader's direction arrives then.
    pub(crate) arrives_us: [u64; 2],
    /// The direction lost a message, and with it all that follow.
    pub(crate) is_lost: [bool; 2],
    /// As each end sees it.
    pub(crate) is_open: [bool; 2],
}

impl End {
    pub(crate) const fn idx(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Leader => 1,
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Leader,
            Self::Leader => Self::Client,
        }
    }
}

impl Link {
    pub(crate) const fn of(&self, end: End) -> (usize, u32) {
        match end {
            End::Client => self.client,
            End::Leader => self.leader,
        }
    }

    /// Which end the process is; `None` if it is no end of this link.
    pub(crate) fn end_of(&self, process: (usize, u32)) -> Option<End> {
        [End::Client, End::Leader].into_iter().find(|end| self.of(*end) == process)
    }

    pub(crate) fn is_open(&self, end: End) -> bool {
        self.is_open.get(end.idx()).copied().unwrap_or_default()
    }

    pub(crate) fn close(&mut self, end: End) {
        if let Some(is_open) = self.is_open.get_mut(end.idx()) {
            *is_open = false;
        }
    }

    pub(crate) fn is_lost(&self, from: End) -> bool {
        self.is_lost.get(from.idx()).copied().unwrap_or_default()
    }

    pub(crate) fn lose(&mut self, from: End) {
        if let Some(is_lost) = self.is_lost.get_mut(from.idx()) {
            *is_lost = true;
        }
    }

    /// When a message of this end arrives that would take so long by itself.
    pub(crate) fn arrival(&mut self, from: End, at_us: u64) -> u64 {
        let Some(newest) = self.arrives_us.get_mut(from.idx()) else { return at_us };
        *newest = at_us.max(*newest + 1);
        *newest
    }
}

/// All links there are.
#[derive(Debug, Default)]
pub(crate) struct Links {
    n_links: u64,
    all: BTreeMap<u64, Link>,
}

impl Links {
    pub(crate) fn make(&mut self, client: (usize, u32), leader: (usize, u32)) -> u64 {
        self.n_links += 1;
        let (arrives_us, is_lost, is_open) = ([0; 2], [false; 2], [true; 2]);
        let link = Link { client, leader, arrives_us, is_lost, is_open };
        self.all.insert(self.n_links, link);
        self.n_links
    }

    pub(crate) fn get(&mut self, link: u64) -> Option<&mut Link> {
        self.all.get_mut(&link)
    }

    /// Forgets links that both ends have closed.
    pub(crate) fn tidy(&mut self) {
        self.all.retain(|_, link| link.is_open != [false; 2]);
    }

    /// The links that a process has open, and which end of each it is.
    pub(crate) fn of(&self, process: (usize, u32)) -> Vec<(u64, End)> {
        let end = |(&number, link): (&u64, &Link)| {
            let end = link.end_of(process).filter(|end| link.is_open(*end))?;
            Some((number, end))
        };
        self.all.iter().filter_map(end).collect()
    }
}

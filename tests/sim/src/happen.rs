//! What happens, and the queue that puts it in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use tidings_types::id::{GroupId, NodeId, Token, TopicId};
use tidings_types::offset::{LogIndex, Offset};

use crate::fault::Fault;
use crate::link::Message;
use crate::net::Shape;
use crate::serving::Place;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Happens {
    /// To a node's process, if it is still that start of it.
    To { node: usize, start: u32, what: What },
    /// A replica's message arrives, whatever has started meanwhile.
    Arrives { node: usize, from: NodeId, bytes: Bytes },
    /// A node starts.
    Start(usize),
    /// A paused node goes on.
    Resume(usize),
    /// A publisher calls.
    Call,
    /// Something is done to the system.
    Fault(Fault),
    /// A cut ends.
    Mend(u64),
    /// It is cut again, and so many times more.
    Flap { shape: Shape, for_us: u64, left: u64 },
    /// The disk has room again.
    Room(usize),
    /// The operator looks whether there is something to do.
    Operate,
    /// All faults end.
    Heal,
    /// Somebody looks whether all is done.
    Look,
}

/// What happens to a process.
#[derive(Debug)]
pub(crate) enum What {
    Tick,
    Wake,
    Message {
        from: NodeId,
        bytes: Bytes,
    },
    Written,
    /// The oldest file beside the log has had its time.
    Aside,
    ReadCheckpoint {
        index: LogIndex,
        from: u64,
        max_bytes: usize,
    },
    Fetched {
        first: LogIndex,
        max_bytes: usize,
    },
    /// One of its actors may run again.
    Awake,
    PublisherWake,
    DispatcherWake,
    /// The dispatcher hears that its proposal was applied.
    Taken {
        token: Token,
    },
    RosterWake,
    MemberWake,
    /// Events that are not in memory were read for the dispatcher.
    ReadEvents {
        group: GroupId,
        topic: TopicId,
        from: Offset,
        max_bytes: usize,
    },
    /// It looks for groups that it is to be a member of.
    Join,
    /// A worker looks what there is to do.
    Work {
        place: Place,
    },
    /// A worker's handler ends.
    Handled {
        place: Place,
        run: u64,
    },
    /// A worker starts anew.
    WorkerUp {
        place: Place,
    },
    /// It looks for the leader.
    Dial {
        attempt: u32,
    },
    /// Another process asks for a link.
    Dialed {
        from: (usize, u32),
        attempt: u32,
    },
    /// The answer: a link, or who may lead.
    DialAnswer {
        attempt: u32,
        answer: Result<u64, Option<usize>>,
    },
    /// A message of a link.
    Link {
        link: u64,
        message: Message,
    },
    /// The link broke, as this end sees it.
    LinkDown {
        link: u64,
    },
}

/// What is to happen, soonest first; at the same moment in the order in which it was put in.
#[derive(Default)]
pub(crate) struct Queue {
    /// When, the how-manieth that was put in, and its place. What happens is large, and a heap moves
    /// what it holds, so that lies beside it.
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    places: Vec<Option<Happens>>,
    free: Vec<usize>,
    n_put: u64,
}

impl Queue {
    pub(crate) fn put(&mut self, at_us: u64, happens: Happens) {
        self.n_put += 1;
        let place = self.free.pop().unwrap_or(self.places.len());
        match self.places.get_mut(place) {
            Some(free) => *free = Some(happens),
            None => self.places.push(Some(happens)),
        }
        self.heap.push(Reverse((at_us, self.n_put, place)));
    }

    pub(crate) fn take(&mut self) -> Option<(u64, Happens)> {
        let Reverse((at_us, _, place)) = self.heap.pop()?;
        self.free.push(place);
        let happens = self.places.get_mut(place)?.take()?;
        Some((at_us, happens))
    }
}

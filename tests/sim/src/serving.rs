//! Delivery inside one process: its member with services and workers, and the leader's part.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidings_delivery::dispatcher::{Dispatcher, ReadResult};
use tidings_delivery::member::Member;
use tidings_delivery::message::{SessionId, ToLeader};
use tidings_delivery::roster::Roster;
use tidings_delivery::session::{Session, Verdict};
use tidings_types::effect::{Effect, GroupSnapshot};
use tidings_types::id::{GroupId, Incarnation, NodeId, Token, TopicId, WorkerId};
use tidings_types::offset::{Offset, Term};

/// Bit of the tokens of a dispatcher's proposals; that of publishers' is above it.
const DISPATCHER_BIT: u64 = 1 << 62;

/// The token of a dispatcher's proposal, unlike all others of its process.
pub(crate) const fn dispatcher_token(token: Token) -> Token {
    Token::new(token.get() | DISPATCHER_BIT)
}

/// The dispatcher's own token, if it is one.
pub(crate) fn dispatched(token: Token) -> Option<Token> {
    let number = token.get();
    let is_it = number >> 62 == 1;
    is_it.then(|| Token::new(number & !DISPATCHER_BIT))
}

/// A worker, by its group and number.
pub(crate) type Place = (GroupId, WorkerId);

/// The services of a process.
pub(crate) struct Serving {
    pub(crate) member: Member,
    /// The member of a lone node needs no lease, and nobody pings.
    pub(crate) is_alone: bool,
    pub(crate) services: BTreeMap<GroupId, Service>,
    pub(crate) workers: BTreeMap<Place, Worker>,
    /// All events that its workers were ever handed.
    pub(crate) handed: BTreeSet<(GroupId, TopicId, Offset)>,
    /// It will look for groups to join.
    pub(crate) is_joining: bool,
    /// The next wake of the member that is on its way.
    pub(crate) wake_us: Option<u64>,
}

/// A service, and whether its process is a member of its group.
#[derive(Debug, Default)]
pub(crate) struct Service {
    /// Since when an attempt to join is under way, if one is.
    pub(crate) joining: Option<u64>,
    pub(crate) has_joined: bool,
    /// How often it was told that it was taken out.
    pub(crate) n_left: u32,
    pub(crate) is_up: bool,
}

/// A worker; its session outlives it.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    pub(crate) session: Session,
    pub(crate) is_up: bool,
    /// Counts up with each beginning.
    pub(crate) life: u64,
    /// The life that the member knows of: what it hands to another is lost.
    pub(crate) life_known: u64,
    /// Counts its lives and what it began, so that a late end is told apart.
    pub(crate) run: u64,
    /// How the running event will end.
    pub(crate) fate: Option<Fate>,
    /// It waits for the lease, or for the time to report.
    pub(crate) is_waiting: bool,
}

impl Worker {
    /// It is the one that the member knows.
    pub(crate) const fn is_known(&self) -> bool {
        self.is_up && self.life == self.life_known
    }
}

/// How a handler will end.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// It returns this.
    Ends(Verdict),
    /// It panics, or hangs until it is killed.
    Dies,
    /// The whole process goes down with it.
    Kills,
}

impl Serving {
    pub(crate) fn new(incarnation: Incarnation, is_alone: bool) -> Self {
        let member =
            if is_alone { Member::alone(incarnation) } else { Member::new(incarnation, 1) };
        Self {
            member,
            is_alone,
            services: BTreeMap::new(),
            workers: BTreeMap::new(),
            handed: BTreeSet::new(),
            is_joining: false,
            wake_us: None,
        }
    }
}

/// Where a member of another process is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reach {
    link: u64,
    session: SessionId,
}

/// Where members of other processes are reached, as the dispatcher has heard.
#[derive(Debug, Default)]
pub(crate) struct Members(BTreeMap<NodeId, Reach>);

impl Members {
    /// A member speaks, perhaps over a link. The newest link is the one that it listens to.
    pub(crate) fn heard(&mut self, member: NodeId, link: Option<u64>, session: SessionId) {
        let is_newest = |link: &u64| self.link(member).is_none_or(|known| known <= *link);
        if let Some(link) = link.filter(is_newest) {
            self.0.insert(member, Reach { link, session });
        }
    }

    /// A link broke: who spoke over it, and in which session.
    pub(crate) fn gone(&mut self, link: u64) -> Option<(NodeId, SessionId)> {
        let member = self.0.iter().find(|(_, reach)| reach.link == link).map(|found| *found.0)?;
        self.0.remove(&member).map(|reach| (member, reach.session))
    }

    pub(crate) fn link(&self, member: NodeId) -> Option<u64> {
        self.0.get(&member).map(|reach| reach.link)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What hands events out, beside a replica.
pub(crate) struct Dispatching {
    /// The leadership in which these are.
    pub(crate) term: Term,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) roster: Roster,
    pub(crate) members: Members,
    /// The next wake of the dispatcher that is on its way.
    pub(crate) wake_us: Option<u64>,
    /// That of the roster.
    pub(crate) roster_wake_us: Option<u64>,
}

impl Dispatching {
    pub(crate) fn new() -> Self {
        Self {
            term: Term::default(),
            dispatcher: Dispatcher::new(Token::new(1)),
            roster: Roster::new(1),
            members: Members::default(),
            wake_us: None,
            roster_wake_us: None,
        }
    }
}

/// How long a handler may take with one event.
pub(crate) const HANDLER_TIME: Duration = Duration::from_millis(1_500);

/// What the dispatcher is told, as mail.
#[derive(Debug)]
pub(crate) enum ToDispatcher {
    Lead(Term, Vec<GroupSnapshot>),
    Follow,
    Effects(Vec<Effect>),
    /// Over a link, unless it is this process's own member.
    Heard {
        link: Option<u64>,
        member: NodeId,
        session: SessionId,
        message: ToLeader,
    },
    Gone {
        link: u64,
    },
    Read {
        group: GroupId,
        topic: TopicId,
        from: Offset,
        result: ReadResult,
    },
    Taken {
        token: Token,
    },
    Lost {
        token: Token,
    },
    Wake,
}

//! What the lines of a history say, put in order once, so that each invariant is a short sweep.
//!
//! Events, offsets, calls and keys get dense numbers here (`idx`), and what belongs together is
//! linked: a call and its answer, a handling and its end, an offset and the event in it. Time is the
//! line: of two things that were seen, the one in the later line happened later.

pub(crate) mod dense;

pub(crate) mod numbers;

pub(crate) mod build;

pub(crate) mod handle;

use std::collections::BTreeMap;

use crate::facts::dense::Dense;
use crate::history::{Event, Key, Line, Outcome, Run};

/// A history in order.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    pub(crate) lines: &'a [Line],
    pub(crate) run: Option<&'a Run>,
    pub(crate) has: Has,
    /// The line that says that all faults are over.
    pub(crate) healed: Option<usize>,
    /// The line that says that the run ended by itself.
    pub(crate) end: Option<usize>,
    pub(crate) ops: Dense,
    pub(crate) events: Dense,
    pub(crate) topic_names: Dense,
    pub(crate) calls: Vec<Call<'a>>,
    /// By the event's idx.
    pub(crate) sent: Vec<Sent>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) mailboxes: Vec<Mailbox>,
    pub(crate) mailbox_of: BTreeMap<(u32, u32), usize>,
    pub(crate) handlings: Vec<Handling>,
    pub(crate) logs: Vec<NodeLog>,
    pub(crate) cuts: Cuts,
    pub(crate) strays: Vec<Stray>,
}

/// Which kinds of lines there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Has {
    pub(crate) settled: bool,
    pub(crate) durable: bool,
    pub(crate) floor: bool,
    pub(crate) digest: bool,
    pub(crate) status: bool,
    pub(crate) started: bool,
    /// The only replica lost its disk, or a majority of the first voters did.
    pub(crate) disks_lost: bool,
}

/// One call of a publisher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) line: usize,
    pub(crate) topic: usize,
    pub(crate) publisher: u32,
    pub(crate) place: Option<u64>,
    pub(crate) events: &'a [(Event, Key)],
    pub(crate) answer: Answer,
}

/// What a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All is stored, from this offset on.
    Stored { line: usize, first: u64 },
    /// Surely nothing is stored.
    Refused { line: usize },
    /// Nothing, or nothing that can be relied on.
    Open,
}

/// An event, as its publishers know it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// The first call that wanted it stored.
    pub(crate) call: Option<usize>,
    pub(crate) n_calls: u32,
    pub(crate) n_refused: u32,
    pub(crate) topic: usize,
    pub(crate) key: Key,
    /// Line and offset of its first acknowledgement.
    pub(crate) acked: Option<(usize, u64)>,
    /// Where the log has it first, and in how many places.
    pub(crate) place: Option<usize>,
    pub(crate) n_places: u32,
}

/// A topic's log, as all that was seen of it agrees on it.
#[derive(Debug, Default)]
pub(crate) struct Topic {
    pub(crate) number: u32,
    pub(crate) offsets: Dense,
    /// By the offset's idx.
    pub(crate) places: Vec<Place>,
    /// What nodes read at the end: least start and greatest end.
    pub(crate) read: Option<(u64, u64)>,
}

/// One offset of a topic.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// The event in it, by the most trustworthy line that says so.
    pub(crate) event: Option<usize>,
    pub(crate) source: Source,
    pub(crate) line: usize,
    /// Some node read it at the end.
    pub(crate) is_final: bool,
    /// The place before it with an event of the same key.
    pub(crate) prev_of_key: Option<usize>,
}

/// How far a line can be trusted about what an offset holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    #[default]
    None,
    /// A handler was given it.
    Handler,
    /// A publisher was told so.
    Publisher,
    /// A node's log has it.
    Log,
}

/// A group's queue on a topic.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) group: u32,
    pub(crate) topic: usize,
    /// The run says that the group reads the topic.
    pub(crate) is_planned: bool,
    /// By the offset's idx.
    pub(crate) slots: Vec<Slot>,
}

/// What a group did with one event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    /// Its newest handling; each names the one before it.
    pub(crate) last: Option<usize>,
    /// Line of the first success.
    pub(crate) done: Option<usize>,
    /// Line of the first success of a handler whose member had not been taken out.
    pub(crate) done_in_force: Option<usize>,
    /// Line at which the log took an outcome.
    pub(crate) settled: Option<usize>,
    pub(crate) is_settled_dead: bool,
    /// Line that lists it as a dead letter.
    pub(crate) letter: Option<usize>,
    /// Line from which on it counts as given up, where no line says so outright.
    pub(crate) given_up: Option<usize>,
}

impl Slot {
    /// The line from which on its key's next event may begin.
    pub(crate) fn open_from(&self) -> Option<usize> {
        [self.done_in_force, self.settled, self.given_up].into_iter().flatten().min()
    }

    /// The line from which on it needs no more handling: a success, or a dead letter.
    pub(crate) fn over_from(&self) -> Option<usize> {
        let dead = self.settled.filter(|_| self.is_settled_dead);
        [self.done, dead, self.given_up].into_iter().flatten().min()
    }
}

/// A handler's run over one event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handling {
    pub(crate) line: usize,
    pub(crate) mailbox: usize,
    pub(crate) place: usize,
    pub(crate) event: usize,
    pub(crate) key: Key,
    pub(crate) node: u32,
    pub(crate) worker: u64,
    pub(crate) attempt: u32,
    pub(crate) epoch: Option<u64>,
    pub(crate) end: Option<(usize, Outcome)>,
    pub(crate) cut: Option<(usize, Cut)>,
    /// The handling before it of the same event by the same group.
    pub(crate) prev: Option<usize>,
}

/// Why a handling does not count from some line on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Its worker or its process is gone.
    Gone,
    /// Its member was taken out of the group; it may still run.
    Removed,
}

impl Handling {
    /// Whether its lane has moved to another owner when a later handling began.
    pub(crate) fn has_moved_before(&self, later: &Self) -> bool {
        self.epoch.zip(later.epoch).is_some_and(|(earlier, later)| earlier < later)
    }

    /// The line from which on it stands in nobody's way.
    pub(crate) fn over(&self) -> Option<usize> {
        let (end, cut) = (self.end.map(|end| end.0), self.cut.map(|cut| cut.0));
        [end, cut].into_iter().flatten().min()
    }

    /// It was taken out of force before it ended: what it reports is refused.
    pub(crate) fn is_fenced(&self) -> bool {
        let Some((cut, Cut::Removed)) = self.cut else { return false };
        self.end.is_none_or(|(end, _)| cut < end)
    }
}

/// What a node's log had when it was last read to its end.
#[derive(Debug)]
pub(crate) struct NodeLog {
    pub(crate) node: u32,
    pub(crate) topic: usize,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) line: usize,
    /// Place and event, in the order of the lines.
    pub(crate) reads: Vec<(usize, usize)>,
}

/// Lines at which work was taken from somebody.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    pub(crate) down: BTreeMap<u32, Vec<usize>>,
    pub(crate) gone: BTreeMap<(u32, u32, u64), Vec<usize>>,
    pub(crate) removed: BTreeMap<(u32, u32), Vec<usize>>,
}

/// A line that fits to nothing before it: the history itself is not to be trusted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stray {
    pub(crate) line: usize,
    pub(crate) why: &'static str,
}

impl Facts<'_> {
    /// An event's idx, if any line names it.
    pub(crate) fn event(&self, event: Event) -> Option<usize> {
        self.events.idx(event)
    }

    /// The number of an event.
    pub(crate) fn number(&self, event_idx: usize) -> Event {
        self.events.number(event_idx)
    }

    /// A topic's idx, if any line names it.
    pub(crate) fn topic(&self, number: u32) -> Option<usize> {
        self.topic_names.idx(u64::from(number))
    }

    /// The offset of a place.
    pub(crate) fn offset(&self, topic: usize, place: usize) -> u64 {
        self.topics.get(topic).map_or(0, |topic| topic.offsets.number(place))
    }

    /// The call with this name.
    pub(crate) fn call_of(&self, op: u64) -> Option<&Call<'_>> {
        self.calls.get(self.ops.idx(op)?).filter(|call| call.line != usize::MAX)
    }

    /// What a handling was about: group, topic and offset.
    pub(crate) fn about(&self, handling: &Handling) -> (u32, u32, u64) {
        let Some(mailbox) = self.mailboxes.get(handling.mailbox) else { return (0, 0, 0) };
        let topic = self.topics.get(mailbox.topic).map_or(0, |topic| topic.number);
        (mailbox.group, topic, self.offset(mailbox.topic, handling.place))
    }

    /// A handling and those before it of the same event by the same group, newest first.
    pub(crate) fn chain(&self, last: Option<usize>) -> impl Iterator<Item = &Handling> {
        let at = |idx: Option<usize>| idx.and_then(|idx| self.handlings.get(idx));
        std::iter::successors(at(last), move |handling| at(handling.prev))
    }

    /// How, between two lines, work was taken first from the worker of a handling, if it was: a
    /// process that dies later does not hold any more what it was taken out of.
    pub(crate) fn taken(&self, handling: &Handling, after: usize, before: usize) -> Option<Cut> {
        match self.cuts_of(handling, after, before) {
            (None, None) => None,
            (Some(gone), removed) if removed.is_none_or(|removed| gone < removed) => {
                Some(Cut::Gone)
            }
            (_, _) => Some(Cut::Removed),
        }
    }

    /// Whether, between two lines, the worker of a handling ended or its process did.
    pub(crate) fn is_gone(&self, handling: &Handling, after: usize, before: usize) -> bool {
        self.cuts_of(handling, after, before).0.is_some()
    }

    /// The first line at which its worker was gone, and the first at which it was removed.
    fn cuts_of(
        &self,
        handling: &Handling,
        after: usize,
        before: usize,
    ) -> (Option<usize>, Option<usize>) {
        let first = |lines: Option<&Vec<usize>>| {
            let lines = lines.map_or(&[][..], |lines| lines.as_slice());
            let next = lines.partition_point(|line| *line <= after);
            lines.get(next).copied().filter(|line| *line < before)
        };
        let (group, _, _) = self.about(handling);
        let (node, worker) = (handling.node, handling.worker);
        let gone = [self.cuts.down.get(&node), self.cuts.gone.get(&(group, node, worker))];
        let gone = gone.into_iter().filter_map(first).min();
        (gone, first(self.cuts.removed.get(&(group, node))))
    }

    /// Attempts after which an event is given up; `None` if the run does not say.
    pub(crate) fn attempts_max(&self) -> Option<u32> {
        self.run.map(|run| run.attempts_max).filter(|max| *max > 0)
    }
}

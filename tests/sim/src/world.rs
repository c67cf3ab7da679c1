//! The whole world of a run: nodes, network, time, and what happens in it, in one thread.
//!
//! Whatever happens comes out of one queue. What happens to a process goes to one of its cores; what
//! the cores want of each other is mail of that process, and is done before anything else happens.

mod admin;

mod crash;

mod dispatch;

mod finish;

mod linking;

mod meddle;

mod members;

mod nemesis;

mod publish;

mod replicate;

mod serve;

mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidings_check::history::Seen;
use tidings_replica::Now;
use tidings_types::id::{GroupId, Incarnation, NodeId};
use tidings_types::offset::LogIndex;

use crate::chance::Chance;
use crate::check::{Agreement, Leaders, Steps};
use crate::happen::{Happens, Queue, What};
use crate::link::Links;
use crate::mail::Mail;
use crate::net::Net;
use crate::node::{CLOCK_RATE, Node, Process};
use crate::plan::Plan;
use crate::record::Record;
use crate::serving::ToDispatcher;
use crate::stats::Stats;
use crate::trace::Trace;

pub(crate) use admin::Admin;
pub(crate) use publish::Calls;

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// Wall time at the begin of a run.
const WALL_MS: u64 = 1_700_000_000_000;
/// After all faults are over, all must be done within this.
const DRAIN_US: u64 = 30 * SECOND;

/// See the module's description.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now_us: u64,
    queue: Queue,
    pub(crate) chance: Chance,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: Net,
    pub(crate) links: Links,
    pub(crate) record: Record,
    pub(crate) trace: Trace,
    pub(crate) stats: Stats,
    pub(crate) leaders: Leaders,
    pub(crate) agreement: Agreement,
    pub(crate) steps: Steps,
    pub(crate) admin: Admin,
    pub(crate) calls: Calls,
    /// Group, topic and offset of what the log took as settled.
    settled: BTreeSet<(u32, u32, u64)>,
    /// Each group's newest epoch and its members then.
    memberships: BTreeMap<GroupId, (u64, Vec<(NodeId, Incarnation)>)>,
    n_emitted: u32,
    /// The newest entry of which some replica has a checkpoint.
    checkpoint: Option<LogIndex>,
    tidy_at: u64,
    /// All faults are over.
    pub(crate) is_calm: bool,
    /// Nothing is left to do.
    is_done: bool,
    /// After all faults were over, everybody published once more.
    has_tried: bool,
    /// Those calls.
    tried: Vec<u64>,
    /// What broke first, if something did.
    pub(crate) broken: Option<String>,
}

/// What a run came to.
pub(crate) struct Over {
    pub(crate) stats: Stats,
    pub(crate) record: Record,
    pub(crate) trace: Trace,
    pub(crate) broken: Option<String>,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut chance = Chance::new(plan.seed);
        let voters: Vec<NodeId> = (1..=plan.n_stores as u32).map(NodeId::new).collect();
        let stores = voters.iter().map(|&id| (id, true));
        let services = (0..plan.n_services as u32).map(|n| (NodeId::new(101 + n), false));
        let mut node = |(id, has_store)| {
            // A hundred times as wrong as clocks of real machines are.
            let clock_rate = chance.between(plan.clock_rates.0, plan.clock_rates.1);
            Node { clock_rate, ..Node::new(id, voters.clone(), has_store) }
        };
        let nodes = stores.chain(services).map(&mut node).collect();
        let mut net = Net::default();
        net.noise = plan.noise;
        let mut world = Self {
            now_us: 0,
            queue: Queue::default(),
            nodes,
            net,
            links: Links::default(),
            record: Record::default(),
            trace: Trace::new(plan.wants_trace),
            stats: Stats { runs: 1, ..Stats::default() },
            leaders: Leaders::default(),
            agreement: Agreement::default(),
            steps: Steps::default(),
            admin: Admin::new(&plan),
            calls: Calls::default(),
            settled: BTreeSet::new(),
            memberships: BTreeMap::new(),
            n_emitted: 0,
            checkpoint: None,
            tidy_at: plan.tidy_every_us,
            is_calm: false,
            is_done: false,
            has_tried: false,
            tried: Vec::new(),
            broken: None,
            chance: Chance::new(chance.number()),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        let run = self.plan.run();
        self.see(Seen::Run(run));
        for node in 0..self.nodes.len() {
            self.after(0, Happens::Start(node));
        }
        self.after(50 * MS, Happens::Operate);
        for _ in 0..self.plan.n_calls {
            let at = self.chance.between(SECOND / 2, self.plan.load_us);
            self.after(at, Happens::Call);
        }
        for (at, fault) in self.plan.faults.clone() {
            self.after(at, Happens::Fault(fault));
        }
        self.after(self.plan.load_us, Happens::Heal);
    }

    /// Runs until all is done, or something breaks.
    pub(crate) fn run(&mut self) {
        while self.broken.is_none()
            && !self.is_done
            && let Some((at_us, happens)) = self.queue.take()
        {
            self.now_us = at_us;
            self.record.at(at_us);
            self.stats.happenings += 1;
            self.trace.note(at_us);
            self.happens(happens);
        }
        self.stats.simulated_us = self.now_us;
        self.stats.leaderships = self.leaders.n_terms();
    }

    /// What there is to say of it.
    pub(crate) fn over(self) -> Over {
        let Self { stats, record, trace, broken, .. } = self;
        Over { stats, record, trace, broken }
    }

    fn happens(&mut self, happens: Happens) {
        match happens {
            Happens::To { node, start, what } => {
                if self.node(node).start == start {
                    self.deliver(node, what);
                }
            }
            Happens::Arrives { node, from, bytes } => {
                self.deliver(node, What::Message { from, bytes });
            }
            Happens::Start(node) => self.start(node),
            Happens::Resume(node) => self.resume(node),
            Happens::Call => self.call(),
            Happens::Fault(fault) => self.fault(fault),
            Happens::Mend(cut) => {
                self.trace.line(self.now_us, || format!("cut {cut} is mended"));
                self.net.mend(cut);
            }
            Happens::Flap { shape, for_us, left } => self.flap(shape, for_us, left),
            Happens::Room(node) => self.room(node),
            Happens::Operate => self.operate(),
            Happens::Heal => self.heal(),
            Happens::Look => self.look(),
        }
    }

    /// Something for a process: at once, or when it goes on.
    fn deliver(&mut self, at: usize, what: What) {
        let now_us = self.now_us;
        let node = self.node_mut(at);
        if node.process.is_none() {
            return;
        }
        if now_us < node.paused_until {
            node.held.push_back(what);
            return;
        }
        self.take(at, what);
    }

    /// A process takes what comes, and then its mail.
    pub(crate) fn take(&mut self, at: usize, what: What) {
        self.trace.note(at as u64);
        match what {
            What::Tick => self.tick(at),
            What::Wake => self.wake(at),
            What::Message { from, bytes } => self.message(at, from, bytes),
            What::Written => self.written(at),
            What::Aside => self.aside(at),
            What::ReadCheckpoint { index, from, max_bytes } => {
                self.read_checkpoint(at, index, from, max_bytes);
            }
            What::Fetched { first, max_bytes } => self.fetched(at, first, max_bytes),
            What::PublisherWake => self.publisher_wake(at),
            What::Taken { token } => {
                self.mail(at, Mail::Dispatcher(ToDispatcher::Taken { token }));
            }
            // It reads its mail now.
            What::Awake => {}
            What::DispatcherWake => self.dispatcher_wake(at),
            What::RosterWake => self.roster_wake(at),
            What::MemberWake => self.member_wake(at),
            What::ReadEvents { group, topic, from, max_bytes } => {
                self.read_events(at, (group, topic), from, max_bytes);
            }
            What::Join => self.join_again(at),
            What::Work { place } => self.work_again(at, place),
            What::Handled { place, run } => self.handled(at, place, run),
            What::WorkerUp { place } => {
                self.worker_up(at, place);
                self.work(at, place);
            }
            What::Dial { attempt } => self.dial(at, attempt),
            What::Dialed { from, attempt } => self.dialed(at, from, attempt),
            What::DialAnswer { attempt, answer } => self.dial_answer(at, attempt, answer),
            What::Link { link, message } => self.link_message(at, link, message),
            What::LinkDown { link } => self.link_down(at, link),
        }
        self.settle(at);
    }

    /// The cores of a process do what they want of each other, until there is nothing left.
    pub(crate) fn settle(&mut self, at: usize) {
        let now_us = self.now_us;
        while let Some(process) = self.nodes.get_mut(at).and_then(|node| node.process.as_mut())
            && let Some((mail, sleep_us)) = process.mail.take(now_us, &mut self.chance)
        {
            if let Some(sleep_us) = sleep_us {
                self.to(at, sleep_us, What::Awake);
            }
            match mail {
                Mail::Publisher(input) => self.step_publisher(at, input),
                Mail::Propose(proposals) => self.propose(at, proposals),
                Mail::ProposeIn(term, proposals) => self.propose_in(at, term, proposals),
                Mail::Member(input) => self.step_member(at, input),
                Mail::WorkerUp(place, life) => self.announce(at, place, life),
                Mail::Dispatcher(told) => self.step_dispatcher(at, told),
            }
        }
        self.arm(at);
    }

    /// Puts something into the future.
    pub(crate) fn after(&mut self, delay_us: u64, happens: Happens) {
        self.queue.put(self.now_us + delay_us, happens);
    }

    /// Puts something into the future of this start of a node.
    pub(crate) fn to(&mut self, at: usize, delay_us: u64, what: What) {
        let start = self.node(at).start;
        self.after(delay_us, Happens::To { node: at, start, what });
    }

    pub(crate) fn mail(&mut self, at: usize, mail: Mail) {
        if let Some(process) = self.node_mut(at).process.as_mut() {
            process.mail.push(mail);
        }
    }

    pub(crate) fn node(&self, at: usize) -> &Node {
        self.nodes.get(at).expect("nodes are never taken away")
    }

    pub(crate) fn node_mut(&mut self, at: usize) -> &mut Node {
        self.nodes.get_mut(at).expect("nodes are never taken away")
    }

    pub(crate) fn process_mut(&mut self, at: usize) -> Option<&mut Process> {
        self.node_mut(at).process.as_mut()
    }

    /// The place of the node of this id.
    pub(crate) fn place(&self, id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// Places of the nodes with a replica that are not gone for good.
    pub(crate) fn stores(&self) -> Vec<usize> {
        let is_store = |(_, node): &(usize, &Node)| node.disk.is_some() && !node.is_gone;
        self.nodes.iter().enumerate().filter(is_store).map(|(at, _)| at).collect()
    }

    pub(crate) fn now(&self, at: usize) -> Now {
        let wall_ms = WALL_MS + self.now_us / MS;
        let wall_ms = wall_ms.saturating_add_signed(self.node(at).wall_skew_ms);
        Now { mono: self.mono(at), wall_ms }
    }

    /// A node's monotonic clock, which runs a little fast or slow.
    pub(crate) fn mono(&self, at: usize) -> Duration {
        let rate = self.node(at).clock_rate;
        Duration::from_micros(self.now_us * rate / CLOCK_RATE)
    }

    /// How long it takes until a node's monotonic clock says so.
    pub(crate) fn until(&self, at: usize, wake: Duration) -> u64 {
        let wake_us = wake.as_micros() as u64 * CLOCK_RATE;
        wake_us.div_ceil(self.node(at).clock_rate).saturating_sub(self.now_us)
    }

    pub(crate) fn see(&mut self, seen: Seen) {
        self.record.see(seen);
    }

    /// The run breaks off: this must not happen.
    pub(crate) fn fail(&mut self, what: String) {
        self.trace.line(self.now_us, || format!("BROKEN: {what}"));
        self.broken.get_or_insert(what);
    }

    pub(crate) fn hold(&mut self, result: Result<(), String>) {
        if let Err(what) = result {
            self.fail(what);
        }
    }

    fn finish(&mut self) {
        self.is_done = true;
    }
}

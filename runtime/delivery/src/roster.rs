//! The roster: the leader's account of which members live.
//!
//! It runs beside the dispatcher of a node that leads, on the node's monotonic clock. A member that is
//! not heard for [`MEMBER_SILENT_MAX`] is taken out by a command. By then its lease has run out: it
//! starts events only for [`LEASE`](tidings_types::limits::LEASE) after it sent a ping that was answered,
//! and its pings are answered only while the replica leads for sure.
//!
//! ```text
//!   former leader:   heartbeat ─ 250 ms ─▶ last answer
//!   member:                  ping sent ─────── 700 ms ───────▶ starts nothing more
//!   next leader:                  begins ──────────── 1,000 ms ────────────▶ asks for Leave
//! ```
//!
//! A node that slept does not know who was silent meanwhile: when its own look comes late, all count
//! as just heard.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidings_types::effect::{Effect, GroupSnapshot};
use tidings_types::id::{GroupId, Incarnation, NodeId};
use tidings_types::layout::command::Command;
use tidings_types::limits::{LOOK_LATE_AFTER, MEMBER_SILENT_MAX, PING_EVERY};

use crate::message::SessionId;

/// What the roster is told.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// This node leads. With the same as the dispatcher, and at the same moment.
    Lead(&'a [GroupSnapshot]),
    /// This node leads no more.
    Follow,
    /// What was applied; the dispatcher takes it first, so that a member that was taken out is told
    /// so before its pings are answered again.
    Effects(&'a [Effect]),
    /// The dispatcher's [`Output::Pinged`](crate::dispatcher::Output::Pinged), in its order.
    Pinged {
        /// Which node.
        member: NodeId,
        /// In which session.
        session: SessionId,
        /// When it was sent, by the member's clock.
        sent: Duration,
        /// Whether the replica leads for sure at this moment.
        is_sure: bool,
    },
    /// The moment of an [`Output::WakeAt`] has come.
    Wake,
}

/// What the roster wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Tell the member [`ToMember::Pong`](crate::message::ToMember::Pong), behind all that the
    /// dispatcher has told it.
    Pong {
        /// Which node.
        member: NodeId,
        /// In which session.
        session: SessionId,
        /// As it was in the ping.
        sent: Duration,
    },
    /// Propose this `Leave`. It is asked for again if it does not come back applied.
    Propose(Command),
    /// Give [`Input::Wake`] at this moment.
    WakeAt(Duration),
}

/// See the module's description.
#[derive(Debug)]
pub struct Roster {
    pace: u32,
    is_leading: bool,
    groups: BTreeMap<GroupId, Vec<(NodeId, Incarnation)>>,
    /// Each start of a node for itself: a later one that pings is no word of an earlier one, which may
    /// still be listed where the later one serves nothing.
    members: BTreeMap<(NodeId, Incarnation), Heard>,
    looked_at: Duration,
}

/// A process that is a member of some group.
#[derive(Clone, Debug)]
struct Heard {
    at: Duration,
    /// What it is being taken out of, asked for last at `asked_at`. Its pings are not answered until
    /// all of that is applied: it must not start what another member may have by then.
    leaving: BTreeSet<GroupId>,
    asked_at: Duration,
}

impl Roster {
    /// A roster that follows. `pace` is 1, or more where time is to run more slowly; members must have
    /// the same.
    pub const fn new(pace: u32) -> Self {
        Self {
            pace,
            is_leading: false,
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            looked_at: Duration::ZERO,
        }
    }

    /// Takes an input at a moment of this node's monotonic clock, and appends what is to be done.
    pub fn step(&mut self, now: Duration, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Lead(snapshots) => {
                self.follow();
                self.is_leading = true;
                self.looked_at = now;
                for snapshot in snapshots {
                    self.list(snapshot.group, &snapshot.members, now);
                }
                out.push(Output::WakeAt(now + self.look_every()));
            }
            Input::Follow => self.follow(),
            Input::Effects(effects) if self.is_leading => {
                for effect in effects {
                    match effect {
                        Effect::GroupChanged(group) => self.list(group.group, &group.members, now),
                        Effect::LanesMoved { group, members, .. } => {
                            self.list(*group, members, now);
                        }
                        _ => {}
                    }
                }
            }
            Input::Pinged { member, session, sent, is_sure } if self.is_leading => {
                let heard = self.members.get_mut(&(member, session.incarnation));
                if let Some(heard) = heard {
                    heard.at = now;
                    if !heard.leaving.is_empty() {
                        return;
                    }
                }
                // One that is no member yet may ping as well: it holds nothing.
                if is_sure {
                    out.push(Output::Pong { member, session, sent });
                }
            }
            Input::Wake if self.is_leading => self.look(now, out),
            Input::Effects(_) | Input::Pinged { .. } | Input::Wake => {}
        }
    }

    fn follow(&mut self) {
        self.is_leading = false;
        self.groups.clear();
        self.members.clear();
    }

    fn look_every(&self) -> Duration {
        PING_EVERY * self.pace
    }

    /// A group has these members now.
    fn list(&mut self, group: GroupId, members: &[(NodeId, Incarnation)], now: Duration) {
        self.groups.insert(group, members.to_vec());
        for (member, heard) in &mut self.members {
            heard.leaving.retain(|&of| of != group || members.contains(member));
        }
        let listed: BTreeSet<_> = self.groups.values().flatten().copied().collect();
        self.members.retain(|member, _| listed.contains(member));
        for member in listed {
            let leaving = BTreeSet::new();
            self.members.entry(member).or_insert(Heard { at: now, leaving, asked_at: now });
        }
    }

    fn look(&mut self, now: Duration, out: &mut Vec<Output>) {
        let is_late = LOOK_LATE_AFTER * self.pace < now.saturating_sub(self.looked_at);
        if self.look_every() <= now.saturating_sub(self.looked_at) {
            self.looked_at = now;
        }
        let silent_max = MEMBER_SILENT_MAX * self.pace;
        for (&(node, incarnation), heard) in &mut self.members {
            if is_late {
                heard.at = now;
            }
            let since = if heard.leaving.is_empty() { heard.at } else { heard.asked_at };
            if now.saturating_sub(since) < silent_max {
                continue;
            }
            heard.asked_at = now;
            for (&group, members) in &self.groups {
                if members.contains(&(node, incarnation)) {
                    heard.leaving.insert(group);
                    out.push(Output::Propose(Command::Leave { group, node, incarnation }));
                }
            }
        }
        out.push(Output::WakeAt(now + self.look_every()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: GroupId = GroupId::new(1);
    const ANN: NodeId = NodeId::new(1);
    const BEN: NodeId = NodeId::new(2);

    fn moved(members: &[NodeId]) -> Vec<Effect> {
        let members = members.iter().map(|&node| (node, Incarnation::new(1))).collect();
        vec![Effect::LanesMoved { group: GROUP, lanes: Vec::new(), members, left: Vec::new() }]
    }

    struct Played {
        roster: Roster,
        now: Duration,
    }

    impl Played {
        fn new() -> Self {
            let mut played = Self { roster: Roster::new(1), now: Duration::from_secs(9) };
            played.step(Input::Lead(&[]));
            played.step(Input::Effects(&moved(&[ANN, BEN])));
            played
        }

        fn step(&mut self, input: Input<'_>) -> Vec<Output> {
            let mut out = Vec::new();
            self.roster.step(self.now, input, &mut out);
            out.retain(|output| !matches!(output, Output::WakeAt(_)));
            out
        }

        fn ping(&mut self, member: NodeId, is_sure: bool) -> bool {
            self.ping_of(member, 1, is_sure)
        }

        fn ping_of(&mut self, member: NodeId, incarnation: u64, is_sure: bool) -> bool {
            let session = SessionId { incarnation: Incarnation::new(incarnation), number: 1 };
            let sent = self.now;
            !self.step(Input::Pinged { member, session, sent, is_sure }).is_empty()
        }

        /// Looks each 100 ms while the member pings, and gives what is asked for.
        fn pass(&mut self, millis: u64, member: NodeId, is_sure: bool) -> Vec<Output> {
            let mut out = Vec::new();
            for _ in 0..millis / 100 {
                self.now += PING_EVERY;
                self.ping(member, is_sure);
                out.extend(self.step(Input::Wake));
            }
            out
        }
    }

    fn leave(node: NodeId) -> Output {
        let incarnation = Incarnation::new(1);
        Output::Propose(Command::Leave { group: GROUP, node, incarnation })
    }

    /// A member must be taken out once it was silent for a second, not before, and again if the
    /// command got lost; from then on until it is out its pings must not be answered, or it would
    /// start what another member has.
    #[test]
    fn silent_member_is_taken_out() {
        let mut played = Played::new();
        assert_eq!(played.pass(900, ANN, true), []);
        assert_eq!(played.pass(100, ANN, true), [leave(BEN)]);
        assert!(!played.ping(BEN, true));
        assert_eq!(played.pass(900, ANN, true), []);
        assert_eq!(played.pass(100, ANN, true), [leave(BEN)]);
        played.step(Input::Effects(&moved(&[ANN])));
        played.step(Input::Effects(&moved(&[ANN, BEN])));
        assert!(played.ping(BEN, true));
        assert_eq!(played.pass(900, ANN, true), []);
    }

    /// A later start of a node that no longer serves the group must not keep the earlier one on its
    /// list, or the lanes of that one stand still for as long as the later one lives.
    #[test]
    fn later_start_speaks_for_itself_only() {
        let mut played = Played::new();
        for _ in 0..9 {
            assert_eq!(played.pass(100, ANN, true), []);
            assert!(played.ping_of(BEN, 2, true));
        }
        assert_eq!(played.pass(100, ANN, true), [leave(BEN)]);
        assert!(played.ping_of(BEN, 2, true), "what it holds has nothing to do with it");
    }

    /// Only a leader that is sure may prolong a lease, but whoever pings lives.
    #[test]
    fn unsure_leader_answers_nobody() {
        let mut played = Played::new();
        assert!(!played.ping(ANN, false));
        assert_eq!(played.pass(900, ANN, false), []);
        assert_eq!(played.pass(500, ANN, false), [leave(BEN)]);
        played.step(Input::Follow);
        assert!(!played.ping(ANN, true));
        assert_eq!(played.pass(3_000, BEN, true), []);
    }

    /// A leader that slept must not take out all who could not reach it. It sleeps for a minute.
    #[test]
    fn leader_that_slept_suspects_nobody() {
        let mut played = Played::new();
        played.pass(800, ANN, true);
        played.now += Duration::from_secs(60);
        assert_eq!(played.step(Input::Wake), []);
        assert_eq!(played.pass(900, ANN, true), []);
        assert_eq!(played.pass(100, ANN, true), [leave(BEN)]);
    }
}

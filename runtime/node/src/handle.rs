//! The way into a running node, for the edge and for tests: publish, read, look, command.
//!
//! Cheap to clone. What is shown is read from the replica's state in one go, so one answer never
//! mixes two moments of it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::ActorRef;
use tidings_log::{Identity, Reader, Space};
use tidings_replica::{Replica as Core, Role};
use tidings_state::{GroupView, State, TopicView};
use tidings_types::effect::Answer;
use tidings_types::layout::command::Command;
use tidings_types::name::TopicName;
use tidings_types::seam::Clock;
use tokio::runtime::Handle;

use crate::api::{CheckInfo, StatusInfo, TopicInfo, time_text};
use crate::call::answered;
use crate::cluster_time::ClusterTime;
use crate::commands::Commands;
use crate::error::{CallError, CommandError, FindError};
use crate::groups::GroupNames;
use crate::mail::{Inspection, ToDispatcher, ToReplica};
use crate::metrics::Metrics;
use crate::publish::Publisher;
use crate::service::registry::{Life, Registry};
use crate::stories::Stories;

mod gauges;

mod groups;

mod letter_filter;

mod letters;

mod read;

mod seek;

mod services;

mod story;

mod waiting;

pub use letter_filter::{LetterFilter, Letters};
pub use letters::Page;
pub use seek::SeekTo;
pub use waiting::Waiting;

/// See the module's description.
#[derive(Clone)]
pub struct NodeHandle {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) data: PathBuf,
    pub(crate) replica: ActorRef<ToReplica>,
    pub(crate) dispatcher: ActorRef<ToDispatcher>,
    pub(crate) commands: Commands,
    pub(crate) publisher: Publisher,
    pub(crate) reader: Reader,
    pub(crate) stories: Arc<Stories>,
    pub(crate) names: GroupNames,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) time: Arc<ClusterTime>,
    pub(crate) started: Duration,
    pub(crate) is_draining: AtomicBool,
    pub(crate) core: Handle,
    pub(crate) ambient: Handle,
    /// Where time is paused a disk read must complete inline.
    pub(crate) reads_inline: bool,
}

impl NodeHandle {
    /// Publishes into the cluster's topics.
    pub fn publisher(&self) -> Publisher {
        self.shared.publisher.clone()
    }

    /// What the node counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The node's own threads: never for handlers or user routes.
    pub fn core(&self) -> &Handle {
        &self.shared.core
    }

    /// The user's threads: handlers and user routes.
    pub fn ambient(&self) -> &Handle {
        &self.shared.ambient
    }

    /// Whether the node takes work, condition by condition. Waits for nothing.
    pub fn checks(&self) -> Vec<CheckInfo> {
        let check =
            |check: &str, ok, detail: String| CheckInfo { check: check.to_owned(), ok, detail };
        let is_leader = self.shared.metrics.is_leader.get() == 1;
        let is_draining = self.shared.is_draining.load(Ordering::Relaxed);
        let has_space = self.shared.reader.space() == Space::Plenty;
        let (n_starting, n_services) = self.shared.registry.look(|services| {
            let starting = services.values().filter(|service| service.life == Life::Starting);
            (starting.count(), services.len())
        });
        vec![
            check("leader", is_leader, in_words(is_leader, "leads", "has no leader yet")),
            check("space", has_space, self.space().to_owned()),
            check("intake", !is_draining, in_words(!is_draining, "open", "closed: draining")),
            check("services", n_starting == 0, format!("{n_starting} of {n_services} starting")),
        ]
    }

    /// The node, its replica and its log.
    ///
    /// # Errors
    /// If the node has stopped or does not answer.
    pub async fn status(&self) -> Result<StatusInfo, CallError> {
        let shared = Arc::clone(&self.shared);
        let (ready, space) = (self.checks(), self.space().to_owned());
        self.inspect(move |core| {
            let status = core.status();
            let state = core.state();
            StatusInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                node: shared.name.clone(),
                cluster: shared.identity.cluster.to_string(),
                incarnation: shared.identity.incarnation.get(),
                ready,
                role: role_word(status.role).to_owned(),
                term: status.term.get(),
                commit: status.commit.get(),
                applied: status.applied.get(),
                log_bytes: shared.reader.log_bytes(),
                space,
                uptime_ms: millis(shared.clock.now().saturating_sub(shared.started)),
                data: shared.data.display().to_string(),
                topics: state.topics().count() as u64,
                groups: state.groups().count() as u64,
            }
        })
        .await
    }

    /// All topics.
    ///
    /// # Errors
    /// If the node has stopped or does not answer.
    pub async fn topics(&self) -> Result<Vec<TopicInfo>, CallError> {
        let look = |core: &Core| {
            let state = core.state();
            state.topics().map(|topic| topic_info(state, &topic)).collect()
        };
        self.inspect(look).await
    }

    /// One topic.
    ///
    /// # Errors
    /// If there is none of that name, or no answer.
    pub async fn topic(&self, name: &TopicName) -> Result<TopicInfo, FindError> {
        let wanted = name.clone();
        let look = move |core: &Core| {
            let state = core.state();
            let topic = state.topic_id(&wanted).and_then(|topic| state.topic(topic))?;
            Some(topic_info(state, &topic))
        };
        let found = self.inspect(look).await?;
        found.ok_or_else(|| FindError::NotFound { what: format!("topic {name}") })
    }

    /// Makes a topic. `true` if there was none of that name before.
    ///
    /// # Errors
    /// If the command fails.
    pub async fn create_topic(&self, name: TopicName) -> Result<bool, CommandError> {
        let answer = self.shared.commands.run(Command::CreateTopic { name }).await?;
        Ok(matches!(answer, Answer::Topic { is_new: true, .. }))
    }

    /// Looks at the replica's core, between two of its steps.
    pub(crate) async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        // A caller who stopped waiting is no error.
        let inspection: Inspection = Box::new(move |core| drop(reply.send(look(core))));
        let sent = self.shared.replica.cast(ToReplica::Inspect(inspection));
        sent.map_err(|_| CallError::Stopped)?;
        answered(answer).await
    }

    /// This node's wall time, in milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        self.shared.clock.wall_ms()
    }

    /// Cluster time, in milliseconds.
    pub fn cluster_ms(&self) -> u64 {
        millis(self.shared.time.at(self.shared.clock.now()))
    }

    /// The moment of cluster time that people read as this wall time, both in milliseconds: what
    /// [`DeadLetterInfo::dead_at`](crate::api::DeadLetterInfo) and the like show.
    pub fn cluster_ms_at(&self, wall_ms: u64) -> u64 {
        let now_ms = self.shared.clock.wall_ms();
        self.cluster_ms().saturating_add(wall_ms).saturating_sub(now_ms)
    }

    /// A moment of cluster time as people read it. Cluster time may lag behind after a downtime, so
    /// it is shown by how long ago it was.
    fn moment_text(&self, cluster_ms: u64) -> String {
        let wall_ms = self.shared.clock.wall_ms();
        time_text(wall_ms.saturating_add(cluster_ms).saturating_sub(self.cluster_ms()))
    }

    fn space(&self) -> &'static str {
        match self.shared.reader.space() {
            Space::Plenty => "plenty",
            Space::NoPublish => "no_publish",
            Space::LastSegment => "last_segment",
        }
    }
}

impl fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeHandle").field("node", &self.shared.name).finish_non_exhaustive()
    }
}

fn topic_info(state: &State, topic: &TopicView) -> TopicInfo {
    let reads = |group: &GroupView| group.mailboxes.iter().any(|mailbox| mailbox.topic == topic.id);
    let groups = state.groups().filter(reads);
    TopicInfo {
        name: topic.name.to_string(),
        start: topic.start.get(),
        end: topic.end.get(),
        groups: groups.map(|group| group.name.to_string()).collect(),
    }
}

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
        Role::Halted => "halted",
    }
}

fn in_words(holds: bool, yes: &str, no: &str) -> String {
    if holds { yes } else { no }.to_owned()
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! `TestNode`: services in a test, on a whole node with a memory disk and a paused clock.
//!
//! Back-off, deadlines and batching run in virtual time, so a test of twenty attempts takes
//! milliseconds. Two things differ from a real node: the core has no threads of its own, and the
//! log is written inline. Everything else is the same code path.

use std::convert::Infallible;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tidings_node::api::{DeadLetterInfo, GroupInfo};
use tidings_node::error::{FindError, ReadError};
use tidings_node::handle::NodeHandle;
use tidings_node::service::ServiceSpec;
use tidings_node::testkit::{TestCore, TestDisk};
use tidings_types::name::{GroupName, TopicName};
use tidings_types::offset::Offset;
use tokio::time::sleep;

use crate::context::{SERVICES_DIR, ServiceContext};
use crate::event::Event;
use crate::publish::{Published, Publisher};
use crate::service::{Service, spec};

/// How long, in virtual time, a test waits for a group: longer than the default policy takes to
/// give an event up.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(3_600);
const POLL_MIN: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_secs(1);
const PAGE_EVENTS: usize = 1_000;

/// A node in a test.
///
/// ```
/// # use tidings::prelude::*;
/// # use tidings::testkit::TestNode;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(topic = "users", kind = "user.signed_up.v1", key = user_id)]
/// # struct UserSignedUp { user_id: Uuid }
/// # struct Welcome { n_failures: u32 }
/// # impl Service for Welcome {
/// #     const GROUP: &'static str = "welcome";
/// #     fn plan(plan: Plan<Self>) -> Plan<Self> {
/// #         plan.workers(1).on::<UserSignedUp>(|handler| handler)
/// #     }
/// # }
/// # impl Handle<UserSignedUp> for Welcome {
/// #     async fn handle(&mut self, _: UserSignedUp, cx: &mut Cx) -> Handled {
/// #         if cx.attempt() <= self.n_failures { Err(Failure::again("no answer")) } else { Ok(()) }
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let node = TestNode::start(|| Welcome { n_failures: 2 }).await;
/// node.publish(UserSignedUp { user_id: Uuid::nil() }).await;
/// node.settled("welcome").await; // back-off runs in virtual time
/// assert_eq!(node.attempts(), 3);
/// assert_eq!(node.dead_letters().await.len(), 0);
/// # }
/// ```
#[derive(Debug)]
pub struct TestNode {
    core: TestCore,
    publisher: Publisher,
    n_attempts: Arc<AtomicU64>,
    /// Gone when the test ends.
    data: TempDir,
}

/// What a node leaves when it ends: its disk, and the directory of its services.
pub struct Remains {
    disk: Arc<TestDisk>,
    data: TempDir,
}

impl fmt::Debug for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remains").field("data", &self.data).finish_non_exhaustive()
    }
}

/// Puts the services of a test together.
#[derive(Debug, Default)]
pub struct TestNodeBuilder {
    services: Vec<ServiceSpec>,
    n_attempts: Arc<AtomicU64>,
}

impl TestNodeBuilder {
    /// Adds a service, as [`Node::service`](crate::node::Node::service) does.
    ///
    /// # Panics
    /// If its plan cannot be carried out.
    #[must_use]
    pub fn service<S: Service>(self, new_service: impl Fn() -> S + Send + Sync + 'static) -> Self {
        self.service_with(move |_| Ok::<_, Infallible>(new_service()))
    }

    /// Adds a service, as [`Node::service_with`](crate::node::Node::service_with) does.
    ///
    /// # Panics
    /// If its plan cannot be carried out.
    #[must_use]
    pub fn service_with<S: Service, E: Display>(
        mut self,
        new_service: impl Fn(&ServiceContext) -> Result<S, E> + Send + Sync + 'static,
    ) -> Self {
        let spec = spec(new_service, Some(Arc::clone(&self.n_attempts)));
        self.services.push(spec.unwrap_or_else(|error| panic!("{error}")));
        self
    }

    /// Starts the node.
    ///
    /// # Panics
    /// Outside a current-thread runtime, or if the services do not fit together.
    pub async fn start(self) -> TestNode {
        let data = TempDir::new().expect("the system has room for a directory");
        self.start_on(Remains { disk: Arc::default(), data }).await
    }

    /// Starts the node on what another one left.
    ///
    /// # Panics
    /// See [`TestNodeBuilder::start`]; and if the disk cannot be used.
    pub async fn start_on(self, remains: Remains) -> TestNode {
        let Remains { disk, data } = remains;
        pause();
        let core = TestCore::start_on(disk, self.services, data.path()).await;
        let core = core.unwrap_or_else(|error| panic!("node does not start: {error}"));
        let publisher = Publisher::new(core.handle.publisher());
        TestNode { core, publisher, n_attempts: self.n_attempts, data }
    }
}

/// Pauses the clock, unless the test's attribute has done it already: twice would panic.
fn pause() {
    let start = sleep(Duration::ZERO).deadline();
    let stands_still = (0..1_000).all(|_| start.elapsed().is_zero());
    if !stands_still {
        tokio::time::pause();
    }
}

impl TestNode {
    /// Starts a node with one service.
    ///
    /// # Panics
    /// See [`TestNodeBuilder::start`].
    pub async fn start<S: Service>(new_service: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self::builder().service(new_service).start().await
    }

    /// A node with several services, or with one that needs to know where it runs.
    pub fn builder() -> TestNodeBuilder {
        TestNodeBuilder::default()
    }

    /// Publishes an event and waits until it is stored.
    ///
    /// # Panics
    /// If it is not.
    pub async fn publish<E: Event>(&self, event: E) -> Published {
        let published = self.publisher.publish(&event).await;
        published.unwrap_or_else(|error| panic!("publishing {}: {error}", E::KIND))
    }

    /// Waits, in virtual time, until the group has nothing left to do: each event is handled or a
    /// dead letter.
    ///
    /// # Panics
    /// If that takes longer than an hour; it shows what the group has left.
    pub async fn settled(&self, group: &str) {
        let mut waited = Duration::ZERO;
        let mut poll = POLL_MIN;
        loop {
            let found = self.group(group).await;
            if found.as_ref().is_some_and(|group| group.lag == 0 && group.redriven == 0) {
                return;
            }
            assert!(waited < SETTLE_WAIT_MAX, "group {group} is not settled: {found:?}");
            sleep(poll).await;
            waited += poll;
            poll = (poll * 2).min(POLL_MAX);
        }
    }

    async fn group(&self, group: &str) -> Option<GroupInfo> {
        // The mailbox of this process, if the service runs everywhere.
        for name in [group.to_owned(), format!("{group}.n1")] {
            let name = GroupName::new(name).expect("a service has such a group");
            match self.core.handle.group(&name).await {
                Ok(found) => return Some(found),
                Err(FindError::NotFound { .. }) => {}
                Err(error) => panic!("group {group}: {error}"),
            }
        }
        None
    }

    /// All events of a type that are stored, in order: published by the test or emitted.
    ///
    /// # Panics
    /// If one of them cannot be decoded.
    pub async fn published<E: Event>(&self) -> Vec<E> {
        let topic = TopicName::new(E::TOPIC).expect("an event has such a topic");
        let mut events = Vec::new();
        let mut from = Offset::ZERO;
        loop {
            let page = match self.core.handle.read(&topic, from, PAGE_EVENTS).await {
                Ok(page) => page,
                Err(ReadError::NoSuchTopic { .. }) => return events,
                Err(error) => panic!("reading {topic}: {error}"),
            };
            let Some((last, _)) = page.last() else { return events };
            from = last.next();
            let of_type = page.iter().filter(|(_, event)| event.kind() == E::KIND);
            let decoded = of_type.map(|(_, event)| E::decode(event.payload()));
            events.extend(decoded.map(|event| event.expect("what was stored can be read")));
        }
    }

    /// Attempts that all services have begun, on all events.
    pub fn attempts(&self) -> u64 {
        self.n_attempts.load(Ordering::Relaxed)
    }

    /// The dead letters of all groups.
    ///
    /// # Panics
    /// If the node does not answer.
    pub async fn dead_letters(&self) -> Vec<DeadLetterInfo> {
        let letters = self.core.handle.dead_letters(None).await;
        letters.unwrap_or_else(|error| panic!("dead letters: {error}"))
    }

    /// Ends the node in order: handlers finish, and their values are dropped.
    pub async fn stop(self) -> Remains {
        Remains { disk: self.core.drain().await, data: self.data }
    }

    /// Ends the node as a power cut would: what runs is cut off, and what was not on the disk is
    /// lost.
    pub async fn crash(self) -> Remains {
        Remains { disk: self.core.crash().await, data: self.data }
    }

    /// Turns the node's wall clock by so many milliseconds, as a person or a time server would.
    pub fn turn_wall_clock(&self, by_ms: i64) {
        self.core.turn_wall_clock(by_ms);
    }

    /// A publisher of the node, for the code under test.
    pub const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// The node below, for commands that nobody gives by hand.
    pub const fn core(&self) -> &TestCore {
        &self.core
    }

    /// The way into the node, for what is not here.
    pub const fn handle(&self) -> &NodeHandle {
        &self.core.handle
    }

    /// The directory of the node.
    pub fn data_dir(&self) -> &Path {
        self.core.data()
    }

    /// Where its services keep what they project.
    pub fn services_dir(&self) -> PathBuf {
        self.core.data().join(SERVICES_DIR)
    }
}

//! A service as its node sees it: what it reads, and what makes a handler, erased of its types.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tidings_delivery::family::{Restart, Strategy};
use tidings_types::id::NodeId;
use tidings_types::layout::command::GroupStart;
use tidings_types::name::{GroupName, TopicName};

use crate::publish::Publisher;
use crate::service::policy::PolicyOf;
use crate::service::work::Work;

/// Handles batches of events: the user's code behind one worker. A fresh one is made for each life
/// of a worker.
pub trait Handler: Send + 'static {
    /// Takes events from `work` and ends each one, until there is none.
    ///
    /// An event that was started and not ended when this returns, panics or is dropped is charged
    /// with a failed attempt. It is dropped at an await point when an event exceeds its deadline.
    fn run<'a>(&'a mut self, work: &'a mut Work) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// Makes the handler of one worker's life.
pub type NewHandler = Arc<dyn Fn(&ServiceContext) -> Box<dyn Handler> + Send + Sync>;

/// Makes the future of one life of a task. Its error is a reason for people.
pub type NewTask = Arc<
    dyn Fn(&ServiceContext) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>>
        + Send
        + Sync,
>;

/// What runs beside the workers, supervised like them.
#[derive(Clone)]
pub struct TaskSpec {
    /// As people know it.
    pub name: &'static str,
    /// When it begins again.
    pub restart: Restart,
    /// Makes it.
    pub run: NewTask,
}

/// What a handler may know of its surroundings.
#[derive(Clone, Debug)]
pub struct ServiceContext {
    /// Its group; of a service that runs everywhere, with the node's name.
    pub group: GroupName,
    /// Its node.
    pub node: NodeId,
    /// Where services keep what they project.
    pub data_dir: PathBuf,
    /// Publishes beside the turn.
    pub publisher: Publisher,
}

/// See the module's description.
#[derive(Clone)]
pub struct ServiceSpec {
    /// Names the mailbox.
    pub group: GroupName,
    /// The topics that it reads.
    pub topics: Vec<TopicName>,
    /// Where it begins on topics that it did not read before.
    pub start: GroupStart,
    /// Each process has a mailbox of its own and sees every event.
    pub everywhere: bool,
    /// Workers in this process.
    pub workers: usize,
    /// What runs beside them; it begins before them.
    pub tasks: Vec<TaskSpec>,
    /// Which children begin again with one that does.
    pub strategy: Strategy,
    /// Makes a handler.
    pub new_handler: NewHandler,
    /// What failing means.
    pub policy: PolicyOf,
}

impl ServiceSpec {
    /// The group of this process.
    ///
    /// # Panics
    /// If the name with the node's behind it is too long; checked when the node starts.
    pub(crate) fn group_on(&self, node: NodeId) -> GroupName {
        if !self.everywhere {
            return self.group.clone();
        }
        GroupName::new(format!("{}.{node}", self.group)).expect("checked when the node starts")
    }
}

impl fmt::Debug for ServiceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceSpec")
            .field("group", &self.group)
            .field("topics", &self.topics)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

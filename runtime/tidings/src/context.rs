//! What a service may know of the process that it runs in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidings_node::service;
use tidings_types::id::NodeId;
use tidings_types::name::GroupName;

use crate::publish::Publisher;

/// Where services keep what they project, inside the node's directory.
pub(crate) const SERVICES_DIR: &str = "services";

/// See the module's description.
#[derive(Clone, Debug)]
pub struct ServiceContext {
    group: GroupName,
    node: NodeId,
    data_dir: PathBuf,
    publisher: Publisher,
    /// For tests: counts attempts.
    n_attempts: Option<Arc<AtomicU64>>,
}

impl ServiceContext {
    pub(crate) fn new(
        context: &service::ServiceContext,
        n_attempts: Option<Arc<AtomicU64>>,
    ) -> Self {
        Self {
            group: context.group.clone(),
            node: context.node,
            data_dir: context.data_dir.clone(),
            publisher: Publisher::new(context.publisher.clone()),
            n_attempts,
        }
    }

    /// The group whose mailbox is read; of a service that runs everywhere, with the node's name.
    pub fn group(&self) -> &str {
        self.group.as_str()
    }

    /// The node's name.
    pub fn node(&self) -> String {
        self.node.to_string()
    }

    /// Where services keep what they project: a directory of this node, shared by its services.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Publishes at once, whether the handling succeeds or not.
    pub const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    pub(crate) fn count_attempts(&self, n: usize) {
        if let Some(n_attempts) = &self.n_attempts {
            n_attempts.fetch_add(n as u64, Ordering::Relaxed);
        }
    }
}

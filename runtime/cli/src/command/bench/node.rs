//! The node that is measured: in this process, on a fresh directory or on the one that was named.

use std::path::{Path, PathBuf};

use tidings::Node;
use tidings::node::Running;
use tidings_config::config::Config;
use tidings_config::load;

use crate::command::process;
use crate::context::{Context, NodeFlags};
use crate::failure::Failure;

/// Where to measure.
#[derive(Debug, clap::Args)]
pub(super) struct Where {
    /// The directory for the node's data, which stays; without it a fresh one, which goes
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// A node, and the directory that goes with it.
pub(super) struct Measuring {
    pub(super) running: Running,
    dir: Dir,
}

impl Measuring {
    /// Starts the node with what `add` puts into it.
    pub(super) async fn start(
        context: &Context,
        args: Where,
        add: impl FnOnce(Node) -> Node,
    ) -> Result<Self, Failure> {
        let loaded = load(context.node_options(&NodeFlags::default()))?;
        process::start_logging(&loaded, "warn")?;
        let dir = Dir::new(args.data);
        let mut config: Config = loaded.config;
        config.node.data_dir = dir.path().to_owned();
        config.http.port = 0;
        let (running, _) = process::start(add(Node::with(config))).await?;
        Ok(Self { running, dir })
    }

    /// Ends the node; all its workers are gone then.
    pub(super) async fn stop(self) {
        self.running.stop().await;
        drop(self.dir);
    }
}

/// A directory that is gone when this is, if nobody named it.
enum Dir {
    Named(PathBuf),
    Fresh(PathBuf),
}

impl Dir {
    fn new(named: Option<PathBuf>) -> Self {
        let fresh = || format!(".tidings/bench-{}", std::process::id()).into();
        named.map_or_else(|| Self::Fresh(fresh()), Self::Named)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::Fresh(path) => path,
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Self::Fresh(path) = self {
            // What cannot be removed stays under .tidings, where people expect it.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

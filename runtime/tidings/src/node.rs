//! A node as `main` sees it: services and routes put in, one call that runs them until the end.

use std::convert::Infallible;
use std::fmt::{self, Display};
#[cfg(feature = "http")]
use std::net::SocketAddr;
use std::path::PathBuf;

use tidings_config::config::{Config, Pace};
use tidings_node::handle::NodeHandle;
use tidings_node::node::{NodeOptions, RunningNode, start};
use tidings_node::service::ServiceSpec;

use crate::context::{SERVICES_DIR, ServiceContext};
use crate::error::Result;
#[cfg(feature = "http")]
use crate::http::{Http, Routes};
use crate::publish::Publisher;
use crate::service::{PlanError, Service, spec};
use crate::signals::Signals;

/// A node that is being put together: log, bus and HTTP of one process, and the services in it.
///
/// ```no_run
/// # use tidings::prelude::*;
/// # #[derive(Event, Serialize, Deserialize)]
/// # #[event(topic = "users", kind = "user.signed_up.v1", key = user_id)]
/// # struct UserSignedUp { user_id: Uuid }
/// # struct Welcome;
/// # impl Service for Welcome {
/// #     const GROUP: &'static str = "welcome";
/// #     fn plan(plan: Plan<Self>) -> Plan<Self> { plan.on::<UserSignedUp>(|handler| handler) }
/// # }
/// # impl Handle<UserSignedUp> for Welcome {
/// #     async fn handle(&mut self, _: UserSignedUp, _: &mut Cx) -> Handled { Ok(()) }
/// # }
/// #[tokio::main]
/// async fn main() -> tidings::Result<()> {
///     Node::from_env()?.service(|| Welcome).run().await
/// }
/// ```
pub struct Node {
    config: Config,
    services: Vec<Result<ServiceSpec, PlanError>>,
    #[cfg(feature = "http")]
    routes: Routes,
}

impl Node {
    /// A node by the environment: `TIDINGS_*`, and the file that `TIDINGS_CONFIG` names.
    ///
    /// With nothing set it keeps its data in `./.tidings` and listens on `127.0.0.1:7270`.
    ///
    /// # Errors
    /// If something is set that cannot be; all problems are told at once.
    pub fn from_env() -> Result<Self> {
        let loaded = tidings_config::load(tidings_config::load::Options::default())?;
        Ok(Self::with(loaded.config))
    }

    /// A node by a configuration.
    pub fn with(config: Config) -> Self {
        Self {
            config,
            services: Vec::new(),
            #[cfg(feature = "http")]
            routes: Routes::default(),
        }
    }

    /// The directory of the node: set, but not looked at before the node starts.
    pub fn data_dir(&self) -> PathBuf {
        self.config.node.data_dir.clone()
    }

    /// Where its services keep what they project; [`Cx::data_dir`](crate::cx::Cx::data_dir).
    pub fn services_dir(&self) -> PathBuf {
        self.config.node.data_dir.join(SERVICES_DIR)
    }

    /// Adds a service. The closure makes the value of each worker, and again after each restart.
    #[must_use]
    pub fn service<S: Service>(self, new_service: impl Fn() -> S + Send + Sync + 'static) -> Self {
        self.service_with(move |_| Ok::<_, Infallible>(new_service()))
    }

    /// Adds a service whose value needs to know where it runs, or can fail to be made.
    ///
    /// A failure counts as a crash of the worker: it is tried again with a back-off, and after five
    /// in half a minute the service stops, says why, and the node goes on.
    #[must_use]
    pub fn service_with<S: Service, E: Display>(
        mut self,
        new_service: impl Fn(&ServiceContext) -> Result<S, E> + Send + Sync + 'static,
    ) -> Self {
        self.services.push(spec(new_service, None));
        self
    }

    /// Adds routes under the node's HTTP address. `/v1`, `/metrics`, `/livez`, `/readyz` and
    /// `/startupz` are the node's own.
    ///
    /// They run beside the services and not on the core's threads. The closure is called once the
    /// node runs.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn routes(
        mut self,
        routes: impl FnOnce(Publisher) -> axum::Router + Send + 'static,
    ) -> Self {
        self.routes.add(routes);
        self
    }

    /// Runs until SIGTERM or ctrl-c, then ends in order: what runs is finished, what is not comes
    /// again after the next start.
    ///
    /// # Errors
    /// If the node cannot start.
    pub async fn run(self) -> Result<()> {
        // First, so that a signal during the start is not lost.
        let signals = Signals::listen()?;
        let data = self.data_dir();
        let running = self.start().await?;
        #[cfg(feature = "http")]
        eprintln!("ready: http://{}   data: {}", running.addr(), data.display());
        #[cfg(not(feature = "http"))]
        eprintln!("ready   data: {}", data.display());
        signals.wait().await;
        running.stop().await;
        Ok(())
    }

    /// Starts, and returns once the node runs: services run on the runtime that calls this.
    ///
    /// # Errors
    /// If a plan cannot be carried out, the directory cannot be used, or the address cannot be
    /// listened on.
    pub async fn start(self) -> Result<Running> {
        let services = self.services.into_iter().collect::<Result<Vec<_>, _>>()?;
        let options = NodeOptions {
            node: self.config.node.id,
            services,
            relaxed: self.config.replica.pace == Pace::Relaxed,
            drain_wait: self.config.node.drain_wait,
            ..NodeOptions::new(&self.config.node.data_dir)
        };
        let node = start(options).await?;
        #[cfg(feature = "http")]
        let http = match Http::start(&self.config, &node.handle, self.routes) {
            Ok(http) => http,
            Err(error) => {
                node.drain().await;
                return Err(error);
            }
        };
        Ok(Running {
            node,
            #[cfg(feature = "http")]
            http,
        })
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("config", &self.config)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

/// A node that runs.
#[derive(Debug)]
pub struct Running {
    node: RunningNode,
    #[cfg(feature = "http")]
    http: Http,
}

impl Running {
    /// The address that HTTP listens on.
    #[cfg(feature = "http")]
    pub const fn addr(&self) -> SocketAddr {
        self.http.addr()
    }

    /// The way into the node, past HTTP.
    pub const fn handle(&self) -> &NodeHandle {
        &self.node.handle
    }

    /// A publisher of this node.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(self.node.handle.publisher())
    }

    /// Ends the node in order: no new requests, answers to those that are out, handlers finish,
    /// their outcomes reach the log.
    pub async fn stop(self) {
        self.node.close_intake();
        #[cfg(feature = "http")]
        self.http.stop().await;
        self.node.drain().await;
    }
}

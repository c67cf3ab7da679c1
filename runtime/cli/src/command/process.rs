//! What the commands that run a node share: runtime, logging, readiness, the end.

use std::future::Future;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use tidings::node::Running;
use tidings::{Error, Node};
use tidings_config::config::{Config, LogConfig, LogFormat};
use tidings_config::error::{ConfigError, Problem};
use tidings_config::load::Loaded;
use tidings_log::OpenError;
use tidings_node::node::StartError;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// How long a node may take until it is ready.
const READY_WAIT_MAX: Duration = Duration::from_secs(30);
const READY_LOOK: Duration = Duration::from_millis(2);

/// Runs a command that runs a node; its services run on this runtime's threads.
pub(crate) fn run(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(command)
}

/// Lets the process log to standard error, at this level if none is set.
pub(crate) fn start_logging(loaded: &Loaded, level_else: &str) -> Result<(), Failure> {
    let LogConfig { level, format } = &loaded.config.log;
    let origin = loaded.origin("log.level");
    let is_set = origin != tidings_config::origin::Origin::Default;
    let directives = if is_set { level.as_str() } else { level_else };
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        let reason = format!("{directives:?} is no level and no directive: {error}");
        ConfigError { problems: vec![Problem::BadValue { origin, key: "log.level", reason }] }
    })?;
    let mut subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if !io::stderr().is_terminal() {
        // On a terminal NO_COLOR decides.
        subscriber = subscriber.with_ansi(false);
    }
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// Starts the node and waits until it takes work; says how long that took.
pub(crate) async fn start(node: Node) -> Result<(Running, Duration), Failure> {
    let began = Instant::now();
    let running = node.start().await.map_err(not_started)?;
    loop {
        let checks = running.handle().checks();
        let Some(check) = checks.iter().find(|check| !check.ok) else { break };
        if began.elapsed() > READY_WAIT_MAX {
            let what = format!("node is not ready after {READY_WAIT_MAX:?}: {}", check.detail);
            running.stop().await;
            let help = "look at what it logged; --log-level debug tells more".to_owned();
            return Err(Failure::Node { exit: 1, code: "T0607", what, help });
        }
        tokio::time::sleep(READY_LOOK).await;
    }
    Ok((running, began.elapsed()))
}

/// The URL of a node that runs here.
pub(crate) fn url(running: &Running) -> String {
    format!("http://{}", running.addr())
}

/// A configuration whose client commands talk to this node.
pub(crate) fn client_config(config: &Config, running: &Running) -> Config {
    let mut config = config.clone();
    config.client.server = url(running);
    config
}

/// Listens for SIGTERM and ctrl-c from its making on.
#[derive(Debug)]
pub(crate) struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn not_started(error: Error) -> Failure {
    let what = error.to_string();
    let (exit, code, help) = match error {
        Error::Config(error) => return Failure::Config(error),
        Error::Start(StartError::Open(OpenError::InUse { .. })) => {
            (ConfigError::EXIT, "T0107", "stop that process, or choose another with --data")
        }
        Error::Start(StartError::Open(_) | StartError::Replica(_)) => {
            (ConfigError::EXIT, "T0108", "`tidings log check DIR` tells more; --data takes another")
        }
        Error::Http(error) if error.is_configuration() => {
            (ConfigError::EXIT, error.code(), "`tidings config show` tells where it was set")
        }
        Error::Http(error) => {
            (1, error.code(), "choose another with --port, or end what listens there")
        }
        _ => (1, "T0110", "look at what it logged; --log-level debug tells more"),
    };
    Failure::Node { exit, code, what, help: help.to_owned() }
}

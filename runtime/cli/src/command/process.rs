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
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

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
    let filter = filter(directives).map_err(|reason| ConfigError {
        problems: vec![Problem::BadValue { origin, key: "log.level", reason }],
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

/// What to log. The filter would take a word that is no level for the name of a module, and then
/// log next to nothing; so we take it for the mistake it is.
fn filter(directives: &str) -> Result<EnvFilter, String> {
    let is_level = |word: &str| LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    let directive = |word: &str| word.is_empty() || word.contains('=') || is_level(word);
    if let Some(bad) = directives.split(',').find(|word| !directive(word)) {
        let levels = LEVELS.join(", ");
        return Err(format!("{bad:?} is not one of {levels}, and not like module=level"));
    }
    EnvFilter::try_new(directives)
        .map_err(|error| format!("{directives:?} is no level and no directive: {error}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A mistyped level must stop the node: it would run on and log nothing.
    #[test]
    fn words_that_are_no_level_are_refused() {
        for good in ["info", "OFF", "warn,tidings_node=debug", "a::b=trace", "info,"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["bogus", "tidings_node", "info,bogus", "tidings_node=bogus", "info, debug"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}

//! The typed configuration and its defaults.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tidings_types::id::NodeId;
use tidings_types::limits::DRAIN_WAIT_MAX;

/// The HTTP port of a node, unless told otherwise.
pub const HTTP_PORT_DEFAULT: u16 = 7270;

/// Everything that can be set. `Default` is what `reference.toml` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The node itself.
    pub node: NodeConfig,
    /// Its HTTP side.
    pub http: HttpConfig,
    /// Its replica.
    pub replica: ReplicaConfig,
    /// How long events stay.
    pub retention: RetentionConfig,
    /// What it logs.
    pub log: LogConfig,
    /// What client commands talk to.
    pub client: ClientConfig,
}

/// The node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Its id in the cluster; its name is `n1` for 1.
    pub id: NodeId,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// How long it waits at its end for what runs.
    pub drain_wait: Duration,
}

/// The HTTP side of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// The address to listen on; other than loopback only with a token.
    pub address: IpAddr,
    /// The port to listen on; 0 lets the system choose.
    pub port: u16,
    /// What callers must present as `authorization: Bearer …`; empty: nothing.
    pub token: Secret,
}

/// The node's replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// How patient it is.
    pub pace: Pace,
}

/// How patient a replica is with its peers and its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Elections after 500 to 1000 ms of silence.
    #[default]
    Normal,
    /// Three times as patient, for starved machines.
    Relaxed,
}

/// How long events stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Older events may go.
    pub age: Duration,
    /// Events beyond so many bytes may go; 0: no bound.
    pub bytes: u64,
}

/// What the process logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or directives such as `info,tidings_node=debug`.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What client commands talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// The node's URL; empty: the one of this configuration on this machine.
    pub server: String,
    /// The token to present; empty: `http.token`.
    pub token: Secret,
    /// How long one request may take.
    pub timeout: Duration,
}

impl Config {
    /// The address that HTTP listens on.
    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::new(self.http.address, self.http.port)
    }

    /// The port between nodes: the one above HTTP's. With an HTTP port of 0 the system chooses
    /// this one, too.
    pub const fn cluster_port(&self) -> u16 {
        match self.http.port {
            0 => 0,
            port => port.saturating_add(1),
        }
    }

    /// The node's name.
    pub fn node_name(&self) -> String {
        self.node.id.to_string()
    }

    /// Where client commands send their requests, without a slash at the end.
    pub fn server_url(&self) -> String {
        if !self.client.server.is_empty() {
            return self.client.server.trim_end_matches('/').to_owned();
        }
        let address = match self.http.address {
            address if address.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            address => address,
        };
        format!("http://{}", SocketAddr::new(address, self.http.port))
    }

    /// What client commands present.
    pub const fn client_token(&self) -> &Secret {
        if self.client.token.is_empty() { &self.http.token } else { &self.client.token }
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        let data_dir = PathBuf::from(".tidings");
        Self { id: NodeId::new(1), data_dir, drain_wait: DRAIN_WAIT_MAX }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { address, port: HTTP_PORT_DEFAULT, token: Secret::default() }
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { age: Duration::from_secs(7 * 24 * 3_600), bytes: 0 }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        let timeout = Duration::from_secs(10);
        Self { server: String::new(), token: Secret::default(), timeout }
    }
}

/// A value that is never shown: not by `Debug`, not by `config show`, not by an error.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "(not set)" } else { "(set)" })
    }
}

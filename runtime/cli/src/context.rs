//! What every command is given: the global flags, the output, the way to the configuration.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tidings_config::config::Config;
use tidings_config::load;
use tidings_config::load::{Loaded, Options};

use crate::failure::Failure;
use crate::output::{Format, Output};
use crate::server::Server;

/// Flags that each command has.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The node that client commands talk to, as http://host:port
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// A file that holds the token to present, or for a node the one to demand
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How long one request may take
    #[arg(long, global = true, value_name = "DURATION")]
    timeout: Option<String>,
    /// A configuration file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The form of what goes to standard output
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Format,
    /// No talk on standard error, errors aside
    #[arg(short, long, global = true)]
    quiet: bool,
}

/// Flags of commands that run a node, or show how one would be set.
#[derive(Debug, Default, Args)]
pub(crate) struct NodeFlags {
    /// The HTTP port; the cluster port is the one above it
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The directory for the node's data
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The address to listen on; other than loopback needs a token
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// What to log: a level, or directives such as info,tidings_node=debug
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// The form of a log line: text or json
    #[arg(long, value_name = "FORM")]
    log_format: Option<String>,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) output: Output,
    options: Options,
}

impl Context {
    pub(crate) fn new(global: Global) -> Result<Self, Failure> {
        let mut output = Output::new(global.output, global.quiet);
        let shown = |path: &PathBuf| path.display().to_string();
        for (name, value) in [
            ("--config", global.config.as_ref().map(shown)),
            ("--token-file", global.token_file.as_ref().map(shown)),
            ("--server", global.server.clone()),
        ] {
            if let Some(value) = value {
                output = output.with_node_flag(name, &value);
            }
        }
        let token = global.token_file.map(read_token).transpose()?;
        let options = Options::with_file(global.config)
            .flag("--token-file", "http.token", token)
            .flag("--server", "client.server", global.server)
            .flag("--timeout", "client.timeout", global.timeout);
        Ok(Self { output, options })
    }

    /// The configuration of a command that talks to a node.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        Ok(load(self.options.clone())?)
    }

    /// The output of a command that runs a node here: what it suggests must reach that node.
    pub(crate) fn output_of_node(&self, addr: SocketAddr) -> Output {
        let mut config = Config::default();
        (config.http.address, config.http.port) = (addr.ip(), addr.port());
        let (url, output) = (config.server_url(), self.output.clone());
        let reached = self.load().map(|loaded| loaded.config.server_url());
        let is_reached = reached.is_ok_and(|reached| reached == url);
        if is_reached { output } else { output.with_node_flag("--server", &url) }
    }

    /// The options of a command that runs a node.
    pub(crate) fn node_options(&self, flags: &NodeFlags) -> Options {
        let data = flags.data.as_ref().map(|data| data.display());
        self.options
            .clone()
            .flag("--port", "http.port", flags.port)
            .flag("--data", "node.data_dir", data)
            .flag("--address", "http.address", flags.address.as_ref())
            .flag("--log-level", "log.level", flags.log_level.as_ref())
            .flag("--log-format", "log.format", flags.log_format.as_ref())
    }

    /// The node to talk to.
    pub(crate) fn server(&self) -> Result<Server, Failure> {
        Ok(Server::new(&self.load()?.config))
    }
}

fn read_token(path: PathBuf) -> Result<String, Failure> {
    match fs::read_to_string(&path) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(error) => Err(Failure::File { path, reason: error.to_string() }),
    }
}

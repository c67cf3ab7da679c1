//! The commands, one file each.

// What several commands share comes first.
mod place;

mod shown;

mod progress;

mod process;

mod bench;

mod config;

mod dead;

mod demo;

mod event;

mod group;

mod log;

mod publish;

mod serve;

mod service;

mod status;

mod tail;

mod topic;

mod verify;

use std::future::Future;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Failure;

/// What there is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node with the three example services, and sign-ups coming in
    Demo(demo::Args),
    /// Run a node without services, until SIGTERM or ctrl-c
    Serve(serve::Args),
    /// Publish events to a topic
    Publish(publish::Args),
    /// Print the events of topics as they come
    Tail(tail::Args),
    /// Tell one event's story: where it is stored and what each group did with it
    Event(event::Args),
    /// Topics
    #[command(subcommand, visible_alias = "t")]
    Topic(topic::Command),
    /// Groups, the durable identities of services
    #[command(subcommand, visible_alias = "g")]
    Group(group::Command),
    /// Services of a node, the supervisors and workers behind its groups
    #[command(subcommand, visible_alias = "s")]
    Service(service::Command),
    /// Dead letters, events that a group gave up
    #[command(subcommand, visible_alias = "dlq")]
    Dead(dead::Command),
    /// Say how the node is
    Status(status::Args),
    /// Kill a node under load, and prove that nothing was lost
    Verify(verify::Args),
    /// The node that verify tests
    #[command(hide = true)]
    VerifyNode(verify::node::Args),
    /// Measure
    #[command(subcommand)]
    Bench(bench::Command),
    /// A node's log, offline
    #[command(subcommand)]
    Log(log::Command),
    /// Settings
    #[command(subcommand)]
    Config(config::Command),
}

impl Command {
    /// Runs the command to its end.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Demo(args) => demo::run(context, args),
            Self::Serve(args) => serve::run(context, args),
            Self::Publish(args) => wait_for(publish::run(context, args)),
            Self::Tail(args) => wait_for(tail::run(context, args)),
            Self::Event(args) => wait_for(event::run(context, args)),
            Self::Topic(command) => wait_for(topic::run(context, command)),
            Self::Group(command) => wait_for(group::run(context, command)),
            Self::Service(command) => wait_for(service::run(context, command)),
            Self::Dead(command) => wait_for(dead::run(context, command)),
            Self::Status(args) => wait_for(status::run(context, args)),
            Self::Verify(args) => verify::run(context, args),
            Self::VerifyNode(args) => verify::node::run(args),
            Self::Bench(command) => bench::run(context, command),
            Self::Log(command) => log::run(context, command),
            Self::Config(command) => config::run(context, command),
        }
    }
}

/// A client command waits for one answer at a time, so this thread is all it needs.
fn wait_for(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command)
}

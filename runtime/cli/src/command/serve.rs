//! `tidings serve`: a node without services, until SIGTERM or ctrl-c.

use serde::Serialize;
use tidings::Node;
use tidings_config::load;

use crate::command::process;
use crate::context::{Context, NodeFlags};
use crate::failure::Failure;

/// How to run it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    flags: NodeFlags,
}

#[derive(Serialize)]
struct Ready {
    node: String,
    url: String,
    data: String,
    ready_ms: u64,
}

/// Runs the command.
pub(crate) fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let loaded = load(context.node_options(&args.flags))?;
    process::start_logging(&loaded, "info")?;
    process::run(async {
        let config = loaded.config;
        let (node, data) = (config.node_name(), config.node.data_dir.display().to_string());
        let mut end = process::End::listen()?;
        let (running, took) = process::start(Node::with(config)).await?;
        let (url, ready_ms) = (process::url(&running), took.as_millis() as u64);
        let output = &context.output_of_node(running.addr());
        output.say(&format!(
            "tidings {}   node {node}   data: {data}\n  events   {url}/v1/topics     metrics  \
             {url}/metrics\nready in {ready_ms} ms.",
            env!("CARGO_PKG_VERSION"),
        ));
        output.next(&["tidings topic create NAME", "tidings status"]);
        if !output.is_for_people() {
            output.one(&Ready { node, url, data, ready_ms }, |ready| {
                format!("ready {}", ready.url)
            })?;
        }
        end.wait().await;
        output.say("ends: finishes what runs");
        running.stop().await;
        Ok(())
    })
}

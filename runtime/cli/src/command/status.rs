//! `tidings status`: how the node is, and why it is not ready if so.

use std::time::{Duration, Instant};

use tidings_config::quantity::{show_duration, show_size};

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{count, counted};
use tidings::api::{CheckInfo, StatusInfo};

/// How often a node that is not ready is asked again.
const LOOK: Duration = Duration::from_millis(20);

/// How to look.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Wait until the node is ready, at most as long as --timeout says; then exit 3
    #[arg(long)]
    until_healthy: bool,
}

/// Runs the command.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let server = context.server()?;
    let deadline = Instant::now() + context.load()?.config.client.timeout;
    let status = loop {
        let status = server.get::<StatusInfo>("/v1/status").await;
        let is_ready = matches!(&status, Ok(status) if unready(status).is_none());
        let is_worth_waiting = match &status {
            Ok(_) | Err(Failure::Unreachable { .. } | Failure::Lost { .. }) => true,
            Err(_) => false,
        };
        if is_ready || !args.until_healthy || !is_worth_waiting || deadline <= Instant::now() {
            break status;
        }
        tokio::time::sleep(LOOK).await;
    }?;
    let output = &context.output;
    output.one(&status, show)?;
    output.next(&["tidings group ls", "tidings topic ls"]);
    output.say(&format!("metrics:  {}/metrics", server.url()));
    match unready(&status) {
        None => Ok(()),
        Some(check) => Err(Failure::Node {
            exit: if args.until_healthy { 3 } else { 1 },
            code: "T0607",
            what: format!("node {} is not ready: {}: {}", status.node, check.check, check.detail),
            help: "see its log; a node that has just begun needs a moment".to_owned(),
        }),
    }
}

fn unready(status: &StatusInfo) -> Option<&CheckInfo> {
    status.ready.iter().find(|check| !check.ok)
}

fn show(status: &StatusInfo) -> String {
    let StatusInfo { node, version, role, term, commit, applied, data, space, .. } = status;
    let is_ready = unready(status).is_none();
    let readiness = if is_ready { "ready" } else { "NOT READY" };
    let uptime = show_duration(Duration::from_millis(status.uptime_ms / 1_000 * 1_000));
    let mut lines = vec![
        format!("{node}   {readiness}   {role} in term {term}   tidings {version}   up {uptime}"),
        format!("  cluster  {}   start {} on this directory", status.cluster, status.incarnation),
        format!("  data     {data}   log {}   space: {space}", rounded(status.log_bytes)),
        format!("  log      committed {}   applied {}", count(*commit), count(*applied)),
        format!(
            "  holds    {}   {}",
            counted(status.topics, "topic"),
            counted(status.groups, "group")
        ),
    ];
    for check in &status.ready {
        let mark = if check.ok { "ok  " } else { "FAIL" };
        lines.push(format!("  {mark}     {}: {}", check.check, check.detail));
    }
    lines.join("\n")
}

/// To the MiB: nobody reads a log's size to the byte.
fn rounded(bytes: u64) -> String {
    show_size(bytes.next_multiple_of(1 << 20))
}

//! `tidings status`: how the node is, and why it is not ready if so.

use std::time::Duration;

use tidings_config::quantity::{show_duration, show_size};

use crate::context::Context;
use crate::failure::Failure;
use crate::output::count;
use tidings::api::StatusInfo;

/// Runs the command.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let (server, output) = (context.server()?, &context.output);
    let status: StatusInfo = server.get("/v1/status").await?;
    output.one(&status, show)?;
    output.next(&["tidings group ls", "tidings topic ls", &format!("{}/metrics", server.url())]);
    match status.ready.iter().find(|check| !check.ok) {
        None => Ok(()),
        Some(check) => Err(Failure::Node {
            exit: 1,
            code: "T0607",
            what: format!("node {} is not ready: {}: {}", status.node, check.check, check.detail),
            help: "see its log; a node that has just begun needs a moment".to_owned(),
        }),
    }
}

fn show(status: &StatusInfo) -> String {
    let StatusInfo { node, version, role, term, commit, applied, data, space, .. } = status;
    let is_ready = status.ready.iter().all(|check| check.ok);
    let readiness = if is_ready { "ready" } else { "NOT READY" };
    let uptime = show_duration(Duration::from_millis(status.uptime_ms / 1_000 * 1_000));
    let mut lines = vec![
        format!("{node}   {readiness}   {role} in term {term}   tidings {version}   up {uptime}"),
        format!("  cluster  {}   start {} on this directory", status.cluster, status.incarnation),
        format!("  data     {data}   log {}   space: {space}", rounded(status.log_bytes)),
        format!("  log      committed {}   applied {}", count(*commit), count(*applied)),
        format!("  holds    {} topics   {} groups", status.topics, status.groups),
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

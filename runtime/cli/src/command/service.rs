//! `tidings service`: the supervision tree of a node.

use std::time::Duration;

use clap::Subcommand;
use tidings::api::{ChildInfo, ServiceInfo};
use tidings_config::quantity::show_duration;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::counted;
use crate::server::segment;

/// What to do with services.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show each service with its tasks and workers, what they do and why they died last
    Tree {
        /// Only this group's
        group: Option<String>,
    },
}

/// Runs the command.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let (server, output) = (context.server()?, &context.output);
    let Command::Tree { group } = command;
    let services: Vec<ServiceInfo> = match group {
        Some(group) => vec![server.get(&format!("/v1/services/{}", segment(&group))).await?],
        None => server.get("/v1/services").await?,
    };
    output.one(&services, |services| tree(services))?;
    match services.iter().find(|service| service.state == "stopped") {
        Some(service) => output.next(&[&format!("tidings group show {}", service.group)]),
        None if services.is_empty() => output.say("no services run on this node"),
        None => output.next(&["tidings group ls"]),
    }
    Ok(())
}

fn tree(services: &[ServiceInfo]) -> String {
    services.iter().map(of_service).collect::<Vec<_>>().join("\n")
}

fn of_service(service: &ServiceInfo) -> String {
    let ServiceInfo { group, state, strategy, restarts, .. } = service;
    let strategy = strategy.replace('_', " ");
    let mut lines =
        vec![format!("{group}   {state}   {strategy}   {}", counted(*restarts, "restart"))];
    lines.extend(service.reason.iter().map(|reason| format!("│  {reason}")));
    let n_children = service.children.len();
    for (idx, child) in service.children.iter().enumerate() {
        let branch = if idx + 1 == n_children { "└─" } else { "├─" };
        lines.push(format!("{branch} {}", of_child(child)));
    }
    lines.join("\n")
}

fn of_child(child: &ChildInfo) -> String {
    let ChildInfo { name, state, since_ms, .. } = child;
    let mut parts = vec![format!("{name}   {state} {}", shown(*since_ms))];
    if child.restart != "permanent" {
        parts.push(child.restart.clone());
    }
    if let Some(running) = &child.running {
        let others = child.holds.saturating_sub(1);
        let behind = if others > 0 { format!(", {others} behind it") } else { String::new() };
        parts.push(format!(
            "at {} @{} {} attempt {} for {}{behind}",
            running.topic,
            running.offset,
            running.id,
            running.attempt,
            shown(running.running_ms)
        ));
    } else if child.holds > 0 {
        parts.push(format!("holds {}", counted(child.holds, "event")));
    }
    // A handler is polled all the time; what people should see is one that does not come back.
    if let Some(blocked_ms) = child.blocked_ms.filter(|blocked_ms| *blocked_ms >= 1_000) {
        parts.push(format!("HAS NOT YIELDED for {}", shown(blocked_ms)));
    }
    if child.restarts > 0 {
        parts.push(counted(child.restarts, "restart"));
    }
    parts.extend(child.last_reason.iter().map(|reason| format!("last: {reason}")));
    parts.join("   ")
}

/// To the second once it is one.
fn shown(ms: u64) -> String {
    let ms = if ms < 1_000 { ms } else { ms / 1_000 * 1_000 };
    show_duration(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use tidings::api::RunningInfo;

    use super::*;

    fn child(name: &str) -> ChildInfo {
        ChildInfo {
            name: name.to_owned(),
            restart: "permanent".to_owned(),
            state: "up".to_owned(),
            since_ms: 61_250,
            restarts: 0,
            last_reason: None,
            holds: 0,
            running: None,
            blocked_ms: None,
        }
    }

    /// Who looks wants to see at once what a worker is at, which one hangs, and why one died.
    #[test]
    fn tree_tells_what_each_child_does() {
        let running = RunningInfo {
            topic: "users".to_owned(),
            offset: 7,
            id: "e-7".to_owned(),
            kind: "user.signed_up.v1".to_owned(),
            attempt: 2,
            running_ms: 4_200,
        };
        let busy = ChildInfo {
            holds: 3,
            running: Some(running),
            blocked_ms: Some(4_200),
            restarts: 1,
            last_reason: Some("no such host".to_owned()),
            ..child("worker 0")
        };
        let poller = ChildInfo { restart: "transient".to_owned(), ..child("task poll") };
        let service = ServiceInfo {
            group: "mail".to_owned(),
            state: "running".to_owned(),
            reason: None,
            strategy: "rest_for_one".to_owned(),
            restarts: 1,
            children: vec![poller, busy, child("worker 1")],
        };
        let expected = "mail   running   rest for one   1 restart\n\
            ├─ task poll   up 1m 1s   transient\n\
            ├─ worker 0   up 1m 1s   at users @7 e-7 attempt 2 for 4s, 2 behind it   \
            HAS NOT YIELDED for 4s   1 restart   last: no such host\n\
            └─ worker 1   up 1m 1s";
        assert_eq!(tree(&[service]), expected);
    }
}

//! `tidings group`: list and show groups.

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{count, table};
use crate::server::segment;
use tidings::api::{GroupInfo, MailboxInfo};

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List groups
    Ls,
    /// Show one group and its mailboxes
    Show {
        /// Its name
        group: String,
    },
}

const HEADER: [&str; 8] =
    ["GROUP", "STATE", "WORKERS", "RESTARTS", "LAG", "RETRYING", "DEAD", "TOPICS"];
const MAILBOX_HEADER: [&str; 5] = ["TOPIC", "FLOOR", "END", "LAG", "RETRYING"];

/// Runs the command.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let (server, output) = (context.server()?, &context.output);
    match command {
        Command::Ls => {
            let groups: Vec<GroupInfo> = server.get("/v1/groups").await?;
            output.list(&groups, &HEADER, cells)?;
            match groups.iter().find(|group| group.dead > 0) {
                Some(group) => output.next(&[&format!("tidings dead ls --group {}", group.name)]),
                None if groups.is_empty() => output.say("no groups yet: a service makes its own"),
                None => output.next(&["tidings group show NAME"]),
            }
        }
        Command::Show { group } => {
            let path = format!("/v1/groups/{}", segment(&group));
            let group: GroupInfo = server.get(&path).await?;
            output.one(&group, show)?;
            if group.dead > 0 {
                output.next(&[&format!("tidings dead ls --group {}", group.name)]);
            } else {
                output.next(&["tidings status"]);
            }
        }
    }
    Ok(())
}

fn show(group: &GroupInfo) -> String {
    let mut text = table(&HEADER, [cells(group)].into_iter());
    if let Some(reason) = &group.reason {
        text.push_str(&format!("\n{}: {reason}", group.state));
    }
    text.push_str(&format!("\n\n{}", table(&MAILBOX_HEADER, group.mailboxes.iter().map(mailbox))));
    text
}

fn cells(group: &GroupInfo) -> Vec<String> {
    let topics: Vec<_> = group.mailboxes.iter().map(|mailbox| mailbox.topic.as_str()).collect();
    vec![
        group.name.clone(),
        group.state.clone(),
        group.workers.to_string(),
        count(group.restarts),
        count(group.lag),
        count(group.retrying),
        count(group.dead),
        topics.join(", "),
    ]
}

fn mailbox(mailbox: &MailboxInfo) -> Vec<String> {
    let [floor, end] = [mailbox.floor, mailbox.end].map(|offset| offset.to_string());
    vec![mailbox.topic.clone(), floor, end, count(mailbox.lag), count(mailbox.retrying)]
}

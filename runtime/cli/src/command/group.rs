//! `tidings group`: list and show groups, pause them, send them elsewhere, and let waiting events go on.

use clap::Subcommand;
use serde::Deserialize;
use serde_json::json;

use crate::command::place::{Place, Which};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, count, counted, table};
use crate::server::{JSON, Server, segment};
use tidings::api::{GroupInfo, MailboxInfo, RetryInfo, SeekInfo, WaitingInfo};

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
    /// Hand nothing more out, until it is resumed; what is published waits
    Pause {
        /// The group
        group: String,
    },
    /// Go on with a group that was paused
    Resume {
        /// The group
        group: String,
    },
    /// Go on elsewhere on a topic: what is before counts as settled, what is behind comes again
    Seek {
        /// The group
        group: String,
        /// The topic
        #[arg(long)]
        topic: String,
        /// start, end, an offset, or a moment: 2026-01-02T03:04:05Z, or 10m for ten minutes ago
        #[arg(long)]
        to: String,
        /// Say what would come again and what would be left out, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// List the events that wait for another attempt, or for you, each with its key behind it
    Waiting {
        /// The group
        group: String,
    },
    /// Let waiting events be tried now, paused ones too: each has one more attempt
    Retry {
        /// The group
        group: String,
        /// Which of them
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Deserialize)]
struct WaitingList {
    events: Vec<WaitingInfo>,
    more: usize,
}

const HEADER: [&str; 8] =
    ["GROUP", "STATE", "WORKERS", "RESTARTS", "LAG", "RETRYING", "DEAD", "TOPICS"];
const WAITING_HEADER: [&str; 4] = ["EVENT", "ATTEMPTS", "NEXT", "MESSAGE"];
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
            if group.paused > 0 {
                output.next(&[
                    &format!("tidings group waiting {}", group.name),
                    &format!("tidings group retry {} --all", group.name),
                ]);
            } else if group.dead > 0 {
                output.next(&[&format!("tidings dead ls --group {}", group.name)]);
            } else {
                output.next(&["tidings status"]);
            }
        }
        Command::Pause { group } => {
            let path = format!("/v1/groups/{}/pause", segment(&group));
            let paused: GroupInfo = server.post(&path, JSON, "{}").await?;
            output.one(&paused, show)?;
            output.next(&[&format!("tidings group resume {group}")]);
        }
        Command::Resume { group } => {
            let path = format!("/v1/groups/{}/resume", segment(&group));
            let resumed: GroupInfo = server.post(&path, JSON, "{}").await?;
            output.one(&resumed, show)?;
            output.next(&[&format!("tidings group show {group}")]);
        }
        Command::Seek { group, topic, to, dry_run } => {
            let path = format!("/v1/groups/{}/seek", segment(&group));
            let to = to.parse::<u64>().map_or_else(|_| json!(to), |offset| json!(offset));
            let body = json!({ "topic": topic, "to": to, "dry_run": dry_run }).to_string();
            let sought: SeekInfo = server.post(&path, JSON, body).await?;
            output.one(&sought, |sought| tell_seek(&group, sought))?;
            output.next(&[&format!("tidings group show {group}")]);
        }
        Command::Waiting { group } => list_waiting(&server, output, &group).await?,
        Command::Retry { group, which } => {
            let body = which.body("events");
            let path = format!("/v1/groups/{}/retry", segment(&group));
            let done: RetryInfo = server.post(&path, JSON, body).await?;
            output.one(&done, |done| {
                format!("{} of {group} need not wait", counted(done.retried.into(), "event"))
            })?;
            output.next(&[&format!("tidings group waiting {group}")]);
        }
    }
    Ok(())
}

async fn list_waiting(server: &Server, output: &Output, group: &str) -> Result<(), Failure> {
    let path = format!("/v1/groups/{}/waiting", segment(group));
    let WaitingList { events, more } = server.get(&path).await?;
    output.list(&events, &WAITING_HEADER, waiting)?;
    if more > 0 {
        output.say(&format!("and {more} more, which the node did not list"));
    }
    match events.first() {
        None => output.say("nothing waits for another attempt"),
        Some(event) => {
            let place = Place { topic: event.topic.clone(), offset: event.offset };
            output.next(&[
                &format!("tidings group retry {group} {place}"),
                &format!("tidings group retry {group} --all"),
            ]);
        }
    }
    Ok(())
}

fn tell_seek(group: &str, sought: &SeekInfo) -> String {
    let SeekInfo { topic, from, to, redelivers, skips, drops_dead, dry_run } = sought;
    let (goes, will) = if *dry_run { ("would go", "would") } else { ("goes", "will") };
    let again = counted(*redelivers, "settled event");
    let left_out = counted(*skips, "event");
    let mut text = format!("{group} {goes} on at {topic}@{to}; it was at {from}");
    text.push_str(&format!("\n{again} {will} come again, {left_out} {will} be left out"));
    if *drops_dead > 0 {
        let letters = counted(*drops_dead, "dead letter");
        text.push_str(&format!("\n{letters} {will} go, as the events come again"));
    }
    text
}

fn show(group: &GroupInfo) -> String {
    let mut text = table(&HEADER, [cells(group)].into_iter());
    if let Some(reason) = &group.reason {
        text.push_str(&format!("\n{}: {reason}", group.state));
    }
    if group.paused > 0 {
        let events = counted(group.paused, "event");
        text.push_str(&format!("\n{events} and the keys behind wait for you"));
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

fn waiting(event: &WaitingInfo) -> Vec<String> {
    let place = Place { topic: event.topic.clone(), offset: event.offset };
    let next = event.next_attempt_at.clone().unwrap_or_else(|| "paused".to_owned());
    vec![place.to_string(), event.attempts.to_string(), next, event.message.clone()]
}

fn mailbox(mailbox: &MailboxInfo) -> Vec<String> {
    let [floor, end] = [mailbox.floor, mailbox.end].map(|offset| offset.to_string());
    vec![mailbox.topic.clone(), floor, end, count(mailbox.lag), count(mailbox.retrying)]
}

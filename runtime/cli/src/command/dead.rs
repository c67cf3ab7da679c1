//! `tidings dead`: list, show, edit, redrive, drop and export dead letters.

mod meant;

mod pages;

use clap::Subcommand;
use serde_json::json;

use crate::command::dead::meant::{Fit, Meant};
use crate::command::dead::pages::{LetterList, each, place_of, redrive_at};
use crate::command::event::tell;
use crate::command::place::Place;
use crate::command::publish::{content, given};
use crate::command::shown;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::counted;
use crate::server::{JSON, segment};
use tidings::api::{DeadLetterInfo, DiscardInfo, RedriveInfo};

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List dead letters
    Ls {
        /// Of this group only
        #[arg(long)]
        group: Option<String>,
        /// What they are like
        #[command(flatten)]
        fit: Fit,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one dead letter with its event
    Show {
        /// The group that gave it up
        group: String,
        /// The event, as TOPIC@OFFSET
        event: Place,
    },
    /// Give a dead letter another payload, for when it is redriven; what was published is kept
    Edit {
        /// The group that gave it up
        group: String,
        /// The event, as TOPIC@OFFSET
        event: Place,
        /// The payload: JSON, or - to read it from standard input
        payload: String,
        /// The payload is base64, of any bytes
        #[arg(long)]
        base64: bool,
    },
    /// Give dead letters back to their group, behind what waits for the same key
    Redrive {
        /// The group that gave them up
        group: String,
        #[command(flatten)]
        meant: Meant,
        /// Say how many, and do nothing
        #[arg(long)]
        dry_run: bool,
        /// So many a second at most
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "dry_run")]
        rate: Option<u32>,
    },
    /// Let dead letters go for good, with their payloads
    Drop {
        /// The group that gave them up
        group: String,
        #[command(flatten)]
        meant: Meant,
        /// Say how many, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Write all dead letters of a group that fit to standard output, one JSON object a line
    Export {
        /// The group that gave them up
        group: String,
        /// What they are like
        #[command(flatten)]
        fit: Fit,
    },
}

const HEADER: [&str; 7] = ["GROUP", "EVENT", "TYPE", "REASON", "ATTEMPTS", "SINCE", "MESSAGE"];
const MESSAGE_CHARS_SHOWN: usize = 60;

/// Runs the command.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let (server, output) = (context.server()?, &context.output);
    match command {
        Command::Ls { group, fit, limit } => {
            let mut more = vec![("limit", limit.to_string())];
            more.extend(group.map(|group| ("group", group)));
            let path = format!("/v1/dead{}", fit.query(&more));
            let LetterList { letters, more } = server.get(&path).await?;
            output.list(&letters, &HEADER, cells)?;
            if more > 0 {
                output.say(&format!(
                    "and {more} more; --limit shows more of them, `dead export` all"
                ));
            }
            match letters.first() {
                None => output.say("no dead letters"),
                Some(letter) => {
                    let (group, place) = (&letter.group, place_of(letter));
                    output.next(&[
                        &format!("tidings dead show {group} {place}"),
                        &format!("tidings dead redrive {group} {place}"),
                    ]);
                }
            }
        }
        Command::Show { group, event: Place { topic, offset } } => {
            let (group, topic) = (segment(&group), segment(&topic));
            let path = format!("/v1/groups/{group}/dead/{topic}/{offset}");
            let letter: DeadLetterInfo = server.get(&path).await?;
            output.one(&letter, show)?;
            let place = place_of(&letter);
            output.next(&[&format!("tidings dead redrive {} {place}", letter.group)]);
        }
        Command::Edit { group, event, payload, base64 } => {
            let Place { topic, offset } = &event;
            let body = edit_body(&payload, base64)?;
            let path = format!("/v1/groups/{}/dead/{}/{offset}", segment(&group), segment(topic));
            let letter: DeadLetterInfo = server.put(&path, JSON, body).await?;
            output.one(&letter, show)?;
            output.next(&[&format!("tidings dead redrive {group} {event}")]);
        }
        Command::Redrive { group, meant, dry_run, rate } => {
            let body = meant.body(dry_run)?;
            let path = format!("/v1/groups/{}/dead/redrive", segment(&group));
            let done: RedriveInfo = match rate {
                Some(rate) => redrive_at(context, &group, &meant, rate).await?,
                None => server.post(&path, JSON, body).await?,
            };
            output.one(&done, |done| match done.dry_run {
                true => format!("{} would be redriven to {group}", done.redriven),
                false => format!("{} redriven to {group}", done.redriven),
            })?;
            output.next(&[&format!("tidings group show {group}"), "tidings dead ls"]);
        }
        Command::Drop { group, meant, dry_run } => {
            let body = meant.body(dry_run)?;
            let path = format!("/v1/groups/{}/dead/discard", segment(&group));
            let done: DiscardInfo = server.post(&path, JSON, body).await?;
            output.one(&done, |done| match done.dry_run {
                true => format!("{} of {group} would be dropped for good", done.discarded),
                false => format!("{} of {group} dropped for good", done.discarded),
            })?;
            output.next(&["tidings dead ls"]);
        }
        Command::Export { group, fit } => {
            each(&server, &group, &fit, |letter| output.json_line(&letter)).await?;
        }
    }
    Ok(())
}

fn cells(letter: &DeadLetterInfo) -> Vec<String> {
    vec![
        letter.group.clone(),
        place_of(letter).to_string(),
        letter.event.kind.clone(),
        letter.reason.clone(),
        letter.attempts.to_string(),
        letter.dead_at.clone(),
        letter.message.chars().take(MESSAGE_CHARS_SHOWN).collect(),
    ]
}

fn show(letter: &DeadLetterInfo) -> String {
    let DeadLetterInfo { group, reason, message, attempts, dead_at, .. } = letter;
    let event = shown::event(&letter.topic, &letter.event);
    let attempts = counted((*attempts).into(), "attempt");
    let mut text =
        format!("{group} gave up at {dead_at} after {attempts}: {reason}\n{message}\n\n{event}");
    if let Some(original) = &letter.original {
        text.push_str(&format!("\nedited; published was\n{}", shown::content(original)));
    }
    for attempt in &letter.tried {
        text.push_str(&format!("\n  {}", tell(attempt)));
    }
    text
}

fn edit_body(payload: &str, is_base64: bool) -> Result<String, Failure> {
    if is_base64 {
        return Ok(json!({ "data_base64": given(payload)?.trim() }).to_string());
    }
    // Its bytes stay as they were given.
    Ok(format!(r#"{{"data":{}}}"#, content(payload)?))
}

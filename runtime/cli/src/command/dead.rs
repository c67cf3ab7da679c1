//! `tidings dead`: list, show, redrive and drop dead letters.

use clap::Subcommand;
use serde::Deserialize;

use crate::command::place::{Place, Which};
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
    },
    /// Show one dead letter with its event
    Show {
        /// The group that gave it up
        group: String,
        /// The event, as TOPIC@OFFSET
        event: Place,
    },
    /// Give dead letters back to their group, behind what waits for the same key
    Redrive {
        /// The group that gave them up
        group: String,
        /// Which of them
        #[command(flatten)]
        which: Which,
    },
    /// Let dead letters go for good, with their payloads
    Drop {
        /// The group that gave them up
        group: String,
        /// Which of them
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Deserialize)]
struct LetterList {
    letters: Vec<DeadLetterInfo>,
    /// So many more are not on the list.
    #[serde(default)]
    more: usize,
}

const HEADER: [&str; 7] = ["GROUP", "EVENT", "TYPE", "REASON", "ATTEMPTS", "SINCE", "MESSAGE"];
const MESSAGE_CHARS_SHOWN: usize = 60;

/// Runs the command.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let (server, output) = (context.server()?, &context.output);
    match command {
        Command::Ls { group } => {
            let query = group.map(|group| format!("?group={}", segment(&group)));
            let path = format!("/v1/dead{}", query.unwrap_or_default());
            let LetterList { letters, more } = server.get(&path).await?;
            output.list(&letters, &HEADER, cells)?;
            if more > 0 {
                output.say(&format!("and {more} more, which the node did not list"));
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
        Command::Redrive { group, which } => {
            let body = which.body("letters");
            let path = format!("/v1/groups/{}/dead/redrive", segment(&group));
            let done: RedriveInfo = server.post(&path, JSON, body).await?;
            output.one(&done, |done| format!("{} redriven to {group}", done.redriven))?;
            output.next(&[&format!("tidings group show {group}"), "tidings dead ls"]);
        }
        Command::Drop { group, which } => {
            let body = which.body("letters");
            let path = format!("/v1/groups/{}/dead/discard", segment(&group));
            let done: DiscardInfo = server.post(&path, JSON, body).await?;
            output.one(&done, |done| format!("{} of {group} dropped for good", done.discarded))?;
            output.next(&["tidings dead ls"]);
        }
    }
    Ok(())
}

fn place_of(letter: &DeadLetterInfo) -> Place {
    Place { topic: letter.topic.clone(), offset: letter.event.offset }
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
    format!("{group} gave up at {dead_at} after {attempts}: {reason}\n{message}\n\n{event}")
}

//! `tidings event`: one event's story.

use crate::command::shown;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::count;
use crate::server::segment;
use tidings::api::{AttemptInfo, GroupStory, StoryInfo};

/// Which event.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its id
    id: String,
}

/// Runs the command.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let (server, output) = (context.server()?, &context.output);
    let path = format!("/v1/events/{}", segment(&args.id));
    let story: StoryInfo = server.get(&path).await?;
    output.one(&story, show)?;
    let place = format!("{}@{}", story.topic, story.event.offset);
    let dead = story.groups.iter().find(|group| group.standing == "dead");
    match dead {
        Some(GroupStory { group, .. }) => output.next(&[
            &format!("tidings dead show {group} {place}"),
            &format!("tidings dead redrive {group} {place}"),
        ]),
        None => output.next(&["tidings group ls"]),
    }
    Ok(())
}

fn show(story: &StoryInfo) -> String {
    let mut text = shown::event(&story.topic, &story.event);
    for (name, value) in &story.event.headers {
        text.push_str(&format!("\n  {name}: {value}"));
    }
    if story.groups.is_empty() {
        text.push_str("\nno group reads this topic");
    }
    for group in &story.groups {
        text.push_str(&format!("\n{}", standing(group)));
        for attempt in &group.attempts {
            text.push_str(&format!("\n  {}", tell(attempt)));
        }
    }
    if !story.note.is_empty() {
        text.push_str(&format!("\n({})", story.note));
    }
    text
}

fn standing(story: &GroupStory) -> String {
    let failed = match story.failed_attempts {
        0 => String::new(),
        n_failed => format!(", {n_failed} failed attempts"),
    };
    let next = story.next_attempt_at.as_ref();
    let next = next.map(|at| format!(", next attempt at {at}")).unwrap_or_default();
    format!("{}: {}{failed}{next}", story.group, story.standing)
}

fn tell(attempt: &AttemptInfo) -> String {
    let AttemptInfo { at, attempt: number, worker, took_us, outcome, message } = attempt;
    let message = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    let took_us = count(*took_us);
    format!("{at}  attempt {number}  worker {worker}  {outcome} in {took_us} µs{message}")
}

//! `tidings event`: one event's story.

use crate::command::shown;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{count, counted};
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
        n_failed => format!(", {}", counted(n_failed.into(), "failed attempt")),
    };
    let next = story.next_attempt_at.as_ref();
    let next = next.map(|at| format!(", next attempt at {at}")).unwrap_or_default();
    format!("{}: {}{failed}{next}", story.group, word_for(story))
}

/// The log settles what is skipped as it does what is done; only the attempt knows the difference.
fn word_for(story: &GroupStory) -> &str {
    match story.attempts.as_slice() {
        [only] if story.standing == "settled" && only.outcome == "skipped" => "skipped",
        _ => &story.standing,
    }
}

pub(crate) fn tell(attempt: &AttemptInfo) -> String {
    let AttemptInfo { at, attempt: number, worker, took_us, outcome, message } = attempt;
    let message = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    let took_us = count(*took_us);
    format!("{at}  attempt {number}  worker {worker}  {outcome} in {took_us} µs{message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u32, outcome: &str) -> AttemptInfo {
        AttemptInfo {
            at: "2026-01-02T03:04:05.678Z".to_owned(),
            attempt: number,
            worker: 0,
            took_us: 12,
            outcome: outcome.to_owned(),
            message: None,
        }
    }

    fn story(standing: &str, failed_attempts: u32, attempts: Vec<AttemptInfo>) -> GroupStory {
        let (group, standing) = ("mail".to_owned(), standing.to_owned());
        GroupStory { group, standing, failed_attempts, next_attempt_at: None, attempts }
    }

    /// Who looks for a mail that was never sent must not read that all was done.
    #[test]
    fn what_was_skipped_is_not_called_settled() {
        let skipped = story("settled", 0, vec![attempt(1, "skipped")]);
        assert_eq!(standing(&skipped), "mail: skipped");
        let done = story("settled", 0, vec![attempt(1, "done")]);
        assert_eq!(standing(&done), "mail: settled");
        let retried = story("settled", 1, vec![attempt(1, "failed"), attempt(2, "skipped")]);
        assert_eq!(standing(&retried), "mail: settled, 1 failed attempt");
        let again = story("redriven", 0, vec![attempt(1, "skipped")]);
        assert_eq!(standing(&again), "mail: redriven");
    }
}

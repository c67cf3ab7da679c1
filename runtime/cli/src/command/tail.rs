//! `tidings tail`: prints the events of topics as they come. It reads along and settles nothing.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::command::shown;
use crate::context::Context;
use crate::failure::Failure;
use crate::server::{Server, segment};
use tidings::api::{EventInfo, TopicInfo};

/// How long to wait at the end of all topics before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Events asked for at once.
const PAGE_EVENTS: u64 = 500;

/// What to print.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The topics
    #[arg(required = true)]
    topics: Vec<String>,
    /// Where to begin: start, end, an offset, or -N for N events before the end
    #[arg(long, default_value = "end", value_name = "PLACE", allow_hyphen_values = true)]
    from: From,
    /// End after so many events
    #[arg(short, long, value_name = "N")]
    number: Option<u64>,
    /// Print only events with this key
    #[arg(long)]
    key: Option<String>,
    /// Print only events of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// End when there are no more events, in place of waiting for new ones
    #[arg(long)]
    no_follow: bool,
}

/// A place to begin at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Start,
    End,
    At(u64),
    BeforeEnd(u64),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is not an offset"));
        match (text, text.strip_prefix('-')) {
            ("start", _) => Ok(Self::Start),
            ("end", _) => Ok(Self::End),
            (_, Some(n_events)) => Ok(Self::BeforeEnd(number(n_events)?)),
            (offset, None) => Ok(Self::At(number(offset)?)),
        }
    }
}

impl From {
    fn offset(self, topic: &TopicInfo) -> u64 {
        match self {
            Self::Start => topic.start,
            Self::End => topic.end,
            Self::At(offset) => offset,
            Self::BeforeEnd(n_events) => topic.end.saturating_sub(n_events).max(topic.start),
        }
    }
}

/// An event with its topic, as it is printed in JSON.
#[derive(Serialize)]
struct Tailed<'a> {
    topic: &'a str,
    offset: u64,
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    time: &'a str,
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<&'a str>,
}

/// Where the reading of one topic has come to.
struct Reading {
    topic: String,
    next: u64,
}

/// Runs the command.
pub(crate) async fn run(context: &Context, args: Args) -> Result<(), Failure> {
    let server = context.server()?;
    let mut readings = Vec::new();
    for topic in &args.topics {
        let topic: TopicInfo = server.get(&format!("/v1/topics/{}", segment(topic))).await?;
        let next = args.from.offset(&topic);
        readings.push(Reading { topic: topic.name, next });
    }
    if !args.no_follow {
        context.output.say("waits for events; ctrl-c ends it");
    }
    let mut n_left = args.number.unwrap_or(u64::MAX);
    loop {
        let mut is_at_end = true;
        for reading in &mut readings {
            let page = next_page(&server, reading).await?;
            is_at_end &= page.is_empty();
            for event in page.iter().filter(|event| is_wanted(&args, event)) {
                if n_left == 0 {
                    return Ok(());
                }
                n_left -= 1;
                context
                    .output
                    .one(&tailed(&reading.topic, event), |_| shown::event(&reading.topic, event))?;
            }
        }
        if n_left == 0 || (is_at_end && args.no_follow) {
            return Ok(());
        }
        if is_at_end {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

async fn next_page(server: &Server, reading: &mut Reading) -> Result<Vec<EventInfo>, Failure> {
    let Reading { topic, next } = reading;
    let path = format!("/v1/topics/{}/events?from={next}&limit={PAGE_EVENTS}", segment(topic));
    let page: Vec<EventInfo> = server.lines(&path).await?;
    if let Some(event) = page.last() {
        reading.next = event.offset + 1;
    }
    Ok(page)
}

fn is_wanted(args: &Args, event: &EventInfo) -> bool {
    let has_key = args.key.is_none() || args.key == event.key;
    has_key && args.kind.as_ref().is_none_or(|kind| *kind == event.kind)
}

fn tailed<'a>(topic: &'a str, event: &'a EventInfo) -> Tailed<'a> {
    Tailed {
        topic,
        offset: event.offset,
        id: &event.id,
        kind: &event.kind,
        key: event.key.as_deref(),
        time: &event.time,
        data: event.data.as_deref(),
        data_base64: event.data_base64.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_begin_at_stay_within_the_topic() {
        let name = "users".to_owned();
        let topic = TopicInfo { name, start: 10, end: 15, groups: Vec::new() };
        for (text, offset) in [("start", 10), ("end", 15), ("12", 12), ("-3", 12), ("-99", 10)] {
            let from: From = text.parse().unwrap();
            assert_eq!(from.offset(&topic), offset, "{text}");
        }
        for bad in ["", "-", "now", "1.5"] {
            assert!(bad.parse::<From>().is_err(), "{bad}");
        }
    }
}

//! `tidings topic`: list, show and create topics.

use clap::Subcommand;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::count;
use crate::server::{JSON, segment};
use tidings::api::TopicInfo;

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List topics
    Ls,
    /// Show one topic
    Show {
        /// Its name
        topic: String,
    },
    /// Create a topic; one that exists already is left as it is
    Create {
        /// Its name: a-z, 0-9, '.', '_' and '-'
        topic: String,
    },
}

const HEADER: [&str; 5] = ["TOPIC", "EVENTS", "START", "END", "GROUPS"];

/// Runs the command.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let (server, output) = (context.server()?, &context.output);
    match command {
        Command::Ls => {
            let topics: Vec<TopicInfo> = server.get("/v1/topics").await?;
            output.list(&topics, &HEADER, cells)?;
            if topics.is_empty() {
                output.say("no topics yet: a service creates those it reads");
                output.next(&["tidings topic create NAME"]);
            } else {
                output.next(&["tidings topic show NAME", "tidings tail NAME"]);
            }
        }
        Command::Show { topic } => {
            let path = format!("/v1/topics/{}", segment(&topic));
            let topic: TopicInfo = server.get(&path).await?;
            output
                .one(&topic, |topic| crate::output::table(&HEADER, [cells(topic)].into_iter()))?;
            output.next(&[&format!("tidings tail {} --from start", topic.name)]);
        }
        Command::Create { topic } => {
            let body = json!({ "name": topic }).to_string();
            let topic: TopicInfo = server.post("/v1/topics", JSON, body).await?;
            output.one(&topic, |topic| format!("topic {} is there", topic.name))?;
            let name = &topic.name;
            output.next(&[&format!("tidings publish {name} '{{}}' --type example.v1")]);
        }
    }
    Ok(())
}

fn cells(topic: &TopicInfo) -> Vec<String> {
    let n_events = topic.end.saturating_sub(topic.start);
    let groups = match topic.groups.as_slice() {
        [] => "-".to_owned(),
        groups => groups.join(", "),
    };
    let [start, end] = [topic.start, topic.end].map(|offset| offset.to_string());
    vec![topic.name.clone(), count(n_events), start, end, groups]
}

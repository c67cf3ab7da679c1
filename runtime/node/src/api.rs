//! What a node tells people: the shapes that HTTP answers with and the command line reads.
//!
//! Scripts rely on them: fields are added and never renamed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_types::layout::headers;
use tidings_types::layout::records::Event;
use tidings_types::offset::Offset;

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// The first offset that is retained.
    pub start: u64,
    /// The offset that the next event gets.
    pub end: u64,
    /// The groups that read it.
    pub groups: Vec<String>,
}

/// A group: the durable identity of a service's subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// What its service does here: `starting`, `running`, `paused`, `draining`, `stopped` or `absent`.
    pub state: String,
    /// Why, if it is paused or has stopped.
    pub reason: Option<String>,
    /// Nodes that run its workers.
    pub members: Vec<String>,
    /// Workers of this process.
    pub workers: u32,
    /// Workers that were restarted since the node began.
    pub restarts: u64,
    /// Events that are not settled, over all mailboxes.
    pub lag: u64,
    /// Events that wait for another attempt.
    pub retrying: u64,
    /// Those of them that wait for a person, and their keys with them.
    #[serde(default)]
    pub paused: u64,
    /// Dead letters.
    pub dead: u64,
    /// Redriven events that are not settled yet.
    pub redriven: u64,
    /// Its mailboxes.
    pub mailboxes: Vec<MailboxInfo>,
}

/// A group's durable queue on one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxInfo {
    /// The topic.
    pub topic: String,
    /// The first event that is not settled.
    pub floor: u64,
    /// The topic's next offset.
    pub end: u64,
    /// Events that are not settled.
    pub lag: u64,
    /// Events with failed attempts.
    pub retrying: u64,
}

/// A service of this process: a supervisor and its children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// Its group.
    pub group: String,
    /// `starting`, `running`, `draining` or `stopped`.
    pub state: String,
    /// Why it stopped.
    pub reason: Option<String>,
    /// Which children begin again with one: `one_for_one`, `one_for_all` or `rest_for_one`.
    pub strategy: String,
    /// Restarts of all children since the node began.
    pub restarts: u64,
    /// Its tasks and workers, in the order of their start.
    pub children: Vec<ChildInfo>,
}

/// A worker or a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildInfo {
    /// `worker 3`, or `task` and its name.
    pub name: String,
    /// When it begins again: `permanent`, `transient` or `temporary`.
    pub restart: String,
    /// `waiting` (to begin again), `up`, `ending` or `gone`.
    pub state: String,
    /// For how long it has been so: of one that is up, its uptime. In milliseconds.
    pub since_ms: u64,
    /// Restarts since the node began.
    pub restarts: u64,
    /// Why it died last.
    pub last_reason: Option<String>,
    /// Events that were handed to it and have no outcome yet.
    pub holds: u64,
    /// The event that its handler works on.
    pub running: Option<RunningInfo>,
    /// For how long its handler has not given its thread back, in milliseconds.
    pub blocked_ms: Option<u64>,
}

/// An event at a handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningInfo {
    /// Its topic.
    pub topic: String,
    /// Its place in the topic.
    pub offset: u64,
    /// Its id.
    pub id: String,
    /// The name of its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which attempt this is; 1 is the first.
    pub attempt: u32,
    /// For how long, in milliseconds.
    pub running_ms: u64,
}

/// An event as it is read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventInfo {
    /// Its place in the topic.
    pub offset: u64,
    /// Its id.
    pub id: String,
    /// The name of its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its key; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its publisher's wall time, RFC 3339.
    pub time: String,
    /// Its content, if that is JSON; `null` otherwise.
    pub data: Option<Box<RawValue>>,
    /// Its content in base64, if that is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// Its headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

impl EventInfo {
    /// Shows a stored event.
    pub fn new(offset: Offset, event: &Event) -> Self {
        let payload = event.payload();
        let json = str::from_utf8(payload).ok().map(str::to_owned);
        let data = json.and_then(|json| RawValue::from_string(json).ok());
        let data_base64 = data.is_none().then(|| STANDARD.encode(payload));
        let headers = headers::iter(event.headers()).unwrap_or_default();
        Self {
            offset: offset.get(),
            id: event.id().to_owned(),
            kind: event.kind().to_owned(),
            key: (!event.key().is_empty())
                .then(|| String::from_utf8_lossy(event.key()).into_owned()),
            time: time_text(event.time_ms),
            data,
            data_base64,
            headers: headers.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        }
    }
}

/// A dead letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetterInfo {
    /// Who gave it up.
    pub group: String,
    /// The event's topic.
    pub topic: String,
    /// Why: `fatal`, `attempts_exhausted` or `undecodable`.
    pub reason: String,
    /// The last error's text.
    pub message: String,
    /// Attempts made.
    pub attempts: u32,
    /// When it was given up, in cluster time, RFC 3339.
    pub dead_at: String,
    /// The event with its payload.
    pub event: EventInfo,
    /// What was published, if a person edited it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<EventInfo>,
    /// Attempts that this process remembers, oldest first; only where one letter is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<AttemptInfo>,
}

/// An event that waits for another attempt, and its key with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingInfo {
    /// Its topic.
    pub topic: String,
    /// Its place in the topic.
    pub offset: u64,
    /// Failed attempts.
    pub attempts: u32,
    /// When the next one may begin, in cluster time, RFC 3339; absent if a person must say so.
    pub next_attempt_at: Option<String>,
    /// The last error's text.
    pub message: String,
}

/// Where a group goes on with a topic, and what that means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeekInfo {
    /// The topic.
    pub topic: String,
    /// The first event that was not settled.
    pub from: u64,
    /// The next event from here on.
    pub to: u64,
    /// Events that were settled and come again.
    pub redelivers: u64,
    /// Events that were not settled and are left out.
    pub skips: u64,
    /// Dead letters that go, because their events come again.
    pub drops_dead: u64,
    /// It would be so: nothing was done.
    pub dry_run: bool,
}

/// How many events wait no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryInfo {
    /// So many.
    pub retried: u32,
}

/// How many dead letters went for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscardInfo {
    /// So many.
    pub discarded: u32,
    /// They would: nothing was done.
    #[serde(default)]
    pub dry_run: bool,
}

/// How many dead letters went back into delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedriveInfo {
    /// So many.
    pub redriven: u32,
    /// They would: nothing was done.
    #[serde(default)]
    pub dry_run: bool,
}

/// One event's way: where it is stored and what each group did with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoryInfo {
    /// The event's topic.
    pub topic: String,
    /// The event.
    pub event: EventInfo,
    /// What each group that reads the topic did.
    pub groups: Vec<GroupStory>,
    /// What the story leaves out, and why.
    pub note: String,
}

/// What one group did with an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStory {
    /// The group.
    pub group: String,
    /// `settled`, `waiting`, `retrying`, `dead` or `redriven`.
    pub standing: String,
    /// Failed attempts so far, as the log has them.
    pub failed_attempts: u32,
    /// When the next attempt may begin, if the event waits for one.
    pub next_attempt_at: Option<String>,
    /// Attempts that this process remembers, oldest first.
    pub attempts: Vec<AttemptInfo>,
}

/// One attempt that this process remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptInfo {
    /// When it was reported, RFC 3339.
    pub at: String,
    /// 1 for the first.
    pub attempt: u32,
    /// The worker that made it.
    pub worker: u32,
    /// How long the handler took, in microseconds.
    pub took_us: u64,
    /// `done`, `skipped`, `failed` or `dead`.
    pub outcome: String,
    /// The error's text.
    pub message: Option<String>,
}

/// A node and its replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusInfo {
    /// The version of tidings.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// The cluster's id.
    pub cluster: String,
    /// Counts the starts on this directory.
    pub incarnation: u64,
    /// Whether the node takes work, and if not, why.
    pub ready: Vec<CheckInfo>,
    /// `leader`, `follower` or `candidate`.
    pub role: String,
    /// The Raft term.
    pub term: u64,
    /// The last committed entry.
    pub commit: u64,
    /// The last applied entry.
    pub applied: u64,
    /// Bytes of the log on disk.
    pub log_bytes: u64,
    /// `plenty`, `no_publish` or `last_segment`.
    pub space: String,
    /// Since the node began, in milliseconds.
    pub uptime_ms: u64,
    /// Where the data is.
    pub data: String,
    /// Topics.
    pub topics: u64,
    /// Groups.
    pub groups: u64,
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckInfo {
    /// What is checked.
    pub check: String,
    /// It holds.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// A wall or cluster time as people read it.
pub fn time_text(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

//! What a worker has beside the service's own value, from event to event.

use std::sync::Arc;
use std::time::Duration;

use tidings_delivery::session::{Delivery, Verdict};
use tidings_node::service::Work;
use tidings_types::id::TopicId;
use tidings_types::layout::acks::FailureClass;
use tidings_types::layout::command::DeadReason;
use tracing::{info, warn};

use crate::codec::DecodeError;
use crate::context::ServiceContext;
use crate::failure::{Failure, Means};

/// See the module's description.
#[derive(Debug)]
pub struct Desk {
    pub(crate) context: Arc<ServiceContext>,
    /// A group reads few topics, so a search from the front is quickest.
    topics: Vec<(TopicId, Arc<str>)>,
}

impl Desk {
    pub(crate) fn new(context: ServiceContext) -> Self {
        Self { context: Arc::new(context), topics: Vec::new() }
    }

    pub(crate) fn topic(&mut self, topic: TopicId, work: &Work) -> Arc<str> {
        if let Some((_, name)) = self.topics.iter().find(|(id, _)| *id == topic) {
            return Arc::clone(name);
        }
        // A topic that delivery reads is known to its node; if not, its number will do.
        let name = work.topic_name(topic);
        let name: Arc<str> = name.map_or_else(|| topic.to_string(), String::from).into();
        self.topics.push((topic, Arc::clone(&name)));
        name
    }

    /// The verdict on a failed attempt. Every one is logged here, once.
    pub(crate) fn failed(&self, delivery: &Delivery, failure: &Failure, work: &Work) -> Verdict {
        let message = failure.to_string();
        let again = |message| work.failed(delivery, FailureClass::Error, message);
        let verdict = match failure.means() {
            Means::Fatal => Verdict::Dead { reason: DeadReason::Fatal, message },
            Means::Again => again(message),
            Means::AgainIn(after) => match again(message) {
                Verdict::Again { class, message, .. } => Verdict::Again { after, class, message },
                dead => dead,
            },
            Means::Skip => Verdict::Skipped { reason: message },
        };
        self.log(delivery, &verdict, None);
        verdict
    }

    /// The error's text may quote the content, so it stands in the dead letter and in no log.
    pub(crate) fn undecodable(&self, delivery: &Delivery, error: &DecodeError) -> Verdict {
        let verdict = undecodable(error.to_string());
        self.log(delivery, &verdict, Some("content cannot be decoded; the dead letter says why"));
        verdict
    }

    /// The verdict on a version of a known type that no handler takes.
    pub(crate) fn unknown_version(&self, delivery: &Delivery, known: &str) -> Verdict {
        let kind = delivery.event.kind();
        let verdict = undecodable(format!("version {kind} is unknown; {known} is handled"));
        self.log(delivery, &verdict, None);
        verdict
    }

    fn log(&self, delivery: &Delivery, verdict: &Verdict, shown: Option<&str>) {
        if let Verdict::Skipped { reason } = verdict {
            let (group, event_id) = (self.context.group(), delivery.event.id());
            info!(group, event_id, kind = delivery.event.kind(), reason, "event skipped");
        }
        let (next, error) = match verdict {
            Verdict::Again { after: Duration::MAX, message, .. } => {
                ("its key is paused; tidings group retry lets it go on".to_owned(), message)
            }
            Verdict::Again { after, message, .. } => (format!("again in {after:.1?}"), message),
            Verdict::Dead { reason, message } => {
                (format!("dead letter, {}", reason.word()), message)
            }
            _ => return,
        };
        warn!(
            group = self.context.group(),
            event_id = delivery.event.id(),
            kind = delivery.event.kind(),
            offset = delivery.offset.get(),
            attempt = delivery.attempt,
            error = shown.unwrap_or(error),
            next,
            "attempt failed"
        );
    }
}

const fn undecodable(message: String) -> Verdict {
    Verdict::Dead { reason: DeadReason::Undecodable, message }
}

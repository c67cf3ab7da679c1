//! Which actor hears which: set once while the node is wired, then read by all.
//!
//! The core's actors know each other in a circle, so none can be born with all its references.

use std::sync::OnceLock;

use ractor::ActorRef;

use crate::mail::{ToDispatcher, ToPubSub, ToReplica};

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    replica: OnceLock<ActorRef<ToReplica>>,
    pubsub: OnceLock<ActorRef<ToPubSub>>,
    dispatcher: OnceLock<ActorRef<ToDispatcher>>,
}

impl Wires {
    /// Connects the three. Before that, messages go nowhere: nobody has anything to say yet.
    pub(crate) fn connect(
        &self,
        replica: ActorRef<ToReplica>,
        pubsub: ActorRef<ToPubSub>,
        dispatcher: ActorRef<ToDispatcher>,
    ) {
        let is_first = self.replica.set(replica).is_ok()
            & self.pubsub.set(pubsub).is_ok()
            & self.dispatcher.set(dispatcher).is_ok();
        assert!(is_first, "a node is wired once");
    }

    // A cast fails if its actor has ended. The core's actors end together with the node, so
    // whoever still speaks then is about to end too.

    pub(crate) fn to_replica(&self, msg: ToReplica) {
        let _ = self.replica.get().map(|actor| actor.cast(msg));
    }

    pub(crate) fn to_pubsub(&self, msg: ToPubSub) {
        let _ = self.pubsub.get().map(|actor| actor.cast(msg));
    }

    pub(crate) fn to_dispatcher(&self, msg: ToDispatcher) {
        let _ = self.dispatcher.get().map(|actor| actor.cast(msg));
    }
}

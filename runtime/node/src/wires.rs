//! Which actor hears which: set once while the node is wired, then read by all.
//!
//! The core's actors know each other in a circle, so none can be born with all its references.

use std::sync::OnceLock;

use ractor::ActorRef;

use crate::{dispatcher, pubsub, replica};

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    replica: OnceLock<ActorRef<replica::Msg>>,
    pubsub: OnceLock<ActorRef<pubsub::Msg>>,
    dispatcher: OnceLock<ActorRef<dispatcher::Msg>>,
}

impl Wires {
    /// Connects the three. Before that, messages go nowhere: nobody has anything to say yet.
    pub(crate) fn connect(
        &self,
        replica: ActorRef<replica::Msg>,
        pubsub: ActorRef<pubsub::Msg>,
        dispatcher: ActorRef<dispatcher::Msg>,
    ) {
        let is_first = self.replica.set(replica).is_ok()
            & self.pubsub.set(pubsub).is_ok()
            & self.dispatcher.set(dispatcher).is_ok();
        assert!(is_first, "a node is wired once");
    }

    // A cast fails if its actor has ended. The core's actors end together with the node, so
    // whoever still speaks then is about to end too.

    pub(crate) fn to_replica(&self, msg: replica::Msg) {
        let _ = self.replica.get().map(|actor| actor.cast(msg));
    }

    pub(crate) fn to_pubsub(&self, msg: pubsub::Msg) {
        let _ = self.pubsub.get().map(|actor| actor.cast(msg));
    }

    pub(crate) fn to_dispatcher(&self, msg: dispatcher::Msg) {
        let _ = self.dispatcher.get().map(|actor| actor.cast(msg));
    }
}

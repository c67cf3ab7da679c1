//! Commands to the cluster and their answers, for everyone in the process who gives some.

use ractor::{ActorRef, RpcReplyPort};
use tidings_types::layout::command::Command;

use crate::call::call;
use crate::mail::{CommandResult, ToPubSub};

/// The way to give commands.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    pub(crate) pubsub: ActorRef<ToPubSub>,
}

impl Commands {
    /// Has a command committed and applied.
    pub(crate) async fn run(&self, command: Command) -> CommandResult {
        let request = |reply: RpcReplyPort<CommandResult>| ToPubSub::Command { command, reply };
        call(&self.pubsub, request).await?
    }
}

//! Commands to the cluster and their answers, for everyone in the process who gives some.

use ractor::{ActorRef, RpcReplyPort};
use tidings_types::effect::Answer;
use tidings_types::layout::command::Command;

use crate::call::call;
use crate::error::CommandError;
use crate::pubsub;

/// The answer to a command.
pub(crate) type CommandResult = Result<Answer, CommandError>;

/// The way to give commands.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    pub(crate) pubsub: ActorRef<pubsub::Msg>,
}

impl Commands {
    /// Has a command committed and applied.
    pub(crate) async fn run(&self, command: Command) -> CommandResult {
        let request = |reply: RpcReplyPort<CommandResult>| pubsub::Msg::Command { command, reply };
        call(&self.pubsub, request).await?
    }
}

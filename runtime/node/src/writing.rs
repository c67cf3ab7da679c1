//! How the replica's jobs reach the disk: by the log's own thread, or inline where time is paused.
//!
//! A paused clock advances by itself while a real thread works, so there the memory disk must
//! complete inline. Both ways answer with the same message.

use ractor::ActorRef;
use tidings_log::Job;
#[cfg(any(test, feature = "testkit"))]
use tidings_log::Writer;
use tidings_log::thread::WriterHandle;

use crate::mail::ToReplica;

/// See the module's description.
pub(crate) enum Writing {
    /// The thread sends the answer itself.
    Thread(WriterHandle),
    /// For a memory disk.
    #[cfg(any(test, feature = "testkit"))]
    Inline(Box<Writer>),
}

impl Writing {
    pub(crate) fn submit(&mut self, job: Job, replica: &ActorRef<ToReplica>) {
        match self {
            Self::Thread(writer) => {
                let _ = replica;
                writer.submit(job);
            }
            #[cfg(any(test, feature = "testkit"))]
            Self::Inline(writer) => {
                let persisted = writer.write(vec![job]).expect("a memory disk does not fail");
                // It fails if the actor is ending: then nobody needs the answer.
                let _ = replica.cast(ToReplica::Persisted(persisted));
            }
        }
    }
}

//! The thread that owns the writer, and the one beside it that does chores.
//!
//! ```text
//!   submit ──Job──▶ writer thread ──Chore──▶ chore thread
//!                      │  ▲ └──Persisted──▶ on_persisted │
//!                      │  └────────────Done──────────────┘
//! ```
//!
//! A batch is what came in during the fdatasync before: no waiting at low load, groups under load.
//! Plain threads and channels, because a runtime's file API may swallow a failed write, and because
//! a busy runtime must not delay the disk. The queue has no bound of its own: the replica admits no
//! more than may be uncommitted.
//!
//! A failed write or fdatasync ends the process at once. The kernel may call the pages clean that it
//! could not write, so trying again would prove nothing.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tidings_types::limits::{MARK_AFTER_IDLE, WRITE_BYTES_MAX};

use crate::chore::{Chore, ChoreDone};
use crate::error::WriteError;
use crate::job::{Job, Persisted};
use crate::pace::Pace;
use crate::writer::Writer;

/// So long after a full disk the next try is made.
const FULL_RETRY: Duration = Duration::from_secs(1);

pub(crate) type OnPersisted = Box<dyn Fn(Persisted) + Send>;
pub(crate) type OnFatal = Box<dyn FnOnce(&WriteError) + Send>;

enum Message {
    Job(Job),
    Done(ChoreDone),
    Failed(WriteError),
    Stop,
}

/// Starts the threads.
#[derive(Debug)]
pub struct WriterThread;

impl WriterThread {
    /// Starts the threads. `on_persisted` is called on the writer's thread and must not wait.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn spawn(
        writer: Writer,
        on_persisted: Box<dyn Fn(Persisted) + Send>,
    ) -> io::Result<WriterHandle> {
        spawn(writer, on_persisted, Box::new(abort))
    }
}

fn abort(error: &WriteError) {
    tracing::error!(%error, "the log cannot go on: the process ends at once");
    std::process::abort();
}

pub(crate) fn spawn(
    mut writer: Writer,
    on_persisted: OnPersisted,
    on_fatal: OnFatal,
) -> io::Result<WriterHandle> {
    let (sender, messages) = channel();
    let (chores, orders) = channel::<Chore>();
    let shared = writer.shared().clone();
    let answers = sender.clone();
    let chore_thread = Builder::new().name("tidings-chores".to_owned()).spawn(move || {
        for chore in orders {
            let answer = match chore.run(&shared, &Pace::beside(&shared.gauge)) {
                Ok(done) => Message::Done(done),
                Err(error) => Message::Failed(error),
            };
            if answers.send(answer).is_err() {
                return;
            }
        }
    })?;
    let thread = Builder::new().name("tidings-log".to_owned()).spawn(move || {
        let (jobs, n_bytes, retry_at, is_stopping) = (Vec::new(), 0, None, false);
        let mut queue = Queue { messages, jobs, n_bytes, retry_at, is_stopping };
        if let Err(error) = drive(&mut writer, &mut queue, &chores, &on_persisted) {
            on_fatal(&error);
        }
        drop(chores);
        writer.shared().gauge.close();
        // Joined, so that nobody touches the directory once `stop` has returned.
        let _ = chore_thread.join();
    })?;
    let threads = Arc::new(Threads { sender, thread: Mutex::new(Some(thread)) });
    Ok(WriterHandle { threads })
}

/// What has come in and is not written.
struct Queue {
    messages: Receiver<Message>,
    jobs: Vec<Job>,
    n_bytes: usize,
    /// When the next try is made after a full disk.
    retry_at: Option<Instant>,
    is_stopping: bool,
}

impl Queue {
    fn take(&mut self, writer: &mut Writer, message: Message) -> Result<(), WriteError> {
        match message {
            Message::Job(job) => {
                self.n_bytes += job.n_bytes();
                self.jobs.push(job);
            }
            Message::Done(done) => writer.done(done),
            Message::Failed(error) => return Err(error),
            Message::Stop => self.is_stopping = true,
        }
        Ok(())
    }

    /// After a full disk: lets the writer try again once it is time, else says how long that is. A
    /// moment and not a wait, because what comes in would begin a wait anew.
    #[expect(clippy::disallowed_methods, reason = "the writer's thread may wait by the clock")]
    fn retry(&mut self, writer: &mut Writer) -> Option<Duration> {
        if !writer.has_to_wait() {
            self.retry_at = None;
            return None;
        }
        let now = Instant::now();
        let retry_at = *self.retry_at.get_or_insert(now + FULL_RETRY);
        if now < retry_at {
            return Some(retry_at - now);
        }
        self.retry_at = None;
        writer.try_again();
        None
    }

    /// Waits for something to do, or for the next try; then takes all that is there, up to a batch.
    fn fill(
        &mut self,
        writer: &mut Writer,
        retry_in: Option<Duration>,
        batch_bytes: usize,
    ) -> Result<(), WriteError> {
        let wait = match () {
            () if !self.jobs.is_empty() => None, // They wait for a segment.
            () if writer.wants_mark() => Some(MARK_AFTER_IDLE),
            () => retry_in,
        };
        let received = match wait {
            Some(wait) => self.messages.recv_timeout(wait),
            None => self.messages.recv().map_err(RecvTimeoutError::from),
        };
        match received {
            Ok(message) => self.take(writer, message)?,
            Err(RecvTimeoutError::Disconnected) => self.is_stopping = true,
            Err(RecvTimeoutError::Timeout) => writer.idle_mark()?,
        }
        while self.n_bytes < batch_bytes {
            let Ok(message) = self.messages.try_recv() else { break };
            self.take(writer, message)?;
        }
        Ok(())
    }
}

fn drive(
    writer: &mut Writer,
    queue: &mut Queue,
    chores: &Sender<Chore>,
    on_persisted: &OnPersisted,
) -> Result<(), WriteError> {
    // At most half a segment, so that a batch needs one further segment at most.
    let batch_bytes = WRITE_BYTES_MAX.min(writer.segment_bytes() / 2);
    while !queue.is_stopping || !queue.jobs.is_empty() {
        let retry_in = queue.retry(writer);
        for chore in writer.chores() {
            // The chore thread ends after this one; if it died the next segment is not had.
            let _ = chores.send(chore);
        }
        queue.fill(writer, retry_in, batch_bytes)?;
        if !queue.jobs.is_empty() && writer.can_take(queue.n_bytes) {
            queue.n_bytes = 0;
            on_persisted(write(writer, std::mem::take(&mut queue.jobs))?);
        }
    }
    writer.close()
}

#[expect(clippy::disallowed_methods, reason = "only measured, nothing is decided by it")]
fn write(writer: &mut Writer, jobs: Vec<Job>) -> Result<Persisted, WriteError> {
    let began = Instant::now();
    let persisted = writer.write(jobs)?;
    Ok(Persisted { took: began.elapsed(), ..persisted })
}

struct Threads {
    sender: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Fails only if the thread has ended.
        let _ = self.sender.send(Message::Stop);
    }
}

/// Hands jobs over; clones speak to the same thread. It ends when the last one is dropped.
#[derive(Clone)]
pub struct WriterHandle {
    threads: Arc<Threads>,
}

impl WriterHandle {
    /// Queues a job; in the order of their ids.
    pub fn submit(&self, job: Job) {
        // Fails only if the thread has ended, and then nothing is persisted any more.
        let _ = self.threads.sender.send(Message::Job(job));
    }

    /// Writes what is queued, ends the threads and waits for their end.
    pub fn stop(&self) {
        let _ = self.threads.sender.send(Message::Stop);
        let thread = self.threads.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the thread was reported where it happened.
            let _ = thread.join();
        }
    }
}

//! Every bound of the runtime stands here, so that no two of them can disagree unnoticed.
//!
//! A queue is bounded by whoever fills it, because an actor's mailbox has no bound of its own.
//! Each assert carries the reason why its relation must hold: breaking one is a compile error.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

// Sizes nest: event < section < entry < frame.

/// Largest event in encoded form, with its id, key and headers.
pub const EVENT_BYTES_MAX: usize = MIB;
/// Largest key of an event.
pub const KEY_BYTES_MAX: usize = KIB;
/// Largest encoded headers of an event.
pub const HEADERS_BYTES_MAX: usize = 16 * KIB;
/// Longest event id and longest event type.
pub const WORD_BYTES_MAX: usize = 255;
/// Longest name of a topic or a group.
pub const NAME_BYTES_MAX: usize = 128;
/// Longest message of a failed attempt that is kept.
pub const MESSAGE_BYTES_MAX: usize = 512;
/// Largest records section: one event at least, or one request's batch.
pub const SECTION_BYTES_MAX: usize = MIB + 64 * KIB;
/// Largest data of one log entry.
pub const ENTRY_BYTES_MAX: usize = 3 * MIB / 2;
/// Largest body of one frame of the log, and largest message between nodes.
pub const FRAME_BYTES_MAX: usize = 2 * MIB;
/// What a section or an entry adds around its content.
pub const ENVELOPE_BYTES_MAX: usize = 64 * KIB;

const _: () = assert!(
    EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX <= SECTION_BYTES_MAX,
    "an event that was admitted must fit into a section, or it can never be proposed"
);
const _: () = assert!(
    SECTION_BYTES_MAX + ENVELOPE_BYTES_MAX <= ENTRY_BYTES_MAX,
    "a section must fit into an entry, or it can never be written"
);
const _: () = assert!(
    ENTRY_BYTES_MAX + ENVELOPE_BYTES_MAX <= FRAME_BYTES_MAX,
    "an entry that was written must fit into a frame, or it can never be replicated"
);

// Publishing: what may be repeated must be remembered.

/// A batch that has grown to this leaves even while two others are out.
pub const BATCH_BYTES_FULL: usize = 256 * KIB;
/// Batches of one producer that are out as a rule.
pub const PRODUCER_BATCHES_OUT: usize = 2;
/// Batches of one producer that are out while full ones queue.
pub const PRODUCER_BATCHES_OUT_MAX: usize = 8;
/// Results of one producer that the state machine keeps, the newest ones.
pub const PRODUCER_RESULTS_KEPT: usize = 8;
/// Producers that the state machine remembers.
pub const PRODUCERS_MAX: usize = 100_000;
/// How long an idle producer is remembered.
pub const PRODUCER_IDLE_MAX: Duration = Duration::from_secs(3_600);
/// Bytes of events that one node has accepted from its callers and not yet answered.
pub const NODE_ADMITTED_BYTES_MAX: usize = 64 * MIB;
/// Bytes of proposals that a leader holds which are not committed.
pub const SHARD_UNCOMMITTED_BYTES_MAX: usize = 16 * MIB;
/// Entries that a leader has proposed and not yet seen committed.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 2;
/// How long a publish waits for its answer.
pub const PUBLISH_WAIT_MAX: Duration = Duration::from_secs(5);
/// A batch without an answer is sent again after so long; the delay doubles with each time.
pub const PUBLISH_RESEND_AFTER: Duration = Duration::from_secs(1);
/// Longest delay before a batch is sent again.
pub const PUBLISH_RESEND_AFTER_MAX: Duration = Duration::from_secs(8);
/// A batch that was refused before it was proposed is offered again after so long.
pub const PUBLISH_REFUSED_PAUSE: Duration = Duration::from_millis(10);

const _: () = assert!(
    PRODUCER_BATCHES_OUT_MAX <= PRODUCER_RESULTS_KEPT,
    "after a failover every batch in flight is sent again; one whose result was forgotten would \
     be refused although it was written"
);
const _: () = assert!(
    PUBLISH_RESEND_AFTER.as_millis() < PUBLISH_WAIT_MAX.as_millis(),
    "an answer that was lost must be asked for again while its caller still waits"
);
const _: () = assert!(
    ENTRIES_IN_FLIGHT_MAX * ENTRY_BYTES_MAX <= SHARD_UNCOMMITTED_BYTES_MAX,
    "the entries in flight must fit into what the shard admits"
);

// The log.

/// Size of one segment file.
pub const SEGMENT_BYTES: u64 = 128 * MIB as u64;
/// Size of the first segment of a fresh directory, so that a node is ready at once.
pub const FIRST_SEGMENT_BYTES: u64 = 8 * MIB as u64;
/// Bytes before the first frame of a segment.
pub const SEGMENT_HEADER_BYTES: u64 = 4 * KIB as u64;
/// Segments kept prepared ahead of the one that is written.
pub const SEGMENTS_PREPARED: usize = 2;
/// Bytes that one write and one fdatasync take at most.
pub const WRITE_BYTES_MAX: usize = 8 * MIB;
/// Bytes after the cut that recovery zeroes.
pub const RECOVERY_ZERO_BYTES: u64 = 16 * MIB as u64;
/// Bytes of the newest entries that stay in memory.
pub const TAIL_BYTES_MAX: usize = 64 * MIB;
/// Bytes of the tail that may be pinned because they are not yet persisted and applied.
pub const TAIL_PINNED_BYTES_MAX: usize = 32 * MIB;
/// Size of one read of older events.
pub const READ_STEP_BYTES: usize = 256 * KIB;
/// After so long without a write the writer adds a Mark frame.
pub const MARK_AFTER_IDLE: Duration = Duration::from_millis(50);
/// A checkpoint is proposed after so many bytes of log.
pub const CHECKPOINT_EVERY_BYTES: u64 = 128 * MIB as u64;
/// A checkpoint is proposed after so long, if anything changed.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(600);
/// After one that could not be written, no checkpoint is proposed for so long.
pub const CHECKPOINT_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Checkpoints that are kept.
pub const CHECKPOINTS_KEPT: usize = 4;
/// Largest state that a checkpoint may hold.
pub const CHECKPOINT_BYTES_MAX: usize = 128 * MIB;
/// A segment is not prepared if less of the disk would stay free: checkpoints and index files need
/// some, and others on the disk too.
pub const FREE_BYTES_KEPT: u64 = 16 * MIB as u64;
/// A node with less free space than this does not start.
pub const DISK_FREE_BYTES_MIN: u64 = 384 * MIB as u64;

const _: () = assert!(
    SHARD_UNCOMMITTED_BYTES_MAX + ENTRIES_IN_FLIGHT_MAX * ENTRY_BYTES_MAX <= TAIL_PINNED_BYTES_MAX,
    "what is uncommitted is pinned in the tail"
);
const _: () = assert!(
    SEGMENTS_PREPARED as u64 * SEGMENT_BYTES + FREE_BYTES_KEPT <= DISK_FREE_BYTES_MIN,
    "a node that starts must find room for the segments that it prepares"
);
const _: () = assert!(
    TAIL_PINNED_BYTES_MAX < TAIL_BYTES_MAX,
    "the tail must hold more than what is pinned, or readers always go to the disk"
);
const _: () = assert!(
    FRAME_BYTES_MAX as u64 * 2 < FIRST_SEGMENT_BYTES,
    "the largest frame must fit into the smallest segment, behind its head"
);
const _: () = assert!(
    WRITE_BYTES_MAX as u64 <= RECOVERY_ZERO_BYTES,
    "an unfinished write must lie within what recovery zeroes, or its rest comes back"
);

// Delivery: what may be sent must fit into the credit that it is sent on.

/// Slices of the key space inside a group.
pub const LANES: usize = 256;
/// Events in one delivered batch.
pub const DELIVERY_EVENTS_MAX: usize = 64;
/// Bytes in one delivered batch; a single larger event goes alone.
pub const DELIVERY_BYTES_MAX: usize = 256 * KIB;
/// Events that one worker may hold without having reported their outcome.
pub const WORKER_WINDOW_EVENTS: usize = 256;
/// A worker's window doubles while a batch takes less than this.
pub const BATCH_QUICK: Duration = Duration::from_millis(20);
/// A worker's window halves when a batch takes more than this.
pub const BATCH_SLOW: Duration = Duration::from_millis(100);
/// A running batch reports what it has after this long.
pub const REPORT_AFTER: Duration = Duration::from_millis(20);
/// Outcomes wait so long for an entry that takes them along.
pub const OUTCOMES_WAIT_MAX: Duration = Duration::from_millis(20);
/// Workers of one group in one process.
pub const GROUP_WORKERS_MAX: usize = 32;
/// Events of one group that were handed to workers and are not settled.
pub const GROUP_UNCONFIRMED_EVENTS_MAX: usize = 8_192;
/// Events of one group that wait out a back-off, or behind a key that does.
pub const GROUP_HELD_EVENTS_MAX: usize = 10_000;
/// Events of one group that were read and wait for a worker.
pub const GROUP_WAITING_EVENTS_MAX: usize = 2_048;
/// Ranges of acked offsets above the floor of one mailbox.
pub const ACKED_RANGES_MAX: usize = 20_000;
/// Dead letters of one group.
pub const GROUP_DEAD_LETTERS_MAX: usize = 10_000;
/// Bytes of dead letters over all groups.
pub const DEAD_LETTER_BYTES_MAX: usize = 48 * MIB;
/// Topics of a cluster.
pub const TOPICS_MAX: usize = 10_000;
/// Groups of a cluster.
pub const GROUPS_MAX: usize = 10_000;
/// Topics that one group may read.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;
/// Mailboxes of all groups: each topic that a group reads is one.
pub const MAILBOXES_MAX: usize = 100_000;
/// Bytes of what one turn emits.
pub const TURN_BYTES_MAX: usize = MIB;
/// Attempts on one event before it becomes a dead letter, unless its plan says otherwise.
pub const ATTEMPTS_DEFAULT: u32 = 20;
/// First delay of the default back-off.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
/// Longest delay of the default back-off.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// How long a handler may take with one event, unless its plan says otherwise.
pub const HANDLER_TIME_DEFAULT: Duration = Duration::from_secs(30);
/// A group's breaker looks back so far.
pub const BREAKER_WINDOW: Duration = Duration::from_secs(60);
/// It judges by so many events, not by fewer.
pub const BREAKER_EVENTS_MIN: u32 = 50;
/// It opens when so many of a hundred failed at their first attempt.
pub const BREAKER_PERCENT: u64 = 50;
/// When it first probes.
pub const BREAKER_PROBE_MIN: Duration = Duration::from_secs(1);
/// Longest time between two probes; each is twice the one before.
pub const BREAKER_PROBE_MAX: Duration = Duration::from_secs(30);
/// A handler that holds its thread for so long is told of.
pub const HANDLER_YIELD_MAX: Duration = Duration::from_secs(3);
/// Tasks of one service.
pub const SERVICE_TASKS_MAX: usize = 64;
/// Outcomes that a node remembers for an event's story.
pub const STORIES_KEPT: usize = 100_000;

const _: () = assert!(
    DELIVERY_EVENTS_MAX <= WORKER_WINDOW_EVENTS,
    "a full batch that exceeds the window waits for it for ever"
);
const _: () = assert!(
    WORKER_WINDOW_EVENTS * GROUP_WORKERS_MAX <= GROUP_UNCONFIRMED_EVENTS_MAX,
    "each window must be usable while all the others are full, or busy workers starve idle ones"
);
const _: () = assert!(
    GROUP_WAITING_EVENTS_MAX < GROUP_HELD_EVENTS_MAX,
    "whatever waits may turn out to be held"
);
const _: () = assert!(
    GROUP_UNCONFIRMED_EVENTS_MAX + GROUP_HELD_EVENTS_MAX <= ACKED_RANGES_MAX,
    "right below each range lies a delivered event without an ack, so there are no more ranges \
     than such events"
);
const _: () = assert!(
    EVENT_BYTES_MAX <= DEAD_LETTER_BYTES_MAX,
    "the largest event must be able to become a dead letter"
);
const _: () = assert!(
    DEAD_LETTER_BYTES_MAX < CHECKPOINT_BYTES_MAX,
    "dead letters are part of the checkpoint"
);

// Members on several nodes: who was declared dead must have stopped starting events before.

/// A leader is sure to lead for so long after it sent a heartbeat that a majority answered.
pub const LEADER_SURE_FOR: Duration = Duration::from_millis(250);
/// A member starts events for so long after it sent a ping that the leader answered.
pub const LEASE: Duration = Duration::from_millis(700);
/// A member that is not heard for so long is taken out, and its lanes move.
pub const MEMBER_SILENT_MAX: Duration = Duration::from_secs(1);
/// A member pings the leader so often, and the leader looks who is silent.
pub const PING_EVERY: Duration = Duration::from_millis(100);
/// A leader whose own look comes later than this after the last one has slept: it cannot tell who
/// was silent meanwhile.
pub const LOOK_LATE_AFTER: Duration = Duration::from_millis(300);
/// Events of one group that one member may name when it resumes.
pub const RESUME_EVENTS_MAX: usize = 32_768;
/// Batches of one group that one member may name when it resumes.
pub const RESUME_BATCHES_MAX: usize = RESUME_EVENTS_MAX;
/// Size of one part of a resume, unless what one turn emits needs more.
pub const RESUME_PART_BYTES_MAX: usize = 256 * KIB;

const _: () = assert!(
    LEADER_SURE_FOR.as_millis() + LEASE.as_millis() < MEMBER_SILENT_MAX.as_millis(),
    "a former leader's last answer must have run out before the next leader moves a lane"
);
const _: () = assert!(
    3 * PING_EVERY.as_millis() <= LEASE.as_millis() - PING_EVERY.as_millis(),
    "a lease must outlast some pings that get lost"
);
const _: () = assert!(
    PING_EVERY.as_millis() < LOOK_LATE_AFTER.as_millis()
        && LOOK_LATE_AFTER.as_millis() < MEMBER_SILENT_MAX.as_millis(),
    "a look in time is not late, and one that is late must not take a member out"
);
const _: () = assert!(
    GROUP_UNCONFIRMED_EVENTS_MAX + GROUP_HELD_EVENTS_MAX + GROUP_DEAD_LETTERS_MAX
        <= RESUME_EVENTS_MAX,
    "all that may be handed out and not settled, with dead letters that find no room, must fit \
     into a resume, or an honest member could not resume"
);

// Waiting and restarting: every wait ends.

/// How long a call waits for an actor's answer.
pub const CALL_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a node that was told to end waits for what runs.
pub const DRAIN_WAIT_MAX: Duration = Duration::from_secs(10);
/// Restarts of one worker within [`RESTART_WINDOW`]; with the next failure the service stops.
pub const RESTARTS_MAX: u32 = 5;
/// The span in which restarts are counted.
pub const RESTART_WINDOW: Duration = Duration::from_secs(30);
/// Delay before the first restart; it doubles with every further one.
pub const RESTART_DELAY_MIN: Duration = Duration::from_millis(100);
/// One tick of the replica.
pub const TICK: Duration = Duration::from_millis(50);

const _: () = assert!(
    RESTART_DELAY_MIN.as_millis() * ((1 << RESTARTS_MAX) - 1) < RESTART_WINDOW.as_millis(),
    "if the delays outlast the window, failures leave it as fast as they come, and a worker that \
     crashes at once is restarted for ever"
);

//! Every bound of the HTTP side, related to those of the runtime.

use std::time::Duration;

use tidings_types::limits::{EVENT_BYTES_MAX, NODE_ADMITTED_BYTES_MAX};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Largest body of a publish, as it arrives. What it encodes to is bounded more tightly; the room
/// is for JSON's own characters around events.
pub const BODY_BYTES_MAX: usize = 2 * MIB;
/// Largest body of any other request to `/v1`.
pub const COMMAND_BYTES_MAX: usize = MIB;
/// Bytes of bodies that all requests together may hold.
pub const BODIES_BYTES_MAX: usize = 64 * MIB;
/// Largest encoded size of one publish: one records section.
pub const REQUEST_ENCODED_BYTES_MAX: usize = EVENT_BYTES_MAX;

const _: () = assert!(
    REQUEST_ENCODED_BYTES_MAX < BODY_BYTES_MAX,
    "the largest event must fit into a body, or the limit at the edge is another than inside"
);
const _: () = assert!(
    BODY_BYTES_MAX <= BODIES_BYTES_MAX && BODIES_BYTES_MAX <= NODE_ADMITTED_BYTES_MAX,
    "a body that is allowed must find room, and bodies take no more than the events behind them"
);

/// Events on one page, if the reader does not say.
pub const PAGE_EVENTS_DEFAULT: usize = 100;
/// Events on one page.
pub const PAGE_EVENTS_MAX: usize = 10_000;
/// A page that has grown to this ends, whatever its reader asked for.
pub const PAGE_BYTES_MAX: usize = 4 * MIB;
/// Events of the first read for a page, before their size is known.
pub const READ_EVENTS_FIRST: usize = 16;
/// Bytes that one further read aims at.
pub const READ_BYTES_AIM: usize = MIB;
/// Dead letters in one list.
pub const LETTERS_MAX: usize = 1_000;

/// Largest head of a request: its first line and its headers.
pub const HEAD_BYTES_MAX: usize = 16 * KIB;
/// Bytes that are read ahead on one connection.
pub const READ_AHEAD_BYTES_MAX: usize = 256 * KIB;
/// A connection is looked at this often while it waits for its client.
pub const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How long a client may take to send a request's head.
pub const HEAD_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a connection may stay open between two requests.
pub const IDLE_WAIT_MAX: Duration = Duration::from_secs(120);
/// The same while connections are scarce.
pub const IDLE_WAIT_SCARCE_MAX: Duration = Duration::from_secs(5);
/// How long a client may take to send a request's body.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a client may take none of what is sent to it.
pub const WRITE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a refused client may go on sending, so that it finds the refusal and not a reset.
pub const LINGER_WAIT_MAX: Duration = Duration::from_secs(1);
/// Bytes that are thrown away meanwhile.
pub const LINGER_BYTES_MAX: usize = 8 * MIB;
/// How long a publish waits for admission before it is told that the node is busy.
pub const ADMISSION_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long metrics wait for the node's gauges; those that do not come show what they last were.
pub const SCRAPE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a user's route may take until its answer begins.
pub const USER_WAIT_MAX: Duration = Duration::from_secs(30);
/// Requests to users' routes that run at a time.
pub const USER_REQUESTS_MAX: usize = 1_024;
/// Largest error text of a user's route that becomes the detail of a problem.
pub const USER_ERROR_BYTES_MAX: usize = 16 * KIB;
/// Largest answer of a user's route that is collected before it is sent.
pub const USER_ANSWER_BYTES_MAX: usize = MIB;

/// Connections at a time, if the process may open enough files.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Of the files that the process may open, one in so many may be a connection.
pub const FILES_PER_CONNECTION: usize = 2;
/// Of all connections, one address other than loopback may hold one in so many.
pub const ADDRESS_SHARE: usize = 4;
/// Connections are scarce while fewer than one in so many are free.
pub const SCARCE_SHARE: usize = 4;
/// Connections that the kernel holds until they are accepted.
pub const BACKLOG: u32 = 1_024;
/// First wait after the process ran out of files; it doubles.
pub const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest such wait.
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Shortest token that is accepted.
pub const TOKEN_BYTES_MIN: usize = 16;

const _: () = assert!(
    HEAD_BYTES_MAX < READ_AHEAD_BYTES_MAX,
    "a head that is allowed must fit into what is read ahead"
);
const _: () = assert!(
    WATCH_EVERY.as_millis() < HEAD_WAIT_MAX.as_millis(),
    "a wait is counted in looks, so it must span several"
);

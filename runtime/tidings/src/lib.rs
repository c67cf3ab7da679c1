//! Event-driven microservices as supervised actors on one durable log.
//!
//! A service subscribes to topics and handles their events; a crashed handler is restarted by its
//! supervisor, and every event that was acknowledged to its publisher reaches every group at least
//! once, in order per key. There is no broker to run beside it: the process that runs the services
//! is the bus.
//!
//! # A first service
//!
//! ```no_run
//! use tidings::prelude::*;
//!
//! /// What happened. The type owns its topic, wire name and ordering key, once.
//! #[derive(Event, Serialize, Deserialize, Clone, Debug)]
//! #[event(topic = "users", kind = "user.signed_up.v1", key = user_id)]
//! struct UserSignedUp { user_id: Uuid, email: String }
//!
//! #[derive(Event, Serialize, Deserialize, Clone, Debug)]
//! #[event(topic = "mail", kind = "mail.sent.v1", key = user_id)]
//! struct MailSent { user_id: Uuid }
//!
//! struct Welcome { mailer: Mailer }
//!
//! impl Service for Welcome {
//!     const GROUP: &'static str = "welcome-mail"; // names the mailbox: change it and you read from the start
//!
//!     fn plan(plan: Plan<Self>) -> Plan<Self> {
//!         plan.workers(8) // per process: eight users at once, each user's events in order
//!             .on::<UserSignedUp>(|h| h
//!                 .timeout(10.secs())
//!                 .retry(Retry::exponential(100.millis()..=30.secs()).attempts(20))
//!                 .give_up(DeadLetter))
//!     }
//! }
//!
//! impl Handle<UserSignedUp> for Welcome {
//!     async fn handle(&mut self, user: UserSignedUp, cx: &mut Cx) -> Handled {
//!         let to = user.email.parse::<Address>().fatal()?; // can never work: dead letter now
//!         self.mailer.send(&to, cx.event_id()).await?; // any other error: try again later
//!         cx.emit(MailSent { user_id: user.user_id }); // commits with the ack, or not at all
//!         Ok(())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> tidings::Result<()> {
//!     Node::from_env()?.service(|| Welcome { mailer: Mailer::connect() }).run().await
//! }
//! # struct Mailer;
//! # impl Mailer {
//! #     fn connect() -> Self { Self }
//! #     async fn send(&mut self, _to: &Address, _id: &str) -> std::io::Result<()> { Ok(()) }
//! # }
//! # struct Address;
//! # impl std::str::FromStr for Address {
//! #     type Err = std::net::AddrParseError;
//! #     fn from_str(_: &str) -> Result<Self, Self::Err> { Ok(Self) }
//! # }
//! ```
//!
//! # What the words mean
//!
//! - `?` means *again later*, `.fatal()?` means *give up*, a panic is a failed attempt and a fresh
//!   worker. What is given up is a dead letter: kept with payload and reason, to be redriven.
//! - `Ok(())` is the ack. There is no other, so none is forgotten and none comes twice.
//! - An event comes *at least* once. Effects outside go by [`Cx::event_id`](cx::Cx::event_id), the
//!   same at each attempt.
//! - What cannot be decoded, and an unknown version of a known type, becomes a dead letter with its
//!   bytes. A type that the group does not handle is skipped and counted.
//! - A sink that commits handles a [`Batch`](batch::Batch) of up to 64 events in one transaction.
//! - A read model says [`everywhere`](plan::Plan::everywhere): then each process sees every event.
//!
//! # Testing
//!
//! With the feature `testkit`, `testkit::TestNode` runs services on a whole node with a memory disk
//! and a paused clock.
//!
//! # Features
//!
//! `http` (on by default): the node's HTTP side, and [`Node::routes`](node::Node::routes).
//! `testkit`: for tests only.

// The derive writes `::tidings`, in this crate's own tests, too.
extern crate self as tidings;

// In reading order; each module uses only those above it.
pub mod codec;

pub mod event;

pub mod failure;

pub mod units;

pub mod publish;

pub mod context;

mod emit;

pub mod cx;

pub mod batch;

mod desk;

pub mod handle;

mod run;

pub mod plan;

mod round;

pub mod service;

pub mod error;

mod signals;

#[cfg(feature = "http")]
pub mod http;

pub mod node;

#[cfg(feature = "testkit")]
pub mod testkit;

pub mod prelude;

#[cfg(feature = "http")]
pub use axum;
pub use error::{Error, Result};
pub use event::Event;
pub use node::Node;
pub use tidings_derive::Event;
pub use {tidings_config as config, tidings_node::api};

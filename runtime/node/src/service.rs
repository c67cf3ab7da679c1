//! Services in this process: how one is handed over, and the actors that run it.

pub(crate) mod registry;

pub(crate) mod watch;

pub(crate) mod policy;

pub(crate) mod work;

pub(crate) mod spec;

pub(crate) mod polled;

pub(crate) mod worker;

pub(crate) mod task;

pub(crate) mod child;

pub(crate) mod supervisor;

pub use policy::{GiveUp, Policy, PolicyOf};
pub use spec::{Handler, NewHandler, NewTask, ServiceContext, ServiceSpec, TaskSpec};
pub use work::Work;

//! What is held against the replicas while they run, because the history does not show it.

pub(crate) mod agreement;

pub(crate) mod leaders;

pub(crate) mod steps;

pub(crate) use agreement::Agreement;
pub(crate) use leaders::Leaders;
pub(crate) use steps::Steps;

//! What runs did, counted.

use std::ops::AddAssign;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// See the module's description.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl AddAssign for Stats {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }

        impl Stats {
            /// Each count with its name.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counts! {
    /// Runs.
    runs,
    /// Simulated time in microseconds.
    simulated_us,
    /// Things that happened.
    happenings,
    /// Calls of publishers.
    publishes,
    /// Calls that were told that they are stored.
    acked,
    /// Calls that were told that they are not.
    refused,
    /// Calls that were told nothing.
    unknown,
    /// Attempts of handlers that began.
    deliveries,
    /// Attempts that ended in a failure.
    failures,
    /// Dead letters at the end.
    dead_letters,
    /// Processes that were killed.
    kills,
    /// Nodes that lost their power.
    powercuts,
    /// Pauses of processes.
    pauses,
    /// Cuts of the network.
    cuts,
    /// Errors of disks.
    disk_errors,
    /// Other faults.
    other_faults,
    /// Terms in which somebody led.
    leaderships,
    /// Checkpoints that were written.
    checkpoints,
    /// Snapshots that were installed.
    installs,
    /// Reads of entries for a follower that lags.
    fetches,
    /// Changes of who votes.
    changes,
    /// Replicas that said that their log is not what it was.
    damages,
    /// Lines of history that were checked.
    lines,
}

//! The names of planted bugs on the command line. Only with the feature `bugs`.

use tidings_types::bugs::Bug;

/// Reads a bug's name.
pub(super) fn parse(name: &str) -> Result<Bug, String> {
    Bug::named(name).ok_or_else(|| {
        let names: Vec<_> = Bug::ALL.into_iter().map(Bug::name).collect();
        format!("there is no such bug; there are {}", names.join(", "))
    })
}

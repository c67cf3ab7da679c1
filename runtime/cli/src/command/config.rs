//! `tidings config`: each setting, its value, and where that came from.

use clap::Subcommand;
use serde::Serialize;
use tidings_config::key::reference;
use tidings_config::load;
use tidings_config::load::Row;

use crate::context::{Context, NodeFlags};
use crate::failure::Failure;

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show each setting of a node with its value and where that came from
    Show {
        #[command(flatten)]
        flags: NodeFlags,
    },
    /// Print every setting with its meaning and its default, as a configuration file
    Reference,
}

#[derive(Serialize)]
struct Setting {
    key: &'static str,
    value: String,
    default: String,
    origin: String,
}

/// Runs the command.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let output = &context.output;
    match command {
        Command::Show { flags } => {
            let loaded = load(context.node_options(&flags))?;
            let settings: Vec<_> = loaded.rows().into_iter().map(setting).collect();
            output.list(&settings, &["KEY", "VALUE", "FROM"], |setting| {
                vec![setting.key.to_owned(), setting.value.clone(), setting.origin.clone()]
            })?;
            output.next_here(&["tidings config reference", "tidings serve"]);
        }
        Command::Reference => {
            output.text(&reference())?;
            output.next_here(&[
                "tidings config reference > tidings.toml",
                "tidings serve --config FILE",
            ]);
        }
    }
    Ok(())
}

fn setting(row: Row) -> Setting {
    let Row { key, value, default, origin } = row;
    Setting { key, value, default, origin: origin.to_string() }
}

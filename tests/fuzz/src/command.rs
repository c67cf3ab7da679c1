//! Bincode of what we wrote ourselves: commands, and the state inside a checkpoint.

use tidings_state::State;
use tidings_types::layout::command::Command;

/// What decodes must come back as itself, and a state that decodes must be one that can be encoded.
pub fn run(bytes: &[u8]) {
    if let Ok(command) = Command::parse(bytes) {
        assert_eq!(Command::parse(&command.clone().encode()), Ok(command));
    }
    if let Ok(state) = State::decode(bytes) {
        assert_eq!(State::decode(&state.encode()), Ok(state));
    }
}

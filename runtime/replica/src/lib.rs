//! One Raft replica as a pure step from inputs to outputs.

//! The replicated state machine: topics, mailboxes, publishers, dead letters, members.

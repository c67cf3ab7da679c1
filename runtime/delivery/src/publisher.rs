//! Gives batches their sequence and sends them until the log answers.

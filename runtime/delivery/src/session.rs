//! What one worker holds: its batches and the event that runs.

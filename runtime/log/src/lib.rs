//! The node log on disk: frames, segments, one writer thread, recovery, tail and index.

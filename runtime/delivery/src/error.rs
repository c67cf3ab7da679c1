//! What can go wrong with a publish, as callers see it.

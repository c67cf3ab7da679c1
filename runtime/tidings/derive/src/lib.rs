//! The derive macro for events.

//! Typed, validated configuration: defaults, file, environment, flags.

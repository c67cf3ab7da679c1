//! HTTP over a node: publish, read, inspect, probes and metrics.

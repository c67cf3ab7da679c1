//! Event-driven microservices as supervised actors on one durable log.

//! The whole system over a Redis of several servers, really started: sentinels with a master that dies, and a cluster.
//! It carries signed webhooks all the while; whatever was answered with 200 must be there, once.

mod cluster;
mod job_events;
mod sentinel;

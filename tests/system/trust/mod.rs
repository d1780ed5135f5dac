//! What a TLS connection to elsewhere trusts, with real servers that have certificates of their own: Redis, PostgreSQL,
//! and stand-ins for Stripe, a sign-in service and a collector.

mod authority;
mod https;
mod postgresql;
mod redis_servers;
mod settings;

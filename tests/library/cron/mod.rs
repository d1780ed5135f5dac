//! When lookbacks begin: on a real Redis and a real store, by a clock that the test moves.

mod faults;
mod ticks;
mod world;

//! Collecting on a ledger that runs the real Soroban host and the contract's own code: what is settled when, what a crash
//! or a lost transaction leaves, and what it costs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test ends where it finds something else"
)]

mod closing;
mod command;
mod crash;
mod fault;
mod figures;
mod lanes;
mod many;
#[expect(dead_code, reason = "these tests ask less of a server than others do")]
#[path = "../support/redis.rs"]
mod redis;
mod threshold;
mod told;
mod upkeep;
mod world;

//! What `deploy/` holds is what it says: each file is read, rendered or run by the program that an operator reads, renders or
//! runs it with. `tests/support/tools` fetches those programs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test ends where it finds something else"
)]

mod chart;
mod figures;
mod gateway;
mod image;
mod manifest;
mod monitoring;
mod refusals;
#[path = "../support/redis.rs"]
#[expect(dead_code, reason = "the tests of the store do more with a server")]
mod server;
mod sidecar;
mod tools;
mod units;

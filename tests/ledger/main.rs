//! Payments on a ledger that runs the real Soroban host: what settles, what does not, and what becomes of the rest.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test ends where it finds something else"
)]

mod channel;
mod channels;
mod fate;
#[path = "../../sandbox/tests/support/npm.rs"]
mod npm;
mod own;
mod reference;
mod remote;
mod rpc;
#[path = "../../sandbox/tests/support/server.rs"]
mod server;
mod service;
mod stub;
mod support;

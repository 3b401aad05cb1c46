//! The sandbox as its users see it, through real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test ends where it finds something else"
)]

#[path = "support/mod.rs"]
mod support;

#[path = "sandbox/rpc.rs"]
mod rpc;

#[path = "sandbox/transaction.rs"]
mod transaction;

#[path = "sandbox/fault.rs"]
mod fault;

#[path = "sandbox/hold.rs"]
mod hold;

#[path = "sandbox/funding.rs"]
mod funding;

#[path = "sandbox/contract.rs"]
mod contract;

#[path = "sandbox/channel.rs"]
mod channel;

#[path = "sandbox/unsponsored.rs"]
mod unsponsored;

#[path = "sandbox/life.rs"]
mod life;

#[path = "sandbox/hostile.rs"]
mod hostile;

//! The sandbox as its users see it, through real sockets.

#[path = "support/mod.rs"]
mod support;

#[path = "sandbox/rpc.rs"]
mod rpc;

#[path = "sandbox/transaction.rs"]
mod transaction;

#[path = "sandbox/fault.rs"]
mod fault;

#[path = "sandbox/funding.rs"]
mod funding;

#[path = "sandbox/life.rs"]
mod life;

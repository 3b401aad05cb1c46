//! The reference packages of x402 and of the `Payment` scheme, unmodified, against the gateway: they pay it, it settles
//! through x402's, and they settle through `tollgate facilitator`.
//!
//! Needs node and what `tests/interop/install` installs.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test ends where it finds something else than it expects"
)]

mod clients;
mod mpp;
mod outage;
mod settling;
mod slow;
mod verifying;

mod log;
mod service;

mod asked;
mod binary;
mod middleman;
mod shop;
mod world;

#[path = "../support/agent.rs"]
mod agent;
#[path = "../../sandbox/tests/support/npm.rs"]
mod npm;
#[path = "../../sandbox/tests/support/server.rs"]
mod server;
#[path = "../e2e/upstream.rs"]
mod upstream;

//! The reference packages of x402 and of the `Payment` scheme, unmodified, against the gateway: they pay it, it settles
//! through x402's, and they settle through `tollgate facilitator`.
//!
//! Needs node, what `tests/interop/install` installs, and what `tests/support/servers` fetches.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a test ends where it finds something else than it expects"
)]

mod channel;
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
#[expect(dead_code, reason = "these tests ask less of a server than others do")]
#[path = "../support/redis.rs"]
mod redis;
#[path = "../../sandbox/tests/support/server.rs"]
mod server;
#[path = "../e2e/upstream.rs"]
mod upstream;

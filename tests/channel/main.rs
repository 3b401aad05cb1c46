//! Payment channels from end to end: a sandbox ledger with real channels, a gateway from YAML, a recording upstream, and
//! payers who sign what they like.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    dead_code,
    reason = "a test ends where it finds something else than it expects; what is shared is not used whole"
)]

mod attack;
mod client;
mod leaving;
mod load;
mod malformed;
mod pay;
mod servers;
mod slow;
mod world;

#[path = "../support/agent.rs"]
mod agent;
#[path = "../support/origins.rs"]
mod origins;
#[path = "../support/channel.rs"]
mod payer;
#[path = "../e2e/upstream.rs"]
mod upstream;

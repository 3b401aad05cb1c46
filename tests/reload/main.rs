//! A gateway that changes under load, and stops in the right order: real processes, real sockets, a sandbox ledger.
//!
//! CI runs a short form. Ten reloads a second for a minute, at 500 requests a second, are a command:
//! `TOLLGATE_RELOADS=600 cargo test -p tollgate --test reload -- --nocapture j02`, and so are many certificates:
//! `TOLLGATE_SWAPS=100 cargo test -p tollgate --test reload -- --nocapture swap`

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test ends where it finds something else than it expects"
)]

mod doors;
mod files;
mod load;
mod proxied;
mod secrets;
mod service;
mod stop;
mod swap;

#[expect(dead_code, reason = "other suites need more of it")]
#[path = "../support/agent.rs"]
mod agent;
#[expect(dead_code, reason = "other suites need more of it")]
#[path = "../support/process.rs"]
mod child;
mod clients;
mod origin;
#[expect(dead_code, reason = "other suites need more of it")]
#[path = "../support/channel.rs"]
mod payer;
mod site;

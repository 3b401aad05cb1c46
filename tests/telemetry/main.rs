//! What an operator sees of a gateway that runs: its figures and its lines, to the base unit, and no secret.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    dead_code,
    reason = "a test ends where it finds something else than it expects; what is shared is not used whole"
)]

mod access;
mod canary;
mod figures;
mod page;
mod site;

#[path = "../support/agent.rs"]
mod agent;
#[path = "../support/charge.rs"]
mod charging;
#[path = "../support/channel.rs"]
mod payer;
#[path = "../support/process.rs"]
mod process;
#[path = "../e2e/upstream.rs"]
mod upstream;

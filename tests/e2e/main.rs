//! What a client and an operator see, through real sockets: a sandbox ledger, a gateway from YAML, a recording upstream.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test ends where it finds something else than it expects"
)]

mod binding;
mod load;
mod order;
mod reload;
mod replay;
mod transfer;
mod valve;

mod upstream;
mod world;

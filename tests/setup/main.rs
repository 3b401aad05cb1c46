//! From an empty folder to a gateway that is paid: `tollgate setup` and `tollgate check --online`, as a newcomer runs them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test ends where it finds something else"
)]

mod binary;
mod newcomer;
mod online;
mod prepare;
mod site;
#[path = "../ledger/stub.rs"]
#[expect(dead_code, reason = "the tests of the ledger need more of its answers")]
mod stub;

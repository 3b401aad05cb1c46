//! A local Stellar network in one process.
pub mod ledger;

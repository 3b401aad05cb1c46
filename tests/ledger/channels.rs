//! Channels as the gateway sees them: on a ledger that is scripted, and on one that runs the contract.

mod asking;
mod chain;
mod fake;
mod watching;

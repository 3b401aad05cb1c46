//! The wire formats and the rules of money, as pure functions.
//!
//! Nothing here reads a clock, draws randomness or does I/O: time, nonces and the ledger's view come
//! in as arguments, so every rule can be tested by its inputs alone. A test holds the module to it.

pub mod channel;
pub mod commitment;
pub mod json;
pub mod money;
pub mod mpp;
pub mod quote;
pub mod stellar;
pub mod target;
pub mod transfer;
pub mod x402;

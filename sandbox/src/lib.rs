//! A local Stellar network in one process.

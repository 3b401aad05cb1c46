//! Payments on a ledger that runs the real Soroban host: what settles, what does not, and what becomes of the rest.

mod fate;
mod own;
mod remote;
mod rpc;
mod service;
mod stub;
mod support;

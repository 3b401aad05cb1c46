//! The ledger from outside: what is admitted, what is refused and with which code, what is applied and what it costs.

mod admission;
mod classic;
mod close;
mod conservation;
mod contract;
mod kit;
mod ttl;
mod wasm;

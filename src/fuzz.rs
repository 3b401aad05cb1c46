//! What must hold of every parser that takes bytes from outside, whatever the bytes are.
//!
//! One check for each parser: a function that takes bytes, reads them, and panics where a promise is broken. None is
//! only "no panic": what is read twice reads the same, what is written reads back, nothing with two readings gets in, and
//! no input takes more memory than its check allows. Compiled for tests and for `cargo fuzz` alone (`cfg(fuzzing)`): the
//! targets in `fuzz/` feed the checks for hours, the tests here feed them the corpora, and changes of these.

mod commitment;
mod config;
mod framing;
mod header;
mod mpp;
mod rpc;
mod target;
mod transaction;
mod x402;

/// One parser's check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// The name of its target, its corpus and its dictionary in `fuzz/`.
    pub name: &'static str,
    /// Reads the bytes every way that the parser knows.
    ///
    /// # Panics
    /// Where the parser breaks a promise.
    pub run: fn(&[u8]),
    /// The most memory, in bytes, that one run may hold at a time, for input of up to [`MOST_INPUT`] bytes.
    pub most_memory: u64,
}

/// `gateway.yaml`.
pub const CONFIG: Check = Check { name: "config", run: config::check, most_memory: 32 << 20 };
/// Commitments, keys, addresses and amounts.
pub const COMMITMENT: Check =
    Check { name: "commitment", run: commitment::check, most_memory: 1 << 20 };
/// What a client sends on an HTTP/1 connection.
pub const FRAMING: Check = Check { name: "framing", run: framing::check, most_memory: 4 << 20 };
/// What is left of a head on its way to the upstream, and of an answer's on its way back.
pub const HEADER: Check = Check { name: "header", run: header::check, most_memory: 4 << 20 };
/// `Authorization: Payment`, and every other field of that scheme.
pub const MPP: Check = Check { name: "mpp", run: mpp::check, most_memory: 2 << 20 };
/// Answers of the Stellar RPC and of a facilitator.
pub const RPC: Check = Check { name: "rpc", run: rpc::check, most_memory: 8 << 20 };
/// Request targets.
pub const TARGET: Check = Check { name: "target", run: target::check, most_memory: 1 << 20 };
/// XDR of transactions.
pub const TRANSACTION: Check =
    Check { name: "transaction", run: transaction::check, most_memory: 1 << 20 };
/// `PAYMENT-SIGNATURE`, and every other message of x402.
pub const X402: Check = Check { name: "x402", run: x402::check, most_memory: 2 << 20 };

/// Every check there is.
pub const ALL: [Check; 9] =
    [COMMITMENT, CONFIG, FRAMING, HEADER, MPP, RPC, TARGET, TRANSACTION, X402];

/// The longest input that a check has its bound of memory for: more than any header or body of a payment.
pub const MOST_INPUT: usize = 64 << 10;

#[cfg(test)]
mod tests;

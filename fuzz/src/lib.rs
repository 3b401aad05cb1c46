//! Runs a check of the gateway's parsers for libFuzzer, and holds it to its bound of memory.
//!
//! The checks themselves are in `src/fuzz/` of the gateway, where `cargo test` runs them over the corpora too.

use tollgate::fuzz::{Check, MOST_INPUT};

/// Runs `check` over `bytes`, unless they are more than any parser takes.
///
/// # Panics
/// Where the parser breaks a promise, or takes more memory than its check allows.
pub fn run(check: Check, bytes: &[u8]) {
    if bytes.len() > MOST_INPUT {
        return;
    }
    let used = allocation_counter::measure(|| (check.run)(bytes));
    assert!(used.bytes_max <= check.most_memory, "{} held {} bytes", check.name, used.bytes_max);
}

//! Why the store did not do what it was asked.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

/// Why the store did not do what it was asked. Each is a fault, never an admission.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It did not answer in time; the step may or may not be recorded, and repeating it is safe.
    #[error("the store did not answer within {waited:?}")]
    Unreachable {
        /// How long it was waited for.
        waited: Duration,
    },
    /// It takes no payments for now: it cannot be reached, or is not as it must be to keep them. The step is not recorded.
    #[error("the store takes no payments: {reason}")]
    Unavailable {
        /// What is to be done about it.
        reason: Arc<str>,
    },
    /// It has stopped for good: a write failed, after which nobody knows what the disk holds, or it was closed.
    #[error("the store has stopped: {reason}")]
    Stopped {
        /// What stopped it.
        reason: Arc<str>,
    },
    /// What is stored is not what was written.
    #[error(
        "the store is corrupt: {what}; restore the file from a backup, or move it away to begin anew"
    )]
    Corrupt {
        /// What was found.
        what: Arc<str>,
    },
    /// Written by another version; reading it by guess could sell a payment twice.
    #[error(
        "the store has format {found}, and this version reads format {known}: run the version that wrote it"
    )]
    UnknownFormat {
        /// As found.
        found: u8,
        /// As known here.
        known: u8,
    },
    /// Another process has the file open.
    #[error("`{path}` is in use by another process: each gateway needs a file of its own")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The folder of the file does not exist.
    #[error("`{path}` cannot be made: its folder does not exist")]
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be opened.
    #[error("open `{path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The claim is in no state for this verb: a fault of the caller.
    #[error("a claim that is {state} cannot become {asked}")]
    OutOfOrder {
        /// The state that it has.
        state: &'static str,
        /// The state that was asked for.
        asked: &'static str,
    },
    /// The reservation was given back: its lease had ended.
    #[error("the reservation was given back meanwhile")]
    Lapsed,
    /// A receipt or a memo above 16 KiB.
    #[error("a receipt or memo of {length} bytes is above the {max} that the store keeps")]
    TooLarge {
        /// As given.
        length: usize,
        /// As allowed.
        max: usize,
    },
}

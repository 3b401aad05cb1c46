//! The intent `charge` of the method `stellar`: what it asks, what pays it, and who says to have paid.
//!
//! Knows the shapes, and the signature that binds a transfer on the ledger to a challenge; the transaction within a
//! payload is read by [`crate::protocol::transfer`].
//! Source: draft-stellar-charge-00, as `@stellar/mpp` 0.7 speaks it.

mod payload;
mod request;
mod source;

pub use self::payload::{
    BadSignature, InvalidPayload, Payload, check_signed_hash, signed_hash_message,
};
pub use self::request::{CredentialType, Request};
pub use self::source::{NotSource, Source};

/// The method's name in a challenge.
pub const METHOD: &str = "stellar";
/// The intent's name in a challenge.
pub const INTENT: &str = "charge";

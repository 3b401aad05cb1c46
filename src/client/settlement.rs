//! What a server says became of a payment, by whatever rail.

use http::HeaderMap;

use super::Credential;
use crate::protocol::{
    mpp::{PAYMENT_RECEIPT, Receipt},
    x402::{self, PAYMENT_RESPONSE},
};

/// What the server says. It is the server's word: only the ledger can tell whether it is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Whether the money moved. A charge that did not settle has no receipt.
    pub success: bool,
    /// The transaction, if there was one; may be anything.
    pub transaction: String,
    /// Why it did not settle; may be anything.
    pub error_reason: Option<String>,
}

impl Settlement {
    /// What the headers of an answer say of `credential`; `None` if nothing that can be read.
    #[must_use]
    pub fn of(headers: &HeaderMap, credential: &Credential) -> Option<Self> {
        if credential.as_charge().is_some() {
            let receipt = Receipt::decode(headers.get(PAYMENT_RECEIPT)?.as_bytes()).ok()?;
            let transaction = receipt.reference;
            return Some(Self { success: true, transaction, error_reason: None });
        }
        let told = x402::Settlement::decode(headers.get(PAYMENT_RESPONSE)?.as_bytes()).ok()?;
        let x402::Settlement { success, transaction, error_reason, .. } = told;
        Some(Self { success, transaction, error_reason })
    }
}

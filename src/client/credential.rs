//! A payment as it is presented, of any rail.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::Until;
use crate::protocol::{
    mpp::{self, charge::Payload},
    stellar::TxHash,
    x402::{self, PAYMENT_SIGNATURE},
};

/// A signed payment. It may be presented any number of times, and pays at most once.
#[derive(Clone)]
pub struct Credential {
    content: Content,
    header: HeaderValue,
    until: Option<Until>,
}

#[derive(Clone)]
enum Content {
    X402(Value),
    /// Of a charge or of a channel.
    Payment(Box<mpp::Credential>),
}

impl Credential {
    /// An x402 payment that says `payload`, whatever that is.
    #[must_use]
    pub fn x402(payload: Value) -> Self {
        Self { header: x402::encode(&payload), content: Content::X402(payload), until: None }
    }

    /// A payment of a charge, whatever it says.
    #[must_use]
    pub fn charge(credential: mpp::Credential) -> Self {
        let header = credential.encode();
        Self { header, content: Content::Payment(Box::new(credential)), until: None }
    }

    /// A commitment of a channel, whatever it says. It holds until the channel ends.
    #[must_use]
    pub fn channel(credential: mpp::Credential) -> Self {
        Self::charge(credential)
    }

    /// The name of the header that carries it.
    #[must_use]
    pub fn name(&self) -> HeaderName {
        match &self.content {
            Content::X402(_) => PAYMENT_SIGNATURE,
            Content::Payment(credential) => credential.challenge.header.name(),
        }
    }

    /// The value of that header.
    #[must_use]
    pub const fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// The payload: of x402 all that the header says, else its member `payload`.
    #[must_use]
    pub fn payload(&self) -> &Value {
        match &self.content {
            Content::X402(payload) => payload,
            Content::Payment(credential) => credential.payload.as_ref().unwrap_or(&Value::Null),
        }
    }

    /// What it says, if it is not x402's.
    #[must_use]
    pub const fn as_charge(&self) -> Option<&mpp::Credential> {
        match &self.content {
            Content::X402(_) => None,
            Content::Payment(credential) => Some(credential),
        }
    }

    /// Until when it can be settled, as far as this client knows; `None` for what is on the ledger already.
    #[must_use]
    pub const fn holds_until(&self) -> Option<Until> {
        self.until
    }

    /// The transaction on the ledger that it is about, if the payer put one there.
    #[must_use]
    pub fn pushed(&self) -> Option<TxHash> {
        match Payload::from_json(self.as_charge()?.payload.as_ref()?).ok()? {
            Payload::SignedHash { hash, .. } | Payload::Hash(hash) => Some(hash),
            Payload::Transaction(_) => None,
        }
    }

    /// The same, known to hold until then.
    pub(super) fn until(self, until: Until) -> Self {
        Self { until: Some(until), ..self }
    }

    /// Puts it among the headers of a request; what else is in `Authorization` stays there.
    pub(super) fn insert_into(&self, headers: &mut HeaderMap) {
        let name = self.name();
        let mut value = self.header.clone();
        if matches!(self.content, Content::Payment(_)) {
            let others = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
            let all: Vec<&[u8]> = others.chain([value.as_bytes()]).collect();
            // One line: some servers read no more of this header.
            value = HeaderValue::from_bytes(&all.join(&b", "[..])).unwrap_or(value);
        }
        headers.insert(name, value);
    }
}

/// Not the credential itself: whoever reads it can present it.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("header", &self.name())
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

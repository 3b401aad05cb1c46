//! The `payload` of a channel credential.

use std::fmt;

use serde_json::{Value, json};

use super::super::charge::InvalidPayload;
use crate::protocol::{commitment::Commitment, money::Amount};

/// What pays a channel challenge. Its `Debug` shows no signature: whoever has one may present it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// What its sender wants. Not covered by the signature.
    pub action: Action,
    /// The total since the channel opened, in base units, never zero.
    pub amount: Amount,
    /// The commitment key's, over [`crate::protocol::commitment::bytes`].
    pub signature: [u8; 64],
}

/// What a commitment is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// To pay for this request.
    Voucher,
    /// To pay for this request and end the channel.
    Close,
}

impl Action {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Voucher => "voucher",
            Self::Close => "close",
        }
    }
}

impl Payload {
    /// The payload that sends `commitment` for `action`.
    #[must_use]
    pub const fn new(action: Action, commitment: Commitment) -> Self {
        Self { action, amount: commitment.amount, signature: commitment.signature }
    }

    /// The commitment, not verified yet.
    #[must_use]
    pub const fn commitment(&self) -> Commitment {
        Commitment { amount: self.amount, signature: self.signature }
    }

    /// The payload as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "action": self.action.name(),
            "amount": self.amount.to_string(),
            "signature": hex::encode(self.signature),
        })
    }

    /// Reads a payload; a signature in hex of either case, members that it does not know passed over.
    ///
    /// # Errors
    /// [`InvalidPayload`] names the member that is missing or wrong.
    pub fn from_json(payload: &Value) -> Result<Self, InvalidPayload> {
        let text =
            |key: &'static str| payload.get(key).and_then(Value::as_str).ok_or(InvalidPayload(key));
        let action = text("action")?;
        let action = [Action::Voucher, Action::Close]
            .into_iter()
            .find(|known| known.name() == action)
            .ok_or(InvalidPayload("action"))?;
        let amount = Amount::parse_units(text("amount")?)
            .ok()
            .filter(|amount| !amount.is_zero())
            .ok_or(InvalidPayload("amount"))?;
        let mut signature = [0; 64];
        hex::decode_to_slice(text("signature")?, &mut signature)
            .map_err(|_| InvalidPayload("signature"))?;
        Ok(Self { action, amount, signature })
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} {})", self.action.name(), self.amount)
    }
}

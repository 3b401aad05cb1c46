//! The receipt of a request that a channel paid.

use serde_json::Value;

use super::{
    super::{self as mpp, Malformed, charge::METHOD, parsed, text, units},
    INTENT,
};
use crate::protocol::{money::Amount, stellar::ContractId};

/// What a paid answer says of its payment and of the channel after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The `reference` of the challenge; the hash of the transaction where the channel was closed.
    pub reference: String,
    /// When the commitment was taken, in Unix milliseconds.
    pub timestamp_ms: u64,
    /// The merchant's own id, if the request named one.
    pub external_id: Option<String>,
    /// The id of the challenge that was paid.
    pub challenge_id: String,
    /// The channel that paid.
    pub channel: ContractId,
    /// The highest commitment that the server holds.
    pub accepted: Amount,
    /// What was delivered for it, or is being delivered; never above `accepted`.
    pub spent: Amount,
}

impl Receipt {
    /// The receipt as it goes on the wire. The total stands under two names: `@stellar/mpp`'s and the session drafts'.
    #[must_use]
    pub fn to_mpp(&self) -> mpp::Receipt {
        let extra = [
            (INTENT_KEY, INTENT.to_owned()),
            (CHALLENGE_ID, self.challenge_id.clone()),
            (CHANNEL, self.channel.to_string()),
            (CUMULATIVE, self.accepted.to_string()),
            (ACCEPTED, self.accepted.to_string()),
            (SPENT, self.spent.to_string()),
        ];
        mpp::Receipt {
            method: METHOD.to_owned(),
            reference: self.reference.clone(),
            timestamp_ms: self.timestamp_ms,
            external_id: self.external_id.clone(),
            extra: extra.into_iter().map(|(key, text)| (key.to_owned(), text.into())).collect(),
        }
    }

    /// Reads what [`Receipt::to_mpp`] makes.
    ///
    /// # Errors
    /// [`Malformed`] names the member that is missing or wrong, or says otherwise than another.
    pub fn from_mpp(receipt: &mpp::Receipt) -> Result<Self, Malformed> {
        if receipt.method != METHOD {
            return Err(Malformed::Member("method"));
        }
        let extra = Value::Object(receipt.extra.clone());
        if text(&extra, INTENT_KEY)? != INTENT {
            return Err(Malformed::Member(INTENT_KEY));
        }
        let (accepted, spent) = (units(&extra, ACCEPTED)?, units(&extra, SPENT)?);
        if units(&extra, CUMULATIVE)? != accepted {
            return Err(Malformed::Member(CUMULATIVE));
        }
        if spent > accepted {
            return Err(Malformed::Member(SPENT));
        }
        Ok(Self {
            reference: receipt.reference.clone(),
            timestamp_ms: receipt.timestamp_ms,
            external_id: receipt.external_id.clone(),
            challenge_id: text(&extra, CHALLENGE_ID)?,
            channel: parsed(&extra, CHANNEL)?,
            accepted,
            spent,
        })
    }
}

const INTENT_KEY: &str = "intent";
const CHALLENGE_ID: &str = "challengeId";
const CHANNEL: &str = "channel";
const CUMULATIVE: &str = "cumulativeAmount";
const ACCEPTED: &str = "acceptedCumulative";
const SPENT: &str = "spent";

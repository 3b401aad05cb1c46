//! The intent `channel` of the method `stellar`: what it asks, what pays it, and what is told of the channel.
//!
//! Knows the shapes; the signature within a payload is [`crate::protocol::commitment`]'s, and whether a commitment is
//! worth the request is the account's that is kept of the channel.
//! Source: `@stellar/mpp` 0.7; the receipt's further members are those of the session drafts.

mod payload;
mod receipt;
mod request;

use http::{HeaderMap, HeaderName};

use super::{Challenge, Malformed};
use crate::protocol::stellar::{AddressError, ContractId};

pub use self::payload::{Action, Payload};
pub use self::receipt::Receipt;
pub use self::request::{Request, reference};

/// The intent's name in a challenge.
pub const INTENT: &str = "channel";
/// The name of the same intent elsewhere: it is asked for by [`super::AcceptPayment`], and means the same.
pub const SESSION_INTENT: &str = "session";

/// Request header: the channel, `C…`, that its sender would pay from.
pub const PAYMENT_CHANNEL: HeaderName = HeaderName::from_static("payment-channel");
/// Response header of a paid answer: the challenge for the next request, as [`Challenge::to_next`] writes it.
pub const PAYMENT_NEXT: HeaderName = HeaderName::from_static("payment-next");

/// The channel that the headers of a request name, if they name one.
///
/// # Errors
/// [`NotChannel`] if they name several, or something else.
pub fn named(headers: &HeaderMap) -> Result<Option<ContractId>, NotChannel> {
    let mut values = headers.get_all(PAYMENT_CHANNEL).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(NotChannel::Repeated);
    }
    let text = value.to_str().map_err(|_| NotChannel::Address(AddressError::Malformed))?;
    text.parse().map(Some).map_err(NotChannel::Address)
}

/// The challenge for the next request that the headers of an answer carry, if they carry one.
///
/// # Errors
/// [`Malformed`] if they carry several, or something else.
pub fn next_challenge(headers: &HeaderMap) -> Result<Option<Challenge>, Malformed> {
    let mut values = headers.get_all(PAYMENT_NEXT).into_iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Malformed::Repeated);
    }
    Challenge::from_next(value).map(Some)
}

/// Why [`PAYMENT_CHANNEL`] names no channel. Never repeats its text: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotChannel {
    /// The header stands twice, whether or not both say the same.
    #[error("`Payment-Channel` stands twice")]
    Repeated,
    /// Not a contract's address in its one spelling.
    #[error("`Payment-Channel` is no contract's address")]
    Address(#[source] AddressError),
}

//! Why a request has no paid answer.

use std::sync::Arc;

use http::Uri;
use stellar_xdr as xdr;

use super::{Money, channel};
use crate::{
    ledger::rpc,
    protocol::{
        self,
        stellar::{AccountId, ContractId, TxHash},
        transfer,
        x402::Malformed,
    },
};

/// Why a request has no paid answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The unpaid request got no answer.
    #[error("no answer from `{uri}`")]
    Send {
        /// Where it went.
        uri: Uri,
        /// Why.
        source: Arc<hyper_util::client::legacy::Error>,
    },
    /// The paid request got no answer: the payment may have been taken. Present the same one again.
    #[error("no answer from `{uri}` to the paid request; the payment may have been taken")]
    Unanswered {
        /// Where it went.
        uri: Uri,
        /// Why.
        source: Arc<hyper_util::client::legacy::Error>,
    },
    /// The request carries a payment already.
    #[error("the request carries a payment already")]
    AlreadyPaid,
    /// The 402 cannot be read.
    #[error("the server asks for a payment in a way that cannot be read")]
    Challenge(#[source] Malformed),
    /// No way to pay is one that this client has.
    #[error("none of the ways to pay can be used: {}", reasons.join("; "))]
    NoOffer {
        /// For each way, why not.
        reasons: Vec<String>,
    },
    /// More is asked than may be paid; nothing was signed.
    #[error("{asked} is asked, and at most {limit} may be paid")]
    OverLimit {
        /// What is asked.
        asked: Money,
        /// What may be paid.
        limit: Money,
    },
    /// The Stellar RPC did not help.
    #[error(transparent)]
    Rpc(rpc::Error),
    /// The transfer would fail on the ledger, such as for want of money; nothing was presented.
    #[error("the transfer would fail: {reason}")]
    Refused {
        /// The ledger's words.
        reason: String,
    },
    /// Something that the transfer needs is archived and must be restored first.
    #[error("the transfer needs archived ledger entries, which must be restored first")]
    Archived,
    /// The account that would send the transaction does not exist.
    #[error("the payer {0} is no account of this network")]
    NoAccount(AccountId),
    /// The challenge is past, or a clock is wrong.
    #[error("the challenge has ended before it came: is the clock of this machine right?")]
    Ended,
    /// The transaction did not reach the network; no money moved.
    #[error("the network did not take the transaction: {reason}")]
    Unsent {
        /// What happened.
        reason: String,
    },
    /// The network refused the transaction; no money moved.
    #[error("the network refused transaction {transaction}: {}", code.name())]
    NotTaken {
        /// Its hash.
        transaction: TxHash,
        /// The network's word.
        code: xdr::TransactionResultCode,
    },
    /// The transaction failed on the ledger, or can never land; no money moved.
    #[error("transaction {transaction} failed, and moved no money")]
    Failed {
        /// Its hash.
        transaction: TxHash,
    },
    /// The transaction may have landed, or may still land. Look for it before another payment is made.
    #[error(
        "it is not known whether transaction {transaction} has paid: look for it before you pay again"
    )]
    Unknown {
        /// Its hash.
        transaction: TxHash,
    },
    /// The money moved, and the server did not answer.
    #[error("transaction {transaction} has paid, but the paid request got no answer")]
    Undelivered {
        /// Its hash.
        transaction: TxHash,
        /// Why there was none.
        source: Box<Self>,
    },
    /// The server says that more was signed on the channel than was; nothing was signed.
    #[error(
        "the server claims commitments of {claimed}, but the purse has signed {signed}: if its state was lost, tell it what \
         was signed"
    )]
    Overclaimed {
        /// What the server says.
        claimed: Money,
        /// What the purse has signed in all.
        signed: Money,
    },
    /// The channel does not hold what the request needs, or no more may be signed on it; nothing was signed.
    #[error(
        "{needed} would have to be signed in all, and at most {most} may be: top the channel up"
    )]
    Exhausted {
        /// The total that the request needs.
        needed: Money,
        /// The deposit, or the limit in total.
        most: Money,
    },
    /// What is signed could not be written down first; nothing was signed.
    #[error(transparent)]
    Purse(channel::PurseError),
    /// What the ledger has under the address is no channel.
    #[error("{channel} is no payment channel")]
    NotChannel {
        /// The address.
        channel: ContractId,
        /// What is wrong, if anything is there at all.
        source: Option<protocol::channel::Error>,
    },
    /// The payment cannot be signed or encoded.
    #[error("the payment cannot be made")]
    Sign(#[source] transfer::Error),
}

impl Error {
    /// Whether money may have moved.
    #[must_use]
    pub const fn may_have_paid(&self) -> bool {
        matches!(self, Self::Unanswered { .. } | Self::Unknown { .. } | Self::Undelivered { .. })
    }
}

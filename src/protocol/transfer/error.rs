//! The rules that a transfer can break, as sentences and as x402 reason codes.

/// The rule that a transfer breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No transaction envelope of version 1, or one whose arguments have the wrong types.
    #[error("the transaction is not base64 of one v1 `TransactionEnvelope` with a SEP-41 transfer")]
    Malformed,
    /// Not exactly one operation, or not the call of a contract.
    #[error("the transaction is not exactly one contract call")]
    WrongOperation,
    /// The operation has a source, or the transaction's source is one of ours.
    #[error("the transaction or its operation has a source that it must not have")]
    UnsafeSource,
    /// Another contract is called.
    #[error("the transfer is in another token than asked")]
    WrongAsset,
    /// Not `transfer` with three arguments.
    #[error("the call is not `transfer(from, to, amount)`")]
    WrongFunction,
    /// The payer is the payee or one of our own keys.
    #[error("the payer is the payee, or an account of the facilitator")]
    FacilitatorIsPayer,
    /// The money goes elsewhere.
    #[error("the transfer goes to another address than asked")]
    WrongRecipient,
    /// Not exactly the amount.
    #[error("the transfer is of another amount than asked")]
    WrongAmount,
    /// The fee would not cover the transaction.
    #[error("the declared fee is below what the transaction costs")]
    FeeBelowMinimum,
    /// The fee or the resource fee is above our ceiling.
    #[error("the declared fee is above what is allowed")]
    FeeAboveMaximum,
    /// A footprint that no transfer needs.
    #[error("the transaction declares more ledger entries than a transfer needs")]
    TooManyResources,
    /// Preconditions besides time bounds.
    #[error("the transaction has preconditions other than time bounds")]
    Preconditions,
    /// The client's time bounds exclude now, or what comes soon.
    #[error("the time bounds of the transaction do not leave the time to settle it")]
    OutOfTime,
    /// No authorization entry.
    #[error("the call carries no authorization")]
    NoAuthorization,
    /// More than one authorization entry.
    #[error("the call carries more than one authorization")]
    ManyAuthorizations,
    /// Credentials of the source account, or of a kind without support.
    #[error("the authorization is not by address credentials (version 1)")]
    UnsupportedCredentials,
    /// The authorization covers further calls.
    #[error("the authorization covers calls beneath the transfer")]
    SubInvocations,
    /// The authorization is for another call than the operation's.
    #[error("the authorization is for another call than the transaction's")]
    OtherCall,
    /// No signature, or not the payer's entry.
    #[error("the payer's authorization is not signed")]
    MissingSignature,
    /// A signature that is not the payer's over this authorization.
    #[error("the authorization's signature is not one by the payer's own key over this transfer")]
    BadSignature,
    /// The source of the transaction, or of its fee, did not sign it.
    #[error("the transaction is not signed by the own key of its source, and by that alone")]
    NotSigned,
    /// A fee bump is around the transaction.
    #[error(
        "a fee bump is around the transaction: present the payer's own, or the hash of what landed"
    )]
    FeeBumped,
    /// The envelope itself is signed.
    #[error("the transaction envelope carries signatures; only its authorization may be signed")]
    EnvelopeSigned,
    /// Too little life left, or none.
    #[error("the authorization has expired, or is about to")]
    Expired,
    /// More life than allowed.
    #[error("the authorization lives longer than allowed")]
    ExpiresTooLate,
    /// The transaction emits another event than a transfer.
    #[error("the transaction emits an event that is no transfer")]
    EventNotTransfer,
    /// Another contract emits an event.
    #[error("another contract than the token emits an event")]
    EventWrongAsset,
    /// No event.
    #[error("the transaction emits no transfer event")]
    NoTransferEvent,
    /// More than one event.
    #[error("the transaction emits more than one transfer event")]
    ManyTransferEvents,
    /// The event tells another payer.
    #[error("the transfer event tells another payer")]
    EventWrongFrom,
    /// The event tells another payee.
    #[error("the transfer event tells another payee")]
    EventWrongTo,
    /// The event tells another amount.
    #[error("the transfer event tells another amount")]
    EventWrongAmount,
    /// The transaction changes entries that a transfer has no part in.
    #[error("the transaction changes more than the balances of payer and payee")]
    OtherChanges,
}

impl Error {
    /// The x402 reason code, as the reference facilitators spell it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed
            | Self::TooManyResources
            | Self::Preconditions
            | Self::FeeBumped
            | Self::OutOfTime
            | Self::ManyAuthorizations => "invalid_exact_stellar_payload_malformed",
            Self::WrongOperation => "invalid_exact_stellar_payload_wrong_operation",
            Self::UnsafeSource => "invalid_exact_stellar_payload_unsafe_tx_or_op_source",
            Self::WrongAsset => "invalid_exact_stellar_payload_wrong_asset",
            Self::WrongFunction => "invalid_exact_stellar_payload_wrong_function_name",
            Self::FacilitatorIsPayer => "invalid_exact_stellar_payload_facilitator_is_payer",
            Self::WrongRecipient => "invalid_exact_stellar_payload_wrong_recipient",
            Self::WrongAmount => "invalid_exact_stellar_payload_wrong_amount",
            Self::FeeBelowMinimum => "invalid_exact_stellar_payload_fee_below_minimum",
            Self::FeeAboveMaximum => "invalid_exact_stellar_payload_fee_exceeds_maximum",
            Self::NoAuthorization => "invalid_exact_stellar_payload_no_auth_entries",
            Self::UnsupportedCredentials => {
                "invalid_exact_stellar_payload_unsupported_credential_type"
            }
            Self::SubInvocations => "invalid_exact_stellar_payload_has_subinvocations",
            Self::OtherCall => "invalid_exact_stellar_payload_missing_payer_auth",
            Self::MissingSignature | Self::BadSignature | Self::NotSigned => {
                "invalid_exact_stellar_payload_missing_payer_signature"
            }
            Self::EnvelopeSigned => "invalid_exact_stellar_payload_has_envelope_signatures",
            Self::Expired => "invalid_exact_stellar_payload_auth_already_expired",
            Self::EventNotTransfer => "invalid_exact_stellar_payload_event_not_transfer",
            Self::EventWrongAsset => "invalid_exact_stellar_payload_event_wrong_asset",
            Self::NoTransferEvent => "invalid_exact_stellar_payload_no_transfer_events",
            Self::ManyTransferEvents => "invalid_exact_stellar_payload_multiple_transfers",
            Self::EventWrongFrom => "invalid_exact_stellar_payload_event_wrong_from",
            Self::EventWrongTo => "invalid_exact_stellar_payload_event_wrong_to",
            Self::EventWrongAmount => "invalid_exact_stellar_payload_event_wrong_amount",
            Self::OtherChanges => "invalid_exact_stellar_payload_unexpected_balance_changes",
            Self::ExpiresTooLate => "invalid_exact_stellar_signature_expiration_too_far",
        }
    }
}

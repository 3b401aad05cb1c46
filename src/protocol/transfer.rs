//! The transfer that an x402 or MPP charge credential carries: read, checked, built.
//!
//! A payer signs one authorization entry for `asset.transfer(payer, payee, amount)`; whoever holds it may put it on the
//! ledger. What is checked here needs no ledger: balance, used nonces and contract accounts are the simulation's to judge.
//! Source: x402 v2, scheme `exact` on Stellar; SEP-41.

use stellar_xdr as xdr;

use super::{
    money::Amount,
    stellar::{AccountId, Address, ContractId, Network},
};

/// One `transfer` call with the payer's authorization for exactly that call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    payer: Address,
    payee: Address,
    asset: ContractId,
    amount: Amount,
    source: AccountId,
    fee: u32,
    time_bounds: TimeBounds,
    invocation: xdr::InvokeContractArgs,
    authorization: xdr::SorobanAuthorizationEntry,
}

/// When the client's transaction may land, in Unix seconds; 0 is no bound, as on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TimeBounds {
    /// Not before.
    pub min: u64,
    /// Not after.
    pub max: u64,
}

/// What a transfer has to move to be a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The network whose signatures count.
    pub network: Network,
    /// The token's contract.
    pub asset: ContractId,
    /// Who is paid.
    pub payee: Address,
    /// Exactly how much.
    pub amount: Amount,
}

impl Transfer {
    /// Reads the base64 of a `TransactionEnvelope`, which must be one transfer with one authorization by its payer.
    ///
    /// # Errors
    /// [`Error`] names the first rule that it breaks.
    pub fn parse(base64: &str) -> Result<Self, Error> {
        let _ = base64;
        todo!()
    }

    /// Checks that it pays what is expected, and that none of `excluded` (our keys) would pay or sign anything.
    ///
    /// # Errors
    /// [`Error`] names the first rule that it breaks.
    pub fn check(&self, expected: &Expected, excluded: &[AccountId]) -> Result<(), Error> {
        let _ = (expected, excluded);
        todo!()
    }

    /// Checks that an account's own key signed the authorization; a contract's signature is for the simulation to judge.
    ///
    /// # Errors
    /// [`Error::BadSignature`], [`Error::MissingSignature`].
    pub fn check_signature(&self, network: Network) -> Result<(), Error> {
        let _ = network;
        todo!()
    }

    /// Checks how long the authorization lives after the closed ledger `current`: at least `min_remaining` ledgers (never
    /// less than one), at most `max_timeout_seconds` at five seconds a ledger, and two ledgers more.
    ///
    /// # Errors
    /// [`Error::Expired`], [`Error::ExpiresTooLate`].
    pub fn check_life(
        &self,
        current: u32,
        max_timeout_seconds: u32,
        min_remaining: u32,
    ) -> Result<(), Error> {
        let _ = (current, max_timeout_seconds, min_remaining);
        todo!()
    }

    /// Who pays.
    #[must_use]
    pub const fn payer(&self) -> Address {
        self.payer
    }

    /// Who is paid.
    #[must_use]
    pub const fn payee(&self) -> Address {
        self.payee
    }

    /// The token's contract.
    #[must_use]
    pub const fn asset(&self) -> ContractId {
        self.asset
    }

    /// How much.
    #[must_use]
    pub const fn amount(&self) -> Amount {
        self.amount
    }

    /// The last ledger in which the authorization counts.
    #[must_use]
    pub fn expiration_ledger(&self) -> u32 {
        todo!()
    }

    /// The nonce of the authorization: with the payer's address it can be used once on its network.
    #[must_use]
    pub fn nonce(&self) -> i64 {
        todo!()
    }

    /// What the ledger lets happen once: SHA-256 over network id, payer address and nonce.
    #[must_use]
    pub fn claim_key(&self, network: Network) -> [u8; 32] {
        let _ = network;
        todo!()
    }
}

/// The rule that a transfer breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No transaction envelope of version 1.
    #[error("the transaction is not base64 of one v1 `TransactionEnvelope`")]
    Malformed,
    /// Too little life left, or none.
    #[error("the authorization has expired, or is about to")]
    Expired,
    /// More life than allowed.
    #[error("the authorization lives longer than allowed")]
    ExpiresTooLate,
    /// No signature.
    #[error("the payer's authorization is not signed")]
    MissingSignature,
    /// A signature that is not the payer's.
    #[error("the authorization's signature is not the payer's")]
    BadSignature,
}

impl Error {
    /// The x402 reason code.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        ""
    }
}

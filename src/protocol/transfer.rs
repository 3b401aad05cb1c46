//! The transfer that an x402 or MPP charge credential carries: read, checked, built.
//!
//! A payer signs one authorization entry for `asset.transfer(payer, payee, amount)`; whoever holds it may put it on the
//! ledger ([`Transfer`]). Of the client's transaction only the call and that entry are kept then: source, fee, memo and
//! resources are ours to choose. Or the payer signs a transaction of its own, which is sent or found as it is ([`Whole`]).
//! What is checked here needs no ledger: balance, used nonces and contract accounts are the simulation's to judge.
//! Source: x402 v2, scheme `exact` on Stellar; SEP-41.

mod authorization;
mod error;
mod event;
mod whole;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use stellar_xdr as xdr;
use xdr::{ReadXdr as _, WriteXdr as _};

pub use self::authorization::{
    account_signature, authorization, preimage_hash, sign_authorization, transfer_call, unsigned,
    unsigned_envelope,
};
pub(in crate::protocol) use self::authorization::{bytes, symbol};
pub use self::{error::Error, whole::Whole};
use super::{
    money::Amount,
    stellar::{AccountId, Address, ContractId, Network},
};

/// One `transfer` call with the payer's authorization for exactly that call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    movement: Movement,
    source: AccountId,
    fee: u32,
    resource_fee: i64,
    time_bounds: TimeBounds,
    call: xdr::InvokeContractArgs,
    credentials: xdr::SorobanAddressCredentials,
}

/// A transfer that its payer leaves to others to put on the ledger (pull).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// In a transaction of nobody's, the all-zero account's: for us to build, and to pay the fees of.
    Unsigned(Box<Transfer>),
    /// In the client's own transaction, to be sent as it is.
    Whole(Box<Whole>),
}

/// What a transfer moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Who pays.
    pub payer: Address,
    /// Who is paid.
    pub payee: Address,
    /// The token's contract.
    pub asset: ContractId,
    /// How much.
    pub amount: Amount,
}

/// When the client's transaction may land, in Unix seconds; a `max` of 0 is no bound, as on the ledger.
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

impl Pulled {
    /// Reads the base64 of a `TransactionEnvelope` for `network`.
    ///
    /// # Errors
    /// [`Error`] names the first rule that it breaks.
    pub fn parse(base64: &str, network: Network) -> Result<Self, Error> {
        match decode(base64)? {
            xdr::TransactionEnvelope::Tx(envelope)
                if underlying(&envelope.tx.source_account) == NOBODY =>
            {
                Transfer::from_envelope(&envelope)
                    .map(|transfer| Self::Unsigned(Box::new(transfer)))
            }
            envelope => Whole::to_send(envelope, network).map(|whole| Self::Whole(Box::new(whole))),
        }
    }
}

impl Transfer {
    /// Reads the base64 of a `TransactionEnvelope`, which must be one transfer with one authorization by its payer.
    ///
    /// # Errors
    /// [`Error`] names the first rule that it breaks.
    pub fn parse(base64: &str) -> Result<Self, Error> {
        match decode(base64)? {
            xdr::TransactionEnvelope::Tx(envelope) => Self::from_envelope(&envelope),
            _ => Err(Error::Malformed),
        }
    }

    /// As [`Transfer::parse`], of an envelope that is already decoded.
    ///
    /// # Errors
    /// [`Error`] names the first rule that it breaks.
    pub fn from_envelope(envelope: &xdr::TransactionV1Envelope) -> Result<Self, Error> {
        let tx = &envelope.tx;
        let [operation] = tx.operations.as_slice() else { return Err(Error::WrongOperation) };
        let xdr::OperationBody::InvokeHostFunction(invoke) = &operation.body else {
            return Err(Error::WrongOperation);
        };
        if operation.source_account.is_some() {
            return Err(Error::UnsafeSource);
        }
        let xdr::HostFunction::InvokeContract(call) = &invoke.host_function else {
            return Err(Error::WrongOperation);
        };
        let movement = Movement::of_call(call)?;
        let resource_fee = resource_fee(&tx.ext)?;
        let time_bounds = time_bounds(&tx.cond)?;
        let credentials = credentials(&invoke.auth, call, movement.payer)?;
        if !envelope.signatures.is_empty() {
            return Err(Error::EnvelopeSigned);
        }
        Ok(Self {
            movement,
            source: underlying(&tx.source_account),
            fee: tx.fee,
            resource_fee,
            time_bounds,
            call: call.clone(),
            credentials,
        })
    }

    /// Checks that it pays what is expected, and that none of `excluded` (our own keys) would pay or sign anything.
    ///
    /// # Errors
    /// [`Error`] names the first rule that it breaks.
    pub fn check(&self, expected: &Expected, excluded: &[AccountId]) -> Result<(), Error> {
        if excluded.contains(&self.source) {
            return Err(Error::UnsafeSource);
        }
        // The credentials' address is the payer's: `from_envelope` compared them.
        self.movement.check(expected, excluded)
    }

    /// Checks that an account's own key signed the authorization; a contract's signature is for the simulation to judge.
    ///
    /// An account that shares its control among several keys is refused: whether they reach its threshold is on the ledger.
    ///
    /// # Errors
    /// [`Error::BadSignature`].
    pub fn check_signature(&self, network: Network) -> Result<(), Error> {
        let Address::Account(payer) = self.movement.payer else { return Ok(()) };
        let hash = preimage_hash(&self.authorization(), network).ok_or(Error::BadSignature)?;
        authorization::verify_account(payer, &self.credentials.signature, &hash)
    }

    /// Checks how long the authorization lives after the closed ledger `current`.
    ///
    /// At least `min_remaining` ledgers, and never less than one; at most `max_timeout_seconds` at five seconds a ledger
    /// and two ledgers more, because the payer's node may have been ahead of ours.
    ///
    /// # Errors
    /// [`Error::Expired`], [`Error::ExpiresTooLate`].
    pub fn check_life(
        &self,
        current: u32,
        max_timeout_seconds: u32,
        min_remaining: u32,
    ) -> Result<(), Error> {
        let expires = u64::from(self.expiration_ledger());
        let ledgers = |count: u32| u64::from(current).saturating_add(count.into());
        let longest = max_timeout_seconds.div_ceil(LEDGER_SECONDS).saturating_add(TOLERANCE);
        if expires < ledgers(min_remaining.max(1)) {
            return Err(Error::Expired);
        }
        if expires > ledgers(longest) {
            return Err(Error::ExpiresTooLate);
        }
        Ok(())
    }

    /// Checks that the client's own bounds on its transaction allow it to land from `now`, in Unix seconds, for so many
    /// `ledgers` more.
    ///
    /// # Errors
    /// [`Error::OutOfTime`].
    pub fn check_time(&self, now: u64, ledgers: u32) -> Result<(), Error> {
        self.time_bounds.check(now, ledgers)
    }

    /// Checks the fees that the client declared, in stroops, though we pay fees of our own reckoning.
    ///
    /// # Errors
    /// [`Error::FeeBelowMinimum`], [`Error::FeeAboveMaximum`].
    pub fn check_fee(&self, minimum: u32, maximum: u32) -> Result<(), Error> {
        if self.fee > maximum || self.resource_fee > i64::from(maximum) {
            return Err(Error::FeeAboveMaximum);
        }
        if self.fee < minimum { Err(Error::FeeBelowMinimum) } else { Ok(()) }
    }

    /// The operation as the client signed it: the call and its one authorization, byte for byte.
    #[must_use]
    pub fn operation(&self) -> xdr::Operation {
        let auth = xdr::VecM::try_from(vec![self.authorization()])
            .expect("one entry is below the bound of 2^32");
        xdr::Operation {
            source_account: None,
            body: xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
                host_function: xdr::HostFunction::InvokeContract(self.call.clone()),
                auth,
            }),
        }
    }

    /// The payer's authorization entry.
    #[must_use]
    pub fn authorization(&self) -> xdr::SorobanAuthorizationEntry {
        xdr::SorobanAuthorizationEntry {
            credentials: xdr::SorobanCredentials::Address(self.credentials.clone()),
            root_invocation: root_invocation(self.call.clone()),
        }
    }

    /// The SHA-256 of the authorization entry, signature and all.
    #[must_use]
    pub fn authorization_hash(&self) -> [u8; 32] {
        let bytes = self.authorization().to_xdr(xdr::Limits::none());
        Sha256::digest(bytes.expect("what was read is written without bounds")).into()
    }

    /// What it moves.
    #[must_use]
    pub const fn movement(&self) -> &Movement {
        &self.movement
    }

    /// Who pays.
    #[must_use]
    pub const fn payer(&self) -> Address {
        self.movement.payer
    }

    /// When the client's transaction may land.
    #[must_use]
    pub const fn time_bounds(&self) -> TimeBounds {
        self.time_bounds
    }

    /// The last ledger in which the authorization counts.
    #[must_use]
    pub const fn expiration_ledger(&self) -> u32 {
        self.credentials.signature_expiration_ledger
    }

    /// The nonce of the authorization: with the payer's address it can be used once on its network.
    #[must_use]
    pub const fn nonce(&self) -> i64 {
        self.credentials.nonce
    }

    /// What the ledger lets happen once: SHA-256 over network id, payer address and nonce.
    #[must_use]
    pub fn claim_key(&self, network: Network) -> [u8; 32] {
        nonce_key(self.movement.payer, self.nonce(), network)
    }
}

impl TimeBounds {
    /// Checks that what has these bounds may land from `now`, in Unix seconds, for so many `ledgers` more.
    fn check(self, now: u64, ledgers: u32) -> Result<(), Error> {
        let Self { min, max } = self;
        let needed = now.saturating_add(u64::from(ledgers).saturating_mul(LEDGER_SECONDS.into()));
        if min > now || (max != 0 && max <= needed) { Err(Error::OutOfTime) } else { Ok(()) }
    }
}

impl Movement {
    /// What `call` moves.
    ///
    /// # Errors
    /// [`Error`] if it is no `transfer(from, to, amount)` of a contract.
    fn of_call(call: &xdr::InvokeContractArgs) -> Result<Self, Error> {
        let xdr::ScAddress::Contract(xdr::ContractId(asset)) = &call.contract_address else {
            return Err(Error::WrongAsset);
        };
        let (payer, payee, amount) = arguments(call)?;
        Ok(Self { payer, payee, asset: ContractId(asset.0), amount })
    }

    /// Checks that it is what is expected, and that none of `excluded` would pay.
    fn check(&self, expected: &Expected, excluded: &[AccountId]) -> Result<(), Error> {
        if self.asset != expected.asset {
            return Err(Error::WrongAsset);
        }
        let is_ours = matches!(self.payer, Address::Account(payer) if excluded.contains(&payer));
        if is_ours || self.payer == expected.payee {
            return Err(Error::FacilitatorIsPayer);
        }
        if self.payee != expected.payee {
            return Err(Error::WrongRecipient);
        }
        if self.amount != expected.amount || self.amount.is_zero() {
            return Err(Error::WrongAmount);
        }
        Ok(())
    }
}

/// What the ledger lets happen once: SHA-256 over network id, payer address and nonce.
fn nonce_key(payer: Address, nonce: i64, network: Network) -> [u8; 32] {
    let payer = payer.to_xdr().to_xdr(xdr::Limits::none());
    Sha256::new()
        .chain_update(network.id())
        .chain_update(payer.expect("an address encodes without bounds"))
        .chain_update(nonce.to_be_bytes())
        .finalize()
        .into()
}

/// A call that authorizes itself and nothing beneath it.
pub(crate) fn root_invocation(call: xdr::InvokeContractArgs) -> xdr::SorobanAuthorizedInvocation {
    xdr::SorobanAuthorizedInvocation {
        function: xdr::SorobanAuthorizedFunction::ContractFn(call),
        sub_invocations: xdr::VecM::default(),
    }
}

/// Reads the base64 of an envelope, within bounds.
fn decode(base64: &str) -> Result<xdr::TransactionEnvelope, Error> {
    if base64.len() > MAX_BASE64 {
        return Err(Error::Malformed);
    }
    let bytes = STANDARD.decode(base64).map_err(|_| Error::Malformed)?;
    let limits = xdr::Limits { depth: MAX_DEPTH, len: bytes.len() };
    let envelope =
        xdr::TransactionEnvelope::from_xdr(&bytes, limits).map_err(|_| Error::Malformed)?;
    // The library reads any number as a boolean, where other readers refuse all but 0 and 1: one spelling, or none.
    let written = envelope.to_xdr(xdr::Limits::none()).map_err(|_| Error::Malformed)?;
    if written == bytes { Ok(envelope) } else { Err(Error::Malformed) }
}

fn arguments(call: &xdr::InvokeContractArgs) -> Result<(Address, Address, Amount), Error> {
    let [from, to, amount] = call.args.as_slice() else { return Err(Error::WrongFunction) };
    if call.function_name.0.as_slice() != b"transfer" {
        return Err(Error::WrongFunction);
    }
    let (xdr::ScVal::Address(from), xdr::ScVal::Address(to)) = (from, to) else {
        return Err(Error::Malformed);
    };
    let xdr::ScVal::I128(parts) = amount else { return Err(Error::WrongAmount) };
    let payer = Address::from_xdr(from).ok_or(Error::Malformed)?;
    let payee = Address::from_xdr(to).ok_or(Error::WrongRecipient)?;
    let amount = Amount::from_units(parts.into()).ok_or(Error::WrongAmount)?;
    Ok((payer, payee, amount))
}

fn credentials(
    auth: &[xdr::SorobanAuthorizationEntry],
    call: &xdr::InvokeContractArgs,
    payer: Address,
) -> Result<xdr::SorobanAddressCredentials, Error> {
    let entry = match auth {
        [] => return Err(Error::NoAuthorization),
        [entry] => entry,
        _ => return Err(Error::ManyAuthorizations),
    };
    let xdr::SorobanCredentials::Address(credentials) = &entry.credentials else {
        return Err(Error::UnsupportedCredentials);
    };
    if !entry.root_invocation.sub_invocations.is_empty() {
        return Err(Error::SubInvocations);
    }
    if Address::from_xdr(&credentials.address) != Some(payer)
        || credentials.signature == xdr::ScVal::Void
    {
        return Err(Error::MissingSignature);
    }
    if entry.root_invocation != root_invocation(call.clone()) {
        return Err(Error::OtherCall);
    }
    Ok(credentials.clone())
}

fn time_bounds(conditions: &xdr::Preconditions) -> Result<TimeBounds, Error> {
    let bounds = match conditions {
        xdr::Preconditions::None => None,
        xdr::Preconditions::Time(bounds) => Some(bounds),
        xdr::Preconditions::V2(conditions) => {
            // We could not keep these in a transaction of our own, so their author must not rely on them.
            let others = conditions.ledger_bounds.is_some()
                || conditions.min_seq_num.is_some()
                || conditions.min_seq_age.0 != 0
                || conditions.min_seq_ledger_gap != 0
                || !conditions.extra_signers.is_empty();
            if others {
                return Err(Error::Preconditions);
            }
            conditions.time_bounds.as_ref()
        }
    };
    Ok(bounds.map_or_else(TimeBounds::default, |bounds| TimeBounds {
        min: bounds.min_time.0,
        max: bounds.max_time.0,
    }))
}

fn resource_fee(ext: &xdr::TransactionExt) -> Result<i64, Error> {
    let xdr::TransactionExt::V1(data) = ext else { return Ok(0) };
    let footprint = &data.resources.footprint;
    if footprint.read_only.len().saturating_add(footprint.read_write.len()) > MAX_FOOTPRINT {
        return Err(Error::TooManyResources);
    }
    if data.resource_fee < 0 { Err(Error::Malformed) } else { Ok(data.resource_fee) }
}

const fn underlying(account: &xdr::MuxedAccount) -> AccountId {
    match account {
        xdr::MuxedAccount::Ed25519(key) => AccountId(key.0),
        xdr::MuxedAccount::MuxedEd25519(muxed) => AccountId(muxed.ed25519.0),
    }
}

/// The all-zero account, which nobody controls: the source of a transaction that only wraps an authorization.
pub const NOBODY: AccountId = AccountId([0; 32]);
/// A Stellar payment is about 1 kB of XDR; a contract account's signature may be some kB more. What the store remembers of
/// a payment that is under way holds it, and is bounded at 16 KiB.
const MAX_BASE64: usize = 15 * 1024;
/// A transfer nests about 30 deep; the ledger itself allows 500.
const MAX_DEPTH: u32 = 100;
/// A transfer touches about 7 entries; a contract account reads some more.
const MAX_FOOTPRINT: usize = 40;
const LEDGER_SECONDS: u32 = 5;
const TOLERANCE: u32 = 2;

#[cfg(test)]
mod tests;

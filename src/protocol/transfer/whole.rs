//! A client's own transaction that is one transfer: to be put on the ledger as it is, or found there.
//!
//! Here the transaction itself is what pays: its source, sequence, time bounds, fee and signatures are the client's, and
//! nothing of it can be changed. Source: MPP `stellar` charge, unsponsored pull and push.

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha256};
use stellar_xdr as xdr;
use xdr::WriteXdr as _;

use super::{
    Error, Expected, Movement, TimeBounds, authorization::verify_account, nonce_key, preimage_hash,
    resource_fee, root_invocation, time_bounds, underlying,
};
use crate::protocol::stellar::{AccountId, Address, Network, TxHash};

/// One transaction of one `transfer` call, authorized by its payer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    envelope: xdr::TransactionEnvelope,
    inner: xdr::TransactionV1Envelope,
    hash: TxHash,
    inner_hash: TxHash,
    movement: Movement,
    authority: Authority,
    time_bounds: TimeBounds,
    network: Network,
}

/// By what the payer allows the transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Authority {
    /// It is the source of the transaction, and signed that.
    Source,
    /// It signed an authorization entry.
    Entry(Box<xdr::SorobanAuthorizationEntry>),
}

impl Whole {
    /// Reads a transaction that is to be sent, of one transfer on `network`.
    ///
    /// A fee bump around it is refused: anybody can sign one around a transaction that is on its way, and present as new
    /// what its payer has sent for something else.
    ///
    /// # Errors
    /// [`Error`] names the first rule that it breaks.
    pub fn to_send(envelope: xdr::TransactionEnvelope, network: Network) -> Result<Self, Error> {
        if matches!(envelope, xdr::TransactionEnvelope::TxFeeBump(_)) {
            return Err(Error::FeeBumped);
        }
        let whole = Self::landed(envelope, network)?;
        resource_fee(&whole.inner.tx.ext)?;
        time_bounds(&whole.inner.tx.cond)?;
        Ok(whole)
    }

    /// Reads a transaction that is on the ledger, plain or fee-bumped, of one transfer on `network`.
    ///
    /// # Errors
    /// [`Error`] names the first rule that it breaks; those that are only about how it could land do not count.
    pub fn landed(envelope: xdr::TransactionEnvelope, network: Network) -> Result<Self, Error> {
        let inner = match &envelope {
            xdr::TransactionEnvelope::Tx(inner) => inner,
            xdr::TransactionEnvelope::TxFeeBump(bump) => {
                let xdr::FeeBumpTransactionInnerTx::Tx(inner) = &bump.tx.inner_tx;
                inner
            }
            xdr::TransactionEnvelope::TxV0(_) => return Err(Error::Malformed),
        };
        let inner = inner.clone();
        let tx = &inner.tx;
        let [operation] = tx.operations.as_slice() else { return Err(Error::WrongOperation) };
        let xdr::OperationBody::InvokeHostFunction(invoke) = &operation.body else {
            return Err(Error::WrongOperation);
        };
        let source = underlying(&tx.source_account);
        if operation.source_account.as_ref().is_some_and(|other| underlying(other) != source) {
            return Err(Error::UnsafeSource);
        }
        let xdr::HostFunction::InvokeContract(call) = &invoke.host_function else {
            return Err(Error::WrongOperation);
        };
        let movement = Movement::of_call(call)?;
        let authority = authority(&invoke.auth, call, movement.payer, source)?;
        let time_bounds = time_bounds(&tx.cond).unwrap_or_default();
        let hash_of = |hash: Result<[u8; 32], xdr::Error>| hash.map_err(|_| Error::Malformed);
        let hash = TxHash(hash_of(envelope.hash(network.id()))?);
        let inner_hash = TxHash(hash_of(tx.hash(network.id()))?);
        Ok(Self { envelope, hash, inner_hash, movement, authority, time_bounds, network, inner })
    }

    /// Checks that it pays what is expected, and that none of `excluded` (our own keys) would pay or sign anything.
    ///
    /// # Errors
    /// [`Error`] names the first rule that it breaks.
    pub fn check(&self, expected: &Expected, excluded: &[AccountId]) -> Result<(), Error> {
        let sources = [Some(self.source()), self.fee_source()];
        if sources.into_iter().flatten().any(|source| excluded.contains(&source)) {
            return Err(Error::UnsafeSource);
        }
        if expected.network != self.network {
            return Err(Error::Malformed);
        }
        self.movement.check(expected, excluded)
    }

    /// Checks that the source and an authorizing account signed with their own keys, and nobody else did: the network
    /// refuses a signature too many.
    ///
    /// An account that shares its control among several keys is refused: whether they reach its threshold is on the ledger.
    ///
    /// # Errors
    /// [`Error::NotSigned`], [`Error::BadSignature`].
    pub fn check_signatures(&self) -> Result<(), Error> {
        let [signature] = self.inner.signatures.as_slice() else { return Err(Error::NotSigned) };
        if !is_signed(self.source(), &self.inner_hash, signature) {
            return Err(Error::NotSigned);
        }
        match (&self.authority, self.movement.payer) {
            (Authority::Entry(entry), Address::Account(payer)) => {
                let hash = preimage_hash(entry, self.network).ok_or(Error::BadSignature)?;
                let xdr::SorobanCredentials::Address(credentials) = &entry.credentials else {
                    return Err(Error::BadSignature);
                };
                verify_account(payer, &credentials.signature, &hash)
            }
            _ => Ok(()),
        }
    }

    /// Checks that it can land from `now` on for so many `ledgers` more, and not after `latest`; in Unix seconds.
    ///
    /// # Errors
    /// [`Error::OutOfTime`], [`Error::ExpiresTooLate`] also where it has no bound at all.
    pub fn check_time(&self, now: u64, ledgers: u32, latest: u64) -> Result<(), Error> {
        if self.time_bounds.max == 0 || self.time_bounds.max > latest {
            return Err(Error::ExpiresTooLate);
        }
        self.time_bounds.check(now, ledgers)
    }

    /// The network that it is signed for.
    #[must_use]
    pub const fn network(&self) -> Network {
        self.network
    }

    /// What it moves.
    #[must_use]
    pub const fn movement(&self) -> &Movement {
        &self.movement
    }

    /// The whole as it is to be sent.
    #[must_use]
    pub const fn envelope(&self) -> &xdr::TransactionEnvelope {
        &self.envelope
    }

    /// The transaction without a fee bump around it, for a simulation.
    #[must_use]
    pub fn simulated(&self) -> xdr::TransactionEnvelope {
        xdr::TransactionEnvelope::Tx(self.inner.clone())
    }

    /// The hash by which the network knows the whole.
    #[must_use]
    pub const fn hash(&self) -> TxHash {
        self.hash
    }

    /// The last second at which it can land, in Unix seconds; 0 is no bound.
    #[must_use]
    pub const fn max_time(&self) -> u64 {
        self.time_bounds.max
    }

    /// Whose sequence number it takes.
    #[must_use]
    pub const fn source(&self) -> AccountId {
        underlying(&self.inner.tx.source_account)
    }

    /// The sequence number that it takes.
    #[must_use]
    pub const fn sequence(&self) -> i64 {
        self.inner.tx.seq_num.0
    }

    /// What it declares to pay for resources, in stroops.
    #[must_use]
    pub const fn resource_fee(&self) -> i64 {
        match &self.inner.tx.ext {
            xdr::TransactionExt::V1(data) => data.resource_fee,
            xdr::TransactionExt::V0 => 0,
        }
    }

    /// What the ledger lets happen once: the payer's nonce where it signed an entry, as [`super::Transfer::claim_key`]
    /// names it, else the source's sequence number, whatever else the transaction says and whatever fee bump is around it.
    ///
    /// So one transfer has one name, however it is presented and whoever put it on the ledger.
    #[must_use]
    pub fn claim_key(&self) -> [u8; 32] {
        if let Authority::Entry(entry) = &self.authority
            && let xdr::SorobanCredentials::Address(credentials) = &entry.credentials
        {
            return nonce_key(self.movement.payer, credentials.nonce, self.network);
        }
        Sha256::new()
            .chain_update(b"sequence")
            .chain_update(self.network.id())
            .chain_update(self.source().0)
            .chain_update(self.sequence().to_be_bytes())
            .finalize()
            .into()
    }

    /// What of it cannot be changed without the payer: the SHA-256 of its authorization entry, as
    /// [`super::Transfer::authorization_hash`], or the hash of the transaction inside any fee bump.
    #[must_use]
    pub fn authorization_hash(&self) -> [u8; 32] {
        match &self.authority {
            Authority::Source => self.inner_hash.0,
            Authority::Entry(entry) => {
                let bytes = entry.to_xdr(xdr::Limits::none());
                Sha256::digest(bytes.expect("what was read is written without bounds")).into()
            }
        }
    }

    /// The entry that the payer signed, if it did not sign the transaction itself.
    #[must_use]
    pub fn entry(&self) -> Option<&xdr::SorobanAuthorizationEntry> {
        match &self.authority {
            Authority::Source => None,
            Authority::Entry(entry) => Some(entry),
        }
    }

    /// What the source declares to pay at most, in stroops.
    #[must_use]
    pub const fn fee(&self) -> u32 {
        self.inner.tx.fee
    }

    fn fee_source(&self) -> Option<AccountId> {
        match &self.envelope {
            xdr::TransactionEnvelope::TxFeeBump(bump) => Some(underlying(&bump.tx.fee_source)),
            _ => None,
        }
    }
}

/// What allows the call: exactly one entry, for exactly this call.
fn authority(
    auth: &[xdr::SorobanAuthorizationEntry],
    call: &xdr::InvokeContractArgs,
    payer: Address,
    source: AccountId,
) -> Result<Authority, Error> {
    let entry = match auth {
        [] => return Err(Error::NoAuthorization),
        [entry] => entry,
        _ => return Err(Error::ManyAuthorizations),
    };
    if !entry.root_invocation.sub_invocations.is_empty() {
        return Err(Error::SubInvocations);
    }
    if entry.root_invocation != root_invocation(call.clone()) {
        return Err(Error::OtherCall);
    }
    match &entry.credentials {
        xdr::SorobanCredentials::SourceAccount if payer == Address::Account(source) => {
            Ok(Authority::Source)
        }
        xdr::SorobanCredentials::SourceAccount => Err(Error::MissingSignature),
        xdr::SorobanCredentials::Address(credentials) => {
            let is_payers = Address::from_xdr(&credentials.address) == Some(payer);
            if !is_payers || credentials.signature == xdr::ScVal::Void {
                return Err(Error::MissingSignature);
            }
            Ok(Authority::Entry(Box::new(entry.clone())))
        }
        _ => Err(Error::UnsupportedCredentials),
    }
}

/// Whether a signature is by `account`'s own key over `hash`, by the network's strict rule.
fn is_signed(account: AccountId, hash: &TxHash, decorated: &xdr::DecoratedSignature) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(&account.0) else { return false };
    let signature = <[u8; 64]>::try_from(decorated.signature.0.as_slice());
    decorated.hint.0[..] == account.0[28..]
        && signature
            .is_ok_and(|bytes| key.verify_strict(&hash.0, &Signature::from_bytes(&bytes)).is_ok())
}

#[cfg(test)]
mod tests;

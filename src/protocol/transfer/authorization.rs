//! What a payer signs, how the signature is written, and how a client builds the whole.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use stellar_xdr as xdr;
use xdr::WriteXdr as _;

use super::{Error, NOBODY, root_invocation};
use crate::protocol::{
    money::Amount,
    stellar::{AccountId, Address, ContractId, Network},
};

/// The call `asset.transfer(payer, payee, amount)`.
#[must_use]
pub fn transfer_call(
    asset: ContractId,
    payer: Address,
    payee: Address,
    amount: Amount,
) -> xdr::InvokeContractArgs {
    let args = vec![
        xdr::ScVal::Address(payer.to_xdr()),
        xdr::ScVal::Address(payee.to_xdr()),
        xdr::ScVal::from(amount.units()),
    ];
    xdr::InvokeContractArgs {
        contract_address: asset.to_xdr(),
        function_name: symbol("transfer"),
        args: args.try_into().expect("three arguments are below the bound of 2^32"),
    }
}

/// The authorization of `call` by `payer`, not signed yet.
#[must_use]
pub fn authorization(
    call: xdr::InvokeContractArgs,
    payer: Address,
    nonce: i64,
    expiration_ledger: u32,
) -> xdr::SorobanAuthorizationEntry {
    xdr::SorobanAuthorizationEntry {
        credentials: xdr::SorobanCredentials::Address(xdr::SorobanAddressCredentials {
            address: payer.to_xdr(),
            nonce,
            signature_expiration_ledger: expiration_ledger,
            signature: xdr::ScVal::Void,
        }),
        root_invocation: root_invocation(call),
    }
}

/// What a payer's signature is over; `None` for other credentials than an address's.
#[must_use]
pub fn preimage_hash(entry: &xdr::SorobanAuthorizationEntry, network: Network) -> Option<[u8; 32]> {
    let xdr::SorobanCredentials::Address(credentials) = &entry.credentials else { return None };
    let preimage =
        xdr::HashIdPreimage::SorobanAuthorization(xdr::HashIdPreimageSorobanAuthorization {
            network_id: xdr::Hash(network.id()),
            nonce: credentials.nonce,
            signature_expiration_ledger: credentials.signature_expiration_ledger,
            invocation: entry.root_invocation.clone(),
        });
    let bytes = preimage.to_xdr(xdr::Limits::none()).ok()?;
    Some(Sha256::digest(bytes).into())
}

/// Signs `entry` with an account's own key, or with the key that a contract obeys.
///
/// What a contract takes for a signature is its own affair; here it is the bare 64 bytes, as in the simplest of them.
///
/// # Errors
/// [`Error::UnsupportedCredentials`] for other credentials than an address's.
pub fn sign_authorization(
    entry: &mut xdr::SorobanAuthorizationEntry,
    key: &SigningKey,
    network: Network,
) -> Result<(), Error> {
    let hash = preimage_hash(entry, network).ok_or(Error::UnsupportedCredentials)?;
    let xdr::SorobanCredentials::Address(credentials) = &mut entry.credentials else {
        return Err(Error::UnsupportedCredentials);
    };
    let signature = key.sign(&hash).to_bytes();
    credentials.signature = match credentials.address {
        xdr::ScAddress::Contract(_) => bytes(&signature),
        _ => account_signature(AccountId(key.verifying_key().to_bytes()), signature),
    };
    Ok(())
}

/// An account's signature as the host reads it: a list of one map of key and signature.
#[must_use]
pub fn account_signature(account: AccountId, signature: [u8; 64]) -> xdr::ScVal {
    let known = "a list this short is below the bound of 2^32";
    let entries = vec![
        xdr::ScMapEntry { key: xdr::ScVal::Symbol(symbol("public_key")), val: bytes(&account.0) },
        xdr::ScMapEntry { key: xdr::ScVal::Symbol(symbol("signature")), val: bytes(&signature) },
    ];
    let map = xdr::ScVal::Map(Some(xdr::ScMap(entries.try_into().expect(known))));
    xdr::ScVal::Vec(Some(xdr::ScVec(vec![map].try_into().expect(known))))
}

/// The transaction that a client puts into its payment: `operation` from [`NOBODY`].
///
/// `fee` is in stroops, resource fee included; `max_time` in Unix seconds.
#[must_use]
pub fn unsigned_envelope(
    operation: xdr::Operation,
    data: Option<xdr::SorobanTransactionData>,
    fee: u32,
    max_time: u64,
) -> xdr::TransactionEnvelope {
    let tx = xdr::Transaction {
        source_account: NOBODY.to_muxed(),
        fee,
        seq_num: xdr::SequenceNumber(1),
        cond: xdr::Preconditions::Time(xdr::TimeBounds {
            min_time: xdr::TimePoint(0),
            max_time: xdr::TimePoint(max_time),
        }),
        memo: xdr::Memo::None,
        operations: vec![operation].try_into().expect("one operation is below the bound of 100"),
        ext: data.map_or(xdr::TransactionExt::V0, xdr::TransactionExt::V1),
    };
    unsigned(tx)
}

/// `tx` in an envelope without signatures.
#[must_use]
pub fn unsigned(tx: xdr::Transaction) -> xdr::TransactionEnvelope {
    let signatures = xdr::VecM::default();
    xdr::TransactionEnvelope::Tx(xdr::TransactionV1Envelope { tx, signatures })
}

/// Checks that `signature` is exactly one, by `account`'s own key, over `hash`.
///
/// The host verifies with the strict rule, so a signature that only the lax rule takes must not pass here.
pub(super) fn verify_account(
    account: AccountId,
    signature: &xdr::ScVal,
    hash: &[u8; 32],
) -> Result<(), Error> {
    let (key, signature) = read_signature(signature).ok_or(Error::BadSignature)?;
    if key != account.0 {
        return Err(Error::BadSignature);
    }
    VerifyingKey::from_bytes(&key)
        .and_then(|key| key.verify_strict(hash, &Signature::from_bytes(&signature)))
        .map_err(|_| Error::BadSignature)
}

fn read_signature(value: &xdr::ScVal) -> Option<([u8; 32], [u8; 64])> {
    let xdr::ScVal::Vec(Some(list)) = value else { return None };
    let [xdr::ScVal::Map(Some(map))] = list.0.as_slice() else { return None };
    let [key, signature] = map.0.as_slice() else { return None };
    Some((field(key, "public_key")?, field(signature, "signature")?))
}

fn field<const N: usize>(entry: &xdr::ScMapEntry, name: &str) -> Option<[u8; N]> {
    let xdr::ScVal::Symbol(key) = &entry.key else { return None };
    let xdr::ScVal::Bytes(bytes) = &entry.val else { return None };
    if key.0.as_slice() != name.as_bytes() {
        return None;
    }
    bytes.0.as_slice().try_into().ok()
}

pub(in crate::protocol) fn bytes(of: &[u8]) -> xdr::ScVal {
    let bytes = of.to_vec().try_into().expect("a key or a signature is below the bound of 2^32");
    xdr::ScVal::Bytes(xdr::ScBytes(bytes))
}

pub(in crate::protocol) fn symbol(name: &'static str) -> xdr::ScSymbol {
    xdr::ScSymbol(name.try_into().expect("a name of the interface has at most 32 characters"))
}

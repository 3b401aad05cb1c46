//! The one-way channel contract: what it holds on the ledger, how it is called, what it tells.
//!
//! Knows the shapes, and checks nothing but them: whether a channel is one to be paid by is for the vetting to say.
//! Source: `stellar-experimental/one-way-channel`, contracts/channel.

mod call;
mod event;

use stellar_xdr as xdr;

pub use self::call::{Opening, close, close_start, contract_id, refund, settle, top_up};
pub use self::event::Event;
use super::{
    money::Amount,
    stellar::{Address, ContractId},
    transfer::symbol,
};

/// What a channel's instance holds: its terms, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The hash of the code that it runs.
    pub code: [u8; 32],
    /// The token that it pays in.
    pub token: ContractId,
    /// Who may take back what is left. Proves nothing about who paid it in.
    pub from: Address,
    /// Who is paid.
    pub to: Address,
    /// The raw key of its commitments; [`super::commitment::CommitmentKey`] tells whether it is of use.
    pub commitment_key: [u8; 32],
    /// How many ledgers after `close_start` the payer may take back what is left.
    pub refund_waiting_period: u32,
    /// What was paid out of it, in base units.
    pub withdrawn: Amount,
    /// The ledger from which the payer may take back what is left, once a close has begun.
    pub close_effective_at: Option<u32>,
}

impl Instance {
    /// Reads the entry under [`instance_key`] of `channel`. Members that it does not know are passed over.
    ///
    /// # Errors
    /// [`Error`] if it is another entry, no contract of its own code, or names the member that is not as it must be.
    pub fn read(channel: ContractId, entry: &xdr::LedgerEntryData) -> Result<Self, Error> {
        let value = value_under(&instance_key(channel), entry)?;
        let xdr::ScVal::ContractInstance(instance) = value else { return Err(Error::OtherEntry) };
        let xdr::ContractExecutable::Wasm(code) = &instance.executable else {
            return Err(Error::NoCode);
        };
        let storage = instance.storage.as_ref().map_or(&[][..], |map| map.0.as_slice());
        let members = Members { map: storage, is_key: is_storage_key };
        Ok(Self {
            code: code.0,
            token: members.require("Token", contract)?,
            from: members.require("From", address)?,
            to: members.require("To", address)?,
            commitment_key: members.require("CommitmentKey", bytes32)?,
            refund_waiting_period: members.require("RefundWaitingPeriod", u32_of)?,
            withdrawn: members.optional("WithdrawnAmount", amount)?.unwrap_or(Amount::ZERO),
            close_effective_at: members.optional("CloseEffectiveAtLedger", u32_of)?,
        })
    }
}

/// What a Stellar Asset Contract holds for a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// In base units.
    pub amount: Amount,
    /// Whether it may be moved: without it nothing can be paid out.
    pub authorized: bool,
    /// Whether the asset's issuer may take it back.
    pub clawback: bool,
}

impl Balance {
    /// Reads the entry under [`balance_key`] of `token` and `channel`.
    ///
    /// # Errors
    /// [`Error`] if it is another entry, or names the member that is not as it must be.
    pub fn read(
        token: ContractId,
        channel: ContractId,
        entry: &xdr::LedgerEntryData,
    ) -> Result<Self, Error> {
        let value = value_under(&balance_key(token, channel), entry)?;
        let xdr::ScVal::Map(Some(map)) = value else { return Err(Error::OtherEntry) };
        let members = Members { map: map.0.as_slice(), is_key: is_symbol };
        Ok(Self {
            amount: members.require("amount", amount)?,
            authorized: members.require("authorized", bool_of)?,
            clawback: members.require("clawback", bool_of)?,
        })
    }
}

/// The hash of `contracts/channel.wasm`: the code that this project builds from its own source, and that the sandbox has.
pub const CODE: [u8; 32] = [
    0xa4, 0xed, 0x6e, 0xd0, 0x0c, 0x29, 0x10, 0xf4, 0x25, 0xb8, 0x6b, 0xe5, 0x3c, 0x1f, 0x5b, 0x15,
    0x4e, 0x91, 0x6a, 0x8e, 0xc4, 0x52, 0x8a, 0x91, 0xcd, 0xe7, 0xc9, 0x27, 0x07, 0xab, 0xfa, 0x6a,
];

/// Where a contract's code and its storage stand on the ledger.
#[must_use]
pub fn instance_key(contract: ContractId) -> xdr::LedgerKey {
    persistent(contract, xdr::ScVal::LedgerKeyContractInstance)
}

/// Where `channel`'s balance stands on the ledger, if `token` is a Stellar Asset Contract.
#[must_use]
pub fn balance_key(token: ContractId, channel: ContractId) -> xdr::LedgerKey {
    let key = vec![xdr::ScVal::Symbol(symbol("Balance")), xdr::ScVal::Address(channel.to_xdr())];
    let key = key.try_into().expect("two values are below the bound of 2^32");
    persistent(token, xdr::ScVal::Vec(Some(xdr::ScVec(key))))
}

/// Why something of the ledger is not what a channel has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An entry that stands elsewhere, or of another kind.
    #[error("another ledger entry than was asked for")]
    OtherEntry,
    /// A contract of the network's own, such as an asset's.
    #[error("a contract without code of its own")]
    NoCode,
    /// A member is missing or of the wrong kind.
    #[error("`{0}` is missing or not as it must be")]
    Member(&'static str),
}

/// The entries of a map, found by name: their order is the map's own affair.
#[derive(Clone, Copy)]
struct Members<'a> {
    map: &'a [xdr::ScMapEntry],
    is_key: fn(&xdr::ScVal, &str) -> bool,
}

impl<'a> Members<'a> {
    fn optional<T>(
        self,
        name: &'static str,
        read: fn(&'a xdr::ScVal) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let mut found = self.map.iter().filter(|entry| (self.is_key)(&entry.key, name));
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(entry), None) => read(&entry.val).map(Some).ok_or(Error::Member(name)),
            (Some(_), Some(_)) => Err(Error::Member(name)),
        }
    }

    fn require<T>(
        self,
        name: &'static str,
        read: fn(&'a xdr::ScVal) -> Option<T>,
    ) -> Result<T, Error> {
        self.optional(name, read)?.ok_or(Error::Member(name))
    }
}

/// The value of `entry`, if it is a persistent one that stands under `key`.
fn value_under<'a>(
    key: &xdr::LedgerKey,
    entry: &'a xdr::LedgerEntryData,
) -> Result<&'a xdr::ScVal, Error> {
    let (xdr::LedgerKey::ContractData(key), xdr::LedgerEntryData::ContractData(data)) =
        (key, entry)
    else {
        return Err(Error::OtherEntry);
    };
    let same =
        data.contract == key.contract && data.key == key.key && data.durability == key.durability;
    if same { Ok(&data.val) } else { Err(Error::OtherEntry) }
}

fn persistent(contract: ContractId, key: xdr::ScVal) -> xdr::LedgerKey {
    xdr::LedgerKey::ContractData(xdr::LedgerKeyContractData {
        contract: contract.to_xdr(),
        key,
        durability: xdr::ContractDataDurability::Persistent,
    })
}

/// Whether `key` is a variant without values of the contract's enum of keys.
fn is_storage_key(key: &xdr::ScVal, name: &str) -> bool {
    let xdr::ScVal::Vec(Some(list)) = key else { return false };
    matches!(list.0.as_slice(), [only] if is_symbol(only, name))
}

fn is_symbol(value: &xdr::ScVal, name: &str) -> bool {
    matches!(value, xdr::ScVal::Symbol(symbol) if symbol.0.as_slice() == name.as_bytes())
}

fn amount(value: &xdr::ScVal) -> Option<Amount> {
    let xdr::ScVal::I128(parts) = value else { return None };
    Amount::from_units(parts.into())
}

fn address(value: &xdr::ScVal) -> Option<Address> {
    let xdr::ScVal::Address(address) = value else { return None };
    Address::from_xdr(address)
}

fn contract(value: &xdr::ScVal) -> Option<ContractId> {
    match address(value)? {
        Address::Contract(contract) => Some(contract),
        Address::Account(_) => None,
    }
}

fn bytes32(value: &xdr::ScVal) -> Option<[u8; 32]> {
    let xdr::ScVal::Bytes(bytes) = value else { return None };
    bytes.0.as_slice().try_into().ok()
}

const fn u32_of(value: &xdr::ScVal) -> Option<u32> {
    match value {
        xdr::ScVal::U32(number) => Some(*number),
        _ => None,
    }
}

const fn bool_of(value: &xdr::ScVal) -> Option<bool> {
    match value {
        xdr::ScVal::Bool(told) => Some(*told),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! Who holds how much, read from the latest closed ledger.

use stellar_strkey::Strkey;
use stellar_xdr::{
    AccountEntry, AccountId, ContractDataDurability, ContractId, Hash, LedgerEntryData, LedgerKey,
    LedgerKeyAccount, LedgerKeyContractData, LedgerKeyTrustLine, PublicKey, ScAddress, ScSymbol,
    ScVal, ScVec, TrustLineAsset, Uint256,
};

use crate::ledger::Snapshot;
use crate::usdc;

/// The account under `id`.
pub(crate) fn account(snapshot: &Snapshot, id: &AccountId) -> Option<AccountEntry> {
    let key = LedgerKey::Account(LedgerKeyAccount { account_id: id.clone() });
    match entry(snapshot, key)? {
        LedgerEntryData::Account(account) => Some(account),
        _ => None,
    }
}

/// The stroops that the account `address` holds.
pub(crate) fn xlm(snapshot: &Snapshot, address: &str) -> Option<i64> {
    match Strkey::from_string(address).ok()? {
        Strkey::PublicKeyEd25519(key) => Some(account(snapshot, &ed25519_account(key.0))?.balance),
        _ => None,
    }
}

/// The base units of USDC that an account's trustline or a contract's balance entry holds.
pub(crate) fn usdc(snapshot: &Snapshot, network_id: &Hash, address: &str) -> Option<i128> {
    match Strkey::from_string(address).ok()? {
        Strkey::PublicKeyEd25519(key) => trustline(snapshot, &ed25519_account(key.0)),
        Strkey::Contract(contract) => {
            contract_balance(snapshot, network_id, &ContractId(Hash(contract.0)))
        }
        _ => None,
    }
}

/// The base units of USDC on the trustline of `id`; `None` without a trustline.
pub(crate) fn trustline(snapshot: &Snapshot, id: &AccountId) -> Option<i128> {
    let asset = match usdc::asset() {
        stellar_xdr::Asset::CreditAlphanum4(code) => TrustLineAsset::CreditAlphanum4(code),
        _ => return None,
    };
    let key = LedgerKey::Trustline(LedgerKeyTrustLine { account_id: id.clone(), asset });
    match entry(snapshot, key)? {
        LedgerEntryData::Trustline(line) => Some(i128::from(line.balance)),
        _ => None,
    }
}

/// The account whose master key is `key`.
pub(crate) fn ed25519_account(key: [u8; 32]) -> AccountId {
    AccountId(PublicKey::PublicKeyTypeEd25519(Uint256(key)))
}

fn contract_balance(snapshot: &Snapshot, network_id: &Hash, holder: &ContractId) -> Option<i128> {
    let symbol = ScVal::Symbol(ScSymbol("Balance".try_into().ok()?));
    let address = ScVal::Address(ScAddress::Contract(holder.clone()));
    let key = LedgerKey::ContractData(LedgerKeyContractData {
        contract: ScAddress::Contract(usdc::contract_id(network_id)),
        key: ScVal::Vec(Some(ScVec(vec![symbol, address].try_into().ok()?))),
        durability: ContractDataDurability::Persistent,
    });
    let LedgerEntryData::ContractData(data) = entry(snapshot, key)? else { return None };
    let ScVal::Map(Some(fields)) = data.val else { return None };
    let amount = ScVal::Symbol(ScSymbol("amount".try_into().ok()?));
    match &fields.iter().find(|field| field.key == amount)?.val {
        ScVal::I128(parts) => Some(i128::from(parts.hi).checked_shl(64)? | i128::from(parts.lo)),
        _ => None,
    }
}

fn entry(snapshot: &Snapshot, key: LedgerKey) -> Option<LedgerEntryData> {
    snapshot.entries(&[key]).pop().map(|found| found.entry.data)
}

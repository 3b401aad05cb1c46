//! Trustlines: who holds how much of an issued asset.

use stellar_xdr::{
    AccountId, Asset, LedgerEntryData, LedgerKey, LedgerKeyTrustLine, TrustLineAsset,
    TrustLineEntry,
};

use crate::ledger::store::{Read, Working};

/// Who issues `asset`; lumens nobody does.
pub(super) fn issuer(asset: &Asset) -> Option<&AccountId> {
    match asset {
        Asset::Native => None,
        Asset::CreditAlphanum4(asset) => Some(&asset.issuer),
        Asset::CreditAlphanum12(asset) => Some(&asset.issuer),
    }
}

/// Whether the code is letters and digits, then zero bytes, and as long as its kind demands.
pub(in crate::ledger) fn is_valid(asset: &Asset) -> bool {
    match asset {
        Asset::Native => true,
        Asset::CreditAlphanum4(asset) => code_length(&asset.asset_code.0).is_some_and(|n| n >= 1),
        Asset::CreditAlphanum12(asset) => code_length(&asset.asset_code.0).is_some_and(|n| n >= 5),
    }
}

/// The key of `holder`'s trustline; lumens have none.
pub(super) fn key(holder: &AccountId, asset: &Asset) -> Option<LedgerKey> {
    let asset = match asset {
        Asset::Native => return None,
        Asset::CreditAlphanum4(asset) => TrustLineAsset::CreditAlphanum4(asset.clone()),
        Asset::CreditAlphanum12(asset) => TrustLineAsset::CreditAlphanum12(asset.clone()),
    };
    Some(LedgerKey::Trustline(LedgerKeyTrustLine { account_id: holder.clone(), asset }))
}

/// `holder`'s trustline for `asset`.
pub(super) fn load<'a>(
    state: &'a impl Read,
    holder: &AccountId,
    asset: &Asset,
) -> Option<&'a TrustLineEntry> {
    match &state.stored(&key(holder, asset)?)?.entry.data {
        LedgerEntryData::Trustline(line) => Some(line),
        _ => None,
    }
}

/// Writes `line`.
pub(super) fn store(state: &mut Working, line: TrustLineEntry) {
    state.put(LedgerEntryData::Trustline(line), None);
}

/// Whether the issuer lets the holder send and receive.
pub(super) fn is_authorized(line: &TrustLineEntry) -> bool {
    line.flags & AUTHORIZED != 0
}

fn code_length(code: &[u8]) -> Option<usize> {
    let length = code.iter().take_while(|byte| **byte != 0).count();
    let (text, rest) = code.split_at_checked(length)?;
    let valid = text.iter().all(u8::is_ascii_alphanumeric) && rest.iter().all(|byte| *byte == 0);
    valid.then_some(length)
}

/// `AUTHORIZED_FLAG` of a trustline.
pub(super) const AUTHORIZED: u32 = 1;
/// `TRUSTLINE_CLAWBACK_ENABLED_FLAG` of a trustline.
pub(super) const CLAWBACK: u32 = 4;

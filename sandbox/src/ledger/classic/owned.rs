//! What an account owns and gives up: trustlines, data entries, itself.

use stellar_xdr::{
    AccountEntry, AccountId, AccountMergeResult, Asset, ChangeTrustAsset, ChangeTrustOp,
    ChangeTrustResult, DataEntry, DataEntryExt, LedgerEntryData, LedgerKey, LedgerKeyData,
    ManageDataOp, ManageDataResult, MuxedAccount, OperationResult, OperationResultTr,
    TrustLineEntry, TrustLineEntryExt,
};

use super::options::{CLAWBACK_ENABLED, IMMUTABLE, REQUIRED};
use super::{Act, Done, asset, inner, silent};
use crate::ledger::outcome::Failure;
use crate::ledger::store::{Read, Working};
use crate::ledger::{account, event};

pub(super) fn check_trust(operation: &ChangeTrustOp, source: &AccountId) -> Result<(), Failure> {
    let asset = asset_of(&operation.line)?;
    let malformed = operation.limit < 0
        || asset == Asset::Native
        || !asset::is_valid(&asset)
        || asset::issuer(&asset) == Some(source);
    if malformed {
        return Err(untrusted(ChangeTrustResult::Malformed));
    }
    Ok(())
}

/// Makes, changes or (with a limit of zero) deletes a trustline.
pub(super) fn trust(
    state: &mut Working,
    operation: &ChangeTrustOp,
    mut source: AccountEntry,
) -> Result<Done, Failure> {
    let asset = asset_of(&operation.line)?;
    let key = asset::key(&source.account_id, &asset);
    let key = key.ok_or_else(|| untrusted(ChangeTrustResult::Malformed))?;
    let issuer = asset::issuer(&asset).and_then(|issuer| account::load(state, issuer));
    let flags = issuer.map(|issuer| issuer.flags);
    if let Some(line) = asset::load(state, &source.account_id, &asset) {
        if operation.limit < line.balance {
            return Err(untrusted(ChangeTrustResult::InvalidLimit));
        }
        if operation.limit == 0 {
            state.remove(&key);
            source.num_sub_entries = source.num_sub_entries.saturating_sub(1);
            account::store(state, source);
        } else {
            flags.ok_or_else(|| untrusted(ChangeTrustResult::NoIssuer))?;
            let mut line = line.clone();
            line.limit = operation.limit;
            asset::store(state, line);
        }
    } else {
        if operation.limit == 0 {
            return Err(untrusted(ChangeTrustResult::InvalidLimit));
        }
        let issuer_flags = flags.ok_or_else(|| untrusted(ChangeTrustResult::NoIssuer))?;
        if source.num_sub_entries >= MAX_SUB_ENTRIES {
            return Err(OperationResult::OpTooManySubentries.into());
        }
        if !account::add_sub_entry(&mut source) {
            return Err(untrusted(ChangeTrustResult::LowReserve));
        }
        let LedgerKey::Trustline(key) = key else {
            return Err(untrusted(ChangeTrustResult::Malformed));
        };
        let mut line = TrustLineEntry {
            account_id: key.account_id,
            asset: key.asset,
            balance: 0,
            limit: operation.limit,
            flags: if issuer_flags & REQUIRED == 0 { asset::AUTHORIZED } else { 0 },
            ext: TrustLineEntryExt::V0,
        };
        if issuer_flags & CLAWBACK_ENABLED != 0 {
            line.flags |= asset::CLAWBACK;
        }
        account::store(state, source);
        asset::store(state, line);
    }
    Ok(silent(OperationResultTr::ChangeTrust(ChangeTrustResult::Success)))
}

pub(super) fn check_data(operation: &ManageDataOp) -> Result<(), Failure> {
    let name = operation.data_name.as_slice();
    if name.is_empty() || !is_text(name) {
        return Err(inner(OperationResultTr::ManageData(ManageDataResult::InvalidName)));
    }
    Ok(())
}

/// Writes or (without a value) deletes a data entry.
pub(super) fn data(
    state: &mut Working,
    operation: &ManageDataOp,
    mut source: AccountEntry,
) -> Result<Done, Failure> {
    let failed = |result| inner(OperationResultTr::ManageData(result));
    let key = LedgerKey::Data(LedgerKeyData {
        account_id: source.account_id.clone(),
        data_name: operation.data_name.clone(),
    });
    let exists = state.stored(&key).is_some();
    if let Some(value) = &operation.data_value {
        let entry = DataEntry {
            account_id: source.account_id.clone(),
            data_name: operation.data_name.clone(),
            data_value: value.clone(),
            ext: DataEntryExt::V0,
        };
        if !exists {
            if source.num_sub_entries >= MAX_SUB_ENTRIES {
                return Err(OperationResult::OpTooManySubentries.into());
            }
            if !account::add_sub_entry(&mut source) {
                return Err(failed(ManageDataResult::LowReserve));
            }
            account::store(state, source);
        }
        state.put(LedgerEntryData::Data(entry), None);
    } else {
        if !exists {
            return Err(failed(ManageDataResult::NameNotFound));
        }
        state.remove(&key);
        source.num_sub_entries = source.num_sub_entries.saturating_sub(1);
        account::store(state, source);
    }
    Ok(silent(OperationResultTr::ManageData(ManageDataResult::Success)))
}

pub(super) fn check_merge(to: &MuxedAccount, source: &AccountId) -> Result<(), Failure> {
    if to.clone().account_id() == *source {
        return Err(unmerged(AccountMergeResult::Malformed));
    }
    Ok(())
}

/// Gives all lumens away and deletes the account.
pub(super) fn merge(
    state: &mut Working,
    to: &MuxedAccount,
    source: AccountEntry,
    act: &Act<'_>,
) -> Result<Done, Failure> {
    let receiver = account::load(state, &to.clone().account_id());
    let mut receiver = receiver.ok_or_else(|| unmerged(AccountMergeResult::NoAccount))?.clone();
    if source.flags & IMMUTABLE != 0 {
        return Err(unmerged(AccountMergeResult::ImmutableSet));
    }
    if u32::try_from(source.signers.len()) != Ok(source.num_sub_entries) {
        return Err(unmerged(AccountMergeResult::HasSubEntries));
    }
    // Otherwise the account could be made again and replay its old transactions.
    if source.seq_num.0 >= account::starting_sequence(act.header.sequence) {
        return Err(unmerged(AccountMergeResult::SeqnumTooFar));
    }
    let amount = source.balance;
    if !account::add_balance(&mut receiver, amount) {
        return Err(unmerged(AccountMergeResult::DestFull));
    }
    account::store(state, receiver);
    state.remove(&account::key(&source.account_id));
    let event = event::movement(
        &act.network.id,
        &Asset::Native,
        &act.source,
        to,
        amount,
        &act.frame.tx.memo,
    );
    Ok(Done {
        result: OperationResultTr::AccountMerge(AccountMergeResult::Success(amount)),
        events: vec![event],
    })
}

/// Letters, digits and other printable signs of ASCII: what names and domains may be made of.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_control())
}

/// The asset of a line; a share of a liquidity pool is none, and those the sandbox does not have.
fn asset_of(line: &ChangeTrustAsset) -> Result<Asset, Failure> {
    match line {
        ChangeTrustAsset::Native => Ok(Asset::Native),
        ChangeTrustAsset::CreditAlphanum4(asset) => Ok(Asset::CreditAlphanum4(asset.clone())),
        ChangeTrustAsset::CreditAlphanum12(asset) => Ok(Asset::CreditAlphanum12(asset.clone())),
        ChangeTrustAsset::PoolShare(_) => Err(OperationResult::OpNotSupported.into()),
    }
}

fn untrusted(result: ChangeTrustResult) -> Failure {
    inner(OperationResultTr::ChangeTrust(result))
}

fn unmerged(result: AccountMergeResult) -> Failure {
    inner(OperationResultTr::AccountMerge(result))
}

/// More entries than this an account cannot own.
pub(super) const MAX_SUB_ENTRIES: u32 = 1000;

//! `SetOptions`: signers, thresholds, flags, home domain.

use stellar_xdr::{
    AccountEntry, AccountEntryExt, AccountEntryExtensionV1Ext, AccountId, OperationResult,
    OperationResultTr, PublicKey, SetOptionsOp, SetOptionsResult, Signer, SignerKey,
    SponsorshipDescriptor,
};

use super::owned::{MAX_SUB_ENTRIES, is_text};
use super::{Done, inner, silent};
use crate::ledger::account;
use crate::ledger::outcome::Failure;
use crate::ledger::store::Working;
use crate::ledger::xdr::list;

/// Whether it changes who may sign, which asks for the highest weight.
pub(super) fn touches_signers(operation: &SetOptionsOp) -> bool {
    operation.master_weight.is_some()
        || operation.low_threshold.is_some()
        || operation.med_threshold.is_some()
        || operation.high_threshold.is_some()
        || operation.signer.is_some()
}

pub(super) fn check(operation: &SetOptionsOp, source: &AccountId) -> Result<(), Failure> {
    let set = operation.set_flags.unwrap_or(0);
    let clear = operation.clear_flags.unwrap_or(0);
    if (set | clear) & !KNOWN_FLAGS != 0 {
        return Err(failed(SetOptionsResult::UnknownFlag));
    }
    if set & clear != 0 {
        return Err(failed(SetOptionsResult::BadFlags));
    }
    let weights = [
        operation.master_weight,
        operation.low_threshold,
        operation.med_threshold,
        operation.high_threshold,
    ];
    if weights.into_iter().flatten().any(|weight| weight > MAX_WEIGHT) {
        return Err(failed(SetOptionsResult::ThresholdOutOfRange));
    }
    if let Some(signer) = &operation.signer
        && !is_good(signer, source)
    {
        return Err(failed(SetOptionsResult::BadSigner));
    }
    if operation.home_domain.as_ref().is_some_and(|domain| !is_text(domain.as_slice())) {
        return Err(failed(SetOptionsResult::InvalidHomeDomain));
    }
    Ok(())
}

/// Changes what the operation names and leaves the rest.
pub(super) fn set(
    state: &mut Working,
    operation: &SetOptionsOp,
    mut account: AccountEntry,
) -> Result<Done, Failure> {
    if let Some(inflation_dest) = &operation.inflation_dest {
        if *inflation_dest != account.account_id && account::load(state, inflation_dest).is_none() {
            return Err(failed(SetOptionsResult::InvalidInflation));
        }
        account.inflation_dest = Some(inflation_dest.clone());
    }
    set_flags(&mut account, operation)?;
    if let Some(domain) = &operation.home_domain {
        account.home_domain = domain.clone();
    }
    let [master, low, medium, high] = &mut account.thresholds.0;
    for (place, weight) in [
        (master, operation.master_weight),
        (low, operation.low_threshold),
        (medium, operation.med_threshold),
        (high, operation.high_threshold),
    ] {
        if let Some(weight) = weight {
            *place = u8::try_from(weight).unwrap_or(u8::MAX);
        }
    }
    if let Some(signer) = &operation.signer {
        set_signer(&mut account, signer)?;
    }
    account::store(state, account);
    Ok(silent(OperationResultTr::SetOptions(SetOptionsResult::Success)))
}

fn set_flags(account: &mut AccountEntry, operation: &SetOptionsOp) -> Result<(), Failure> {
    let set = operation.set_flags.unwrap_or(0);
    let clear = operation.clear_flags.unwrap_or(0);
    if account.flags & IMMUTABLE != 0 && (set | clear) & KNOWN_FLAGS != 0 {
        return Err(failed(SetOptionsResult::CantChange));
    }
    let flags = (account.flags & !clear) | set;
    if flags & CLAWBACK_ENABLED != 0 && flags & REVOCABLE == 0 {
        return Err(failed(SetOptionsResult::AuthRevocableRequired));
    }
    account.flags = flags;
    Ok(())
}

/// Adds, changes or (with no weight) removes a signer. Signers are kept sorted by key.
fn set_signer(account: &mut AccountEntry, signer: &Signer) -> Result<(), Failure> {
    let mut signers = account.signers.to_vec();
    let found = signers.binary_search_by(|other| other.key.cmp(&signer.key));
    match found {
        Ok(place) if signer.weight == 0 => {
            signers.remove(place);
            account.num_sub_entries = account.num_sub_entries.saturating_sub(1);
            edit_sponsors(account, |sponsors| {
                if place < sponsors.len() {
                    sponsors.remove(place);
                }
            });
        }
        Ok(place) => {
            if let Some(known) = signers.get_mut(place) {
                known.weight = signer.weight;
            }
        }
        Err(_) if signer.weight == 0 => {}
        Err(place) => {
            if signers.len() >= MAX_SIGNERS {
                return Err(failed(SetOptionsResult::TooManySigners));
            }
            if account.num_sub_entries >= MAX_SUB_ENTRIES {
                return Err(OperationResult::OpTooManySubentries.into());
            }
            if !account::add_sub_entry(account) {
                return Err(failed(SetOptionsResult::LowReserve));
            }
            signers.insert(place, signer.clone());
            edit_sponsors(account, |sponsors| {
                sponsors.insert(place.min(sponsors.len()), SponsorshipDescriptor(None));
            });
        }
    }
    account.signers = list(signers);
    Ok(())
}

/// Removes `key` from the account's signers, if it is one: a pre-authorized transaction's hash is used once.
pub(in crate::ledger) fn drop_signer(account: &mut AccountEntry, key: &SignerKey) -> bool {
    if !account.signers.iter().any(|signer| signer.key == *key) {
        return false;
    }
    let gone = Signer { key: key.clone(), weight: 0 };
    set_signer(account, &gone).is_ok()
}

/// Keeps the list of the signers' sponsors as long as the list of signers. Nobody sponsors any.
fn edit_sponsors(account: &mut AccountEntry, edit: impl FnOnce(&mut Vec<SponsorshipDescriptor>)) {
    if let AccountEntryExt::V1(v1) = &mut account.ext
        && let AccountEntryExtensionV1Ext::V2(v2) = &mut v1.ext
    {
        let mut sponsors = v2.signer_sponsoring_i_ds.to_vec();
        edit(&mut sponsors);
        v2.signer_sponsoring_i_ds = list(sponsors);
    }
}

fn is_good(signer: &Signer, source: &AccountId) -> bool {
    let PublicKey::PublicKeyTypeEd25519(own) = &source.0;
    let usable = match &signer.key {
        SignerKey::Ed25519(key) => key != own,
        SignerKey::Ed25519SignedPayload(signed) => !signed.payload.is_empty(),
        SignerKey::PreAuthTx(_) | SignerKey::HashX(_) => true,
    };
    usable && signer.weight <= MAX_WEIGHT
}

fn failed(result: SetOptionsResult) -> Failure {
    inner(OperationResultTr::SetOptions(result))
}

/// `AUTH_REQUIRED_FLAG` of an account.
pub(super) const REQUIRED: u32 = 1;
/// `AUTH_REVOCABLE_FLAG` of an account.
const REVOCABLE: u32 = 2;
/// `AUTH_IMMUTABLE_FLAG` of an account.
pub(super) const IMMUTABLE: u32 = 4;
/// `AUTH_CLAWBACK_ENABLED_FLAG` of an account.
pub(super) const CLAWBACK_ENABLED: u32 = 8;
const KNOWN_FLAGS: u32 = 15;
const MAX_WEIGHT: u32 = 255;
const MAX_SIGNERS: usize = 20;

//! Accounts: keys, reserves, balances, sequence numbers.

use stellar_xdr::{
    AccountEntry, AccountEntryExt, AccountEntryExtensionV1, AccountEntryExtensionV1Ext,
    AccountEntryExtensionV2, AccountEntryExtensionV2Ext, AccountEntryExtensionV3, AccountId,
    ExtensionPoint, LedgerEntryData, LedgerKey, LedgerKeyAccount, Liabilities, SequenceNumber,
    Thresholds, TimePoint,
};

use super::network::BASE_RESERVE;
use super::store::{Read, Working};

/// The key of an account's entry.
pub(super) fn key(id: &AccountId) -> LedgerKey {
    LedgerKey::Account(LedgerKeyAccount { account_id: id.clone() })
}

/// The account, if it exists.
pub(super) fn load<'a>(state: &'a impl Read, id: &AccountId) -> Option<&'a AccountEntry> {
    match &state.stored(&key(id))?.entry.data {
        LedgerEntryData::Account(account) => Some(account),
        _ => None,
    }
}

/// Writes `account`.
pub(super) fn store(state: &mut Working, account: AccountEntry) {
    state.put(LedgerEntryData::Account(account), None);
}

/// A new account. It has every extension from the start, so that its size never grows by itself.
pub(super) fn new(account_id: AccountId, balance: i64, sequence: i64) -> AccountEntry {
    AccountEntry {
        account_id,
        balance,
        seq_num: SequenceNumber(sequence),
        num_sub_entries: 0,
        inflation_dest: None,
        flags: 0,
        home_domain: Default::default(),
        thresholds: Thresholds([1, 0, 0, 0]),
        signers: Default::default(),
        ext: AccountEntryExt::V1(AccountEntryExtensionV1 {
            liabilities: Liabilities { buying: 0, selling: 0 },
            ext: AccountEntryExtensionV1Ext::V2(AccountEntryExtensionV2 {
                num_sponsored: 0,
                num_sponsoring: 0,
                signer_sponsoring_i_ds: Default::default(),
                ext: AccountEntryExtensionV2Ext::V3(AccountEntryExtensionV3 {
                    ext: ExtensionPoint::V0,
                    seq_ledger: 0,
                    seq_time: TimePoint(0),
                }),
            }),
        }),
    }
}

/// The first sequence number that an account made in `ledger` has spent.
pub(super) fn starting_sequence(ledger: u32) -> i64 {
    i64::from(ledger) << 32
}

/// What the account must keep: two base reserves and one for each entry that it owns. In stroops.
pub(super) fn reserve(sub_entries: u32) -> i64 {
    i64::from(sub_entries).saturating_add(2).saturating_mul(i64::from(BASE_RESERVE))
}

/// What the account can spend above its reserve; negative if it is below. In stroops.
pub(super) fn available(account: &AccountEntry) -> i64 {
    account.balance.saturating_sub(reserve(account.num_sub_entries))
}

/// The ledger and the time at which the account last spent a sequence number.
pub(super) fn sequence_mark(account: &AccountEntry) -> (u32, u64) {
    if let AccountEntryExt::V1(v1) = &account.ext
        && let AccountEntryExtensionV1Ext::V2(v2) = &v1.ext
        && let AccountEntryExtensionV2Ext::V3(v3) = &v2.ext
    {
        return (v3.seq_ledger, v3.seq_time.0);
    }
    (0, 0)
}

/// Spends sequence numbers up to `sequence`, and remembers when.
pub(super) fn spend_sequence(account: &mut AccountEntry, sequence: i64, ledger: u32, time: u64) {
    account.seq_num = SequenceNumber(sequence);
    if let AccountEntryExt::V1(v1) = &mut account.ext
        && let AccountEntryExtensionV1Ext::V2(v2) = &mut v1.ext
        && let AccountEntryExtensionV2Ext::V3(v3) = &mut v2.ext
    {
        v3.seq_ledger = ledger;
        v3.seq_time = TimePoint(time);
    }
}

/// Adds an entry that the account owns; `false` if its balance cannot carry the reserve.
pub(super) fn add_sub_entry(account: &mut AccountEntry) -> bool {
    let owned = account.num_sub_entries.saturating_add(1);
    if account.balance < reserve(owned) {
        return false;
    }
    account.num_sub_entries = owned;
    true
}

/// Changes the balance by `delta`; `false`, and no change, if it would overflow or break the reserve.
pub(super) fn add_balance(account: &mut AccountEntry, delta: i64) -> bool {
    let Some(balance) = account.balance.checked_add(delta) else { return false };
    if balance < 0 || (delta < 0 && balance < reserve(account.num_sub_entries)) {
        return false;
    }
    account.balance = balance;
    true
}

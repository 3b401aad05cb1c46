//! Ledger headers, and the first ledger of all.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use stellar_xdr::{
    AccountId, GeneralizedTransactionSet, Hash, LedgerCloseMeta, LedgerCloseMetaExt,
    LedgerCloseMetaV2, LedgerHeader, LedgerHeaderExt, LedgerHeaderHistoryEntry,
    LedgerHeaderHistoryEntryExt, ParallelTxsComponent, PublicKey, StellarValue, StellarValueExt,
    TimePoint, TransactionPhase, TransactionResultPair, TransactionResultSet, TransactionSetV1,
    Uint256, VecM,
};

use super::admission::Header;
use super::apply::Applied;
use super::config::{LedgerConfig, PROTOCOL_VERSION};
use super::network::Network;
use super::record::ClosedLedger;
use super::store::{Entries, Snapshot, Working};
use super::xdr::{hash, list};
use super::{account, network};

/// The first ledger: the settings and the root account.
pub(super) fn genesis(config: &LedgerConfig, network: &Network) -> Snapshot {
    let header = Header { sequence: 1, close_time: config.start_time };
    let mut state = Working::new(Entries::new(), header.sequence);
    state.begin();
    for entry in network::entries() {
        state.put(entry.data, None);
    }
    let key = Uint256(root(network).verifying_key().to_bytes());
    let id = AccountId(PublicKey::PublicKeyTypeEd25519(key));
    account::store(&mut state, account::new(id, network::TOTAL_COINS, 0));
    state.merge();
    let applied = Applied { entries: state.into_entries(), fee_pool: 0, records: Vec::new() };
    let ledger = Arc::new(close(None, &applied, header));
    Snapshot { ledger, entries: applied.entries }
}

/// The key of the account that has all lumens at first.
pub(super) fn root(network: &Network) -> SigningKey {
    SigningKey::from_bytes(&network.id.0)
}

/// The header over what was applied. There is no bucket list and no consensus, so their hashes are zero.
pub(super) fn close(
    previous: Option<&ClosedLedger>,
    applied: &Applied,
    header: Header,
) -> ClosedLedger {
    let previous_hash = previous.map_or_else(Hash::default, |ledger| ledger.hash.clone());
    let results = applied
        .records
        .iter()
        .map(|record| TransactionResultPair {
            transaction_hash: record.hash.clone(),
            result: record.result.clone(),
        })
        .collect();
    let tx_set = GeneralizedTransactionSet::V1(TransactionSetV1 {
        previous_ledger_hash: previous_hash.clone(),
        phases: list(vec![
            TransactionPhase::V0(VecM::default()),
            TransactionPhase::V1(ParallelTxsComponent {
                base_fee: Some(i64::from(network::BASE_FEE)),
                execution_stages: VecM::default(),
            }),
        ]),
    });
    let header = LedgerHeader {
        ledger_version: PROTOCOL_VERSION,
        previous_ledger_hash: previous_hash,
        scp_value: StellarValue {
            tx_set_hash: hash(&tx_set),
            close_time: TimePoint(header.close_time),
            upgrades: VecM::default(),
            ext: StellarValueExt::Basic,
        },
        tx_set_result_hash: hash(&TransactionResultSet { results: list(results) }),
        bucket_list_hash: Hash::default(),
        ledger_seq: header.sequence,
        total_coins: network::TOTAL_COINS,
        fee_pool: applied.fee_pool,
        inflation_seq: 0,
        id_pool: 0,
        base_fee: network::BASE_FEE,
        base_reserve: network::BASE_RESERVE,
        max_tx_set_size: 1000,
        skip_list: [Hash::default(), Hash::default(), Hash::default(), Hash::default()],
        ext: LedgerHeaderExt::V0,
    };
    let hash = hash(&header);
    let meta = LedgerCloseMeta::V2(LedgerCloseMetaV2 {
        ext: LedgerCloseMetaExt::V0,
        ledger_header: LedgerHeaderHistoryEntry {
            hash: hash.clone(),
            header: header.clone(),
            ext: LedgerHeaderHistoryEntryExt::V0,
        },
        tx_set,
        tx_processing: VecM::default(),
        upgrades_processing: VecM::default(),
        scp_info: VecM::default(),
        total_byte_size_of_live_soroban_state: 0,
        evicted_keys: VecM::default(),
    });
    ClosedLedger {
        sequence: header.ledger_seq,
        hash,
        close_time: header.scp_value.close_time.0,
        header,
        meta,
    }
}

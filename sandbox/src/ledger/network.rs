//! The network's settings: fees, limits, lifetimes, as entries of the ledger and as the host wants them.
//!
//! Source: the newest settings published for testnet, `stellar/quickstart`,
//! `local/core/etc/config-settings/p27/testnet.json`, which mirror what validators voted; only the cost table is the
//! linked host's ([`cost`]). Rent depends on how much contract state a network has; the sandbox has next to none, so it
//! asks the protocol's least rent, as testnet does while its state is below two thirds of the target.

mod cost;

use std::rc::Rc;

use soroban_env_host::storage::{EntryWithLiveUntil, SnapshotSource};
use soroban_env_host::{HostError, LedgerInfo};
use soroban_simulation::NetworkConfig;
use stellar_xdr::{
    ConfigSettingContractBandwidthV0, ConfigSettingContractComputeV0,
    ConfigSettingContractEventsV0, ConfigSettingContractExecutionLanesV0,
    ConfigSettingContractHistoricalDataV0, ConfigSettingContractLedgerCostExtV0,
    ConfigSettingContractLedgerCostV0, ConfigSettingContractParallelComputeV0, ConfigSettingEntry,
    ConfigSettingScpTiming, Hash, LedgerEntry, LedgerEntryData, LedgerEntryExt, LedgerKey,
    StateArchivalSettings,
};

use super::config::PROTOCOL_VERSION;
use super::xdr::list;

/// The settings of every ledger; they never change.
pub(super) struct Network {
    /// SHA-256 of the passphrase.
    pub(super) id: Hash,
    /// As simulation and the host's budget want the settings.
    pub(super) config: NetworkConfig,
}

impl Network {
    pub(super) fn new(id: Hash) -> Self {
        let settings = Settings(settings());
        let config = NetworkConfig::load_from_snapshot(&settings)
            .expect("the settings hold all that the host needs");
        Self { id, config }
    }

    /// What a contract sees of the ledger that it runs in.
    pub(super) fn ledger_info(&self, sequence: u32, close_time: u64) -> LedgerInfo {
        let mut info = LedgerInfo {
            protocol_version: PROTOCOL_VERSION,
            sequence_number: sequence,
            timestamp: close_time,
            network_id: self.id.0,
            base_reserve: BASE_RESERVE,
            ..LedgerInfo::default()
        };
        self.config.fill_config_fields_in_ledger_info(&mut info);
        info
    }
}

/// The settings as entries of the genesis ledger.
pub(super) fn entries() -> Vec<LedgerEntry> {
    settings().into_iter().map(entry).collect()
}

fn entry(setting: ConfigSettingEntry) -> LedgerEntry {
    LedgerEntry {
        last_modified_ledger_seq: 1,
        data: LedgerEntryData::ConfigSetting(setting),
        ext: LedgerEntryExt::V0,
    }
}

fn settings() -> Vec<ConfigSettingEntry> {
    vec![
        ConfigSettingEntry::ContractMaxSizeBytes(MAX_ENTRY_BYTES_CODE),
        ConfigSettingEntry::ContractComputeV0(ConfigSettingContractComputeV0 {
            ledger_max_instructions: 580_000_000,
            tx_max_instructions: i64::from(TX_MAX_INSTRUCTIONS),
            fee_rate_per_instructions_increment: 7,
            tx_memory_limit: TX_MEMORY_LIMIT,
        }),
        ConfigSettingEntry::ContractLedgerCostV0(ConfigSettingContractLedgerCostV0 {
            ledger_max_disk_read_entries: 1000,
            ledger_max_disk_read_bytes: 400_000,
            ledger_max_write_ledger_entries: 1000,
            ledger_max_write_bytes: 286_720,
            tx_max_disk_read_entries: TX_MAX_DISK_READ_ENTRIES,
            tx_max_disk_read_bytes: TX_MAX_DISK_READ_BYTES,
            tx_max_write_ledger_entries: TX_MAX_WRITE_ENTRIES,
            tx_max_write_bytes: TX_MAX_WRITE_BYTES,
            fee_disk_read_ledger_entry: 1563,
            fee_write_ledger_entry: 2500,
            fee_disk_read1_kb: 447,
            soroban_state_target_size_bytes: 4_000_000_000,
            rent_fee1_kb_soroban_state_size_low: -17_000,
            rent_fee1_kb_soroban_state_size_high: 10_000,
            soroban_state_rent_fee_growth_factor: 5000,
        }),
        ConfigSettingEntry::ContractHistoricalDataV0(ConfigSettingContractHistoricalDataV0 {
            fee_historical1_kb: 4059,
        }),
        ConfigSettingEntry::ContractEventsV0(ConfigSettingContractEventsV0 {
            tx_max_contract_events_size_bytes: TX_MAX_EVENTS_BYTES,
            fee_contract_events1_kb: 5000,
        }),
        ConfigSettingEntry::ContractBandwidthV0(ConfigSettingContractBandwidthV0 {
            ledger_max_txs_size_bytes: 266_240,
            tx_max_size_bytes: TX_MAX_BYTES,
            fee_tx_size1_kb: 406,
        }),
        ConfigSettingEntry::ContractCostParamsCpuInstructions(cost::cpu()),
        ConfigSettingEntry::ContractCostParamsMemoryBytes(cost::memory()),
        ConfigSettingEntry::ContractDataKeySizeBytes(MAX_KEY_BYTES),
        ConfigSettingEntry::ContractDataEntrySizeBytes(MAX_ENTRY_BYTES_DATA),
        ConfigSettingEntry::StateArchival(StateArchivalSettings {
            max_entry_ttl: MAX_ENTRY_TTL,
            min_temporary_ttl: 720,
            min_persistent_ttl: MIN_PERSISTENT_TTL,
            persistent_rent_rate_denominator: 1215,
            temp_rent_rate_denominator: 2430,
            max_entries_to_archive: 1000,
            live_soroban_state_size_window_sample_size: 30,
            live_soroban_state_size_window_sample_period: 64,
            eviction_scan_size: 500_000,
            starting_eviction_scan_level: 7,
        }),
        ConfigSettingEntry::ContractExecutionLanes(ConfigSettingContractExecutionLanesV0 {
            ledger_max_tx_count: 2000,
        }),
        ConfigSettingEntry::LiveSorobanStateSizeWindow(list(vec![0; 30])),
        ConfigSettingEntry::ContractParallelComputeV0(ConfigSettingContractParallelComputeV0 {
            ledger_max_dependent_tx_clusters: 2,
        }),
        ConfigSettingEntry::ContractLedgerCostExtV0(ConfigSettingContractLedgerCostExtV0 {
            tx_max_footprint_entries: TX_MAX_FOOTPRINT_ENTRIES,
            fee_write1_kb: 875,
        }),
        ConfigSettingEntry::ScpTiming(ConfigSettingScpTiming {
            ledger_target_close_time_milliseconds: 5000,
            nomination_timeout_initial_milliseconds: 1000,
            nomination_timeout_increment_milliseconds: 1000,
            ballot_timeout_initial_milliseconds: 1000,
            ballot_timeout_increment_milliseconds: 1000,
        }),
    ]
}

/// The settings before there is a ledger to hold them.
struct Settings(Vec<ConfigSettingEntry>);

impl SnapshotSource for Settings {
    fn get(&self, key: &Rc<LedgerKey>) -> Result<Option<EntryWithLiveUntil>, HostError> {
        let LedgerKey::ConfigSetting(wanted) = key.as_ref() else { return Ok(None) };
        let found =
            self.0.iter().find(|setting| setting.discriminant() == wanted.config_setting_id);
        Ok(found.map(|setting| (Rc::new(entry(setting.clone())), None)))
    }
}

/// The least inclusion fee for one operation, in stroops.
pub(super) const BASE_FEE: u32 = 100;
/// The reserve for one ledger entry, in stroops.
pub(super) const BASE_RESERVE: u32 = 5_000_000;
/// All lumens at genesis, in stroops.
pub(super) const TOTAL_COINS: i64 = 1_000_000_000_000_000_000;

pub(super) const TX_MAX_INSTRUCTIONS: u32 = 400_000_000;
pub(super) const TX_MEMORY_LIMIT: u32 = 41_943_040;
pub(super) const TX_MAX_DISK_READ_ENTRIES: u32 = 200;
pub(super) const TX_MAX_DISK_READ_BYTES: u32 = 200_000;
pub(super) const TX_MAX_WRITE_ENTRIES: u32 = 200;
pub(super) const TX_MAX_WRITE_BYTES: u32 = 132_096;
pub(super) const TX_MAX_FOOTPRINT_ENTRIES: u32 = 400;
pub(super) const TX_MAX_EVENTS_BYTES: u32 = 16_384;
pub(super) const TX_MAX_BYTES: u32 = 132_096;
pub(super) const MAX_KEY_BYTES: u32 = 250;
pub(super) const MAX_ENTRY_BYTES_DATA: u32 = 65_536;
pub(super) const MAX_ENTRY_BYTES_CODE: u32 = 131_072;
/// Ledgers that an entry can live ahead at most, the current one included.
pub(super) const MAX_ENTRY_TTL: u32 = 3_110_400;
/// Ledgers that a persistent entry lives when created or restored, the current one included.
pub(super) const MIN_PERSISTENT_TTL: u32 = 120_960;

//! What sponsors must hold: the reserves of their lanes, and the fees of a ledger full of payments.

use super::Settings;
use crate::{
    ledger::{
        signer::Seed,
        sponsor::{LANE_STROOPS, lane},
    },
    protocol::{
        money::{Amount, Decimals},
        stellar::AccountId,
    },
};

impl Settings {
    /// The accounts of the lanes of `sponsor`.
    #[must_use]
    pub fn lane_accounts(&self, sponsor: &Seed) -> Vec<AccountId> {
        (0..self.lanes).map(|index| lane(sponsor, self.network, index).account()).collect()
    }

    /// What a sponsor needs to take payments, in stroops, if `missing` of its lanes have to be created first.
    #[must_use]
    pub fn needed_stroops(&self, missing: usize) -> i64 {
        let missing = i64::try_from(missing).unwrap_or(i64::MAX);
        let fees = i64::from(self.lanes).saturating_mul(self.max_fee_stroops.into());
        missing.saturating_mul(LANE_STROOPS).saturating_add(fees).saturating_add(RESERVE_STROOPS)
    }
}

/// Stroops as people read them: `1.5`, in XLM.
#[must_use]
pub fn lumens(stroops: i64) -> String {
    let stroops = Amount::from_units(stroops.max(0).into()).unwrap_or_default();
    stroops.to_decimal(Decimals::STELLAR)
}

/// The reserve of an account that sponsors nothing, and some room.
pub(super) const RESERVE_STROOPS: i64 = 20_000_000;

//! Who sends next: the payee's own account, or a lane beside it.

use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::{Collector, Inner};
use crate::ledger::sponsor::HeldLane;

/// Whose next sequence number a transaction has.
#[derive(Debug)]
pub(super) enum Turn {
    Payee {
        /// Nobody else has it as long as this is held.
        _held: OwnedMutexGuard<()>,
    },
    Lane(HeldLane),
}

impl Turn {
    pub(super) const fn lane(&self) -> Option<&HeldLane> {
        match self {
            Self::Payee { .. } => None,
            Self::Lane(lane) => Some(lane),
        }
    }

    pub(super) const fn sending(&mut self, until: u64) {
        if let Self::Lane(lane) = self {
            lane.sending(until);
        }
    }

    pub(super) fn landed(self) {
        if let Self::Lane(lane) = self {
            lane.landed();
        }
    }

    pub(super) fn unsent(self) {
        if let Self::Lane(lane) = self {
            lane.unsent();
        }
    }

    pub(super) fn out_of_step(self) {
        if let Self::Lane(lane) = self {
            lane.out_of_step();
        }
    }
}

impl Collector {
    /// How many transactions can be under way at once.
    #[must_use]
    pub fn width(&self) -> usize {
        let sponsor = self.0.sponsor.as_ref().filter(|sponsor| sponsor.supported().is_ok());
        // The other half is for who waits for an answer.
        let lanes = sponsor.map_or(0, |sponsor| sponsor.lanes().count().div_ceil(2));
        lanes.saturating_add(1)
    }

    /// The payee's own turn, or if others send by it a lane.
    pub(super) async fn turn(&self) -> Turn {
        let Inner { turn, sponsor, .. } = &*self.0;
        if let Ok(free) = turn.clone().try_lock_owned() {
            return Turn::Payee { _held: free };
        }
        if let Some(sponsor) = sponsor.as_ref().filter(|sponsor| sponsor.supported().is_ok())
            && let Ok(lane) = sponsor.lanes().acquire(PATIENCE).await
        {
            return Turn::Lane(lane);
        }
        Turn::Payee { _held: turn.clone().lock_owned().await }
    }
}

/// How long a transaction waits for a lane before it waits for the payee's turn.
const PATIENCE: Duration = Duration::from_secs(20);

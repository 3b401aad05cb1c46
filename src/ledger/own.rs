//! The gateway's own facilitator: checks, rebuilds, signs, sends, and watches.

use std::time::Duration;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    facilitator::{NotReady, Outcome, Payment, Sent, Supported, VerifyError},
    rpc::Rpc,
    signer::Seed,
};
use crate::{
    protocol::stellar::{AccountId, Network},
    telemetry::Clock,
};

/// Settles payments with sponsor keys of its own; one transaction a lane and ledger, side by side.
#[derive(Debug)]
pub struct Facilitator {}

/// What the facilitator works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The network of all payments.
    pub network: Network,
    /// The keys that pay the network's fees; never empty.
    pub sponsors: Vec<Seed>,
    /// How many lanes each sponsor owns.
    pub lanes: u32,
    /// The most that one transaction may cost, in stroops, all fees included.
    pub max_fee_stroops: u32,
    /// The most that transactions may cost in a while.
    pub budget: Budget,
    /// Accounts that must not pay: the payees.
    pub excluded: Vec<AccountId>,
}

/// The most that may be spent on fees within a sliding window, in stroops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In all.
    pub stroops: u64,
    /// For one payer.
    pub per_payer: u64,
    /// Within this long.
    pub per: Duration,
}

impl Facilitator {
    /// Starts the facilitator; it creates its lanes in the background, on `tasks`, until `stop`.
    #[must_use]
    pub fn start(
        settings: Settings,
        rpc: Rpc,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        todo!()
    }

    /// As [`super::facilitator::Facilitator::supported`].
    pub(super) fn supported(&self) -> Result<Supported, NotReady> {
        todo!()
    }

    pub(super) async fn verify(&self, payment: &Payment) -> Result<(), VerifyError> {
        todo!()
    }

    pub(super) async fn prepare(&self, payment: &Payment) -> Result<Prepared, VerifyError> {
        todo!()
    }

    pub(super) async fn submit(&self, payment: &Payment, prepared: Prepared) -> Outcome {
        todo!()
    }

    pub(super) async fn resolve(&self, payment: &Payment, sent: &Sent) -> Outcome {
        todo!()
    }
}

/// A signed transaction that holds its lane.
#[derive(Debug)]
pub struct Prepared {
    sent: Sent,
}

impl Prepared {
    /// How to find the transaction again.
    #[must_use]
    pub const fn sent(&self) -> &Sent {
        &self.sent
    }
}

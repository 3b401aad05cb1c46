//! Puts a payer's own signed transaction on the ledger as it is, and finds one there by its hash.
//!
//! Nothing is signed here, and nothing costs us a fee. Whether the transaction is what was asked is its type's to say
//! ([`Whole`]); what it would do, and did, is the ledger's. Source: MPP `stellar` charge, unsponsored pull and push.

use stellar_xdr as xdr;
use tracing::debug;

use super::{
    facilitator::{Failure, Invalid, Outcome, Sent, Settled, TRANSACTION_FAILED, VerifyError},
    own::simulation_failed,
    post::{self, Fate, Sending},
    rpc::{AuthMode, LedgerMark, Lookup, Rpc, Simulation, Transaction},
};
use crate::{
    protocol::{
        stellar::TxHash,
        transfer::{self, Whole},
    },
    telemetry::Clock,
};

/// Sends the transactions of others. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Relay {
    rpc: Rpc,
    clock: Clock,
}

/// What the ledger says of a hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The transaction succeeded.
    Landed(Box<Landed>),
    /// It failed: it moved nothing, and never will.
    Failed,
    /// Nothing is known of it, in the history that the server keeps.
    Absent {
        /// The last ledger of that history.
        latest: LedgerMark,
        /// Its first ledger.
        oldest: u32,
    },
}

/// A transaction that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// Its hash as the network knows it.
    pub hash: TxHash,
    /// When its ledger closed, in Unix seconds.
    pub closed_at: u64,
    transaction: Transaction,
}

impl Relay {
    /// A relay to the network of `rpc`.
    #[must_use]
    pub const fn new(rpc: Rpc, clock: Clock) -> Self {
        Self { rpc, clock }
    }

    /// Checks that `whole` would land now and move its money, and nothing else. Sends nothing.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] is the payer's doing, [`VerifyError::Failed`] is not.
    pub async fn verify(&self, whole: &Whole) -> Result<(), VerifyError> {
        let accounts = [whole.source()];
        let envelope = whole.simulated();
        let (simulation, source) = tokio::join!(
            self.rpc.simulate(&envelope, AuthMode::Enforce),
            self.rpc.accounts(&accounts)
        );
        let failed = |error: super::rpc::Error| VerifyError::Failed(error.into());
        let (simulation, source) = (simulation.map_err(failed)?, source.map_err(failed)?);
        // Looked at first: a transaction that has landed fails the simulation too, and tells less.
        check_source(whole, source.first())?;
        let payer = whole.movement().payer;
        let simulated = match simulation {
            Simulation::Success(simulated) if !simulated.needs_restore => simulated,
            Simulation::Success(_) => {
                let why = "archived ledger entries have to be restored first";
                return Err(simulation_failed(payer, why));
            }
            Simulation::Failure { error, .. } => return Err(simulation_failed(payer, &error)),
        };
        let invalid = |error| VerifyError::Invalid(Invalid::new(error, Some(payer)));
        // Its own simulation was some ledgers ago, when resources may have cost a little less.
        let fee = simulated.min_resource_fee;
        let least = i64::from(fee.saturating_sub(fee.div_ceil(10)));
        if whole.resource_fee() < least {
            return Err(invalid(transfer::Error::FeeBelowMinimum));
        }
        whole
            .movement()
            .check_events(&simulated.events)
            .and_then(|()| whole.movement().check_changes(&simulated.changed))
            .map_err(invalid)
    }

    /// How `whole` is found again once it was sent: to be made durable before.
    ///
    /// # Errors
    /// [`VerifyError::Failed`] if the RPC does not tell where the ledger stands.
    pub async fn prepare(&self, whole: &Whole) -> Result<Sent, VerifyError> {
        let latest = self.rpc.latest_ledger().await;
        let latest = latest.map_err(|error| VerifyError::Failed(error.into()))?;
        Ok(Sent {
            transaction: Some(whole.hash()),
            valid_until: whole.max_time(),
            since: latest.sequence,
        })
    }

    /// Sends `whole` and waits for its outcome.
    ///
    /// What the network knew already was sent by somebody else, and proves nothing about who presents it here: it is
    /// refused, and can be presented by its hash.
    ///
    /// # Cancellation
    /// Once it was polled the transaction may have been sent: a dropped call is an unknown outcome.
    pub async fn submit(&self, whole: &Whole, sent: &Sent) -> Outcome {
        let (rpc, clock, envelope) = (&self.rpc, &self.clock, whole.envelope());
        match post::send(rpc, clock, envelope, sent.valid_until).await {
            Sending::Out => {
                let hash = whole.hash();
                match post::follow(rpc, clock, envelope, hash, sent, PATIENCE_SECONDS).await {
                    Fate::Applied(transaction) => judge(whole, &transaction),
                    Fate::Gone => rejected(hash),
                    Fate::Unknown(failure) => Outcome::Unknown { transaction: Some(hash), failure },
                }
            }
            Sending::Known => Outcome::Refused { reason: "transaction_sent_by_another".into() },
            Sending::In(failure) => Outcome::Unsent(failure),
            Sending::Refused(code) => {
                debug!(code = code.name(), "the network refused a payer's transaction");
                Outcome::Refused { reason: "transaction_submission_failed".into() }
            }
        }
    }

    /// Finds out what became of `whole`, which was submitted as `sent`.
    pub async fn resolve(&self, whole: &Whole, sent: &Sent) -> Outcome {
        let hash = whole.hash();
        let unknown = |failure| Outcome::Unknown { transaction: Some(hash), failure };
        match self.rpc.transaction(hash).await {
            Ok(Lookup::Applied(transaction)) => judge(whole, &transaction),
            Ok(Lookup::NotFound { latest, oldest }) => {
                let late = latest.closed_at.is_some_and(|closed| closed > sent.valid_until);
                if late && oldest <= sent.since {
                    return rejected(hash);
                }
                unknown(Failure::unavailable("not on the ledger yet"))
            }
            Err(error) => unknown(error.into()),
        }
    }

    /// Looks up a transaction that its payer put on the ledger.
    ///
    /// # Errors
    /// What kept the RPC from telling.
    pub async fn find(&self, hash: TxHash) -> Result<Found, Failure> {
        match self.rpc.transaction(hash).await? {
            Lookup::NotFound { latest, oldest } => Ok(Found::Absent { latest, oldest }),
            Lookup::Applied(transaction) if !transaction.success => Ok(Found::Failed),
            Lookup::Applied(transaction) => {
                let closed_at = transaction.closed_at.ok_or_else(|| {
                    Failure::bad_answer("the Stellar RPC does not tell when a transaction landed")
                })?;
                let hash = self.rpc.hash(&transaction.envelope).unwrap_or(hash);
                Ok(Found::Landed(Box::new(Landed { hash, closed_at, transaction: *transaction })))
            }
        }
    }
}

impl Landed {
    /// The transaction that landed.
    #[must_use]
    pub const fn envelope(&self) -> &xdr::TransactionEnvelope {
        &self.transaction.envelope
    }

    /// Whether it moved what `whole`, which was read from its envelope, says: the token's own event tells, not the success.
    #[must_use]
    pub fn moved(&self, whole: &Whole) -> bool {
        whole.movement().times_told_by(&self.transaction.events) == 1
    }
}

/// The source must exist, be about to use this sequence number, and be controlled by its own key alone.
fn check_source(whole: &Whole, source: Option<&xdr::AccountEntry>) -> Result<(), VerifyError> {
    let invalid = |reason: &'static str, detail: &str| {
        let payer = Some(whole.movement().payer);
        Err(VerifyError::Invalid(Invalid { reason: reason.into(), detail: detail.into(), payer }))
    };
    let Some(source) = source else {
        return invalid("source_missing", "the source of the transaction is no account");
    };
    if source.seq_num.0.checked_add(1) != Some(whole.sequence()) {
        return invalid(
            "wrong_sequence",
            "the transaction has not the next sequence number of its source: it cannot land, or has landed already",
        );
    }
    // Master key, low, medium, high: a contract call is of the medium kind.
    let [master, _, medium, _] = source.thresholds.0;
    if master < medium {
        return invalid(
            "source_shared",
            "the source's own key is not enough to sign for it; accounts of several signers cannot pay this way",
        );
    }
    Ok(())
}

fn judge(whole: &Whole, transaction: &Transaction) -> Outcome {
    let movement = whole.movement();
    if transaction.success && movement.times_told_by(&transaction.events) == 1 {
        return Outcome::Settled(Settled {
            transaction: whole.hash(),
            payer: movement.payer,
            network: whole.network(),
        });
    }
    rejected(whole.hash())
}

fn rejected(hash: TxHash) -> Outcome {
    Outcome::Rejected { reason: TRANSACTION_FAILED, transaction: Some(hash) }
}

/// How long a client is kept waiting for a transaction with a long life: what lands later is found later.
const PATIENCE_SECONDS: u64 = 60;

//! Puts a payer's own signed transaction on the ledger as it is, and finds one there by its hash.
//!
//! Nothing is signed here, and nothing costs us a fee. Whether the transaction is what was asked is its type's to say
//! ([`Whole`]); what it would do, and did, is the ledger's. Source: MPP `stellar` charge, unsponsored pull and push.

use stellar_xdr as xdr;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{
    classic,
    facilitator::{
        Failure, Invalid, NotReady, Outcome, Sent, Settled, TRANSACTION_FAILED, VerifyError,
    },
    health::Watch,
    own::simulation_failed,
    post::{self, Fate, Sending},
    rpc::{AuthMode, Lookup, Rpc, Simulation, Transaction},
    search::{self, Sought},
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
    watch: Watch,
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
        /// When the first ledger of that history closed, in Unix seconds, where the server tells.
        since: Option<u64>,
        /// When the last one closed.
        until: Option<u64>,
    },
}

/// A transaction that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// Its hash as the network knows it.
    pub hash: TxHash,
    /// When its ledger closed, in Unix seconds.
    pub closed_at: u64,
    /// When the server's latest ledger closed, in Unix seconds, where it tells.
    pub latest_closed_at: Option<u64>,
    transaction: Transaction,
}

impl Relay {
    /// Starts a relay to the network of `rpc`; it looks after the RPC in the background, on `tasks`, until `stop`.
    #[must_use]
    pub fn start(rpc: Rpc, clock: Clock, tasks: &TaskTracker, stop: CancellationToken) -> Self {
        let watch = Watch::start("charge", rpc.clone(), clock.clone(), tasks, stop);
        Self { rpc, clock, watch }
    }

    /// Whether payments can be taken now.
    ///
    /// # Errors
    /// [`NotReady`], a sentence for the operator.
    pub fn supported(&self) -> Result<(), NotReady> {
        self.watch.trouble().map_or(Ok(()), |trouble| Err(NotReady(trouble)))
    }

    /// Checks that `whole`, whose challenge lives for `seconds` more, would land now and move its money, and nothing else.
    /// Sends nothing.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] is the payer's doing, [`VerifyError::Failed`] is not.
    pub async fn verify(&self, whole: &Whole, seconds: u64) -> Result<(), VerifyError> {
        let accounts = [whole.source()];
        let envelope = whole.simulated();
        let (simulation, source) = tokio::join!(
            self.rpc.simulate(&envelope, AuthMode::Enforce),
            self.rpc.accounts(&accounts)
        );
        let failed = |error: super::rpc::Error| VerifyError::Failed(error.into());
        let (simulation, source) = (simulation.map_err(failed)?, source.map_err(failed)?);
        // Looked at first: a transaction that has landed fails the simulation too, and tells less.
        if let Err(refused) = check_source(whole, source.first()) {
            return Err(self.landed_already(whole).await.unwrap_or(refused));
        }
        let payer = whole.movement().payer;
        check_entry(whole, simulation.ledger(), seconds)?;
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
        let inclusion = i64::from(whole.fee()).saturating_sub(whole.resource_fee());
        if whole.resource_fee() < least || inclusion < LEAST_BID {
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
    /// [`Outcome::Refused`] as [`SENT_ALREADY`], and can be presented by its hash.
    ///
    /// # Cancellation
    /// Once it was polled the transaction may have been sent: a dropped call is an unknown outcome.
    pub async fn submit(&self, whole: &Whole, sent: &Sent) -> Outcome {
        let (rpc, clock, envelope) = (&self.rpc, &self.clock, whole.envelope());
        match post::send(rpc, clock, envelope, sent.valid_until).await {
            Sending::Out => {
                let hash = whole.hash();
                match post::follow(rpc, clock, envelope, hash, sent, PATIENCE_SECONDS).await {
                    Fate::Applied(transaction) => self.judge(whole, sent, &transaction).await,
                    Fate::Gone => self.elsewhere(whole, sent).await,
                    Fate::Unknown(failure) => Outcome::Unknown { transaction: Some(hash), failure },
                }
            }
            Sending::Known => Outcome::Refused { reason: SENT_ALREADY.into() },
            Sending::In(failure) => Outcome::Unsent(failure),
            Sending::Refused(code) => self.refused(whole, sent, code).await,
        }
    }

    /// Finds out what became of `whole`, which was submitted as `sent`.
    pub async fn resolve(&self, whole: &Whole, sent: &Sent) -> Outcome {
        let hash = whole.hash();
        let unknown = |failure| Outcome::Unknown { transaction: Some(hash), failure };
        match self.rpc.transaction(hash).await {
            Ok(Lookup::Applied(transaction)) => self.judge(whole, sent, &transaction).await,
            Ok(Lookup::NotFound { latest, oldest, .. }) => {
                let late = latest.closed_at.is_some_and(|closed| closed > sent.valid_until);
                if late && oldest <= sent.since {
                    return self.elsewhere(whole, sent).await;
                }
                unknown(Failure::unavailable("not on the ledger yet"))
            }
            Err(error) => unknown(error.into()),
        }
    }

    /// What it means that the network takes `whole` no more: it was sent before, or its source has sent something else, which
    /// may have carried its entry.
    async fn refused(
        &self,
        whole: &Whole,
        sent: &Sent,
        code: xdr::TransactionResultCode,
    ) -> Outcome {
        debug!(code = code.name(), "the network refused a payer's transaction");
        if self.landed_already(whole).await.is_some() {
            return Outcome::Refused { reason: SENT_ALREADY.into() };
        }
        match sought(whole) {
            Some(sought) if code == xdr::TransactionResultCode::TxBadSeq => {
                search::resolve(&self.rpc, &sought, sent).await
            }
            _ if code == xdr::TransactionResultCode::TxTooLate => {
                Outcome::Refused { reason: EXPIRED.into() }
            }
            _ => Outcome::Refused { reason: "transaction_submission_failed".into() },
        }
    }

    /// Looks up a transaction that its payer put on the ledger. Anybody can make up a hash: who calls this bounds how often.
    ///
    /// # Errors
    /// What kept the RPC from telling.
    pub async fn find(&self, hash: TxHash) -> Result<Found, Failure> {
        match self.rpc.transaction(hash).await? {
            Lookup::NotFound { latest, oldest_closed_at, .. } => {
                Ok(Found::Absent { since: oldest_closed_at, until: latest.closed_at })
            }
            Lookup::Applied(transaction) if !transaction.success => Ok(Found::Failed),
            Lookup::Applied(transaction) => {
                let closed_at = transaction.closed_at.ok_or_else(|| {
                    Failure::unavailable("the Stellar RPC does not tell when a transaction landed")
                })?;
                let hash = self.rpc.hash(&transaction.envelope).unwrap_or(hash);
                let latest_closed_at = transaction.latest_closed_at;
                let transaction = *transaction;
                Ok(Found::Landed(Box::new(Landed {
                    hash,
                    closed_at,
                    latest_closed_at,
                    transaction,
                })))
            }
        }
    }

    /// What an applied transaction of `whole` means: it paid, or its entry may have paid in another.
    async fn judge(&self, whole: &Whole, sent: &Sent, transaction: &Transaction) -> Outcome {
        let movement = whole.movement();
        if transaction.success && movement.times_told_by(&transaction.events) == 1 {
            return Outcome::Settled(Settled {
                transaction: whole.hash(),
                payer: movement.payer,
                network: whole.network(),
            });
        }
        match sought(whole) {
            Some(sought) => search::resolve(&self.rpc, &sought, sent).await,
            None => {
                Outcome::Rejected { reason: TRANSACTION_FAILED, transaction: Some(whole.hash()) }
            }
        }
    }

    /// What it means that `whole` never landed: nothing was used up, but its entry may have paid in another transaction.
    async fn elsewhere(&self, whole: &Whole, sent: &Sent) -> Outcome {
        match sought(whole) {
            Some(sought) => search::resolve(&self.rpc, &sought, sent).await,
            None => Outcome::Refused { reason: EXPIRED.into() },
        }
    }

    /// The refusal of a transaction that is on the ledger, or `None` if it is not found there.
    async fn landed_already(&self, whole: &Whole) -> Option<VerifyError> {
        match self.rpc.transaction(whole.hash()).await {
            Ok(Lookup::Applied(transaction)) if transaction.success => {
                Some(VerifyError::Invalid(Invalid {
                    reason: SENT_ALREADY.into(),
                    detail: "the transaction has landed already".to_owned(),
                    payer: Some(whole.movement().payer),
                }))
            }
            _ => None,
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

/// The source must exist, be about to use this sequence number, afford its fee, and be controlled by its own key alone.
fn check_source(whole: &Whole, source: Option<&xdr::AccountEntry>) -> Result<(), VerifyError> {
    let invalid = |reason: &'static str, detail: &str| {
        let payer = Some(whole.movement().payer);
        Err(VerifyError::Invalid(Invalid { reason: reason.into(), detail: detail.into(), payer }))
    };
    let Some(source) = source else {
        return invalid("source_missing", "the source of the transaction is no account");
    };
    // Of two payments that a client makes in a row our server may not have seen the first, while the client's own has.
    if whole.sequence().saturating_sub(source.seq_num.0) > 1 {
        let why =
            "a transaction of the payer's that comes before this one is not on the ledger yet";
        return Err(VerifyError::Failed(Failure::unavailable(why)));
    }
    if source.seq_num.0.checked_add(1) != Some(whole.sequence()) {
        return invalid(
            "wrong_sequence",
            "the transaction has not the next sequence number of its source: it cannot land, or has landed already",
        );
    }
    if classic::spendable_stroops(source) < i64::from(whole.fee()) {
        return invalid(
            "insufficient_lumens",
            "the source of the transaction has not the lumens for its fee and its reserve",
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

/// An entry in a transaction of its payer's may live as long as its challenge, as in a sponsored charge.
fn check_entry(whole: &Whole, ledger: u32, seconds: u64) -> Result<(), VerifyError> {
    let Some(sought) = sought(whole) else { return Ok(()) };
    let ledgers = seconds.div_ceil(LEDGER_SECONDS).saturating_add(TOLERANCE);
    if u64::from(sought.expires) > u64::from(ledger).saturating_add(ledgers) {
        let payer = Some(whole.movement().payer);
        return Err(VerifyError::Invalid(Invalid::new(transfer::Error::ExpiresTooLate, payer)));
    }
    Ok(())
}

/// What to look for where the payer signed an entry: somebody else may have put it into a transaction of theirs.
fn sought(whole: &Whole) -> Option<Sought<'_>> {
    let entry = whole.entry()?;
    let xdr::SorobanCredentials::Address(credentials) = &entry.credentials else { return None };
    Some(Sought {
        movement: whole.movement(),
        authorization: entry.clone(),
        expires: credentials.signature_expiration_ledger,
        network: whole.network(),
    })
}

/// The reason of what the network knew before it was sent from here.
pub const SENT_ALREADY: &str = "transaction_sent_already";

/// The reason of what did not land in its time.
const EXPIRED: &str = "transaction_expired";

/// The network's least bid for one operation, in stroops.
const LEAST_BID: i64 = 100;
/// The usual time between two ledgers.
const LEDGER_SECONDS: u64 = 5;
/// The payer's node may have been ahead of ours.
const TOLERANCE: u64 = 2;
/// How long a client is kept waiting for a transaction with a long life: what lands later is found later.
const PATIENCE_SECONDS: u64 = 60;

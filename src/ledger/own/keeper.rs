//! Keeps the facilitator ready: looks after the lanes, the sponsors' funds, the fee bid, and the RPC's health.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Facilitator, LEAST_BID, Low,
    funds::{RESERVE_STROOPS, lumens},
};
use crate::{
    ledger::{
        health::{self, Trouble},
        rpc::{Error, Lookup, MOST_ENTRIES, Submission},
        signer::Seed,
        sponsor::{self, LANE_STROOPS, LaneKeys, MOST_CREATED},
    },
    protocol::{stellar::AccountId, transfer},
};

/// Looks after `facilitator` until `stop`.
pub(super) async fn keep(facilitator: Facilitator, stop: CancellationToken) {
    let mut keeper = Keeper { facilitator, network_checked: false, failures: 0, looked: None };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = keeper.turn() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = keeper.facilitator.0.lanes.woken() => {}
            () = sleep(PAUSE) => {}
        }
    }
}

struct Keeper {
    facilitator: Facilitator,
    network_checked: bool,
    /// Looks in a row that the RPC did not answer.
    failures: u32,
    /// When sponsors and fees were looked at last.
    looked: Option<u64>,
}

impl Keeper {
    async fn turn(&mut self) {
        let trouble = match self.look().await {
            Ok(()) => {
                self.failures = 0;
                None
            }
            Err(Trouble::Told(trouble)) => Some(trouble),
            // One lost answer is no outage; payments that need the RPC meanwhile find out by themselves.
            Err(Trouble::Silent(error)) => {
                self.failures = self.failures.saturating_add(1);
                if self.network_checked && self.failures < 2 {
                    return;
                }
                Some(health::silent(&self.facilitator.0.rpc, &error))
            }
        };
        let slot = &self.facilitator.0.trouble;
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*slot, &trouble) {
            (before, Some(now)) if before.as_ref() != Some(now) => {
                warn!(reason = now, "payments cannot be settled");
            }
            (Some(_), None) => info!("payments can be settled"),
            _ => {}
        }
        *slot = trouble;
    }

    async fn look(&mut self) -> Result<(), Trouble> {
        let inner = self.facilitator.0.clone();
        health::look(&inner.rpc, &inner.clock, &mut self.network_checked).await?;
        let now = inner.clock.now();
        match self.tend_lanes(now).await {
            // Those lanes that there are go on.
            Err(Trouble::Told(reason)) if inner.lanes.some_work() => {
                warn!(reason, "lanes are missing")
            }
            tended => tended?,
        }
        if self.looked.is_none_or(|at| now.saturating_sub(at) >= LOOK_SECONDS) {
            self.check_funds().await?;
            // A server without fee statistics is no reason to stop; the last bid stands.
            if let Ok(bid) = inner.rpc.inclusion_fee().await {
                inner.bid.store(bid.max(LEAST_BID), Ordering::Relaxed);
            }
            self.looked = Some(now);
        }
        Ok(())
    }

    /// Looks up the lanes that are due, and creates those that do not exist.
    async fn tend_lanes(&self, now: u64) -> Result<(), Trouble> {
        let inner = &self.facilitator.0;
        let mut due = Due { facilitator: self.facilitator.clone(), lanes: inner.lanes.due(now) };
        if due.lanes.is_empty() {
            return Ok(());
        }
        due.admit_existing().await?;
        let mut missing: BTreeMap<AccountId, (Seed, Vec<AccountId>)> = BTreeMap::new();
        for keys in &due.lanes {
            let sponsor = &keys.sponsor;
            let of_sponsor =
                missing.entry(sponsor.account()).or_insert_with(|| (sponsor.clone(), Vec::new()));
            of_sponsor.1.push(keys.seed.account());
        }
        for (sponsor, accounts) in missing.values() {
            for some in accounts.chunks(MOST_CREATED) {
                self.create(sponsor, some).await?;
            }
        }
        due.admit_existing().await?;
        match due.lanes.len() {
            0 => Ok(()),
            // Another gateway with the same sponsor may have been first: the next look tells.
            count => Err(Trouble::Told(format!("{count} lanes do not exist yet"))),
        }
    }

    /// Has `sponsor` create `lanes`, and waits for the transaction's end, whichever it is.
    async fn create(&self, sponsor: &Seed, lanes: &[AccountId]) -> Result<(), Trouble> {
        let inner = &self.facilitator.0;
        let account = sponsor.account();
        let Some(entry) = inner.rpc.accounts(&[account]).await?.into_iter().next() else {
            return Err(Trouble::Told(format!(
                "the sponsor {account} has no account on {}: fund it with XLM",
                inner.settings.network
            )));
        };
        let count = i64::try_from(lanes.len()).unwrap_or(i64::MAX);
        let needed = count.saturating_mul(LANE_STROOPS).saturating_add(RESERVE_STROOPS);
        let refused = |why: &str| {
            let (balance, needed) = (lumens(entry.balance), lumens(needed));
            Trouble::Told(format!(
                "the sponsor {account} cannot create {count} lanes ({why}): it has {balance} XLM and needs {needed}"
            ))
        };
        if entry.balance < needed {
            return Err(refused("too little XLM"));
        }
        let valid_until = inner.clock.now().saturating_add(CREATION_SECONDS);
        let sequence = entry.seq_num.0.saturating_add(1);
        let tx = sponsor::creation(account, sequence, lanes, valid_until);
        let unencodable = || Trouble::Told("the lanes' creation cannot be encoded".to_owned());
        let hash = tx.hash(inner.settings.network.id()).map_err(|_| unencodable())?;
        let mut envelope = transfer::unsigned(tx);
        if let stellar_xdr::TransactionEnvelope::Tx(envelope) = &mut envelope {
            envelope.signatures =
                vec![sponsor.sign(&hash)].try_into().map_err(|_| unencodable())?;
        }
        let hash = inner.rpc.hash(&envelope).ok_or_else(unencodable)?;
        match inner.rpc.send(&envelope).await? {
            Submission::Pending | Submission::Duplicate => {}
            Submission::TryAgainLater => return Ok(()),
            Submission::Refused(code) => return Err(refused(code.name())),
        }
        info!(sponsor = %account, count, "creating lanes");
        while inner.clock.now() <= valid_until.saturating_add(POLL.as_secs()) {
            sleep(POLL).await;
            if let Ok(Lookup::Applied(transaction)) = inner.rpc.transaction(hash).await {
                if !transaction.success {
                    warn!(transaction = %hash, "the lanes were not created: looking again");
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// Checks that every sponsor can pay for a ledger full of payments above its own reserve.
    async fn check_funds(&self) -> Result<(), Trouble> {
        let inner = &self.facilitator.0;
        let sponsors: Vec<AccountId> = self.facilitator.signers().collect();
        let entries = inner.rpc.accounts(&sponsors).await?;
        let needed = inner.settings.needed_stroops(0);
        let (mut low, mut first) = (Vec::new(), None);
        for sponsor in sponsors {
            let balance = entries
                .iter()
                .find(|entry| entry.account_id == sponsor.to_xdr())
                .map_or(0, |entry| entry.balance);
            inner.balances.set(&[("account", &sponsor.to_string())], balance);
            if balance < needed.saturating_mul(2) {
                low.push(Low { sponsor, balance_stroops: balance, needed_stroops: needed });
            }
            if balance < needed && first.is_none() {
                first = Some(Trouble::Told(format!(
                    "the sponsor {sponsor} has {} XLM left: fund it with at least {} more",
                    lumens(balance),
                    lumens(needed.saturating_sub(balance)),
                )));
            }
        }
        *inner.low.lock().unwrap_or_else(PoisonError::into_inner) = low;
        first.map_or(Ok(()), Err)
    }
}

/// Lanes taken from the pool; those left when this is dropped are due again at once.
struct Due {
    facilitator: Facilitator,
    lanes: Vec<Arc<LaneKeys>>,
}

impl Due {
    /// Gives back those lanes that have an account.
    async fn admit_existing(&mut self) -> Result<(), Error> {
        let inner = self.facilitator.0.clone();
        let mut sequences = BTreeMap::new();
        let accounts: Vec<AccountId> = self.lanes.iter().map(|keys| keys.seed.account()).collect();
        for some in accounts.chunks(MOST_ENTRIES) {
            for entry in inner.rpc.accounts(some).await? {
                let stellar_xdr::PublicKey::PublicKeyTypeEd25519(key) = entry.account_id.0;
                sequences.insert(AccountId(key.0), entry.seq_num.0);
            }
        }
        self.lanes.retain(|keys| match sequences.get(&keys.seed.account()) {
            Some(sequence) => {
                inner.lanes.admit(keys.clone(), *sequence);
                false
            }
            None => true,
        });
        Ok(())
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        for keys in self.lanes.drain(..) {
            self.facilitator.0.lanes.rest(keys, 0);
        }
    }
}

const PAUSE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(500);
const LOOK_SECONDS: u64 = 30;
const CREATION_SECONDS: u64 = 60;

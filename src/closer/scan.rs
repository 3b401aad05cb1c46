//! The closer's look at all accounts: for what comes due by time alone, for what is at risk, and for what need not be kept.
//!
//! There may be many thousands of accounts, and most of them at rest: only those with something to collect are watched on
//! the ledger all the time. The others are watched for a moment, some at each look, since they may have ended; those that
//! have are forgotten after a day.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{error, info};

use super::{
    Exposure, lock,
    plan::Plan,
    told,
    worker::{Worker, in_a},
};
use crate::{
    protocol::stellar::ContractId,
    store::channel::{Listed, Phase, Summary},
};

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The tokens of those that were seen: their views do not stay.
    tokens: HashMap<ContractId, ContractId>,
    /// Channels at rest that are watched for a moment,
    strays: HashSet<ContractId>,
    /// and the last of those that were, in the order of all.
    last_stray: Option<ContractId>,
    /// Since when channels are known to have ended, in seconds since 1970.
    ended: HashMap<ContractId, u64>,
}

impl Worker {
    /// Looks at all accounts, and reckons what is at risk.
    pub(super) async fn scan_all(&mut self) {
        let began = Instant::now();
        self.scan = in_a(SCAN);
        told::again(&self.inner).await;
        let mut look = Look::default();
        for token in lock(&self.inner.exposure).assets.keys() {
            // What is not owed any more is told as zero, once told.
            look.exposure.assets.entry(*token).or_default();
        }
        let mut before = std::mem::take(&mut self.rounds);
        let mut after = None;
        loop {
            let page = match self.inner.store.accounts(after).await {
                Ok(page) => page,
                Err(error) => {
                    error!(%error, "the accounts of channels cannot be read: nothing is collected");
                    self.rounds = before;
                    return;
                }
            };
            for listed in &page.accounts {
                self.consider(listed, &mut before, &mut look);
            }
            let unreadable = u64::try_from(page.unreadable.len()).unwrap_or(u64::MAX);
            look.exposure.unreadable = look.exposure.unreadable.saturating_add(unreadable);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let Look { exposure, mut rounds, over } = look;
        if rounds.strays.len() < MOST_STRAYS {
            // From the first one on, the next time.
            rounds.last_stray = None;
        }
        for stray in &rounds.strays {
            self.inner.channels.keep_watching(*stray);
        }
        self.rounds = rounds;
        self.inner.figures.show(&exposure);
        *lock(&self.inner.exposure) = exposure;
        self.inner.collector.show_budget();
        self.forget(over).await;
        // However many there are, most of the time is left to others.
        let took = Instant::now().saturating_duration_since(began);
        self.scan = in_a(SCAN.max(took.saturating_mul(4)));
    }

    /// Puts a channel on the agenda if there is something to do about it, and keeps it watched if there may be.
    fn consider(&mut self, listed: &Listed, before: &mut Rounds, look: &mut Look) {
        let Listed { channel, summary } = listed;
        let channel = *channel;
        let view = self.inner.channels.seen(channel);
        let token = before.tokens.remove(&channel);
        let token = view.as_ref().map(|view| view.token).or(token);
        look.exposure.add(summary, token, view.as_deref());
        if let Phase::Closed { .. } = summary.phase()
            && summary.collection().is_none()
        {
            if view.is_some() {
                self.inner.channels.forget(channel);
            }
            let now = self.inner.clock.now();
            let since = before.ended.get(&channel).copied().unwrap_or(now);
            look.rounds.ended.insert(channel, since);
            if since.saturating_add(ENDED_SECONDS) <= now
                && summary.used_at().saturating_add(UNUSED_SECONDS) <= now
                && look.over.len() < MOST_FORGOTTEN
            {
                look.over.push(channel);
            }
            return;
        }
        if let Some(token) = token {
            look.rounds.tokens.insert(channel, token);
        }
        if !self.watch(channel, summary)
            && view.is_none()
            && look.rounds.strays.len() < MOST_STRAYS
            && Some(channel) > before.last_stray
        {
            look.rounds.strays.insert(channel);
            look.rounds.last_stray = Some(channel);
        }
        // What is waited for may be a reservation whose gateway is gone.
        if !matches!(self.plan(channel, summary), Plan::Rest) {
            self.put(channel);
        }
    }

    /// Whether a channel is to be watched whether anybody asks for it or not.
    pub(super) fn watch(&self, channel: ContractId, account: &Summary) -> bool {
        let at_risk = account.at_risk();
        let is_worth_it = !at_risk.is_zero() && at_risk >= self.inner.settings().min_value;
        let watch =
            is_worth_it || !account.in_flight().is_zero() || account.phase() == Phase::Closing;
        if watch {
            self.inner.channels.keep_watching(channel);
        } else if !self.rounds.strays.contains(&channel) {
            self.inner.channels.let_go(channel);
        }
        watch
    }

    async fn forget(&mut self, over: Vec<ContractId>) {
        let used_by = self.inner.clock.now().saturating_sub(UNUSED_SECONDS);
        for channel in over {
            match self.inner.store.forget(channel, used_by).await {
                Ok(forgotten) => {
                    self.rounds.ended.remove(&channel);
                    if forgotten {
                        info!(%channel, "a channel that has ended is forgotten");
                    }
                }
                Err(error) => {
                    error!(%error, %channel, "a channel that has ended could not be forgotten");
                    return;
                }
            }
        }
    }
}

/// What one look at all accounts finds.
#[derive(Debug, Default)]
struct Look {
    exposure: Exposure,
    rounds: Rounds,
    /// Those to be forgotten.
    over: Vec<ContractId>,
}

/// How often all accounts are looked at.
const SCAN: Duration = Duration::from_secs(10);
/// How many channels at rest are watched from one look to the next.
const MOST_STRAYS: usize = 100;
/// How many are forgotten at one look.
const MOST_FORGOTTEN: usize = 256;
/// How long a channel must have ended before it is forgotten: its payer may ask once more what closed it.
const ENDED_SECONDS: u64 = 3_600;
/// How long it must not have been used: far longer than any credential lives.
const UNUSED_SECONDS: u64 = 86_400;

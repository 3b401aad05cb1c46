//! The closer's one task: it looks at channels, and does the most urgent thing about any of them, one after the other.
//!
//! One after the other, because the payee's account has one next sequence number. Looking is cheap, and comes before
//! acting: what was seen last decides what comes first.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tracing::{debug, error, warn};

use super::{
    CloseError, Collected, Exposure, Inner, closed, lock,
    plan::{self, Facts, Plan, Rank},
};
use crate::{
    ledger::collector::Way,
    protocol::stellar::ContractId,
    store::channel::{Account, Phase},
};

/// Somebody waits for a channel to be settled or closed.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) channel: ContractId,
    pub(super) way: Way,
    pub(super) answer: oneshot::Sender<Result<Collected, CloseError>>,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) inner: Arc<Inner>,
    asked: mpsc::Receiver<Wish>,
    changes: broadcast::Receiver<ContractId>,
    wishes: Vec<Wish>,
    /// Those that are to be settled however little they owe.
    pub(super) urged: HashSet<ContractId>,
    agenda: HashMap<ContractId, Item>,
    /// When all accounts are looked at next.
    scan: Instant,
    /// When nudges are heard next: there may be thousands a second.
    hear: Instant,
}

/// A channel about which something is to be done.
#[derive(Clone, Debug)]
struct Item {
    at: Instant,
    /// Not known before it was looked at.
    plan: Option<(Rank, Plan)>,
    /// How often in a row it did not work.
    failures: u32,
}

/// When a channel is to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// There is more to do.
    Now,
    /// What it waits for takes a moment.
    Soon,
    /// It did not work.
    Later,
}

impl Worker {
    pub(super) fn new(
        inner: Arc<Inner>,
        asked: mpsc::Receiver<Wish>,
        changes: broadcast::Receiver<ContractId>,
    ) -> Self {
        let (wishes, agenda, now) = (Vec::new(), HashMap::new(), Instant::now());
        let urged = HashSet::new();
        Self { inner, asked, changes, wishes, urged, agenda, scan: now, hear: now }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.gather();
            if self.scan <= Instant::now() {
                self.scan_all().await;
            }
            self.look_at_due().await;
            match self.most_urgent() {
                Some((channel, plan)) => self.act(channel, plan).await,
                None => self.wait().await,
            }
        }
    }

    /// Takes in what others say, without waiting.
    fn gather(&mut self) {
        self.wishes.retain(|wish| !wish.answer.is_closed());
        while let Ok(wish) = self.asked.try_recv() {
            self.take(wish);
        }
        let urged = std::mem::take(&mut *lock(&self.inner.urged));
        for channel in urged {
            self.urged.insert(channel);
            self.put(channel);
        }
        let now = Instant::now();
        if self.hear <= now {
            let nudged = std::mem::take(&mut *lock(&self.inner.nudged));
            if !nudged.is_empty() {
                self.hear = in_a(HEARING);
            }
            for channel in nudged {
                self.put(channel);
            }
        }
        if self.inner.rescan.swap(false, Ordering::Relaxed) {
            self.scan = now;
        }
        loop {
            match self.changes.try_recv() {
                Ok(channel) => self.hurry(channel),
                // All are looked at then.
                Err(broadcast::error::TryRecvError::Lagged(_)) => self.scan = Instant::now(),
                Err(_) => break,
            }
        }
    }

    /// Waits until somebody says something, or it is time to look.
    async fn wait(&mut self) {
        let next = self.agenda.values().map(|item| item.at).min();
        let mut until = next.map_or(self.scan, |at| at.min(self.scan));
        if !lock(&self.inner.nudged).is_empty() {
            until = until.min(self.hear);
        }
        let inner = self.inner.clone();
        tokio::select! {
            () = inner.wake.notified() => {}
            Some(wish) = self.asked.recv() => self.take(wish),
            change = self.changes.recv() => match change {
                Ok(channel) => self.hurry(channel),
                Err(broadcast::error::RecvError::Lagged(_)) => self.scan = Instant::now(),
                // The watch is over, and we are about to be.
                Err(broadcast::error::RecvError::Closed) => sleep_until(until).await,
            },
            () = sleep_until(until) => {}
        }
    }

    fn take(&mut self, wish: Wish) {
        self.hurry(wish.channel);
        self.wishes.push(wish);
    }

    /// Has a channel looked at, unless it is known when.
    fn put(&mut self, channel: ContractId) {
        let new = || Item { at: Instant::now(), plan: None, failures: 0 };
        let item = self.agenda.entry(channel).or_insert_with(new);
        if item.failures == 0 {
            item.at = item.at.min(Instant::now());
            item.plan = None;
        }
    }

    /// Has a channel looked at whatever happened before.
    fn hurry(&mut self, channel: ContractId) {
        self.agenda.insert(channel, Item { at: Instant::now(), plan: None, failures: 0 });
    }

    /// Looks at all accounts, and reckons what is at risk.
    async fn scan_all(&mut self) {
        self.scan = in_a(SCAN);
        let mut exposure = Exposure::default();
        for token in lock(&self.inner.exposure).assets.keys() {
            // What is not owed any more is told as zero, once told.
            exposure.assets.entry(*token).or_default();
        }
        let mut after = None;
        loop {
            let page = match self.inner.store.accounts(after).await {
                Ok(page) => page,
                Err(error) => {
                    error!(%error, "the accounts of channels cannot be read: nothing is collected");
                    return;
                }
            };
            for listed in &page {
                let view = self.inner.channels.seen(listed.channel);
                exposure.add(&listed.account, view.as_deref());
                self.consider(listed.channel, &listed.account);
            }
            after = page.last().map(|listed| listed.channel);
            if page.len() < PAGE {
                break;
            }
        }
        self.inner.figures.show(&exposure);
        *lock(&self.inner.exposure) = exposure;
        self.inner.collector.show_budget();
    }

    /// Puts a channel on the agenda if there is something to do about it, and keeps it watched if there may be.
    fn consider(&mut self, channel: ContractId, account: &Account) {
        if let Phase::Closed { .. } = account.phase()
            && account.collection().is_none()
        {
            if self.inner.channels.seen(channel).is_some() {
                self.inner.channels.forget(channel);
            }
            return;
        }
        self.watch(channel, account);
        if !matches!(self.plan(channel, account), Plan::Rest | Plan::Wait) {
            self.put(channel);
        }
    }

    fn watch(&self, channel: ContractId, account: &Account) {
        let has_flights = !account.in_flight().is_zero();
        if !account.at_risk().is_zero() || has_flights || account.phase() == Phase::Closing {
            self.inner.channels.keep_watching(channel);
        }
    }

    pub(super) fn plan(&self, channel: ContractId, account: &Account) -> Plan {
        let view = self.inner.channels.seen(channel);
        plan::plan(&Facts {
            account,
            view: view.as_deref(),
            settings: &self.inner.settings(),
            now: self.inner.clock.now(),
            asked: self.asked_of(channel),
            urged: self.urged.contains(&channel),
        })
    }

    /// What somebody waits for; a close, if there are several.
    fn asked_of(&self, channel: ContractId) -> Option<Way> {
        self.wishes.iter().filter(|wish| wish.channel == channel).map(|wish| wish.way).max()
    }

    /// Looks at the channels whose time has come and about which it is not known what to do.
    async fn look_at_due(&mut self) {
        let now = Instant::now();
        let due = |(channel, item): (&ContractId, &Item)| {
            (item.plan.is_none() && item.at <= now).then_some(*channel)
        };
        let due: HashSet<ContractId> = self.agenda.iter().filter_map(due).collect();
        for channel in due {
            match self.inner.store.account(channel).await {
                Ok(account) => self.look(channel, account.as_ref()),
                Err(error) => {
                    warn!(%error, %channel, "the account of a channel cannot be read");
                    self.again(channel, Again::Later);
                }
            }
        }
    }

    fn look(&mut self, channel: ContractId, account: Option<&Account>) {
        let Some(account) = account else {
            self.agenda.remove(&channel);
            self.answer(channel, |_| Err(CloseError::Unknown(channel)));
            return;
        };
        match closed(account) {
            Some(collected) => self.answer(channel, |_| Ok(collected)),
            None => self.watch(channel, account),
        }
        match self.plan(channel, account) {
            Plan::Rest => {
                self.agenda.remove(&channel);
                self.urged.remove(&channel);
                self.answer(channel, |_| Err(CloseError::Nothing));
            }
            plan => {
                let view = self.inner.channels.seen(channel);
                let rank = plan.rank(account, view.as_deref());
                if let Some(item) = self.agenda.get_mut(&channel) {
                    item.plan = Some((rank, plan));
                }
            }
        }
    }

    fn most_urgent(&self) -> Option<(ContractId, Plan)> {
        let now = Instant::now();
        let due = self.agenda.iter().filter(|(_, item)| item.at <= now);
        let planned = due.filter_map(|(channel, item)| Some((*channel, item.plan.as_ref()?)));
        let first = planned.min_by_key(|(channel, (rank, _))| (*rank, *channel));
        first.map(|(channel, (_, plan))| (channel, plan.clone()))
    }

    async fn act(&mut self, channel: ContractId, plan: Plan) {
        debug!(%channel, ?plan, "acting");
        let again = match plan {
            Plan::Rest => Again::Now,
            Plan::Wait => self.give_back_lapsed(channel).await,
            Plan::Withdrawn(withdrawn) => self.heed_withdrawn(channel, withdrawn).await,
            Plan::Ended { lost } => self.heed_end(channel, lost).await,
            Plan::BeginClosing(reason) => self.begin_closing(channel, reason).await,
            Plan::Resolve(collection) => self.resolve(channel, &collection).await,
            Plan::Collect(..) => self.collect(channel).await,
            Plan::Extend { ledgers, .. } => self.extend(channel, ledgers).await,
        };
        self.again(channel, again);
    }

    fn again(&mut self, channel: ContractId, again: Again) {
        let Some(item) = self.agenda.get_mut(&channel) else { return };
        let is_pressing = item.plan.take().is_some_and(|(_, plan)| plan.is_pressing());
        let longest = if is_pressing { SHORTER_PAUSE } else { LONGEST_PAUSE };
        item.failures = match again {
            Again::Now | Again::Soon => 0,
            Again::Later => item.failures.saturating_add(1),
        };
        let pause = match again {
            Again::Now => Duration::ZERO,
            Again::Soon => MOMENT,
            Again::Later => pause_after(item.failures).min(longest),
        };
        item.at = in_a(pause);
    }

    /// Tells those who wait for `channel`, each by what it waits for.
    pub(super) fn answer(
        &mut self,
        channel: ContractId,
        outcome: impl Fn(Way) -> Result<Collected, CloseError>,
    ) {
        for wish in self.wishes.extract_if(.., |wish| wish.channel == channel) {
            // Who has gone away does not want to know.
            drop(wish.answer.send(outcome(wish.way)));
        }
    }

    /// Tells those who wait for `channel` in this way.
    pub(super) fn answer_those(
        &mut self,
        channel: ContractId,
        way: Way,
        outcome: impl Fn() -> Result<Collected, CloseError>,
    ) {
        let wanted = |wish: &mut Wish| wish.channel == channel && wish.way == way;
        for wish in self.wishes.extract_if(.., wanted) {
            drop(wish.answer.send(outcome()));
        }
    }
}

fn in_a(pause: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(pause).unwrap_or(now)
}

/// One second after the first failure, a minute after many.
fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    LEAST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings))
}

/// How often all accounts are looked at: for what comes due by time alone.
const SCAN: Duration = Duration::from_secs(10);
/// Between two times that nudges are heard.
const HEARING: Duration = Duration::from_millis(200);
/// As many accounts as the store gives at once.
const PAGE: usize = 256;
/// How long what is in flight, or on its way to the ledger, is left alone.
const MOMENT: Duration = Duration::from_millis(500);
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// While the payer waits to take the money back.
const SHORTER_PAUSE: Duration = Duration::from_secs(4);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

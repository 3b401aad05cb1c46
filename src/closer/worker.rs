//! The closer's one task: it looks at channels, and has hands do the most urgent things about them.
//!
//! A channel is in one hand at a time, and so many send as transactions can be under way. Looking is cheap, and comes before
//! acting: what was seen last decides what comes first.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, warn};

use super::{
    CloseError, Collected, Inner, closed,
    collect::{Again, Done, Hand, Told},
    lock,
    plan::{Plan, Rank},
    scan::Rounds,
};
use crate::{ledger::collector::Way, protocol::stellar::ContractId, store::channel::Summary};

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
    /// Each with its number: they rise.
    wishes: Vec<(u64, Wish)>,
    wished: u64,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// They give nothing where the closer stops.
    hands: JoinSet<Option<Done>>,
    at_work: HashMap<Id, ContractId>,
    busy: HashMap<ContractId, Busy>,
    /// Those that are to be settled however little they owe.
    urged: HashSet<ContractId>,
    agenda: HashMap<ContractId, Item>,
    /// When all accounts are looked at next.
    pub(super) scan: Instant,
    pub(super) rounds: Rounds,
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

/// A channel that is in a hand.
#[derive(Debug)]
struct Busy {
    /// Whether that may send a transaction.
    sends: bool,
    /// The wishes before this one are in the hand too.
    wished: u64,
    /// What was heard of the channel meanwhile.
    heard: Option<Heard>,
}

/// How much there is to what was heard of a channel, the more the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    /// It is to be looked at, unless it is known when.
    Nudge,
    /// It is to be looked at whatever happened before.
    News,
}

impl Worker {
    pub(super) fn new(
        inner: Arc<Inner>,
        asked: mpsc::Receiver<Wish>,
        changes: broadcast::Receiver<ContractId>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        Self {
            inner,
            asked,
            changes,
            wishes: Vec::new(),
            wished: 0,
            tasks,
            stop,
            hands: JoinSet::new(),
            at_work: HashMap::new(),
            busy: HashMap::new(),
            urged: HashSet::new(),
            agenda: HashMap::new(),
            scan: now,
            rounds: Rounds::default(),
            hear: now,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.gather();
            if self.scan <= Instant::now() {
                self.scan_all().await;
            }
            self.look_at_due().await;
            match self.most_urgent() {
                Some((channel, plan)) => self.set_to_work(channel, plan),
                None => self.wait().await,
            }
        }
    }

    /// Takes in what others say, without waiting.
    fn gather(&mut self) {
        while let Some(ended) = self.hands.try_join_next_with_id() {
            self.finish(ended);
        }
        self.wishes.retain(|(_, wish)| !wish.answer.is_closed());
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
        // What is due waits for a hand.
        let now = Instant::now();
        let next = self.agenda.values().map(|item| item.at).filter(|at| *at > now).min();
        let mut until = next.map_or(self.scan, |at| at.min(self.scan));
        if !lock(&self.inner.nudged).is_empty() {
            until = until.min(self.hear);
        }
        let inner = self.inner.clone();
        tokio::select! {
            () = inner.wake.notified() => {}
            Some(ended) = self.hands.join_next_with_id() => self.finish(ended),
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
        self.wishes.push((self.wished, wish));
        self.wished = self.wished.saturating_add(1);
    }

    /// Has a channel looked at, unless it is known when.
    pub(super) fn put(&mut self, channel: ContractId) {
        if let Some(busy) = self.busy.get_mut(&channel) {
            busy.heard = busy.heard.max(Some(Heard::Nudge));
            return;
        }
        let new = || Item { at: Instant::now(), plan: None, failures: 0 };
        let item = self.agenda.entry(channel).or_insert_with(new);
        if item.failures == 0 {
            item.at = item.at.min(Instant::now());
            item.plan = None;
        }
    }

    /// Has a channel looked at whatever happened before.
    fn hurry(&mut self, channel: ContractId) {
        if let Some(busy) = self.busy.get_mut(&channel) {
            busy.heard = Some(Heard::News);
            return;
        }
        self.agenda.insert(channel, Item { at: Instant::now(), plan: None, failures: 0 });
    }

    pub(super) fn plan(&self, channel: ContractId, account: &Summary) -> Plan {
        let urged = self.urged.contains(&channel);
        self.inner.plan(channel, account, self.asked_of(channel), urged)
    }

    /// What somebody waits for; a close, if there are several.
    fn asked_of(&self, channel: ContractId) -> Option<Way> {
        let of_channel = self.wishes.iter().filter(|(_, wish)| wish.channel == channel);
        of_channel.map(|(_, wish)| wish.way).max()
    }

    /// Looks at the channels whose time has come and about which it is not known what to do.
    async fn look_at_due(&mut self) {
        let now = Instant::now();
        let due = |(channel, item): (&ContractId, &Item)| {
            let is_due = item.plan.is_none() && item.at <= now && !self.busy.contains_key(channel);
            is_due.then_some(*channel)
        };
        let due: HashSet<ContractId> = self.agenda.iter().filter_map(due).collect();
        for channel in due {
            match self.inner.store.account(channel).await {
                Ok(account) => {
                    self.look(channel, account.map(|account| account.summary()).as_ref())
                }
                Err(error) => {
                    warn!(%error, %channel, "the account of a channel cannot be read");
                    self.again(channel, Again::Later);
                }
            }
        }
    }

    fn look(&mut self, channel: ContractId, account: Option<&Summary>) {
        let Some(account) = account else {
            self.agenda.remove(&channel);
            self.answer(channel, u64::MAX, &Told::All(Err(CloseError::Unknown(channel))));
            return;
        };
        match closed(account) {
            Some(collected) => self.answer(channel, u64::MAX, &Told::All(Ok(collected))),
            None => {
                self.watch(channel, account);
            }
        }
        match self.plan(channel, account) {
            Plan::Rest => {
                self.agenda.remove(&channel);
                self.urged.remove(&channel);
                self.answer(channel, u64::MAX, &Told::All(Err(CloseError::Nothing)));
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

    /// What a free hand is to do.
    fn most_urgent(&self) -> Option<(ContractId, Plan)> {
        if self.busy.len() >= MOST_HANDS {
            return None;
        }
        let now = Instant::now();
        let sending = self.busy.values().filter(|busy| busy.sends).count();
        let may_send = sending < self.inner.collector.width();
        let first = self
            .agenda
            .iter()
            .filter(|(channel, item)| item.at <= now && !self.busy.contains_key(*channel))
            .filter_map(|(channel, item)| Some((*channel, item.plan.as_ref()?)))
            .filter(|(_, (_, plan))| may_send || !plan.sends())
            .min_by_key(|(channel, (rank, _))| (*rank, *channel));
        first.map(|(channel, (_, plan))| (channel, plan.clone()))
    }

    fn set_to_work(&mut self, channel: ContractId, plan: Plan) {
        debug!(%channel, ?plan, "acting");
        let busy = Busy { sends: plan.sends(), wished: self.wished, heard: None };
        self.busy.insert(channel, busy);
        let (asked, urged) = (self.asked_of(channel), self.urged.contains(&channel));
        let hand = Hand { inner: self.inner.clone(), asked, urged, told: Vec::new() };
        let stop = self.stop.clone();
        let work = async move { stop.run_until_cancelled(hand.act(channel, plan)).await };
        let task = self.hands.spawn(self.tasks.track_future(work));
        self.at_work.insert(task.id(), channel);
    }

    /// Takes in what a hand leaves.
    fn finish(&mut self, ended: Result<(Id, Option<Done>), JoinError>) {
        let (id, done) = match ended {
            Ok(ended) => ended,
            Err(panic) => {
                error!(%panic, "the closer broke off what it did about a channel");
                (panic.id(), None)
            }
        };
        let Some(channel) = self.at_work.remove(&id) else { return };
        let Some(busy) = self.busy.remove(&channel) else { return };
        let nothing = || Done { again: Again::Later, told: Vec::new() };
        let Done { again, told } = done.unwrap_or_else(nothing);
        self.again(channel, again);
        for told in told {
            if !matches!(told, Told::All(Err(_))) {
                self.urged.remove(&channel);
            }
            self.answer(channel, busy.wished, &told);
        }
        match busy.heard {
            Some(Heard::News) => self.hurry(channel),
            Some(Heard::Nudge) => self.put(channel),
            None => {}
        }
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

    /// Tells those who wait for `channel` and wished it before the wish of this number.
    fn answer(&mut self, channel: ContractId, before: u64, told: &Told) {
        let hears = |(number, wish): &mut (u64, Wish)| {
            let is_settled = matches!(told, Told::Settled(_));
            wish.channel == channel && *number < before && (wish.way == Way::Settle || !is_settled)
        };
        for (_, wish) in self.wishes.extract_if(.., hears) {
            let outcome = match told {
                Told::All(outcome) => outcome.clone(),
                Told::Settled(collected) => Ok(*collected),
            };
            // Who has gone away does not want to know.
            drop(wish.answer.send(outcome));
        }
    }
}

pub(super) fn in_a(pause: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(pause).unwrap_or(now)
}

/// One second after the first failure, a minute after many.
fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    LEAST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings))
}

/// Channels that are acted on at once.
const MOST_HANDS: usize = 128;
/// Between two times that nudges are heard.
const HEARING: Duration = Duration::from_millis(200);
/// How long what is in flight, or on its way to the ledger, is left alone.
const MOMENT: Duration = Duration::from_millis(500);
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// While the payer waits to take the money back.
const SHORTER_PAUSE: Duration = Duration::from_secs(4);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

//! The channels that are in use or kept watched, each as it was seen last.
//!
//! What is remembered of a channel never goes back to an older ledger, and is as old as its ledger is known: a server that
//! stands still makes everything older.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::broadcast, time::Instant};

use super::{Unfit, View, ledgers::Ledgers, reader::Wanted, view::Judged};
use crate::protocol::stellar::ContractId;

/// The channels that are known.
#[derive(Debug)]
pub(super) struct Memory {
    known: RwLock<HashMap<ContractId, Arc<Known>>>,
    ledgers: Mutex<Ledgers>,
    changes: broadcast::Sender<ContractId>,
    max_age: Duration,
    /// What the times of use are counted from.
    start: Instant,
}

/// A channel.
#[derive(Debug, Default)]
struct Known {
    /// When it was of use last, in milliseconds since the start.
    used_ms: AtomicU64,
    kept: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Option<Seen>,
    /// When it was read last because somebody asked.
    sought: Option<Instant>,
}

/// A channel as it was seen last.
#[derive(Clone, Debug)]
struct Seen {
    /// The last that could be seen of it, though it may be missing by now.
    view: Option<Arc<View>>,
    unfit: Option<Unfit>,
    ledger: u32,
    /// Since when that ledger may be known.
    since: Instant,
}

/// What memory says of a channel.
#[derive(Clone, Debug)]
pub(super) enum Recalled {
    /// All that there is to say now.
    Fresh(Result<Arc<View>, Unfit>),
    /// It is known, and was not seen for too long.
    Stale,
    /// Nothing.
    Unknown,
}

/// An answer of the ledger that cannot be gone by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooOld {
    /// It is of a ledger long gone.
    #[error(
        "the Stellar RPC lags: it answered as of ledger {ledger}, and had told of ledger {latest} before"
    )]
    Lags {
        /// Of which.
        ledger: u32,
        /// The latest one that was heard of.
        latest: u32,
    },
    /// No newer ledger comes.
    #[error("the Stellar RPC has told of no ledger after {ledger} for {} seconds", .age.as_secs())]
    Stands {
        /// The ledger.
        ledger: u32,
        /// How long it has been known.
        age: Duration,
    },
}

impl Memory {
    pub(super) fn new(max_age: Duration, now: Instant) -> Self {
        let (changes, _) = broadcast::channel(MOST_CHANGES);
        let (known, ledgers) = (RwLock::default(), Mutex::default());
        Self { known, ledgers, changes, max_age, start: now }
    }

    pub(super) fn changes(&self) -> broadcast::Receiver<ContractId> {
        self.changes.subscribe()
    }

    /// What is known of `channel`; that it was of use, if it was.
    pub(super) fn recall(&self, channel: ContractId, now: Instant) -> Recalled {
        let known = self.all();
        let Some(known) = known.get(&channel) else { return Recalled::Unknown };
        let state = known.state();
        let Some(seen) = &state.seen else { return Recalled::Stale };
        match (&seen.view, seen.unfit) {
            // Nothing takes this back, so it is never too old.
            (_, Some(unfit @ Unfit::Closing { .. })) => Recalled::Fresh(Err(unfit)),
            _ if now.saturating_duration_since(seen.since) > self.max_age => Recalled::Stale,
            (_, Some(unfit)) => Recalled::Fresh(Err(unfit)),
            (Some(view), None) => {
                known.used_ms.store(self.since_start(now), Ordering::Relaxed);
                Recalled::Fresh(Ok(view.clone()))
            }
            (None, None) => Recalled::Stale,
        }
    }

    /// The last that was seen of `channel`.
    pub(super) fn seen(&self, channel: ContractId) -> Option<Arc<View>> {
        self.get(channel)?.state().seen.as_ref()?.view.clone()
    }

    /// Its token, once it was seen.
    pub(super) fn token(&self, channel: ContractId) -> Option<ContractId> {
        self.seen(channel).map(|view| view.token)
    }

    /// Whether a known channel may be read because somebody asks: about once a ledger is enough.
    pub(super) fn may_seek(&self, channel: ContractId, now: Instant) -> bool {
        let Some(known) = self.get(channel) else { return true };
        let mut state = known.state();
        let rested = state.sought.is_none_or(|at| now.saturating_duration_since(at) >= SEEK_PAUSE);
        if rested {
            state.sought = Some(now);
        }
        rested
    }

    pub(super) fn keep(&self, channel: ContractId) {
        let mut known = self.all_mut();
        known.entry(channel).or_default().kept.store(true, Ordering::Relaxed);
    }

    pub(super) fn let_go(&self, channel: ContractId) {
        if let Some(known) = self.get(channel) {
            known.kept.store(false, Ordering::Relaxed);
        }
    }

    pub(super) fn forget(&self, channel: ContractId) {
        self.all_mut().remove(&channel);
    }

    /// Hears of a ledger from a server that was asked at `asked`.
    pub(super) fn hear(&self, ledger: u32, asked: Instant) {
        self.ledgers().hear(ledger, asked);
    }

    /// Takes in what a server said that was asked at `asked`, and says what holds now. A channel that was not known is
    /// remembered if it is fit.
    pub(super) fn take(
        &self,
        channel: ContractId,
        judged: Judged,
        asked: Instant,
    ) -> Result<Result<Arc<View>, Unfit>, TooOld> {
        let Judged { ledger, view, unfit } = judged;
        let since = {
            let mut ledgers = self.ledgers();
            ledgers.hear(ledger, asked);
            let latest = ledgers.latest().unwrap_or(ledger);
            ledgers.since(ledger).ok_or(TooOld::Lags { ledger, latest })?
        };
        let now = Instant::now();
        let mut seen = Seen { view: view.map(Arc::new), unfit, ledger, since };
        match self.get(channel) {
            None => self.admit(channel, &seen, now),
            Some(known) => {
                let mut state = known.state();
                match &state.seen {
                    // A server that lags behind another one tells nothing new.
                    Some(before) if before.ledger > ledger => seen = before.clone(),
                    before => {
                        let change = is_change(before.as_ref(), &seen);
                        // What is missing now was there once: whoever has money in it wants to know where.
                        let last = before.as_ref().and_then(|before| before.view.clone());
                        seen.view = seen.view.or(last);
                        state.seen = Some(seen.clone());
                        drop(state);
                        if change {
                            // Nobody may be listening.
                            drop(self.changes.send(channel));
                        }
                    }
                }
            }
        }
        let age = now.saturating_duration_since(seen.since);
        match (seen.view, seen.unfit) {
            (_, Some(unfit @ Unfit::Closing { .. })) => Ok(Err(unfit)),
            _ if age > self.max_age => Err(TooOld::Stands { ledger: seen.ledger, age }),
            (_, Some(unfit)) => Ok(Err(unfit)),
            (Some(view), None) => Ok(Ok(view)),
            // What could not be seen has a reason.
            (None, None) => Ok(Err(Unfit::Missing)),
        }
    }

    /// The latest ledger that was heard of.
    pub(super) fn latest(&self) -> Option<u32> {
        self.ledgers().latest()
    }

    /// The ledger of the last view of `channel`.
    pub(super) fn seen_at(&self, channel: ContractId) -> Option<u32> {
        self.get(channel)?.state().seen.as_ref().map(|seen| seen.ledger)
    }

    /// The channels to be read now, those first that were not for longest; with money to collect a little before others.
    pub(super) fn due(&self, now: Instant) -> Vec<Wanted> {
        let now_ms = self.since_start(now);
        let mut due: Vec<(u32, Wanted)> = Vec::new();
        for (channel, known) in &*self.all() {
            let idle = now_ms.saturating_sub(known.used_ms.load(Ordering::Relaxed));
            let kept = known.kept.load(Ordering::Relaxed);
            let state = known.state();
            let age = |seen: &Seen| now.saturating_duration_since(seen.since);
            let rested = state.seen.as_ref().is_none_or(|seen| age(seen) >= IDLE_PAUSE);
            if kept || idle < IN_USE_MS || rested {
                let token = state.seen.as_ref().and_then(|seen| Some(seen.view.as_ref()?.token));
                let ledger = state.seen.as_ref().map_or(0, |seen| seen.ledger);
                let ahead = if kept { HEAD_START } else { 0 };
                due.push((ledger.saturating_sub(ahead), Wanted { channel: *channel, token }));
            }
        }
        due.sort_by_key(|(ledger, _)| *ledger);
        due.into_iter().map(|(_, wanted)| wanted).collect()
    }

    /// Forgets the channels that nobody used for long, if it is `time`, or if there are so many that they take the place of
    /// those in use.
    pub(super) fn sweep(&self, now: Instant, time: bool) {
        let is_full = self.all().len() >= MOST_KNOWN;
        if !is_full && !time {
            return;
        }
        let longest = if is_full { IN_USE_MS } else { FORGOTTEN_MS };
        let now_ms = self.since_start(now);
        self.all_mut().retain(|_, known| {
            let idle = now_ms.saturating_sub(known.used_ms.load(Ordering::Relaxed));
            known.kept.load(Ordering::Relaxed) || idle < longest
        });
    }

    /// Remembers a channel that was not known, if it is fit and there is room.
    fn admit(&self, channel: ContractId, seen: &Seen, now: Instant) {
        if seen.unfit.is_some() {
            return;
        }
        let mut all = self.all_mut();
        if all.len() < MOST_KNOWN {
            let known = all.entry(channel).or_default();
            known.used_ms.store(self.since_start(now), Ordering::Relaxed);
            let mut state = known.state();
            // Another reading may have come first.
            if state.seen.as_ref().is_none_or(|before| before.ledger <= seen.ledger) {
                state.seen = Some(seen.clone());
            }
        }
    }

    fn get(&self, channel: ContractId) -> Option<Arc<Known>> {
        self.all().get(&channel).cloned()
    }

    fn all(&self) -> RwLockReadGuard<'_, HashMap<ContractId, Arc<Known>>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_mut(&self) -> RwLockWriteGuard<'_, HashMap<ContractId, Arc<Known>>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledgers(&self) -> MutexGuard<'_, Ledgers> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since_start(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Known {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether somebody with money in the channel has to look: it began to close, was paid out of, lost money, must be
/// extended, or is fit no more, or again.
fn is_change(before: Option<&Seen>, now: &Seen) -> bool {
    let kind = |seen: &Seen| seen.unfit.as_ref().map(std::mem::discriminant);
    let Some(before) = before else {
        return now.unfit.is_some() || now.view.as_ref().is_some_and(|view| view.ends_soon());
    };
    if kind(before) != kind(now) {
        return true;
    }
    match (&before.view, &now.view) {
        (Some(before), Some(now)) => {
            before.close_effective_at != now.close_effective_at
                || before.withdrawn != now.withdrawn
                || before.deposited() > now.deposited()
                || before.ends_soon() != now.ends_soon()
        }
        (before, now) => before.is_none() && now.is_some(),
    }
}

/// More than are watched in a minute or two; who is further behind looks at all of its channels.
const MOST_CHANGES: usize = 4_096;
/// Of about half a kilobyte each, those that are kept watched included.
const MOST_KNOWN: usize = 50_000;
/// A channel is in use for so long after it was asked for.
const IN_USE_MS: u64 = 120_000;
/// A channel that nobody keeps watched is forgotten so long after it was asked for.
const FORGOTTEN_MS: u64 = 600_000;
/// Between two readings of a channel that is not in use.
const IDLE_PAUSE: Duration = Duration::from_secs(15);
/// Between two readings of one channel that were asked for.
const SEEK_PAUSE: Duration = Duration::from_secs(1);
/// How many ledgers earlier than others a channel that is kept watched is due.
const HEAD_START: u32 = 3;

#[cfg(test)]
mod tests;

//! The one task that talks to the server: takes what waits, sends it in one round, and answers when the answers are in.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tracing::{error, info, warn};

use super::{
    Holds, Settings,
    envelope::{Entry, Key},
    exposure::Exposure,
    gate::Gate,
    group::{Group, grouped},
    journal::Acknowledged,
    link::{Answered, Broken, Link, Swapped, Unfit},
    lists::List,
    promise::Epoch,
    record::Record,
    transaction::{Facts, Reply, Transaction, View},
    whereabouts::Whereabouts,
};
use crate::store::Error;

/// What waits for the actor.
pub(super) struct Queued {
    pub(super) wish: Wish,
    /// Nothing for a hold that is let go of: there are no more of those than there were claims.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

pub(super) enum Wish {
    Carry(Box<dyn Transaction>),
    List(List),
    Close(Reply<()>),
}

/// What groups may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Accounts only while the gate is open.
    Ordinary,
    /// Whatever the gate.
    Reconciling,
}

pub(super) struct Actor {
    pub(super) settings: Settings,
    whereabouts: Whereabouts,
    link: Option<Link>,
    /// What is likely to be asked for again, as it was last seen; whether it is still so, the server says.
    cache: View,
    facts: Facts,
    holds: Arc<Holds>,
    /// Where replicas may take over.
    pub(super) gate: Option<Gate>,
    /// Where the server promises nothing.
    exposure: Option<Exposure>,
    /// Holds to be ended when the server is back.
    later: Vec<Box<dyn Transaction>>,
    stopped: Arc<OnceLock<Arc<str>>>,
    /// Why there is no link, once that was said.
    lacking: Option<Arc<str>>,
}

impl Actor {
    pub(super) fn new(
        settings: Settings,
        whereabouts: Whereabouts,
        (gate, exposure): (Option<Gate>, Option<Exposure>),
        facts: Facts,
        holds: Arc<Holds>,
        stopped: Arc<OnceLock<Arc<str>>>,
    ) -> Self {
        Self {
            settings,
            whereabouts,
            link: None,
            cache: View::new(),
            facts,
            holds,
            gate,
            exposure,
            later: Vec::new(),
            stopped,
            lacking: None,
        }
    }

    /// Connects for the first time.
    ///
    /// # Errors
    /// [`Error::Unavailable`], with what is to be done about it.
    pub(super) async fn start(&mut self) -> Result<(), Error> {
        let patience = self.settings.timeout.max(START);
        let share = patience.checked_div(self.whereabouts.askable()).unwrap_or(patience);
        let begun = Instant::now();
        // Each that may know where the primary is has its turn.
        for _ in 1..self.whereabouts.askable() {
            if self.connect(after(Instant::now(), share)).await.is_ok() {
                return Ok(());
            }
        }
        loop {
            match self.connect(after(Instant::now(), share)).await {
                Err(Failed::Again) if begun.elapsed() < patience => {}
                connected => return connected.map_err(|failed| failed.into_error(begun.elapsed())),
            }
        }
    }

    /// Serves wishes until the store is closed or nobody is left to ask.
    pub(super) async fn run(mut self, mut wishes: mpsc::UnboundedReceiver<Queued>) {
        let often = self.settings.lease.checked_div(3).unwrap_or_default();
        let mut renewal = interval(often.max(Duration::from_millis(1)));
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut waiting = Vec::new();
            let beat = self.gate.as_ref().map(|gate| gate.next_beat);
            tokio::select! {
                taken = wishes.recv_many(&mut waiting, BATCH) => if taken == 0 { return },
                _ = renewal.tick() => {
                    let renewed = self.holds.renewals().into_iter().map(Wish::Carry);
                    waiting.extend(renewed.map(|wish| Queued { wish, room: None }));
                }
                () = sleep(RETRY), if !self.later.is_empty() => {}
                () = sleep_until(beat.unwrap_or_else(Instant::now)), if beat.is_some() => {
                    self.tend().await;
                    continue;
                }
            }
            let mut transactions = std::mem::take(&mut self.later);
            let mut lists = Vec::new();
            let mut close = None;
            let mut rooms = Vec::with_capacity(waiting.len());
            for Queued { wish, room } in waiting {
                rooms.push(room);
                match wish {
                    Wish::Carry(transaction) if transaction.is_abandoned() => {}
                    Wish::Carry(transaction) => transactions.push(transaction),
                    Wish::List(list) => lists.push(list),
                    Wish::Close(reply) => close = Some(reply),
                }
            }
            self.carry_out(grouped(transactions), Pass::Ordinary).await;
            for list in lists {
                self.list(list).await;
            }
            if let Some(reply) = close {
                let held = self.holds.endings();
                self.carry_out(grouped(held), Pass::Ordinary).await;
                self.leave().await;
                // Nobody else sets it: there is one actor, and it stops once.
                drop(self.stopped.set("it was closed".into()));
                wishes.close();
                while wishes.try_recv().is_ok() {}
                drop(reply.send(Ok(())));
                return;
            }
        }
    }

    /// Carries out groups that have nothing to do with each other, in as few rounds as it takes and no longer than the
    /// timeout.
    pub(super) async fn carry_out(&mut self, mut groups: Vec<Group>, pass: Pass) {
        let begun = Instant::now();
        let deadline = after(begun, self.settings.timeout);
        for _ in 0..ROUNDS {
            if groups.is_empty() {
                return;
            }
            match self.round(&mut groups, pass, begun).await {
                Ok(()) | Err(Failed::Again) => {}
                Err(Failed::With(error)) => return self.fail(groups, &error, begun),
                Err(Failed::Silent) => break,
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        self.fail(groups, &Error::Unreachable { waited: begun.elapsed() }, begun);
    }

    /// One round of all `groups`; those that are done are gone from them.
    async fn round(
        &mut self,
        groups: &mut Vec<Group>,
        pass: Pass,
        begun: Instant,
    ) -> Result<(), Failed> {
        let deadline = after(begun, self.settings.timeout);
        self.connect(deadline).await?;
        if pass == Pass::Ordinary {
            self.turn_away(groups, begun);
        }
        let Some(link) = &mut self.link else { return Ok(()) };
        if groups.is_empty() {
            return Ok(());
        }
        self.facts.server_now = link.server_now();
        self.facts.epoch = Some(link.epoch());
        for group in groups.iter_mut() {
            group.plan(&self.cache, &mut self.facts, &self.settings.prefix);
        }
        let (channels, swaps) = Group::round(groups);
        let swapped = link.swap(&self.settings.prefix, &channels, &swaps, deadline).await;
        let answers = match swapped {
            Ok(Answered { swapped, copied: Ok(()) }) => swapped,
            Ok(Answered { copied: Err(lacking), .. }) => {
                // The primary may have carried it out, and whatever takes its place need not know.
                self.unlink(&lacking);
                groups.iter_mut().for_each(Group::doubt);
                return Err(Failed::With(Error::Unavailable { reason: lacking.into() }));
            }
            Err(broken) => {
                self.unlink(&broken.to_string());
                groups.iter_mut().for_each(Group::doubt);
                return Err(match broken {
                    Broken::Cut(_) => Failed::Again,
                    Broken::Silent => Failed::Silent,
                });
            }
        };
        let mut open = Vec::new();
        let mut done = Vec::new();
        for (mut group, answer) in std::mem::take(groups).into_iter().zip(answers) {
            match answer {
                Swapped::Done => done.push(group),
                Swapped::NoScript => open.push(group),
                Swapped::Changed(found) => match group.changed(found) {
                    Ok(true) => done.push(group),
                    Ok(false) => open.push(group),
                    Err(error) => self.fail(vec![group], &error, begun),
                },
                Swapped::Refused(reason) => {
                    self.unlink(&reason);
                    let error = Error::Unavailable { reason: reason.into() };
                    self.fail(vec![group], &error, begun);
                }
            }
        }
        *groups = open;
        self.acknowledge(done, begun).await;
        Ok(())
    }

    /// Tells those whose groups are stored, once the journal has them too where there is one.
    async fn acknowledge(&mut self, done: Vec<Group>, begun: Instant) {
        let recorded = match &mut self.gate {
            Some(gate) => {
                let acknowledged = |(channel, account)| Some((channel, Acknowledged::of(account)?));
                let accounts = done.iter().flat_map(Group::accounts).filter_map(acknowledged);
                let accounts = accounts.collect();
                gate.record(accounts).await
            }
            None => Ok(()),
        };
        if let Some(exposure) = &self.exposure {
            exposure.spent(done.iter().flat_map(Group::spent));
        }
        for mut group in done {
            match &recorded {
                Err(error) if group.is_of_accounts() => {
                    group.doubt();
                    self.fail(vec![group], error, begun);
                }
                _ => self.done(group),
            }
        }
    }

    /// Refuses what is about accounts while the gate is closed.
    fn turn_away(&mut self, groups: &mut Vec<Group>, begun: Instant) {
        let (Some(epoch), Some(gate)) = (self.epoch(), &mut self.gate) else { return };
        let Some(reason) = gate.closed(epoch) else { return };
        gate.next_beat = Instant::now();
        let (of_accounts, others) =
            std::mem::take(groups).into_iter().partition::<Vec<_>, _>(Group::is_of_accounts);
        *groups = others;
        self.fail(of_accounts, &Error::Unavailable { reason }, begun);
    }

    /// The epoch of the server that is connected.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.link.as_ref().map(Link::epoch)
    }

    /// Connects, unless that was done.
    pub(super) async fn connected(&mut self) -> Result<(), Error> {
        let timeout = self.settings.timeout;
        let connected = self.connect(after(Instant::now(), timeout)).await;
        connected.map_err(|failed| failed.into_error(timeout))
    }

    /// What the group planned is stored.
    fn done(&mut self, group: Group) {
        if self.cache.len() > CACHE {
            self.cache.clear();
        }
        for (key, entry) in group.finish(Ok(())) {
            if let (Key::Account(channel), Ok(Record::Account(account))) = (key, &entry.record) {
                let seen = self.facts.witness.entry(channel).or_default();
                *seen = (*seen).max(account.standing().authorised);
            }
            if is_wanted_again(&entry) {
                self.cache.insert(key, entry);
            } else {
                self.cache.remove(&key);
            }
        }
    }

    fn fail(&mut self, groups: Vec<Group>, error: &Error, begun: Instant) {
        for group in groups {
            self.later.extend(group.later());
            let error = match error {
                // It may have been carried out before the server said no to saying so.
                _ if group.is_in_doubt() => Error::Unreachable { waited: begun.elapsed() },
                error => error.clone(),
            };
            group.finish(Err(error));
        }
        self.later.truncate(LATER);
    }

    async fn list(&mut self, mut list: List) {
        let begun = Instant::now();
        let deadline = after(begun, self.settings.timeout);
        for _ in 0..ROUNDS {
            match self.connect(deadline).await {
                Ok(()) => {}
                Err(Failed::Again) => continue,
                Err(failed) => return list.fail(failed.into_error(begun.elapsed())),
            }
            let Some(link) = &mut self.link else { break };
            let (again, broken) = match list.carry_out(link, &self.settings, deadline).await {
                Ok(ended) => {
                    if let Some(gate) = &self.gate {
                        gate.forget(ended);
                    }
                    return;
                }
                Err(failed) => failed,
            };
            self.unlink(&broken.to_string());
            list = again;
            if matches!(broken, Broken::Silent) {
                break;
            }
        }
        list.fail(Error::Unreachable { waited: begun.elapsed() });
    }

    async fn connect(&mut self, deadline: Instant) -> Result<(), Failed> {
        if self.link.is_some() {
            return Ok(());
        }
        let Settings { durability, prefix, .. } = &self.settings;
        let opened = Link::open(&mut self.whereabouts, durability, prefix, deadline).await;
        let reason = match opened {
            Ok(link) => {
                info!("connected to the store");
                if let Some(exposure) = &self.exposure {
                    exposure.connected(link.epoch());
                }
                self.link = Some(link);
                self.lacking = None;
                return Ok(());
            }
            Err(Unfit::Cut(_)) if Instant::now() < deadline => return Err(Failed::Again),
            Err(Unfit::Cut(reason) | Unfit::Unreachable(reason) | Unfit::Refused(reason)) => reason,
        };
        let reason: Arc<str> = reason.into();
        // Not each time: there is one for every batch of requests.
        if self.lacking.as_ref() != Some(&reason) {
            error!(%reason, "the store takes no payments");
            self.lacking = Some(Arc::clone(&reason));
        }
        Err(Failed::With(Error::Unavailable { reason }))
    }

    /// Another connection may lead to another server.
    fn unlink(&mut self, reason: &str) {
        warn!(reason, "the connection to the store is given up");
        self.look_elsewhere();
    }

    /// Has the next round ask anew where the primary is.
    pub(super) fn look_elsewhere(&mut self) {
        self.link = None;
        self.cache.clear();
    }
}

enum Failed {
    /// Another connection may find out.
    Again,
    With(Error),
    /// There is no time to find out.
    Silent,
}

impl Failed {
    fn into_error(self, waited: Duration) -> Error {
        match self {
            Self::With(error) => error,
            Self::Again | Self::Silent => Error::Unreachable { waited },
        }
    }
}

/// Accounts are; claims while somebody has them in hand, and then their aliases too.
const fn is_wanted_again(entry: &Entry) -> bool {
    match &entry.record {
        Ok(Record::Claim(claimed)) => claimed.holder.is_some(),
        Ok(Record::Account(_)) => true,
        Ok(Record::Alias(_) | Record::Secret(_) | Record::Fence(_)) | Err(_) => false,
    }
}

fn after(begun: Instant, patience: Duration) -> Instant {
    begun.checked_add(patience).unwrap_or(begun)
}

/// Wishes in one round at most, so that the first of them does not wait for a crowd.
const BATCH: usize = 1024;

/// Rounds in which a group must have been stored: more of them are lost to others only where many gateways write the same
/// record all the time.
const ROUNDS: usize = 64;

/// Records in memory.
const CACHE: usize = 8192;

/// Holds that wait to be ended. One beyond them ends with its lease.
const LATER: usize = 8192;

/// How soon holds that could not be ended are tried again, if nothing else is asked.
const RETRY: Duration = Duration::from_secs(1);

/// How long the first connection may take at least.
const START: Duration = Duration::from_secs(5);

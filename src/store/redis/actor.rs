//! The one task that talks to a primary: takes what waits, sends it in one round, and answers when the answers are in.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::DropGuard;
use tracing::{error, info, warn};

use super::{
    Holds, Settings,
    envelope::{Entry, Key},
    exposure::Exposure,
    gate::Gate,
    group::{Group, grouped},
    journal::Acknowledged,
    link::{Answered, Broken, Link, Swapped, Unfit},
    lists::{Enlisted, List},
    promise::Epoch,
    record::Record,
    slots::Shard,
    transaction::{Facts, Reply, Transaction, View},
    whereabouts::Whereabouts,
    wish::{Queued, Standpoint, Wish},
};
use crate::store::Error;

/// What groups may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Accounts only while the gate is open.
    Ordinary,
    /// Whatever the gate.
    Reconciling,
}

pub(super) struct Actor {
    settings: Settings,
    shard: Shard,
    whereabouts: Whereabouts,
    link: Option<Link>,
    /// What is likely to be asked for again, as it was last seen; whether it is still so, the server says.
    cache: View,
    facts: Facts,
    shared: Shared,
    /// Holds to be ended when the server is back.
    later: Vec<Box<dyn Transaction>>,
    /// Why there is no link, once that was said.
    lacking: Option<Arc<str>>,
}

/// What an actor shares with others.
pub(super) struct Shared {
    /// Where this is the shard of claims.
    pub(super) holds: Option<Arc<Holds>>,
    /// Where this is the shard of the index of channels.
    pub(super) enlisted: Option<Enlisted>,
    /// Where replicas may take over.
    pub(super) gate: Option<Arc<Gate>>,
    /// Where the server promises nothing; who asks about it ends with the actor.
    pub(super) exposure: Option<(Exposure, DropGuard)>,
    pub(super) stopped: Arc<OnceLock<Arc<str>>>,
}

impl Actor {
    pub(super) fn new(
        settings: Settings,
        (shard, whereabouts): (Shard, Whereabouts),
        shared: Shared,
        facts: Facts,
    ) -> Self {
        Self {
            settings,
            shard,
            whereabouts,
            link: None,
            cache: View::new(),
            facts,
            shared,
            later: Vec::new(),
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
            tokio::select! {
                taken = wishes.recv_many(&mut waiting, BATCH) => if taken == 0 { return },
                _ = renewal.tick() => {
                    let renewed = self.shared.holds.iter().flat_map(|holds| holds.renewals());
                    let renewed = renewed.map(|renewal| Queued { wish: Wish::Carry(renewal), room: None });
                    waiting.extend(renewed);
                }
                () = sleep(RETRY), if !self.later.is_empty() => {}
            }
            if let Some((last, reply)) = self.serve(waiting).await {
                let held = self.shared.holds.iter().flat_map(|holds| holds.endings()).collect();
                self.carry_out(grouped(held), Pass::Ordinary).await;
                self.carry_out(grouped(last.into_iter().collect()), Pass::Reconciling).await;
                // Who was there before has said the same.
                drop(self.shared.stopped.set("it was closed".into()));
                wishes.close();
                while wishes.try_recv().is_ok() {}
                drop(reply.send(Ok(self.connected().await.ok())));
                return;
            }
        }
    }

    /// Does what is wished; returns a wish that this be the end.
    async fn serve(&mut self, waiting: Vec<Queued>) -> Option<Closing> {
        let mut ordinary = std::mem::take(&mut self.later);
        let (mut reconciling, mut lists, mut close) = (Vec::new(), Vec::new(), None);
        let mut rooms = Vec::with_capacity(waiting.len());
        for Queued { wish, room } in waiting {
            rooms.push(room);
            match wish {
                Wish::Carry(it) | Wish::Reconcile(it) if it.is_abandoned() => {}
                Wish::Carry(transaction) => ordinary.push(transaction),
                Wish::Reconcile(transaction) => reconciling.push(transaction),
                Wish::List(list) => {
                    let joined = match lists.last_mut() {
                        Some(last) => List::join(last, list),
                        None => Err(list),
                    };
                    lists.extend(joined.err());
                }
                Wish::Epoch(reply) => drop(reply.send(self.connected().await)),
                Wish::Elsewhere => self.look_elsewhere(),
                Wish::Close(last, reply) => close = Some((last, reply)),
            }
        }
        self.carry_out(grouped(ordinary), Pass::Ordinary).await;
        self.carry_out(grouped(reconciling), Pass::Reconciling).await;
        for list in lists {
            self.list(list).await;
        }
        close
    }

    /// Carries out groups that have nothing to do with each other, in as few rounds as it takes and no longer than the
    /// timeout.
    async fn carry_out(&mut self, mut groups: Vec<Group>, pass: Pass) {
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
        let swapped = link.swap(&Group::round(groups), deadline).await;
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
                    let reason = self.refused(reason);
                    let error = Error::Unavailable { reason: reason.into() };
                    self.fail(vec![group], &error, begun);
                }
            }
        }
        *groups = open;
        self.acknowledge(done, pass, begun).await;
        Ok(())
    }

    /// Tells those whose groups are stored, once the journal has them too where there is one.
    async fn acknowledge(&mut self, done: Vec<Group>, pass: Pass, begun: Instant) {
        let recorded = match (&self.shared.gate, self.facts.epoch) {
            (Some(gate), Some(epoch)) => {
                let acknowledged = |(channel, account)| Some((channel, Acknowledged::of(account)?));
                let accounts = done.iter().flat_map(Group::accounts).filter_map(acknowledged);
                let accounts = accounts.collect();
                // What is raised is not told to anybody.
                let told_in = (pass == Pass::Ordinary).then_some(epoch);
                gate.record(accounts, told_in).await
            }
            _ => Ok(()),
        };
        if let Some((exposure, _)) = &self.shared.exposure {
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
        let (Some(epoch), Some(gate)) = (self.epoch(), &self.shared.gate) else { return };
        let Some(reason) = gate.closed(epoch) else { return };
        gate.awaited.notify_one();
        let (of_accounts, others) =
            std::mem::take(groups).into_iter().partition::<Vec<_>, _>(Group::is_of_accounts);
        *groups = others;
        self.fail(of_accounts, &Error::Unavailable { reason }, begun);
    }

    /// The epoch of the server that is connected.
    fn epoch(&self) -> Option<Epoch> {
        self.link.as_ref().map(Link::epoch)
    }

    /// Connects, unless that was done; the epoch is that of now.
    async fn connected(&mut self) -> Result<Standpoint, Error> {
        let timeout = self.settings.timeout;
        let deadline = after(Instant::now(), timeout);
        if let Some(link) = &mut self.link
            && !link.is_in_epoch(deadline).await
        {
            self.look_elsewhere();
        }
        let connected = self.connect(deadline).await;
        let silent = || Error::Unreachable { waited: timeout };
        connected.map_err(|failed| failed.into_error(timeout))?;
        let link = self.link.as_ref().ok_or_else(silent)?;
        Ok(Standpoint { epoch: link.epoch(), life: link.life() })
    }

    /// What the group planned is stored.
    fn done(&mut self, group: Group) {
        if self.cache.len() > CACHE {
            self.cache.clear();
        }
        for (key, entry) in group.finish(Ok(())) {
            if let (Key::Account(channel), Ok(Record::Account(account))) = (key, &entry.record) {
                self.facts.witness.saw(channel, account.standing().authorised);
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
            let new = list.enlists().to_vec();
            let carried = list.carry_out(link, &self.settings.prefix, deadline).await;
            let (again, broken) = match carried {
                Ok(None) => return self.shared.enlisted.iter().for_each(|it| it.add(&new)),
                Ok(Some(refused)) => return self.unlink(&refused),
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
        let durability = &self.settings.durability;
        let opened = Link::open(&mut self.whereabouts, durability, &self.shard, deadline).await;
        let reason = match opened {
            Ok(link) => {
                info!(slots = ?self.shard.slots, "connected to the store");
                if let Some((exposure, _)) = &self.shared.exposure {
                    exposure.connected(link.epoch());
                }
                if let Some(enlisted) = &self.shared.enlisted {
                    enlisted.connected(link.epoch());
                }
                self.link = Some(link);
                self.lacking = None;
                return Ok(());
            }
            Err(Unfit::Cut(_)) if Instant::now() < deadline => return Err(Failed::Again),
            Err(Unfit::Cut(reason) | Unfit::Unreachable(reason) | Unfit::Refused(reason)) => reason,
        };
        self.whereabouts.doubt();
        let reason: Arc<str> = match &self.shard.slots {
            Some(slots) => format!("the primary of the slots {slots:?}: {reason}").into(),
            None => reason.into(),
        };
        // Not each time: there is one for every batch of requests.
        if self.lacking.as_ref() != Some(&reason) {
            error!(%reason, "the store takes no payments");
            self.lacking = Some(Arc::clone(&reason));
        }
        Err(Failed::With(Error::Unavailable { reason }))
    }

    /// The server did not do something; returns what the operator is told.
    fn refused(&mut self, reason: String) -> String {
        // It has the slot still, and not the record any more.
        if reason.starts_with("ASK ") || reason.starts_with("TRYAGAIN") {
            self.whereabouts.doubt();
            return format!("a slot of the cluster is being moved ({reason})");
        }
        self.unlink(&reason);
        match self.shard.slots {
            None if reason.starts_with("MOVED ") => {
                format!("the server is one of a cluster, use `redis+cluster://` ({reason})")
            }
            _ => reason,
        }
    }

    /// Another connection may lead to another server.
    fn unlink(&mut self, reason: &str) {
        warn!(reason, "the connection to the store is given up");
        self.look_elsewhere();
    }

    /// Has the next round ask anew where the primary is.
    fn look_elsewhere(&mut self) {
        self.whereabouts.doubt();
        self.link = None;
        self.cache.clear();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if let Some((exposure, _)) = &self.shared.exposure {
            exposure.forget();
        }
    }
}

type Closing = (Option<Box<dyn Transaction>>, Reply<Option<Standpoint>>);

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

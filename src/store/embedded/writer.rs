//! The one writer: takes what waits, carries it out, commits once, answers.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rand_core::{OsRng, RngCore as _};
use tokio::sync::mpsc;
use tracing::error;

use super::{
    Hold, Permit, Queued, Reply, Wish,
    log::{Before, Log},
    outbox,
    tables::{Change, Changes, Fault, Filed, PAGE, Tables, View},
};
use crate::protocol::stellar::ContractId;
use crate::store::{
    Claim, ClaimKey, Claiming, Delivery, Error, Notice, Outcome, Pending, Submitting, TakenBy,
    TakenState, Ticket, backend,
    channel::Account,
    claim::{After, Origin, Presented, Record, State, Step},
    file::stopping,
    record,
    time::Time,
};
use crate::telemetry::histogram::Histogram;

pub(super) struct Writer {
    pub(super) tables: Tables,
    holds: HashMap<ClaimKey, Held>,
    /// Whose the aliases of the holds are.
    aliases: HashMap<ClaimKey, ClaimKey>,
    /// The accounts that were asked for, as this process left them: nobody else writes.
    pub(super) accounts: HashMap<ContractId, Account>,
    /// What is stored of them in part.
    pub(super) log: Log,
    /// What is known of the outbox, once it was asked for.
    pub(super) outbox: Option<outbox::Known>,
    /// How many wishes the last commit was of.
    crowd: usize,
    /// What is due before its time may be forgotten.
    time: Time,
    queue: mpsc::WeakUnboundedSender<Queued>,
    stopped: Arc<OnceLock<Arc<str>>>,
    /// How long commits take.
    commits: Arc<Histogram>,
}

/// A claim that a request has in hand.
struct Held {
    number: u64,
    origin: Origin,
}

/// What was carried out together: read against one view, stored by one commit, answered after it.
pub(super) struct Batch {
    pub(super) view: View,
    pub(super) changes: Changes,
    /// The accounts that it has in hand.
    pub(super) channels: Before,
    answers: Vec<Box<dyn FnOnce()>>,
    close: Option<Reply<()>>,
}

impl Writer {
    pub(super) fn new(
        tables: Tables,
        queue: mpsc::WeakUnboundedSender<Queued>,
        stopped: Arc<OnceLock<Arc<str>>>,
        slack: u64,
        commits: Arc<Histogram>,
    ) -> Self {
        Self {
            tables,
            holds: HashMap::new(),
            aliases: HashMap::new(),
            accounts: HashMap::new(),
            log: Log::default(),
            outbox: None,
            crowd: 0,
            time: Time::new(slack),
            queue,
            stopped,
            commits,
        }
    }

    /// Serves wishes until the store is closed, nobody is left to ask, or the disk fails.
    pub(super) fn run(mut self, mut wishes: mpsc::UnboundedReceiver<Queued>) {
        if let Err(failed) = self.take_over() {
            error!(error = %failed, "the store has stopped: nothing can be paid until the next start");
            self.stop(&failed.to_string(), &mut wishes);
            return;
        }
        while let Some(first) = wishes.blocking_recv() {
            self.gather(&wishes);
            match self.serve(first, &mut wishes) {
                Ok(None) => {}
                Ok(Some(closed)) => {
                    self.stop("it was closed", &mut wishes);
                    drop(closed.send(self.tables.close().map_err(stopping)));
                    return;
                }
                Err(failed) => {
                    // What the disk holds is not known any more, and a second sync could say all is well when it is
                    // not. So nothing is tried again; the next start reads what is there.
                    error!(error = %failed, "the store has stopped: nothing can be paid until the next start");
                    self.stop(&failed.to_string(), &mut wishes);
                    return;
                }
            }
        }
        if let Err(failed) = self.tables.close() {
            error!(error = %failed, "the store's file was not closed cleanly; the next start repairs it");
        }
    }

    /// Where the last commits were shared by many, waits a moment for as many again: they come once the ones before them
    /// were answered, and a commit costs the same for one as for all. Who is alone is never kept waiting.
    fn gather(&self, wishes: &mpsc::UnboundedReceiver<Queued>) {
        for _ in 0..NAPS {
            if !expects_more(self.crowd, wishes.len()) || wishes.is_closed() {
                return;
            }
            thread::sleep(NAP);
        }
    }

    /// Carries out `first` and what waits behind it. Returns who asked to close the store, if someone did.
    fn serve(
        &mut self,
        first: Queued,
        wishes: &mut mpsc::UnboundedReceiver<Queued>,
    ) -> Result<Option<Reply<()>>, redb::Error> {
        let mut batch = Batch {
            view: self.tables.view()?,
            changes: Changes::default(),
            channels: Before::new(),
            answers: Vec::new(),
            close: None,
        };
        let mut rooms = vec![first.room];
        self.carry_out(first.wish, &mut batch)?;
        while rooms.len() < BATCH
            && batch.close.is_none()
            && let Ok(Queued { wish, room }) = wishes.try_recv()
        {
            rooms.push(room);
            self.carry_out(wish, &mut batch)?;
        }
        self.crowd = rooms.len();
        // The view would keep the commit from using the pages that it frees.
        let Batch { view, mut changes, channels, answers, close } = batch;
        drop(view);
        self.store_accounts(&channels, close.is_some(), &mut changes);
        if !changes.is_empty() {
            let began = Instant::now();
            self.tables.commit(&changes, self.time.now(), |key| self.holds.contains_key(&key))?;
            self.commits.note(began.elapsed());
        }
        answers.into_iter().for_each(|answer| answer());
        Ok(close)
    }

    /// Answers whoever waits, and whoever asks later, that the store has stopped.
    fn stop(&self, reason: &str, wishes: &mut mpsc::UnboundedReceiver<Queued>) {
        // Nobody else sets it: there is one writer, and it stops once.
        drop(self.stopped.set(reason.into()));
        wishes.close();
        while wishes.try_recv().is_ok() {}
    }

    /// Carries out one wish. Its answer waits for the commit, and so does its error.
    fn carry_out(&mut self, wish: Wish, batch: &mut Batch) -> Result<(), redb::Error> {
        match wish {
            Wish::Claim(claim, reply) => {
                let claiming = self.claim(&claim, batch);
                batch.answer(reply, claiming)
            }
            Wish::Step(permit, step, told, reply) => {
                let done = self.step(permit, step, told, batch);
                batch.answer(reply, done)
            }
            Wish::LetGo(permit) => {
                self.let_go(permit);
                Ok(())
            }
            Wish::Resolve { key, submitting, outcome, told, reply } => {
                let resolved = self.resolve(key, &submitting, outcome, told, batch);
                batch.answer(reply, resolved)
            }
            Wish::Outbox(wish) => self.serve_outbox(wish, batch),
            Wish::Pending { after, reply } => {
                let page = self.pending(after, batch);
                batch.answer(reply, page)
            }
            Wish::Secret { name, reply } => {
                let secret = batch.secret(name);
                batch.answer(reply, secret)
            }
            Wish::Channel(channel, step, reply) => {
                let stepped = self.step_channel(channel, &step, batch);
                batch.answer(reply, stepped)
            }
            Wish::Account(channel, reply) => {
                let account = self.account(channel, batch).map(|account| account.cloned());
                batch.answer(reply, account)
            }
            Wish::Accounts { after, reply } => {
                let page = self.list(after, batch);
                batch.answer(reply, page)
            }
            Wish::Forget { channel, used_by, reply } => {
                let forgotten = self.forget(channel, used_by, batch);
                batch.answer(reply, forgotten)
            }
            Wish::Dropped(channel, token) => self.dropped(channel, token, batch),
            Wish::Close(reply) => {
                batch.close = Some(reply);
                Ok(())
            }
        }
    }

    fn claim(&mut self, claim: &Claim, batch: &mut Batch) -> Result<Claiming, Fault> {
        self.time.tell(claim.now);
        if let Some(other) = self.taken_by(claim, batch)? {
            return Ok(Claiming::AliasTaken(other));
        }
        if let Some(held) = self.holds.get(&claim.key) {
            let same = held.origin.is_of(claim);
            return Ok(if same { Claiming::InFlight } else { Claiming::OtherRequest });
        }
        let Some(record) = batch.record(claim.key)? else {
            return Ok(Claiming::Fresh(self.hold(claim.key, claim.into())));
        };
        Ok(match record.present(claim) {
            Presented::Redeliver { settled, attempts } => {
                let after = After::Record(State::Settled { settled: settled.clone(), attempts });
                batch.put(claim.key, record.origin, Some(&record), after)?;
                Claiming::Redeliver(self.hold(claim.key, record.origin), settled)
            }
            Presented::Pending(submitting) => Claiming::Pending(submitting),
            Presented::Delivered { settled, status } => Claiming::Delivered { settled, status },
            Presented::Refused { reason } => Claiming::Refused { reason },
            Presented::OtherRequest => Claiming::OtherRequest,
            Presented::Exhausted => Claiming::Exhausted,
        })
    }

    /// The claim of another key that has the alias of `claim`.
    fn taken_by(&self, claim: &Claim, batch: &Batch) -> Result<Option<TakenBy>, Fault> {
        let Some(alias) = claim.alias else { return Ok(None) };
        if let Some(&key) = self.aliases.get(&alias) {
            let state = TakenState::Held;
            return Ok((key != claim.key).then_some(TakenBy { key, state }));
        }
        let Some(key) = batch.owner(alias)?.filter(|key| *key != claim.key) else {
            return Ok(None);
        };
        let record = batch.record(key)?.filter(|record| record.origin.alias == Some(alias));
        let state = record.and_then(Record::taken).ok_or_else(|| {
            let what = format!("an alias is listed for {key:?}, which does not have it");
            Error::Corrupt { what: what.into() }
        })?;
        Ok(Some(TakenBy { key, state }))
    }

    fn hold(&mut self, key: ClaimKey, origin: Origin) -> Ticket {
        let number = NEXT_HOLD.fetch_add(1, Ordering::Relaxed);
        self.holds.insert(key, Held { number, origin });
        if let Some(alias) = origin.alias {
            self.aliases.insert(alias, key);
        }
        let hold = Hold { permit: Permit { key, number }, queue: Some(self.queue.clone()) };
        Ticket::new(backend::Hold::Embedded(hold))
    }

    fn let_go(&mut self, permit: Permit) {
        let Some(held) = self.held(permit) else { return };
        if let Some(alias) = held.origin.alias {
            self.aliases.remove(&alias);
        }
        self.holds.remove(&permit.key);
    }

    fn held(&self, permit: Permit) -> Option<&Held> {
        self.holds.get(&permit.key).filter(|held| held.number == permit.number)
    }

    fn step(
        &mut self,
        permit: Permit,
        step: Step,
        told: Vec<Notice>,
        batch: &mut Batch,
    ) -> Result<(), Fault> {
        let Some(held) = self.held(permit) else {
            return Err(Error::OutOfOrder { state: "not held", asked: step.name() }.into());
        };
        let origin = held.origin;
        if step.is_end() {
            self.let_go(permit);
        }
        let record = batch.record(permit.key)?;
        let after = step.apply(record.as_ref().map(|record| &record.state))?;
        batch.put(permit.key, origin, record.as_ref(), after)?;
        self.tell(told, batch)
    }

    fn resolve(
        &mut self,
        key: ClaimKey,
        submitting: &Submitting,
        outcome: Outcome,
        told: Vec<Notice>,
        batch: &mut Batch,
    ) -> Result<bool, Fault> {
        let Some(record) = batch.record(key)? else { return Ok(false) };
        let is_it = matches!(&record.state, State::Submitting(found) if found == submitting);
        if !is_it || self.holds.contains_key(&key) {
            return Ok(false);
        }
        batch.put(key, record.origin, Some(&record), outcome.into_after())?;
        self.tell(told, batch)?;
        Ok(true)
    }

    pub(super) fn delivery(&self, key: ClaimKey, batch: &Batch) -> Result<Delivery, Fault> {
        if self.holds.contains_key(&key) {
            return Ok(Delivery::UnderWay);
        }
        Ok(match batch.record(key)? {
            Some(Record { state: State::Settled { .. }, .. }) => Delivery::Missing,
            _ => Delivery::Done,
        })
    }

    /// What is stored as pending, but for what this batch has changed, and what it has changed to be so.
    fn pending(&self, after: Option<ClaimKey>, batch: &Batch) -> Result<Vec<Pending>, Fault> {
        let is_free = |key: &ClaimKey| !self.holds.contains_key(key);
        let changed = &batch.changes.claims;
        let mut page =
            batch.view.pending(after, |key| is_free(&key) && !changed.contains_key(&key))?;
        page.extend(changed.iter().filter_map(|(&key, change)| match &change.record {
            Some((Record { state: State::Submitting(submitting), .. }, _))
                if is_free(&key) && Some(key) > after =>
            {
                Some(Pending { key, submitting: submitting.clone() })
            }
            _ => None,
        }));
        page.sort_unstable_by_key(|pending| pending.key);
        page.truncate(PAGE);
        Ok(page)
    }
}

impl Batch {
    /// What is stored of `key`, with what this batch has changed.
    fn record(&self, key: ClaimKey) -> Result<Option<Record>, Fault> {
        match self.changes.claims.get(&key) {
            Some(change) => Ok(change.record.as_ref().map(|(record, _)| record.clone())),
            None => self.view.record(key),
        }
    }

    /// Whose `alias` is, with what this batch has changed.
    fn owner(&self, alias: ClaimKey) -> Result<Option<ClaimKey>, Fault> {
        match self.changes.aliases.get(&alias) {
            Some(owner) => Ok(*owner),
            None => self.view.owner(alias),
        }
    }

    /// Changes what is remembered of `key`, `before` until now, to what a step left of it.
    fn put(
        &mut self,
        key: ClaimKey,
        origin: Origin,
        before: Option<&Record>,
        after: After,
    ) -> Result<(), Fault> {
        let record = match after {
            After::Same => return Ok(()),
            After::Nothing => None,
            After::Record(state) => {
                let record = Record { origin, state };
                let bytes = record::encode(key, &record)?;
                Some((record, bytes))
            }
        };
        let had = before.and_then(Record::alias);
        let has = record.as_ref().and_then(|(record, _)| record.alias());
        if had != has {
            let aliases = &mut self.changes.aliases;
            aliases.extend(had.map(|alias| (alias, None)));
            aliases.extend(has.map(|alias| (alias, Some(key))));
        }
        let stored = match self.changes.claims.get(&key) {
            Some(change) => change.stored,
            None => before.map(Filed::from),
        };
        self.changes.claims.insert(key, Change { stored, record });
        Ok(())
    }

    fn secret(&mut self, name: &'static str) -> Result<[u8; 32], Fault> {
        if let Some(secret) = self.changes.secrets.get(name) {
            return Ok(*secret);
        }
        if let Some(secret) = self.view.secret(name)? {
            return Ok(secret);
        }
        let mut secret = [0; 32];
        OsRng.try_fill_bytes(&mut secret).map_err(|error| {
            let reason = format!("the system gave no randomness: {error}");
            Error::Stopped { reason: reason.into() }
        })?;
        self.changes.secrets.insert(name, secret);
        Ok(secret)
    }

    /// Answers once the batch is stored; if it never is, dropping the reply says so. A fault of the disk is no answer.
    pub(super) fn answer<T: 'static>(
        &mut self,
        reply: Reply<T>,
        answer: Result<T, Fault>,
    ) -> Result<(), redb::Error> {
        let answer = match answer {
            Ok(answer) => Ok(answer),
            Err(Fault::Wish(error)) => Err(error),
            Err(Fault::Disk(error)) => return Err(error),
        };
        // Who has gone does not hear; a ticket in the answer is let go of by being dropped.
        self.answers.push(Box::new(move || drop(reply.send(answer))));
        Ok(())
    }
}

/// Whether a commit of those that wait would be one of few after one of many.
fn expects_more(crowd: usize, waiting: usize) -> bool {
    crowd >= CROWD && waiting < crowd.min(MOST_AWAITED)
}

/// One for the whole process, so that a ticket of one store means nothing to another.
static NEXT_HOLD: AtomicU64 = AtomicU64::new(0);

/// Wishes in one commit at most, so that the first of them does not wait for a crowd.
const BATCH: usize = 1024;

/// From so many wishes a commit on, the next commit waits for its own; for no more than so many, and no longer than a few
/// naps. A commit takes a fifth of a millisecond at the least.
const CROWD: usize = 8;
const MOST_AWAITED: usize = 32;
const NAP: Duration = Duration::from_micros(100);
const NAPS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_waited_for_and_nobody_alone() {
        for (crowd, waiting, expected) in [
            (0, 0, false),
            (1, 0, false),
            (CROWD - 1, 0, false),
            (CROWD, 0, true),
            (CROWD, CROWD - 1, true),
            (CROWD, CROWD, false),
            (BATCH, MOST_AWAITED - 1, true),
            (BATCH, MOST_AWAITED, false),
        ] {
            assert_eq!(expects_more(crowd, waiting), expected, "{crowd} {waiting}");
        }
    }
}

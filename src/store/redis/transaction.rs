//! What one verb does to records: carried out on a draft, and again on another if somebody was faster.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    envelope::{Entry, Key, corrupt},
    fence::Fence,
    promise::Epoch,
    record::{Claimed, Record},
};
use crate::{
    protocol::{money::Amount, stellar::ContractId},
    store::{
        ClaimKey, Error, Notice,
        channel::Account,
        claim::NEVER,
        time::{CLOCK_SLACK_SECONDS, Time},
    },
};

pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// The records that are known; one that is not is taken for absent, which the server then denies.
pub(super) type View = HashMap<Key, Entry>;

/// What the rules need to know besides the records.
#[derive(Debug)]
pub(super) struct Facts {
    /// The server's clock, in milliseconds since 1970: the one that leases run by.
    pub(super) server_now: u64,
    /// The epoch that it is in.
    pub(super) epoch: Option<Epoch>,
    /// How long a claim is held without being renewed.
    pub(super) lease: Duration,
    /// The time as claims tell it: the one that records are kept by.
    pub(super) time: Time,
    pub(super) witness: Witness,
}

/// What each channel was seen to have authorised, on whichever server; it never falls. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Witness(Arc<Mutex<HashMap<ContractId, Amount>>>);

impl Witness {
    /// The most that was seen, nothing at first.
    pub(super) fn of(&self, channel: ContractId) -> Amount {
        self.seen().get(&channel).copied().unwrap_or_default()
    }

    pub(super) fn saw(&self, channel: ContractId, authorised: Amount) {
        let mut seen = self.seen();
        let most = seen.entry(channel).or_default();
        *most = (*most).max(authorised);
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<ContractId, Amount>> {
        // Nothing in here can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records as some verbs have read them, and as they want them to be. All of them become so in one step, if none of
/// those that were read has changed; else nothing does.
pub(super) struct Draft<'a> {
    view: &'a View,
    pub(super) facts: &'a mut Facts,
    /// What was read or written: the draft holds only if it is still as it was.
    read: BTreeSet<Key>,
    writes: BTreeMap<Key, Write>,
    /// What is told with it.
    told: Vec<Notice>,
}

/// A record as it shall be.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) record: Record,
    /// After which it may be forgotten.
    pub(super) life: Option<Duration>,
}

impl Facts {
    /// Of a server that is not known yet.
    pub(super) fn new(lease: Duration, witness: Witness) -> Self {
        let time = Time::new(CLOCK_SLACK_SECONDS);
        Self { server_now: 0, epoch: None, lease, time, witness }
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(view: &'a View, facts: &'a mut Facts) -> Self {
        Self { view, facts, read: BTreeSet::new(), writes: BTreeMap::new(), told: Vec::new() }
    }

    /// What was read or written, what of that was written, and what is told.
    pub(super) fn into_parts(self) -> (BTreeSet<Key>, BTreeMap<Key, Write>, Vec<Notice>) {
        (self.read, self.writes, self.told)
    }

    /// Puts notices into the outbox, in the step that makes the records what they shall be.
    pub(super) fn tell(&mut self, notices: &[Notice]) {
        self.told.extend_from_slice(notices);
    }

    fn get(&mut self, key: Key) -> Result<Option<&Record>, Error> {
        self.read.insert(key);
        if let Some(write) = self.writes.get(&key) {
            return Ok(Some(&write.record));
        }
        match self.view.get(&key).map(|entry| &entry.record) {
            None => Ok(None),
            Some(Ok(record)) => Ok(Some(record)),
            Some(Err(error)) => Err(error.clone()),
        }
    }

    pub(super) fn claimed(&mut self, claim: ClaimKey) -> Result<Option<Claimed>, Error> {
        let key = Key::Claim(claim);
        match self.get(key)? {
            None => Ok(None),
            Some(Record::Claim(claimed)) => Ok(Some(claimed.clone())),
            Some(_) => Err(corrupt(key)),
        }
    }

    pub(super) fn owner(&mut self, alias: ClaimKey) -> Result<Option<ClaimKey>, Error> {
        let key = Key::Alias(alias);
        match self.get(key)? {
            None => Ok(None),
            Some(Record::Alias(owner)) => Ok(Some(*owner)),
            Some(_) => Err(corrupt(key)),
        }
    }

    pub(super) fn secret(&mut self, name: &'static str) -> Result<Option<[u8; 32]>, Error> {
        let key = Key::Secret(name);
        match self.get(key)? {
            None => Ok(None),
            Some(Record::Secret(secret)) => Ok(Some(*secret)),
            Some(_) => Err(corrupt(key)),
        }
    }

    pub(super) fn account(&mut self, channel: ContractId) -> Result<Option<&Account>, Error> {
        let key = Key::Account(channel);
        match self.get(key)? {
            None => Ok(None),
            Some(Record::Account(account)) => Ok(Some(account)),
            Some(_) => Err(corrupt(key)),
        }
    }

    /// Nobody's while there is none.
    pub(super) fn fence(&mut self) -> Result<Fence, Error> {
        match self.get(Key::Fence)? {
            None => Ok(Fence::default()),
            Some(Record::Fence(fence)) => Ok(fence.clone()),
            Some(_) => Err(corrupt(Key::Fence)),
        }
    }

    /// Writes a claim, and its alias while that is taken by it. They are kept while the claim is pending, and as long as it
    /// is due otherwise.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; nothing is written then.
    pub(super) fn put_claimed(&mut self, key: ClaimKey, claimed: Claimed) -> Result<(), Error> {
        let record = Record::Claim(claimed.clone());
        super::record::encode(Key::Claim(key), &record, &mut Vec::new())?;
        let due = claimed.record().map_or(0, |record| record.due());
        let left = due.saturating_sub(self.facts.time.now());
        // As long as a holder may yet come back, it stands; and a little longer than it must.
        let life = (due != NEVER && left < FOREVER_SECONDS)
            .then(|| Duration::from_secs(left).max(self.facts.lease).saturating_add(MARGIN));
        if let Some(alias) = claimed.origin.alias
            && (claimed.holder.is_some() || claimed.record().is_some_and(|it| it.alias().is_some()))
        {
            // One that does not read is not written over.
            self.owner(alias)?;
            self.writes.insert(Key::Alias(alias), Write { record: Record::Alias(key), life });
        }
        self.read.insert(Key::Claim(key));
        self.writes.insert(Key::Claim(key), Write { record, life });
        Ok(())
    }

    pub(super) fn put_secret(&mut self, name: &'static str, secret: [u8; 32]) {
        self.read.insert(Key::Secret(name));
        let record = Record::Secret(secret);
        self.writes.insert(Key::Secret(name), Write { record, life: None });
    }

    /// # Errors
    /// [`Error::TooLarge`]; nothing is written then.
    pub(super) fn put_fence(&mut self, fence: Fence) -> Result<(), Error> {
        let record = Record::Fence(fence);
        super::record::encode(Key::Fence, &record, &mut Vec::new())?;
        self.read.insert(Key::Fence);
        self.writes.insert(Key::Fence, Write { record, life: None });
        Ok(())
    }

    /// Has an account, as it is, end after `life`.
    pub(super) fn end_account(&mut self, channel: ContractId, account: Account, life: Duration) {
        self.put_account(channel, account);
        if let Some(write) = self.writes.get_mut(&Key::Account(channel)) {
            write.life = Some(life);
        }
    }

    pub(super) fn put_account(&mut self, channel: ContractId, account: Account) {
        self.read.insert(Key::Account(channel));
        let record = Record::Account(Arc::new(account));
        self.writes.insert(Key::Account(channel), Write { record, life: None });
    }
}

/// A verb that waits to be carried out, and its caller.
pub(super) trait Transaction: Send {
    /// The records that it is about; it may read others.
    fn keys(&self) -> &[Key];

    /// Carries it out on a draft. What it says last holds.
    fn plan(&mut self, draft: &mut Draft<'_>);

    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;

    /// Tells the caller, once what it planned last is stored or will never be.
    fn finish(self: Box<Self>, stored: Result<(), Error>);

    /// A copy to be tried later, if it must be carried out though nobody waits for it.
    fn later(&self) -> Option<Box<dyn Transaction>> {
        None
    }
}

/// A verb with an answer.
pub(super) struct Asked<T, F> {
    keys: Vec<Key>,
    verb: F,
    reply: Reply<T>,
    answer: Option<Result<T, Error>>,
}

impl<T, F> Asked<T, F>
where
    F: FnMut(&mut Draft<'_>) -> Result<T, Error>,
{
    pub(super) const fn new(keys: Vec<Key>, verb: F, reply: Reply<T>) -> Self {
        Self { keys, verb, reply, answer: None }
    }
}

impl<T, F> Transaction for Asked<T, F>
where
    T: Send,
    F: FnMut(&mut Draft<'_>) -> Result<T, Error> + Send,
{
    fn keys(&self) -> &[Key] {
        &self.keys
    }

    fn plan(&mut self, draft: &mut Draft<'_>) {
        self.answer = Some((self.verb)(draft));
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn finish(self: Box<Self>, stored: Result<(), Error>) {
        let Self { reply, answer, .. } = *self;
        let answer = match (stored, answer) {
            (Ok(()), Some(answer)) => answer,
            (Err(error), _) => Err(error),
            // Dropping the reply says that the store has stopped.
            (Ok(()), None) => return,
        };
        // Who has gone does not hear; what it would have held lets go of itself.
        drop(reply.send(answer));
    }
}

/// A verb that nobody waits for and that is carried out all the same.
#[derive(Clone)]
pub(super) struct Told<F> {
    pub(super) keys: Vec<Key>,
    pub(super) verb: F,
    /// Whether it is tried again later if it fails.
    pub(super) is_kept: bool,
}

impl<F> Transaction for Told<F>
where
    F: FnMut(&mut Draft<'_>) + Clone + Send + 'static,
{
    fn keys(&self) -> &[Key] {
        &self.keys
    }

    fn plan(&mut self, draft: &mut Draft<'_>) {
        (self.verb)(draft);
    }

    fn is_abandoned(&self) -> bool {
        false
    }

    fn finish(self: Box<Self>, _stored: Result<(), Error>) {}

    fn later(&self) -> Option<Box<dyn Transaction>> {
        let later: Box<dyn Transaction> = Box::new(self.clone());
        self.is_kept.then_some(later)
    }
}

/// Records that are kept longer than this are kept for good: 100 years.
const FOREVER_SECONDS: u64 = 100 * 366 * 24 * 3600;

/// The clocks of gateways differ.
const MARGIN: Duration = Duration::from_secs(3600);

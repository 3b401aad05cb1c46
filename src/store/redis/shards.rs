//! Which task serves which part of the store: one for each primary that has some of it.
//!
//! A server by itself, or one that Sentinels name, has all of the store. In a cluster the claims are in one slot, and each
//! channel is in one of its own; when slots are moved the parts are arranged anew, and whoever asks meanwhile is told that
//! the store is not available. Knows no record but by its key.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use redis::RedisError;
use secrecy::ExposeSecret as _;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{info, warn};

use super::{
    Durability, Holds, Settings,
    actor::{Actor, Shared},
    cluster::{Cluster, Primary},
    envelope::Key,
    exposure::{Exposure, Probe},
    gate::Gate,
    journal::Journal,
    lists::{Enlisted, List},
    promise::Epoch,
    slots::{CHANNELS, CLAIMS, COUNT, Shard, Slots, slot_of},
    transaction::{Asked, Draft, Facts, Reply, Transaction, Witness},
    warden::{self, Warden},
    whereabouts::Whereabouts,
    wish::{Queued, Standpoint, Wish},
};
use crate::{protocol::stellar::ContractId, store::Error, telemetry::metrics::Metrics};

/// All parts of a store.
pub(super) struct Shards {
    settings: Settings,
    cluster: Option<Arc<Cluster>>,
    /// Held while the table is changed.
    arranging: tokio::sync::Mutex<()>,
    table: ArcSwap<Table>,
    pub(super) enlisted: Enlisted,
    witness: Witness,
    pub(super) holds: Arc<Holds>,
    stopped: Arc<OnceLock<Arc<str>>>,
    /// Until it is closed: the journal is another's then.
    gate: ArcSwapOption<Gate>,
    exposure: Option<Exposure>,
    tasks: TaskTracker,
    over: CancellationToken,
    /// The tasks beside the actors end with it.
    _over: DropGuard,
}

/// The parts at one time.
pub(super) struct Table(Vec<Part>);

#[derive(Clone)]
struct Part {
    slots: Arc<Slots>,
    queue: mpsc::UnboundedSender<Queued>,
    /// Bounds the queue: one permit rides with everything in it.
    room: Arc<Semaphore>,
}

impl Table {
    pub(super) const fn count(&self) -> usize {
        self.0.len()
    }

    /// Has one part ask anew where its primary is.
    pub(super) fn look_elsewhere(&self, place: usize) {
        if let Some(part) = self.0.get(place) {
            // One that has ended looks nowhere.
            drop(part.queue.send(Queued { wish: Wish::Elsewhere, room: None }));
        }
    }

    /// Which part has the slot.
    pub(super) fn place(&self, slot: u16) -> Option<usize> {
        match self.0.as_slice() {
            // Whatever the slots: there is no cluster.
            [_] => Some(0),
            parts => parts.iter().position(|part| part.slots.contains(slot)),
        }
    }
}

impl Shards {
    /// Connects to every server, and asks each whether it keeps what the settings want kept.
    pub(super) async fn open(settings: Settings) -> Result<Arc<Self>, Error> {
        let gate = match &settings.durability {
            Durability::Replicated { journal, .. } => {
                let (path, prefix) = (journal.clone(), settings.prefix.clone());
                let opened = spawn_blocking(move || Journal::open(&path, &prefix)).await;
                let stopped = |error| Error::Stopped { reason: format!("{error}").into() };
                Some(Arc::new(Gate::new(opened.map_err(stopped)??)))
            }
            Durability::Single | Durability::BestEffort => None,
        };
        let exposure = (settings.durability == Durability::BestEffort).then(Exposure::default);
        let cluster = match settings.url.expose_secret().split_once("+cluster://") {
            Some((scheme, rest)) => {
                Some(Arc::new(Cluster::read(scheme, rest).map_err(|error| unreadable(&error))?))
            }
            None => None,
        };
        let over = CancellationToken::new();
        let shards = Self {
            settings,
            cluster,
            arranging: tokio::sync::Mutex::new(()),
            table: ArcSwap::from_pointee(Table(Vec::new())),
            enlisted: Enlisted::default(),
            witness: Witness::default(),
            holds: Arc::default(),
            stopped: Arc::default(),
            gate: ArcSwapOption::new(gate),
            exposure,
            tasks: TaskTracker::new(),
            over: over.clone(),
            _over: over.drop_guard(),
        };
        let parts = shards.first_parts().await?;
        let mut table = Vec::new();
        for shard in parts {
            let slots = shard.slots.clone().unwrap_or_else(|| Arc::new(Slots::all()));
            let mut actor = shards.actor(shard)?;
            // A future of many layers, which those of the callers need not contain.
            Box::pin(actor.start()).await?;
            table.push(shards.spawn(actor, slots));
        }
        shards.table.store(Arc::new(Table(table)));
        let shards = Arc::new(shards);
        if let Some(gate) = shards.gate() {
            let warden = Warden::new(gate, Arc::downgrade(&shards))?;
            shards.tasks.spawn(warden.run(shards.over.clone()));
        }
        if let Some(cluster) = &shards.cluster {
            let watch = watch(Arc::downgrade(&shards), Arc::clone(cluster));
            let over = shards.over.clone();
            shards.tasks.spawn(async move {
                let _ended: Option<()> = over.run_until_cancelled(watch).await;
            });
        }
        Ok(shards)
    }

    pub(super) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Where replicas may take over.
    pub(super) fn gate(&self) -> Option<Arc<Gate>> {
        self.gate.load_full()
    }

    pub(super) fn expose(&self, metrics: &Metrics) {
        if let Some(exposure) = &self.exposure {
            exposure.expose(metrics);
        }
    }

    /// Whether all parts are served.
    pub(super) fn is_running(&self) -> bool {
        self.stopped.get().is_none()
            && !self.table.load().0.iter().any(|part| part.queue.is_closed())
    }

    /// Lets go of everything in order.
    pub(super) async fn close(&self) -> Result<(), Error> {
        self.over.cancel();
        // After what was arranged last.
        let _arranging = self.arranging.lock().await;
        let table = self.table();
        let claims = table.place(slot_of(CLAIMS));
        let others = table.0.iter().enumerate().filter(|(place, _)| Some(*place) != claims);
        let closed =
            others.map(|(_, part)| self.ask_part(part, true, |reply| Wish::Close(None, reply)));
        let closed = futures_util::future::join_all(closed).await;
        let mut done = Ok(());
        let mut at = Vec::new();
        for closed in closed {
            match closed {
                Ok(standpoint) => at.push(standpoint),
                Err(error) => done = Err(error),
            }
        }
        if let Some(part) = claims.and_then(|place| table.0.get(place)) {
            let last = if done.is_ok() { self.farewell(&at) } else { None };
            let closed = self.ask_part(part, true, |reply| Wish::Close(last, reply)).await;
            done = closed.map(drop).and(done);
        }
        drop(table);
        // Whoever did not hear of it finds that nobody is left to ask.
        self.table.store(Arc::new(Table(Vec::new())));
        // One that waits for a server that is away ends in its own time.
        if done.is_ok() {
            self.tasks.close();
            self.tasks.wait().await;
        }
        self.gate.store(None);
        done
    }

    /// What has the other gateways wait for this one no more: whoever goes on has all that was said here. Unless this
    /// gateway has yet to reconcile, for then its journal is needed.
    fn farewell(&self, at: &[Option<Standpoint>]) -> Option<Box<dyn Transaction>> {
        let gate = self.gate()?;
        let is_open = |gate: &Gate, epoch: Option<Epoch>| {
            epoch.is_some_and(|epoch| gate.closed(epoch).is_none())
        };
        if !at.iter().all(|at| is_open(&gate, at.map(|at| at.epoch))) {
            return None;
        }
        let verb = move |draft: &mut Draft<'_>| match is_open(&gate, draft.facts.epoch) {
            true => warden::leave(draft, gate.journal().id()),
            // Another server has become the primary meanwhile.
            false => Ok(false),
        };
        // Should it fail, an operator has to say that it is gone.
        let (reply, _nobody) = oneshot::channel();
        Some(Box::new(Asked::new(vec![Key::Fence], verb, reply)))
    }

    /// Carries out a verb on records that are in one slot.
    pub(super) async fn transact<T: Send + 'static>(
        &self,
        keys: Vec<Key>,
        verb: impl FnMut(&mut Draft<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let slot = keys.first().map_or(0, |key| key.slot());
        self.ask(slot, |reply| Wish::Carry(Box::new(Asked::new(keys, verb, reply)))).await
    }

    /// Carries out a verb on one record, whatever the gate.
    pub(super) async fn reconcile<T: Send + 'static>(
        &self,
        key: Key,
        verb: impl FnMut(&mut Draft<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let wish = |reply| Wish::Reconcile(Box::new(Asked::new(vec![key], verb, reply)));
        let table = self.table();
        self.ask_part(self.part(&table, key.slot())?, false, wish).await
    }

    /// Which server a part is at.
    pub(super) async fn standpoint(
        &self,
        table: &Table,
        place: usize,
    ) -> Result<Standpoint, Error> {
        let part = table.0.get(place).ok_or_else(|| self.nobodys())?;
        self.ask_part(part, false, Wish::Epoch).await
    }

    /// Puts channels into their index, those that this gateway has not put there before.
    pub(super) async fn enlist(&self, mut channels: Vec<ContractId>) -> Result<(), Error> {
        channels.retain(|channel| !self.enlisted.has(*channel));
        if channels.is_empty() {
            return Ok(());
        }
        let wish = |reply| Wish::List(List::Enlist { channels, replies: vec![reply] });
        let table = self.table();
        self.ask_part(self.part(&table, slot_of(CHANNELS))?, false, wish).await
    }

    /// Has something done that nobody waits for.
    pub(super) fn tell(&self, slot: u16, transaction: Box<dyn Transaction>) {
        if let Ok(part) = self.part(&self.table.load(), slot) {
            drop(part.queue.send(Queued { wish: Wish::Carry(transaction), room: None }));
        }
    }

    /// Puts a wish into the queue of the part that has `slot`, as soon as there is room, and waits for the answer.
    pub(super) async fn ask<T>(
        &self,
        slot: u16,
        wish: impl FnOnce(Reply<T>) -> Wish,
    ) -> Result<T, Error> {
        let table = self.table();
        self.ask_part(self.part(&table, slot)?, true, wish).await
    }

    async fn ask_part<T>(
        &self,
        part: &Part,
        takes_room: bool,
        wish: impl FnOnce(Reply<T>) -> Wish,
    ) -> Result<T, Error> {
        let answered = async {
            let room = match takes_room {
                true => {
                    let room = Arc::clone(&part.room).acquire_owned().await;
                    Some(room.map_err(|_| self.stopped())?)
                }
                false => None,
            };
            let (reply, answer) = oneshot::channel();
            part.queue.send(Queued { wish: wish(reply), room }).map_err(|_| self.stopped())?;
            answer.await.map_err(|_| self.stopped())?
        };
        // What it may take itself, after what is under way.
        let waited = self.settings.timeout.saturating_mul(2);
        match timeout(waited, answered).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable { waited }),
        }
    }

    fn part<'t>(&self, table: &'t Table, slot: u16) -> Result<&'t Part, Error> {
        table.place(slot).and_then(|place| table.0.get(place)).ok_or_else(|| self.nobodys())
    }

    fn nobodys(&self) -> Error {
        if self.stopped.get().is_some() {
            return self.stopped();
        }
        if let Some(cluster) = &self.cluster {
            cluster.moved.notify_one();
        }
        Error::Unavailable { reason: NOBODYS.into() }
    }

    fn stopped(&self) -> Error {
        let reason = self.stopped.get().cloned();
        Error::Stopped { reason: reason.unwrap_or_else(|| "its task has ended".into()) }
    }

    /// What the store consists of at the start.
    async fn first_parts(&self) -> Result<Vec<Shard>, Error> {
        let prefix = &self.settings.prefix;
        let Some(cluster) = &self.cluster else { return Ok(vec![Shard::whole(prefix)]) };
        let patience = self.settings.timeout.max(START);
        let share = patience.checked_div(cluster.askable()).unwrap_or(patience);
        let mut lacking = "no node of the cluster says anything".to_owned();
        for _ in 0..cluster.askable() {
            match timeout(share, cluster.primaries()).await {
                Ok(Ok(primaries)) => {
                    let count: usize = primaries.iter().map(|primary| primary.slots.count()).sum();
                    if count == usize::from(COUNT) {
                        let shard = |primary: Primary| Shard::part(prefix, primary.slots);
                        return Ok(primaries.into_iter().map(shard).collect());
                    }
                    lacking = NOBODYS.to_owned();
                }
                Ok(Err(error)) => lacking = error.to_string(),
                Err(_) => {}
            }
        }
        Err(Error::Unavailable { reason: lacking.into() })
    }

    fn whereabouts(&self, shard: &Shard) -> Result<Whereabouts, Error> {
        match (&self.cluster, shard.slots.as_ref().and_then(|slots| slots.first())) {
            (Some(cluster), Some(slot)) => Ok(Whereabouts::Slot(Arc::clone(cluster), slot)),
            _ => Whereabouts::read(self.settings.url.expose_secret())
                .map_err(|error| unreadable(&error)),
        }
    }

    /// One that has not begun.
    fn actor(&self, shard: Shard) -> Result<Actor, Error> {
        let exposure = match &self.exposure {
            Some(exposure) => {
                let (exposure, over) = (exposure.of_another(), self.over.child_token());
                let (at, timeout) = (self.whereabouts(&shard)?, self.settings.timeout);
                let probe = Probe::new(exposure.clone(), at, shard.clone(), timeout);
                self.tasks.spawn(probe.run(over.clone()));
                Some((exposure, over.drop_guard()))
            }
            None => None,
        };
        let whereabouts = self.whereabouts(&shard)?;
        let has = |tag| shard.slots.as_ref().is_none_or(|slots| slots.contains(slot_of(tag)));
        let shared = Shared {
            holds: has(CLAIMS).then(|| Arc::clone(&self.holds)),
            enlisted: has(CHANNELS).then(|| self.enlisted.clone()),
            gate: self.gate(),
            exposure,
            stopped: Arc::clone(&self.stopped),
        };
        let facts = Facts::new(self.settings.lease, self.witness.clone());
        Ok(Actor::new(self.settings.clone(), (shard, whereabouts), shared, facts))
    }

    fn spawn(&self, actor: Actor, slots: Arc<Slots>) -> Part {
        let (queue, wishes) = mpsc::unbounded_channel();
        self.tasks.spawn(actor.run(wishes));
        Part { slots, queue, room: Arc::new(Semaphore::new(QUEUE)) }
    }

    /// Has a task for each of `primaries`. Those whose slots are as they were stay, whoever has them now.
    async fn arrange(&self, primaries: Vec<Primary>) -> Result<(), Error> {
        let _arranging = self.arranging.lock().await;
        if self.over.is_cancelled() {
            return Ok(());
        }
        let before = self.table();
        let same =
            |primary: &Primary| before.0.iter().find(|part| *part.slots == primary.slots).cloned();
        let kept: Vec<_> = primaries.iter().map(same).collect();
        if kept.iter().all(Option::is_some) && kept.len() == before.count() {
            return Ok(());
        }
        let mut parts = Vec::new();
        for (primary, kept) in primaries.into_iter().zip(kept) {
            parts.push(match kept {
                Some(part) => part,
                None => {
                    let shard = Shard::part(&self.settings.prefix, primary.slots);
                    let slots = shard.slots.clone().unwrap_or_default();
                    self.spawn(self.actor(shard)?, slots)
                }
            });
        }
        info!(primaries = parts.len(), "the slots of the cluster are arranged anew");
        // Tasks that have no part any more do what they were asked for, and end.
        self.table.store(Arc::new(Table(parts)));
        Ok(())
    }
}

/// Looks now and then, and whenever somebody was told that a slot is elsewhere, which primaries the cluster has.
async fn watch(shards: Weak<Shards>, cluster: Arc<Cluster>) {
    let mut checked = Instant::now();
    loop {
        // Nobody who asks keeps the store alive.
        let told = timeout(PATIENCE, cluster.primaries()).await;
        let Some(shards) = shards.upgrade() else { return };
        match told {
            Ok(Ok(primaries)) => {
                if let Err(error) = shards.arrange(primaries).await {
                    warn!(%error, "the slots of the cluster cannot be arranged anew");
                }
            }
            // The next node may know.
            Ok(Err(_)) | Err(_) => cluster.moved.notify_one(),
        }
        if checked.elapsed() > SURVEY {
            // A primary may have got a replica, which is not relied upon at every durability.
            checked = Instant::now();
            let table = shards.table();
            let asked = (0..table.count()).map(|place| shards.standpoint(&table, place));
            drop(futures_util::future::join_all(asked).await);
        }
        drop(shards);
        sleep(PAUSE).await;
        // As good as being told.
        drop(timeout(SURVEY, cluster.moved.notified()).await);
    }
}

/// Its message says nothing of the URL itself, which may hold a password.
fn unreadable(error: &RedisError) -> Error {
    Error::Unavailable { reason: format!("its URL does not read: {error}").into() }
}

/// Wishes that may wait; a caller beyond them waits for room.
const QUEUE: usize = 4096;

/// How long it may take at least to find the nodes of a cluster.
const START: Duration = Duration::from_secs(5);

/// How long a node may take to say which slots are where.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two questions at least.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two questions at most.
const SURVEY: Duration = Duration::from_secs(5);

const NOBODYS: &str =
    "some slots of the cluster belong to nobody: see `valkey-cli --cluster check`";

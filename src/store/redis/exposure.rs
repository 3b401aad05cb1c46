//! What a server that promises nothing may yet lose: the value of payments from channels that it acknowledged and that
//! it, or a replica of it, does not have on its disk.
//!
//! A task of its own asks the server now and then; until the answer is there, all that was paid since the last one counts
//! as exposed. On a server that cannot say (without an append-only file, or before Redis 7.2) that is everything that was
//! paid since this gateway started. In a cluster each shard is asked by itself, and what is told is the sum. Knows of the
//! payments of this gateway alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{AsyncConnectionConfig, Pipeline, aio::MultiplexedConnection};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Durability,
    promise::{Epoch, Promise},
    slots::Shard,
    whereabouts::Whereabouts,
};
use crate::{
    protocol::stellar::ContractId,
    telemetry::metrics::{Counter, Gauge, Metrics},
};

/// What is exposed of one shard. Clones share it, and all shards of a store share what is told of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Exposure {
    state: Arc<Mutex<State>>,
    told: Arc<Told>,
}

/// What is told of all shards.
#[derive(Debug, Default)]
struct Told {
    total: Mutex<i128>,
    exposed: Gauge,
    lost: Counter,
}

#[derive(Debug, Default)]
struct State {
    /// The server that has what is exposed.
    epoch: Option<Epoch>,
    /// What each channel has spent since the server was asked last, in base units: below zero where more was given back.
    since: HashMap<ContractId, i128>,
    /// What it had spent before, and since the last time that all of it was on all disks.
    before: HashMap<ContractId, i128>,
    /// What is exposed of all channels.
    total: i128,
}

/// Asks the server now and then, until it is cancelled.
pub(super) struct Probe {
    exposure: Exposure,
    whereabouts: Whereabouts,
    shard: Shard,
    patience: Duration,
    connected: Option<(MultiplexedConnection, Promise)>,
}

impl Exposure {
    /// That of another shard of the same store.
    pub(super) fn of_another(&self) -> Self {
        Self { state: Arc::default(), told: Arc::clone(&self.told) }
    }

    /// Has `metrics` tell what is exposed, and what was when another server took over.
    pub(super) fn expose(&self, metrics: &Metrics) {
        let exposed = "What was paid from channels and a server that takes over may not have";
        metrics.add_gauge("store_exposed_base_units", exposed, &self.told.exposed);
        let lost = "What was exposed whenever another server took over";
        metrics.add_counter("store_lost_base_units", lost, &self.told.lost);
    }

    /// A server in `epoch` is connected: if it is another one, what was exposed may be lost.
    pub(super) fn connected(&self, epoch: Epoch) {
        let mut state = self.state();
        if state.epoch == Some(epoch) {
            return;
        }
        let lost = state.total;
        *state = State { epoch: Some(epoch), ..State::default() };
        self.told.change(lost.saturating_neg());
        if lost > 0 {
            warn!(
                base_units = lost,
                "another server took over, which may lack so much that was paid"
            );
            self.told.lost.add(&[], u64::try_from(lost).unwrap_or(u64::MAX));
        }
    }

    /// What channels have spent more, or less, than before, as the server has acknowledged.
    pub(super) fn spent(&self, changes: impl IntoIterator<Item = (ContractId, i128)>) {
        let mut state = self.state();
        let before = state.total;
        for (channel, change) in changes {
            let exposed = state.of(channel);
            let since = state.since.entry(channel).or_default();
            *since = since.saturating_add(change);
            let change = state.of(channel).saturating_sub(exposed);
            state.total = state.total.saturating_add(change);
        }
        self.told.change(state.total.saturating_sub(before));
    }

    /// What is asked about from now on: all that was spent until now. `None` if that is nothing.
    fn ask(&self) -> Option<Epoch> {
        let mut state = self.state();
        let State { since, before, epoch, .. } = &mut *state;
        for (channel, change) in since.drain() {
            let sum = before.entry(channel).or_default();
            *sum = sum.saturating_add(change);
        }
        if before.is_empty() { None } else { *epoch }
    }

    /// What was asked about is on all disks of the servers in `epoch`.
    fn is_safe(&self, asked: Epoch) {
        let mut state = self.state();
        if state.epoch == Some(asked) {
            let before = state.total;
            state.before.clear();
            let rest = state.since.values().map(|since| (*since).max(0));
            state.total = rest.fold(0, i128::saturating_add);
            self.told.change(state.total.saturating_sub(before));
        }
    }

    /// What was exposed of a shard that is one no more is not told any more.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        let before = std::mem::take(&mut *state).total;
        self.told.change(before.saturating_neg());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn change(&self, by: i128) {
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        *total = total.saturating_add(by);
        self.exposed.set(&[], *total);
    }
}

impl State {
    /// What is exposed of one channel.
    fn of(&self, channel: ContractId) -> i128 {
        let of = |map: &HashMap<_, _>| map.get(&channel).copied().unwrap_or(0_i128);
        of(&self.before).saturating_add(of(&self.since)).max(0)
    }
}

impl Probe {
    pub(super) fn new(
        exposure: Exposure,
        whereabouts: Whereabouts,
        shard: Shard,
        timeout: Duration,
    ) -> Self {
        let patience = timeout.max(LEAST_PATIENCE);
        Self { exposure, whereabouts, shard, patience, connected: None }
    }

    pub(super) async fn run(mut self, stopped: CancellationToken) {
        // Cancelled it says nothing, and it never ends by itself.
        let _never: Option<()> = stopped.run_until_cancelled(self.go_on()).await;
    }

    async fn go_on(&mut self) {
        loop {
            sleep(PAUSE).await;
            let Some(epoch) = self.exposure.ask() else { continue };
            let now = Instant::now();
            let deadline = now.checked_add(self.patience).unwrap_or(now);
            match timeout_at(deadline, self.is_on_all_disks(epoch)).await {
                Ok(Some(true)) => self.exposure.is_safe(epoch),
                Ok(Some(false)) => {}
                // Whatever it was, another connection may know more.
                Ok(None) | Err(_) => {
                    self.connected = None;
                    sleep(AWAY).await;
                }
            }
        }
    }

    /// Whether all that the server has is on its disk and on those of its replicas; `None` if it cannot be asked, or is
    /// another one.
    async fn is_on_all_disks(&mut self, epoch: Epoch) -> Option<bool> {
        if self.connected.is_none() {
            self.connected = Some(self.connect().await?);
        }
        let (connection, promise) = self.connected.as_mut()?;
        if promise.epoch != epoch {
            return None;
        }
        let mut asked = Pipeline::new();
        asked.cmd("INFO").arg("replication");
        let replication = connection.send_packed_commands(&asked, 0, 1).await.ok()?.pop()?;
        promise.expect_all(replication).ok()?;
        let mut asked = Pipeline::new();
        let patience = u64::try_from(self.patience.mul_f32(0.5).as_millis()).unwrap_or(u64::MAX);
        promise.ask_copies(&mut asked, &self.shard, patience);
        let mut told = connection.send_packed_commands(&asked, 0, asked.len()).await.ok()?;
        Some(promise.read_copies(&mut told, 0).is_ok())
    }

    async fn connect(&mut self) -> Option<(MultiplexedConnection, Promise)> {
        let limits =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let client = self.whereabouts.primary().await.ok()?;
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&limits).await.ok()?;
        let mut asked = Pipeline::new();
        Promise::ask(&mut asked, &Durability::Single, &self.shard);
        let told = connection.send_packed_commands(&asked, 0, asked.len()).await.ok()?;
        let promise = Promise::of_anything(told, &self.shard)?;
        Some((connection, promise))
    }
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// After one that could not be asked.
const AWAY: Duration = Duration::from_secs(1);

/// A disk that is synced once a second takes so long.
const LEAST_PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Epoch = Epoch([1; 16]);
    const THERE: Epoch = Epoch([2; 16]);

    fn channel(number: u8) -> ContractId {
        ContractId([number; 32])
    }

    fn total(exposure: &Exposure) -> i128 {
        exposure.state().total
    }

    #[test]
    fn what_is_paid_is_exposed_until_the_server_says_otherwise() {
        let exposure = Exposure::default();
        exposure.connected(HERE);
        assert_eq!(exposure.ask(), None);
        exposure.spent([(channel(1), 5), (channel(2), 3)]);
        assert_eq!(exposure.ask(), Some(HERE));
        // What comes while the server is asked is not what it was asked about.
        exposure.spent([(channel(1), 2)]);
        assert_eq!(total(&exposure), 10);
        exposure.is_safe(HERE);
        assert_eq!(total(&exposure), 2);
        // What is given back of it pays for nothing else.
        exposure.spent([(channel(1), -2), (channel(2), -3), (channel(3), 1)]);
        assert_eq!(total(&exposure), 1);
    }

    #[test]
    fn what_was_exposed_when_another_server_takes_over_is_told_once() {
        let exposure = Exposure::default();
        let metrics = Metrics::default();
        exposure.expose(&metrics);
        exposure.connected(HERE);
        exposure.spent([(channel(1), 5)]);
        exposure.connected(HERE);
        assert_eq!(exposure.ask(), Some(HERE));
        assert!(metrics.text().contains("store_exposed_base_units{} 5"), "{}", metrics.text());
        exposure.connected(THERE);
        exposure.is_safe(HERE);
        exposure.connected(THERE);
        let text = metrics.text();
        assert!(text.contains("store_exposed_base_units{} 0"), "{text}");
        assert!(text.contains("store_lost_base_units_total{} 5"), "{text}");
        exposure.spent([(channel(1), 1)]);
        // Of another shard as much is told besides.
        let other = exposure.of_another();
        other.connected(HERE);
        other.spent([(channel(9), 7)]);
        assert!(metrics.text().contains("store_exposed_base_units{} 8"), "{}", metrics.text());
        other.forget();
        assert!(metrics.text().contains("store_exposed_base_units{} 1"), "{}", metrics.text());
        assert_eq!(exposure.ask(), Some(THERE));
        // An answer of the other one says nothing of this one.
        exposure.is_safe(HERE);
        assert_eq!(total(&exposure), 1);
    }
}

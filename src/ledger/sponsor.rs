//! Sponsors and their lanes: accounts that send transactions side by side while the sponsor pays.
//!
//! The network takes one transaction an account and ledger, so one key alone settles one payment every five seconds. A
//! sponsor therefore owns lanes: accounts derived from its seed, which hold a reserve and nothing else, and whose
//! transactions it fee-bumps. A lane is held by one payment at a time; after a transaction whose fate is unknown it rests
//! until that transaction cannot land any more, and then reads its sequence anew.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand_core::{OsRng, RngCore as _};
use stellar_xdr as xdr;
use tokio::sync::{Notify, Semaphore};

use super::signer::Seed;
use crate::protocol::stellar::{AccountId, Network};

/// All lanes of all sponsors. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Lanes(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    all: Vec<Arc<LaneKeys>>,
    state: Mutex<State>,
    /// As many permits as lanes are ready; first come, first served.
    ready: Semaphore,
    /// Places for those that wait.
    queue: Semaphore,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<(Arc<LaneKeys>, i64)>,
    resting: Vec<Resting>,
}

#[derive(Debug)]
struct Resting {
    keys: Arc<LaneKeys>,
    until: u64,
}

/// The keys of a lane and of the sponsor that pays for it.
#[derive(Debug)]
pub(super) struct LaneKeys {
    /// Pays the fees.
    pub(super) sponsor: Seed,
    /// Signs as the transaction's source.
    pub(super) seed: Seed,
}

/// A lane that nobody else uses until this is dropped.
#[derive(Debug)]
pub(super) struct HeldLane {
    lanes: Lanes,
    keys: Arc<LaneKeys>,
    sequence: i64,
    fate: Fate,
}

/// What became of the lane's next sequence number.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It was not used.
    Free,
    /// It was used.
    Landed,
    /// It may be used until this time, in Unix seconds.
    Sent { until: u64 },
    /// The one we had in mind was wrong.
    Wrong,
}

/// Why there is no lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Busy {
    /// Too many wait already.
    #[error("too many payments wait for a lane")]
    Queue,
    /// None became free in time.
    #[error("no lane became free in time")]
    Lanes,
}

impl Lanes {
    /// `count` lanes for each sponsor. None is ready before its account was seen: see [`Lanes::due`].
    pub(super) fn new(sponsors: &[Seed], count: u32, network: Network) -> Self {
        let mut all: Vec<_> = sponsors
            .iter()
            .flat_map(|sponsor| {
                (0..count).map(|index| {
                    let seed = lane(sponsor, network, index);
                    Arc::new(LaneKeys { sponsor: sponsor.clone(), seed })
                })
            })
            .collect();
        shuffle(&mut all);
        let resting = all.iter().map(|keys| Resting { keys: keys.clone(), until: 0 }).collect();
        let places = all.len().saturating_mul(WAITING_PER_LANE);
        Self(Arc::new(Pool {
            all,
            state: Mutex::new(State { ready: VecDeque::new(), resting }),
            ready: Semaphore::new(0),
            queue: Semaphore::new(places),
            wake: Notify::new(),
        }))
    }

    /// The accounts of all lanes.
    pub(super) fn accounts(&self) -> impl Iterator<Item = AccountId> + '_ {
        self.0.all.iter().map(|keys| keys.seed.account())
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.all.len()
    }

    /// Waits for a lane, at most for `patience`.
    ///
    /// # Cancellation
    /// Nothing is lost; the place in the queue is given up.
    pub(super) async fn acquire(&self, patience: Duration) -> Result<HeldLane, Busy> {
        let _place = self.0.queue.try_acquire().map_err(|_| Busy::Queue)?;
        let permit = tokio::time::timeout(patience, self.0.ready.acquire()).await;
        permit.map_err(|_| Busy::Lanes)?.map_err(|_| Busy::Lanes)?.forget();
        let (keys, sequence) = self.lock().ready.pop_front().ok_or(Busy::Lanes)?;
        Ok(HeldLane { lanes: self.clone(), keys, sequence, fate: Fate::Free })
    }

    /// Takes the resting lanes whose time has come at `now`; each must come back by [`Lanes::admit`] or [`Lanes::rest`].
    pub(super) fn due(&self, now: u64) -> Vec<Arc<LaneKeys>> {
        let mut state = self.lock();
        let (due, resting) =
            std::mem::take(&mut state.resting).into_iter().partition(|lane| lane.until <= now);
        state.resting = resting;
        let due: Vec<Resting> = due;
        due.into_iter().map(|lane| lane.keys).collect()
    }

    /// Whether at least one lane is ready or in use.
    pub(super) fn some_work(&self) -> bool {
        self.lock().resting.len() < self.0.all.len()
    }

    /// A lane is ready; its account's last used sequence number is `sequence`.
    pub(super) fn admit(&self, keys: Arc<LaneKeys>, sequence: i64) {
        self.lock().ready.push_back((keys, sequence));
        self.0.ready.add_permits(1);
    }

    /// A lane is not ready before `until`, in Unix seconds.
    pub(super) fn rest(&self, keys: Arc<LaneKeys>, until: u64) {
        self.lock().resting.push(Resting { keys, until });
    }

    /// Has all ready lanes looked up anew: another gateway uses them too, or one of them would not be out of step.
    fn look_again(&self) {
        let mut state = self.lock();
        while let Ok(permit) = self.0.ready.try_acquire() {
            permit.forget();
            let Some((keys, _)) = state.ready.pop_front() else { break };
            state.resting.push(Resting { keys, until: 0 });
        }
        drop(state);
        self.0.wake.notify_one();
    }

    /// Waits until a lane has something to be looked after at once.
    pub(super) async fn woken(&self) {
        self.0.wake.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldLane {
    /// The keys to sign with.
    pub(super) fn keys(&self) -> &LaneKeys {
        &self.keys
    }

    /// The sequence number of the next transaction.
    pub(super) const fn next_sequence(&self) -> i64 {
        self.sequence.saturating_add(1)
    }

    /// The next transaction is about to be sent, and can land until `until`, in Unix seconds.
    pub(super) const fn sending(&mut self, until: u64) {
        self.fate = Fate::Sent { until };
    }

    /// It landed: it did what it says, or failed.
    pub(super) fn landed(mut self) {
        self.fate = Fate::Landed;
    }

    /// It never reached the network.
    pub(super) fn unsent(mut self) {
        self.fate = Fate::Free;
    }

    /// The network says that the sequence number is not the next one.
    pub(super) fn out_of_step(mut self) {
        self.fate = Fate::Wrong;
    }
}

impl Drop for HeldLane {
    fn drop(&mut self) {
        let keys = self.keys.clone();
        match self.fate {
            Fate::Free => self.lanes.admit(keys, self.sequence),
            Fate::Landed => self.lanes.admit(keys, self.next_sequence()),
            Fate::Sent { until } => self.lanes.rest(keys, until.saturating_add(REST_SECONDS)),
            Fate::Wrong => {
                self.lanes.rest(keys, 0);
                self.lanes.look_again();
            }
        }
    }
}

/// The key of a lane of `sponsor`.
pub(super) fn lane(sponsor: &Seed, network: Network, index: u32) -> Seed {
    sponsor.derive(network, "lane", index)
}

/// Puts the lanes in an order that another gateway with the same sponsor does not have, so that the two seldom meet.
fn shuffle(lanes: &mut [Arc<LaneKeys>]) {
    for end in (1..lanes.len()).rev() {
        let drawn = usize::try_from(OsRng.next_u32()).unwrap_or_default();
        let other = drawn.checked_rem(end.saturating_add(1)).unwrap_or_default();
        lanes.swap(end, other);
    }
}

/// The transaction that creates `lanes`, at most 100, from their sponsor's funds; not signed yet.
///
/// Each gets the minimum balance. If one exists already, all of them fail: look again then.
pub(super) fn creation(
    sponsor: AccountId,
    sequence: i64,
    lanes: &[AccountId],
    valid_until: u64,
) -> xdr::Transaction {
    let operations: Vec<_> = lanes
        .iter()
        .map(|lane| xdr::Operation {
            source_account: None,
            body: xdr::OperationBody::CreateAccount(xdr::CreateAccountOp {
                destination: lane.to_xdr(),
                starting_balance: LANE_STROOPS,
            }),
        })
        .collect();
    let count = u32::try_from(operations.len()).unwrap_or(u32::MAX);
    xdr::Transaction {
        source_account: sponsor.to_muxed(),
        fee: CREATION_BID.saturating_mul(count),
        seq_num: xdr::SequenceNumber(sequence),
        cond: xdr::Preconditions::Time(xdr::TimeBounds {
            min_time: xdr::TimePoint(0),
            max_time: xdr::TimePoint(valid_until),
        }),
        memo: xdr::Memo::None,
        operations: operations.try_into().expect("the caller sends at most 100"),
        ext: xdr::TransactionExt::V0,
    }
}

/// The minimum balance of an account without subentries: two base reserves.
pub(super) const LANE_STROOPS: i64 = 10_000_000;
/// The most lanes that one transaction creates.
pub(super) const MOST_CREATED: usize = 100;
/// The most that the creation of a lane may cost in fees; the network charges what is usual, 100.
const CREATION_BID: u32 = 5_000;
/// Eight ledgers' worth of patience for each lane.
const WAITING_PER_LANE: usize = 8;
/// The network's clock may be behind ours.
const REST_SECONDS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn lanes(count: u32) -> Lanes {
        let lanes = Lanes::new(&[Seed::from_bytes(&[1; 32])], count, Network::Testnet);
        for keys in lanes.due(0) {
            lanes.admit(keys, 7);
        }
        lanes
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_belongs_to_one_at_a_time() {
        let lanes = lanes(2);
        let one = lanes.acquire(PATIENCE).await.unwrap();
        let two = lanes.acquire(PATIENCE).await.unwrap();
        assert_ne!(one.keys().seed.account(), two.keys().seed.account());
        assert_eq!(lanes.acquire(PATIENCE).await.err(), Some(Busy::Lanes));
        let account = one.keys().seed.account();
        drop(one);
        assert_eq!(lanes.acquire(PATIENCE).await.unwrap().keys().seed.account(), account);
    }

    #[tokio::test(start_paused = true)]
    async fn the_sequence_moves_on_only_when_it_was_used() {
        let lanes = lanes(1);
        assert_eq!(lanes.acquire(PATIENCE).await.unwrap().next_sequence(), 8);
        let mut held = lanes.acquire(PATIENCE).await.unwrap();
        held.sending(1_000);
        held.unsent();
        let held = lanes.acquire(PATIENCE).await.unwrap();
        assert_eq!(held.next_sequence(), 8);
        held.landed();
        assert_eq!(lanes.acquire(PATIENCE).await.unwrap().next_sequence(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_with_an_unknown_transaction_rests_until_that_cannot_land() {
        let lanes = lanes(1);
        let mut held = lanes.acquire(PATIENCE).await.unwrap();
        held.sending(1_000);
        drop(held);
        assert_eq!(lanes.acquire(PATIENCE).await.err(), Some(Busy::Lanes));
        assert!(lanes.due(1_000 + REST_SECONDS - 1).is_empty());
        let due = lanes.due(1_000 + REST_SECONDS);
        assert_eq!(due.len(), 1);
        lanes.admit(due[0].clone(), 8);
        assert_eq!(lanes.acquire(PATIENCE).await.unwrap().next_sequence(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_out_of_step_has_all_idle_lanes_looked_up_at_once() {
        let lanes = lanes(3);
        let held = lanes.acquire(PATIENCE).await.unwrap();
        lanes.acquire(PATIENCE).await.unwrap().out_of_step();
        lanes.woken().await;
        assert_eq!(lanes.acquire(PATIENCE).await.err(), Some(Busy::Lanes));
        let due = lanes.due(0);
        assert_eq!(due.len(), 2, "all but the one in use");
        for keys in due {
            lanes.admit(keys, 9);
        }
        assert_eq!(held.next_sequence(), 8);
        assert_eq!(lanes.acquire(PATIENCE).await.unwrap().next_sequence(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_has_an_end() {
        let lanes = lanes(1);
        let _held = lanes.acquire(PATIENCE).await.unwrap();
        let waiting: Vec<_> =
            (0..WAITING_PER_LANE).map(|_| Box::pin(lanes.acquire(PATIENCE))).collect();
        let mut waiting = futures_util::future::join_all(waiting);
        tokio::select! {
            biased;
            _ = &mut waiting => unreachable!("nobody lets go"),
            verdict = lanes.acquire(PATIENCE) => assert_eq!(verdict.err(), Some(Busy::Queue)),
        }
    }
}

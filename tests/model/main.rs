//! Models of the gateway, checked in every order in which things can happen, as far as their bounds go.
//!
//! [`fleet`] is of stores that fail, [`life`] of a channel on the ledger from its deposit to its end. The account and its
//! steps are the product's own; what stands around them is written anew, from the documentation. A model that finds nothing
//! may be one that sees nothing: so each fault of [`Mutant`] is built in, once for each, and must be found.

#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "a test ends where it finds something else"
)]

mod fleet;
mod life;

use std::{fmt::Debug, hash::Hash, time::Duration};

use stateright::{Checker as _, HasDiscoveries, Model, UniformChooser};

/// Checks all that `model` can come to.
fn must_hold<M: Model + Send + Sync + 'static>(model: M)
where
    M::State: Debug + Hash + PartialEq + Clone + Send + Sync,
    M::Action: Debug + Clone + PartialEq,
{
    let checker = model.checker().threads(THREADS).spawn_bfs().join();

    checker.assert_properties();
}

/// Checks that `model` breaks one of the properties `named`.
fn must_break<M: Model + Send + Sync + 'static>(model: M, named: &[&'static str])
where
    M::State: Debug + Hash + PartialEq + Clone + Send + Sync,
    M::Action: Debug + Clone + PartialEq,
{
    let until = HasDiscoveries::AnyOf(named.iter().copied().collect());
    let checker = model.checker().threads(THREADS).finish_when(until).spawn_bfs().join();
    let found: Vec<_> = checker.discoveries().into_keys().collect();
    assert!(found.iter().any(|name| named.contains(name)), "it breaks {found:?} alone");
}

/// Goes through `model` at random for a while, where it can come to more than can be checked.
fn must_hold_at_random<M: Model + Send + Sync + 'static>(model: M, time: Duration)
where
    M::State: Debug + Hash + PartialEq + Clone + Send + Sync,
    M::Action: Debug + Clone + PartialEq + Hash,
{
    let until = HasDiscoveries::AnyFailures;
    let checker = model.checker().threads(THREADS).finish_when(until).timeout(time);
    let checker = checker.spawn_simulation(SEED, UniformChooser).join();
    let found = checker.discoveries().into_iter().next();
    let found = found.map(|(name, path)| (name, path.clone().into_actions(), path.into_states()));
    assert!(found.is_none(), "{found:#?}");
}

/// Whether more is checked than there is time for where every change is: `TOLLGATE_MODEL=large`.
fn is_large() -> bool {
    std::env::var_os("TOLLGATE_MODEL").is_some_and(|size| size == "large")
}

const THREADS: usize = 2;
const SEED: u64 = 1;

/// A fault that is built into a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// The account is read from a replica, and its revision from the primary.
    AsyncReplicaRead,
    /// A write does not ask whether what it was planned on still stands.
    CheckThenSet,
    /// Nobody waits for replicas.
    ServeBeforeAck,
    /// Replicas are waited for, and how many have acknowledged is not looked at.
    WaitCountIgnored,
    /// What was used is forgotten after some time.
    ExpiringReplaySet,
    /// A commitment above what the channel was given is taken.
    UncollectableOverwrite,
    /// The account learns that its channel is being closed once it is closed.
    MarkerAfterServe,
    /// A gateway that asks again takes what it finds for its own doing.
    RetryWithoutIdempotency,
    /// A gateway takes payments as soon as it has reconciled itself.
    FenceOpensEarly,
    /// The journal is written when the primary has answered.
    JournalBeforeAck,
    /// Whether the epoch is still the same is not asked after the acknowledgement.
    EpochUnchecked,
    /// A gateway goes back to an epoch that it has left.
    EpochReturns,
    /// A gateway works in its old epoch until its mark in the new one is acknowledged.
    LeavesLate,
    /// The ledger is not looked at for a while.
    WatchesTooSeldom,
    /// An answer leaves although nobody knows whether it was recorded.
    AnswerOnUnknown,
    /// Who asks for what nobody knows is told that nothing was charged.
    UnknownIsFailed,
}

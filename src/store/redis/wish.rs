//! What an actor is asked for.

use tokio::sync::OwnedSemaphorePermit;

use super::{
    lists::List,
    promise::Epoch,
    transaction::{Reply, Transaction},
};

/// What waits for an actor.
pub(super) struct Queued {
    pub(super) wish: Wish,
    /// Nothing for a hold that is let go of: there are no more of those than there were claims.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

pub(super) enum Wish {
    Carry(Box<dyn Transaction>),
    /// Whatever the gate.
    Reconcile(Box<dyn Transaction>),
    List(List),
    /// Which server is connected now.
    Epoch(Reply<Standpoint>),
    /// Asks anew where the primary is.
    Elsewhere,
    /// Carries out what is under way, ends the holds, carries out what is given as the last, and ends. The answer is which
    /// server was connected, if one was.
    Close(Option<Box<dyn Transaction>>, Reply<Option<Standpoint>>),
}

/// Which server is connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standpoint {
    pub(super) epoch: Epoch,
    /// See [`super::promise::Promise::life`].
    pub(super) life: Epoch,
}

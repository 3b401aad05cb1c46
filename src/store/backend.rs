//! Which store keeps what: one file of this gateway, or a server that several gateways share.

use std::time::Duration;

use super::{
    Claim, ClaimKey, Claiming, Delivery, Error, Notice, Outcome, Pending, Place, Receiver,
    Submitting, Waiting,
    channel::{self, Account, Page, Stepped, Token},
    claim::Step,
    embedded::{self, Embedded},
    redis::{self, Member, MemberId, Redis},
};
use crate::{protocol::stellar::ContractId, telemetry::metrics::Metrics};

#[derive(Clone, Debug)]
pub(super) enum Backend {
    Embedded(Embedded),
    Redis(Redis),
}

/// The right to move one claim on; let go of when dropped.
pub(super) enum Hold {
    Embedded(embedded::Hold),
    Redis(redis::Hold),
}

/// A reservation that is asked for or held; given back when dropped.
pub(super) enum Flight {
    Embedded(embedded::Flight),
    Redis(redis::Flight),
}

impl Backend {
    pub(super) async fn claim(&self, claim: Claim) -> Result<Claiming, Error> {
        match self {
            Self::Embedded(store) => store.claim(claim).await,
            Self::Redis(store) => store.claim(claim).await,
        }
    }

    /// What it tells is stored with it, as for all that follow.
    pub(super) async fn step(
        &self,
        hold: &Hold,
        step: Step,
        told: Vec<Notice>,
    ) -> Result<(), Error> {
        match (self, hold) {
            (Self::Embedded(store), Hold::Embedded(hold)) => store.step(hold, step, told).await,
            (Self::Redis(store), Hold::Redis(hold)) => store.step(hold, step, told).await,
            _ => Err(Error::OutOfOrder { state: "not held", asked: step.name() }),
        }
    }

    pub(super) async fn end(&self, hold: Hold, step: Step, told: Vec<Notice>) -> Result<(), Error> {
        match (self, hold) {
            (Self::Embedded(store), Hold::Embedded(hold)) => store.end(hold, step, told).await,
            (Self::Redis(store), Hold::Redis(hold)) => store.end(hold, step, told).await,
            _ => Err(Error::OutOfOrder { state: "not held", asked: step.name() }),
        }
    }

    pub(super) async fn resolve(
        &self,
        key: ClaimKey,
        submitting: Submitting,
        outcome: Outcome,
        told: Vec<Notice>,
    ) -> Result<bool, Error> {
        match self {
            Self::Embedded(store) => store.resolve(key, submitting, outcome, told).await,
            Self::Redis(store) => store.resolve(key, submitting, outcome, told).await,
        }
    }

    pub(super) async fn tell(&self, notices: Vec<Notice>) -> Result<(), Error> {
        match self {
            Self::Embedded(store) => store.tell(notices).await,
            Self::Redis(store) => store.tell(notices).await,
        }
    }

    pub(super) async fn waiting(
        &self,
        receiver: Receiver,
        after: Option<Place>,
    ) -> Result<Waiting, Error> {
        match self {
            Self::Embedded(store) => store.waiting(receiver, after).await,
            Self::Redis(store) => store.waiting(receiver, after).await,
        }
    }

    pub(super) async fn arrived(
        &self,
        receiver: Receiver,
        places: Vec<Place>,
    ) -> Result<(), Error> {
        match self {
            Self::Embedded(store) => store.arrived(receiver, places).await,
            Self::Redis(store) => store.arrived(receiver, places).await,
        }
    }

    pub(super) async fn is_teller(
        &self,
        receiver: Receiver,
        teller: Token,
        lease: Duration,
    ) -> Result<bool, Error> {
        match self {
            // The file is locked to this process.
            Self::Embedded(_) => Ok(true),
            Self::Redis(store) => store.is_teller(receiver, teller, lease).await,
        }
    }

    pub(super) async fn delivery(&self, key: ClaimKey) -> Result<Delivery, Error> {
        match self {
            Self::Embedded(store) => store.delivery(key).await,
            Self::Redis(store) => store.delivery(key).await,
        }
    }

    pub(super) async fn forget_notices(&self, before: u64) -> Result<(), Error> {
        match self {
            Self::Embedded(store) => store.forget_notices(before).await,
            // What nobody sends ends by itself.
            Self::Redis(_) => Ok(()),
        }
    }

    pub(super) async fn pending(&self, after: Option<ClaimKey>) -> Result<Vec<Pending>, Error> {
        match self {
            Self::Embedded(store) => store.pending(after).await,
            Self::Redis(store) => store.pending(after).await,
        }
    }

    pub(super) async fn secret(&self, name: &'static str) -> Result<[u8; 32], Error> {
        match self {
            Self::Embedded(store) => store.secret(name).await,
            Self::Redis(store) => store.secret(name).await,
        }
    }

    pub(super) fn flight(&self, channel: ContractId, token: Token) -> Flight {
        match self {
            Self::Embedded(store) => Flight::Embedded(store.flight(channel, token)),
            Self::Redis(store) => Flight::Redis(store.flight(channel, token)),
        }
    }

    pub(super) async fn step_channel(
        &self,
        channel: ContractId,
        step: channel::Step,
    ) -> Result<Stepped, Error> {
        match self {
            Self::Embedded(store) => store.step_channel(channel, step).await,
            Self::Redis(store) => store.step_channel(channel, step).await,
        }
    }

    pub(super) async fn account(&self, channel: ContractId) -> Result<Option<Account>, Error> {
        match self {
            Self::Embedded(store) => store.account(channel).await,
            Self::Redis(store) => store.account(channel).await,
        }
    }

    pub(super) async fn accounts(&self, after: Option<ContractId>) -> Result<Page, Error> {
        match self {
            Self::Embedded(store) => store.accounts(after).await,
            Self::Redis(store) => store.accounts(after).await,
        }
    }

    pub(super) fn expose(&self, metrics: &Metrics) {
        match self {
            Self::Embedded(store) => store.expose(metrics),
            Self::Redis(store) => store.expose(metrics),
        }
    }

    pub(super) async fn members(&self) -> Result<Vec<Member>, Error> {
        match self {
            Self::Embedded(_) => Ok(Vec::new()),
            Self::Redis(store) => store.members().await,
        }
    }

    pub(super) async fn dismiss(&self, id: MemberId) -> Result<bool, Error> {
        match self {
            Self::Embedded(_) => Ok(false),
            Self::Redis(store) => store.dismiss(id).await,
        }
    }

    pub(super) async fn forget(&self, channel: ContractId, used_by: u64) -> Result<bool, Error> {
        match self {
            Self::Embedded(store) => store.forget(channel, used_by).await,
            Self::Redis(store) => store.forget(channel, used_by).await,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        match self {
            Self::Embedded(store) => store.is_running(),
            Self::Redis(store) => store.is_running(),
        }
    }

    pub(super) async fn close(&self) -> Result<(), Error> {
        match self {
            Self::Embedded(store) => store.close().await,
            Self::Redis(store) => store.close().await,
        }
    }
}

impl Hold {
    pub(super) const fn key(&self) -> ClaimKey {
        match self {
            Self::Embedded(hold) => hold.key(),
            Self::Redis(hold) => hold.key(),
        }
    }
}

impl Flight {
    pub(super) const fn channel(&self) -> ContractId {
        match self {
            Self::Embedded(flight) => flight.channel(),
            Self::Redis(flight) => flight.channel(),
        }
    }

    /// Leaves it to the caller to end.
    pub(super) fn forget(self) {
        match self {
            Self::Embedded(flight) => flight.forget(),
            Self::Redis(flight) => flight.forget(),
        }
    }
}

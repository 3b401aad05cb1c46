//! What the closer does about one channel, while others of its hands do the same about others.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::{
    CloseError, Collected, Inner, closed,
    plan::{Plan, Reason},
    told,
};
use crate::{
    ledger::{
        collector::{Error, Found, Outcome, Prepared, Way},
        facilitator::Failure,
    },
    protocol::{money::Amount, stellar::ContractId},
    store::{
        self,
        channel::{Account, Collection, Held, Phase},
    },
};

/// Does what is planned for one channel.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) inner: Arc<Inner>,
    /// What somebody waits for.
    pub(super) asked: Option<Way>,
    /// Whether it is to be settled however little it owes.
    pub(super) urged: bool,
    pub(super) told: Vec<Told>,
}

/// What a hand leaves.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) again: Again,
    pub(super) told: Vec<Told>,
}

/// What those hear who wait for a channel.
#[derive(Debug)]
pub(super) enum Told {
    /// Whatever they wait for.
    All(Result<Collected, CloseError>),
    /// If they wait for it to be settled.
    Settled(Collected),
}

/// When a channel is to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// There is more to do.
    Now,
    /// What it waits for takes a moment.
    Soon,
    /// It did not work.
    Later,
}

/// How an attempt to collect ended.
enum Attempt {
    Landed,
    /// It never got onto the ledger, and another one may.
    Gone(Failure),
    /// It may be on its way.
    Unknown(Failure),
    /// Nothing is under way; why.
    Missed(CloseError),
    /// Another gateway has a transaction under way, or has collected it.
    Elsewhere,
}

impl Hand {
    pub(super) async fn act(mut self, channel: ContractId, plan: Plan) -> Done {
        let again = match plan {
            Plan::Rest => Again::Now,
            Plan::Wait => self.give_back_lapsed(channel).await,
            Plan::Withdrawn(withdrawn) => self.heed_withdrawn(channel, withdrawn).await,
            Plan::Ended { lost } => self.heed_end(channel, lost).await,
            Plan::BeginClosing(reason) => self.begin_closing(channel, reason).await,
            Plan::Reopen => self.reopen(channel).await,
            Plan::Resolve(collection) => self.resolve(channel, &collection).await,
            Plan::Collect(..) => self.collect(channel).await,
            Plan::Extend { ledgers, .. } => self.extend(channel, ledgers).await,
        };
        Done { again, told: self.told }
    }

    /// What is in flight ends by itself, unless its gateway is gone.
    async fn give_back_lapsed(&self, channel: ContractId) -> Again {
        match self.inner.store.sweep(channel, self.inner.clock.now()).await {
            Ok(true) => Again::Now,
            Ok(false) => Again::Soon,
            Err(error) => unrecorded(channel, &error),
        }
    }

    /// Records what the ledger shows.
    async fn heed_withdrawn(&self, channel: ContractId, withdrawn: Amount) -> Again {
        match self.inner.store.saw_withdrawn(channel, withdrawn).await {
            Ok(_) => Again::Now,
            Err(error) => unrecorded(channel, &error),
        }
    }

    async fn heed_end(&self, channel: ContractId, lost: Amount) -> Again {
        if lost < self.inner.settings().min_value {
            info!(%channel, %lost, "a channel has ended; what was left was not worth a transaction");
        } else if !lost.is_zero() {
            error!(
                %channel, %lost,
                "a channel was refunded before all that was delivered was settled: is `before_refund` too short, or was \
                 the gateway down?"
            );
        }
        match self.inner.store.channel_ended(channel).await {
            Ok(()) => Again::Now,
            Err(error) => unrecorded(channel, &error),
        }
    }

    async fn begin_closing(&self, channel: ContractId, reason: Reason) -> Again {
        // A channel that cannot be closed pays no more, and its payer waits for the rest. Nobody asked for this one.
        if reason == Reason::Idle && !self.can_rest(channel).await {
            return Again::Later;
        }
        if reason == Reason::CloseStart {
            // First: who records it and dies would have told nobody.
            told::closing(&self.inner, channel).await;
        }
        match self.inner.store.begin_closing(channel).await {
            Ok(true) => {
                info!(%channel, ?reason, "a channel is closing: it takes no more payments");
                Again::Now
            }
            Ok(false) => Again::Now,
            Err(error) => unrecorded(channel, &error),
        }
    }

    /// Whether an unused channel can be closed now, and leaves fees enough for those that cannot wait.
    async fn can_rest(&self, channel: ContractId) -> bool {
        let Ok(Some(account)) = self.inner.store.account(channel).await else { return false };
        let Some(commitment) = account.closes_with() else { return false };
        let collector = &self.inner.collector;
        collector.has_leeway()
            && collector.check(channel, Way::Close, &commitment.into()).await.is_ok()
    }

    async fn reopen(&self, channel: ContractId) -> Again {
        match self.inner.store.reopen(channel).await {
            Ok(true) => {
                info!(%channel, "a channel that was to be closed goes on: nothing of it can be collected");
                Again::Now
            }
            // Somebody else has changed it, or will: what it is then says what is next.
            Ok(false) => Again::Soon,
            Err(error) => unrecorded(channel, &error),
        }
    }

    async fn extend(&self, channel: ContractId, ledgers: u32) -> Again {
        match self.inner.collector.extend(channel, ledgers).await {
            Ok(()) => {
                info!(%channel, ledgers, "a channel's ledger entries were extended");
                // Those who keep views are to show it before anybody plans again.
                drop(self.inner.channels.refresh(channel, None).await);
                Again::Later
            }
            Err(error) => {
                error!(%error, %channel, "a channel's ledger entries could not be extended");
                Again::Later
            }
        }
    }

    /// Finds out what became of a transaction, and records it.
    async fn resolve(&mut self, channel: ContractId, collection: &Collection) -> Again {
        let Collection { transaction, valid_until, since_ledger, .. } = *collection;
        let found = self.inner.collector.find(transaction, valid_until, since_ledger).await;
        let way = if collection.closes { Way::Close } else { Way::Settle };
        self.inner.collector.note(way, &found);
        let landed = match found {
            Ok(Found::Landed) => true,
            Ok(Found::Failed) => {
                error!(%channel, %transaction, "a transaction that collects was applied, and failed");
                false
            }
            Ok(Found::Gone) => false,
            Ok(Found::Over { ledger }) => {
                match self.told_by_the_channel(channel, collection, ledger).await {
                    Some(landed) => landed,
                    None => return Again::Later,
                }
            }
            // It has its time; an RPC that does not answer is told of by those who look after it.
            Err(_) => return Again::Later,
        };
        if landed {
            told::collected(&self.inner, channel, collection).await;
        }
        match self.inner.store.collected(channel, transaction, landed).await {
            Ok(_) if landed => {
                self.tell_landed(channel, collection).await;
                Again::Now
            }
            Ok(_) => {
                warn!(%channel, %transaction, "a transaction that collects did not: another one will");
                Again::Now
            }
            Err(error) => unrecorded(channel, &error),
        }
    }

    /// Whether a transaction that cannot land any more did what it was to do, as far as its channel shows after `ledger`.
    async fn told_by_the_channel(
        &self,
        channel: ContractId,
        collection: &Collection,
        ledger: u32,
    ) -> Option<bool> {
        let seen = || self.inner.channels.seen(channel).filter(|view| view.ledger >= ledger);
        let view = match seen() {
            Some(view) => view,
            None => {
                // What it says of the channel's fitness does not matter.
                drop(self.inner.channels.refresh(channel, None).await);
                let Some(view) = seen() else {
                    let transaction = collection.transaction;
                    error!(
                        %channel, %transaction,
                        "what became of a transaction cannot be found out: the RPC's history does not reach back, and it does \
                         not show the channel"
                    );
                    return None;
                };
                view
            }
        };
        let ended = view.close_effective_at.is_some_and(|at| at <= view.ledger);
        Some(view.withdrawn >= collection.amount && (ended || !collection.closes))
    }

    /// Collects what was delivered through `channel`, if that is still what is to be done.
    async fn collect(&mut self, channel: ContractId) -> Again {
        if self.inner.channels.seen(channel).is_none() {
            // It may have ended since anybody looked; a transaction would bring nothing then.
            drop(self.inner.channels.refresh(channel, None).await);
        }
        for tries in 1.. {
            let account = match self.inner.store.account(channel).await {
                Ok(Some(account)) => account,
                Ok(None) => return Again::Now,
                Err(error) => return unrecorded(channel, &error),
            };
            let Plan::Collect(way, reason) =
                self.inner.plan(channel, &account.summary(), self.asked, self.urged)
            else {
                return Again::Now;
            };
            told::closing(&self.inner, channel).await;
            match self.attempt(channel, &account, way, reason).await {
                Attempt::Landed | Attempt::Elsewhere => return Again::Now,
                Attempt::Gone(failure) if tries < TRIES => {
                    warn!(%channel, detail = failure.detail, "a transaction is made anew");
                }
                Attempt::Gone(failure) => {
                    let why = CloseError::Refused(Error::Unavailable(failure));
                    return self.missed(channel, account.at_risk(), reason, &why);
                }
                Attempt::Unknown(failure) => {
                    warn!(%channel, detail = failure.detail, "the fate of a transaction is not known yet");
                    return Again::Soon;
                }
                Attempt::Missed(why) => {
                    return self.missed(channel, account.at_risk(), reason, &why);
                }
            }
        }
        Again::Later
    }

    fn missed(
        &mut self,
        channel: ContractId,
        at_risk: Amount,
        reason: Reason,
        why: &CloseError,
    ) -> Again {
        error!(error = %why, %channel, %at_risk, ?reason, "a channel's money could not be collected");
        self.told.push(Told::All(Err(why.clone())));
        Again::Later
    }

    /// Tries the commitment that covers what was delivered and, if the ledger would not honour it, a smaller one, which
    /// does not end the channel.
    async fn attempt(
        &mut self,
        channel: ContractId,
        account: &Account,
        way: Way,
        reason: Reason,
    ) -> Attempt {
        let mut refusal = None;
        for (held, way) in candidates(account, way) {
            let prepared = self.inner.collector.prepare(channel, way, &held.into()).await;
            match prepared {
                Ok(prepared) => {
                    return self.put_on_the_ledger(channel, held, way, reason, prepared).await;
                }
                Err(error @ Error::WouldFail(_)) => {
                    let amount = held.amount;
                    error!(%error, %channel, %amount, "a commitment that is held cannot be collected");
                    refusal.get_or_insert(error);
                }
                Err(error) => return Attempt::Missed(error.into()),
            }
        }
        Attempt::Missed(refusal.map_or(CloseError::Nothing, CloseError::Refused))
    }

    async fn put_on_the_ledger(
        &mut self,
        channel: ContractId,
        held: Held,
        way: Way,
        reason: Reason,
        prepared: Prepared,
    ) -> Attempt {
        let collection = Collection {
            closes: way == Way::Close,
            amount: held.amount,
            transaction: prepared.transaction(),
            valid_until: prepared.valid_until(),
            since_ledger: prepared.since_ledger(),
        };
        let transaction = collection.transaction;
        match self.inner.store.collect(channel, collection.clone()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Attempt::Elsewhere,
            Err(error) => return Attempt::Missed(error.into()),
        }
        // Another gateway may have collected it between our look and our word: it shows now, and ours was not sent.
        match self.inner.store.account(channel).await {
            Ok(Some(account)) if is_of_use(&account, &collection) => {}
            Ok(_) => {
                return match self.inner.store.collected(channel, transaction, false).await {
                    Ok(_) => Attempt::Elsewhere,
                    Err(error) => Attempt::Missed(error.into()),
                };
            }
            Err(error) => return Attempt::Missed(error.into()),
        }
        info!(%channel, %transaction, amount = %held.amount, ?way, ?reason, "collecting");
        let outcome = self.inner.collector.send(prepared).await;
        if let Outcome::Unknown(failure) = outcome {
            return Attempt::Unknown(failure);
        }
        let landed = outcome == Outcome::Landed;
        if landed {
            told::collected(&self.inner, channel, &collection).await;
        }
        if let Err(error) = self.inner.store.collected(channel, transaction, landed).await {
            let detail = format!("what became of a transaction could not be recorded: {error}");
            return Attempt::Unknown(Failure::unavailable(detail));
        }
        match outcome {
            Outcome::Landed => {
                self.tell_landed(channel, &collection).await;
                Attempt::Landed
            }
            Outcome::Gone(failure) => Attempt::Gone(failure),
            Outcome::Failed | Outcome::Unknown(_) => {
                Attempt::Missed(CloseError::Failed(transaction))
            }
        }
    }

    /// Tells those who wait what a transaction of ours brought.
    async fn tell_landed(&mut self, channel: ContractId, collection: &Collection) {
        let Collection { closes, amount, transaction, .. } = *collection;
        info!(%channel, %transaction, %amount, closes, "collected");
        let withdrawn = match self.inner.store.account(channel).await {
            Ok(Some(account)) => match closed(&account.summary()) {
                Some(collected) => return self.told.push(Told::All(Ok(collected))),
                None => account.withdrawn(),
            },
            Ok(None) | Err(_) => amount,
        };
        let collected = Collected { transaction: Some(transaction), withdrawn, closed: closes };
        self.told.push(Told::Settled(collected));
    }
}

/// The commitments to try, each with how: the covering one, then one that is collectable if the channel holds less than
/// was thought.
fn candidates(account: &Account, way: Way) -> impl Iterator<Item = (Held, Way)> {
    let covering = account.closes_with().map(|held| (held, way));
    covering.into_iter().chain(account.fallback().map(|held| (held, Way::Settle)))
}

/// Whether a transaction that was readied some time ago still brings something.
fn is_of_use(account: &Account, collection: &Collection) -> bool {
    let open = !matches!(account.phase(), Phase::Closed { .. });
    open && (collection.closes || account.withdrawn() < collection.amount)
}

fn unrecorded(channel: ContractId, error: &store::Error) -> Again {
    error!(%error, %channel, "what is known of a channel could not be recorded");
    Again::Later
}

/// How often a transaction that was not taken is made anew at once: others may use the payee's account too.
const TRIES: u32 = 5;

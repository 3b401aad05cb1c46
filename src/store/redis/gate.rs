//! The gate before the accounts, where replicas may take over: what the actor does besides carrying out wishes.
//!
//! Each beat it looks whether the server is still in the epoch that it was in. In a new one it raises the accounts to what
//! this gateway's journal remembers, says so in the fence, and waits until every other member has done the same; until
//! then whoever asks for an account is told that it must wait. Claims pass: what moved for them is on the ledger, and that a
//! hash which was pushed counts once rests on what all replicas have.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::spawn_blocking, time::Instant};
use tracing::{error, info, warn};

use super::{
    actor::{Actor, Pass},
    channels,
    envelope::Key,
    fence::{Fence, Member, MemberId, Round},
    group::grouped,
    journal::{Acknowledged, Journal},
    promise::Epoch,
    transaction::{Asked, Draft, Transaction},
};
use crate::{
    protocol::stellar::ContractId,
    store::{
        Error,
        channel::{Stepped, Token},
    },
};

/// Whether accounts may be asked for.
pub(super) struct Gate {
    journal: Arc<Journal>,
    /// What this machine is called.
    name: String,
    /// Drawn at the start of the process.
    life: Token,
    /// Whether the fence was told of this life.
    is_known: bool,
    replay: Replay,
    /// The epochs that this gateway has said to have reconciled at, or may have, the latest last; so does the journal. In
    /// all but that one it is waited for no more, so others may have sold there what the server of an earlier one lacks.
    entered: Vec<Epoch>,
    /// The epoch in which everybody has reconciled.
    open_in: Option<Epoch>,
    /// Why it is closed, in an epoch in which it is.
    reason: Arc<str>,
    /// Why it stays closed until the gateway is started again: the journal cannot be written, or another has a copy of it.
    broken: Option<Arc<str>>,
    /// The fence as the journal remembers it.
    seen: Fence,
    /// When the server is looked at next.
    pub(super) next_beat: Instant,
}

/// How far the journal was read and the accounts raised to it, in one round.
#[derive(Clone, Copy)]
struct Replay {
    round: Option<Round>,
    after: Option<ContractId>,
    is_done: bool,
    /// Accounts raised at once: fewer where so many take too long.
    page: usize,
}

impl Replay {
    const fn of(round: Option<Round>) -> Self {
        Self { round, after: None, is_done: false, page: PAGE }
    }
}

/// What a beat found out.
enum Found {
    Open(Epoch),
    Closed(String),
    /// Nothing: the server did not answer.
    Unknown,
}

impl Gate {
    pub(super) fn new(journal: Journal) -> Result<Self, Error> {
        let (seen, entered) = (journal.seen()?, journal.entered()?);
        Ok(Self {
            journal: Arc::new(journal),
            name: machine_name(),
            life: Token::draw(),
            is_known: false,
            replay: Replay::of(None),
            entered,
            open_in: None,
            reason: COMPARING.into(),
            broken: None,
            seen,
            next_beat: Instant::now(),
        })
    }

    /// Why accounts may not be asked for in `epoch`.
    pub(super) fn closed(&self, epoch: Epoch) -> Option<Arc<str>> {
        if let Some(broken) = &self.broken {
            return Some(Arc::clone(broken));
        }
        (self.open_in != Some(epoch)).then(|| Arc::clone(&self.reason))
    }

    /// Whether another epoch was entered since `epoch` was.
    fn has_left(&self, epoch: Epoch) -> bool {
        self.entered.contains(&epoch) && self.entered.last() != Some(&epoch)
    }

    /// Leaves the epoch that it was in, for good, before anybody can see that it reconciles at `epoch`.
    async fn enter(&mut self, epoch: Epoch) -> Result<(), Error> {
        if self.entered.last() == Some(&epoch) {
            return Ok(());
        }
        self.open_in = None;
        let mut entered = self.entered.clone();
        entered.push(epoch);
        let surplus = entered.len().saturating_sub(MOST_ENTERED);
        entered.drain(..surplus);
        let (journal, written) = (Arc::clone(&self.journal), entered.clone());
        on_disk(move || journal.enters(&written)).await?;
        self.entered = entered;
        Ok(())
    }

    /// Writes to the journal what the server acknowledged.
    ///
    /// # Errors
    /// It cannot be written, and will not be again: accounts stay closed.
    pub(super) async fn record(
        &mut self,
        accounts: Vec<(ContractId, Acknowledged)>,
    ) -> Result<(), Error> {
        if accounts.is_empty() {
            return Ok(());
        }
        let journal = Arc::clone(&self.journal);
        let written = on_disk(move || journal.record(&accounts)).await;
        written.map_err(|fault| {
            let reason: Arc<str> = format!(
                "the journal cannot be written ({fault}): make room or mend the disk, and start the gateway again"
            )
            .into();
            error!(%reason, "paid channels are stopped");
            self.broken = Some(Arc::clone(&reason));
            Error::Unavailable { reason }
        })
    }

    /// Takes channels that have ended out of the journal, in its own time: what there was is collected, and nothing of it
    /// can be lost any more.
    pub(super) fn forget(&self, ended: Vec<ContractId>) {
        if ended.is_empty() || self.broken.is_some() {
            return;
        }
        let journal = Arc::clone(&self.journal);
        drop(spawn_blocking(move || {
            if let Err(fault) = journal.forget(&ended) {
                error!(%fault, "channels that have ended stay in the journal");
            }
        }));
    }
}

impl Actor {
    /// Looks at the server and at the fence, and opens or closes the gate.
    pub(super) async fn tend(&mut self) {
        let found = self.reconcile().await;
        let Some(gate) = &mut self.gate else { return };
        let wait = match found {
            Found::Open(epoch) => {
                if gate.open_in.replace(epoch) != Some(epoch) {
                    info!("every gateway has compared the store with its journal: channels pay");
                }
                OPEN
            }
            Found::Closed(reason) => {
                let reason: Arc<str> = reason.into();
                // Not at each beat.
                if gate.open_in.take().is_some() || gate.reason != reason {
                    warn!(%reason, "channels do not pay");
                }
                gate.reason = reason;
                CLOSED
            }
            Found::Unknown => CLOSED,
        };
        let now = Instant::now();
        gate.next_beat = now.checked_add(wait).unwrap_or(now);
    }

    /// Is waited for no more: whoever goes on has all that was said here. Unless this gateway has yet to reconcile: then
    /// its journal is needed.
    pub(super) async fn leave(&mut self) {
        let Some(gate) = &self.gate else { return };
        let epoch = self.epoch();
        if epoch.is_none() || gate.open_in != epoch || gate.broken.is_some() {
            return;
        }
        let id = gate.journal.id();
        let verb = move |draft: &mut Draft<'_>| match draft.facts.epoch == epoch {
            true => leave(draft, id),
            // Another server has become the primary meanwhile.
            false => Ok(false),
        };
        // Should it fail, an operator has to say that it is gone.
        drop(self.carry_one(Key::Fence, verb).await);
    }

    async fn reconcile(&mut self) -> Found {
        if self.connected().await.is_err() {
            return Found::Unknown;
        }
        let (Some(epoch), Some(gate)) = (self.epoch(), &self.gate) else { return Found::Unknown };
        if gate.has_left(epoch) {
            // Whoever says where the primary is may know better by now.
            self.look_elsewhere();
            return Found::Closed(
                "this server was the primary before another one that this gateway has worked with since: lead the \
                 gateways to that one, or, if it is gone for good, restart this one"
                    .to_owned(),
            );
        }
        let seen = gate.seen.clone();
        let look = move |draft: &mut Draft<'_>| round(draft, &seen);
        let now = match self.carry_one(Key::Fence, look).await {
            Ok(Some(round)) if round.epoch == epoch => round,
            Ok(_) | Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {
                return Found::Unknown;
            }
            Err(error) => return unknown_members(&error),
        };
        if let Some(gate) = &mut self.gate
            && gate.replay.round != Some(now)
        {
            gate.replay = Replay::of(Some(now));
        }
        let begun = Instant::now();
        let turn = self.settings.timeout.mul_f32(0.5);
        while let Some(gate) = &self.gate
            && !gate.replay.is_done
        {
            // Others have their turn too.
            if begun.elapsed() > turn {
                return Found::Closed(COMPARING.to_owned());
            }
            match self.replay(epoch).await {
                Ok(()) => {}
                Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {
                    if let Some(gate) = &mut self.gate {
                        gate.replay.page = (gate.replay.page / 2).max(1);
                    }
                    return Found::Closed(COMPARING.to_owned());
                }
                Err(error) => return Found::Closed(format!("the journal does not read: {error}")),
            }
        }
        self.join(now).await
    }

    /// Raises some accounts to what the journal remembers of them.
    async fn replay(&mut self, epoch: Epoch) -> Result<(), Error> {
        let Some(gate) = &self.gate else { return Ok(()) };
        let (journal, Replay { after, page: count, .. }) = (Arc::clone(&gate.journal), gate.replay);
        let page = on_disk(move || journal.page(after, count)).await?;
        let mut transactions: Vec<Box<dyn Transaction>> = Vec::new();
        let mut answers = Vec::new();
        for (channel, acknowledged) in &page {
            let (channel, acknowledged) = (*channel, *acknowledged);
            let verb = move |draft: &mut Draft<'_>| {
                let now = draft.facts.server_now / 1000;
                channels::step(draft, channel, &acknowledged.restore(now))
            };
            let (reply, answer) = oneshot::channel();
            transactions.push(Box::new(Asked::new(vec![Key::Account(channel)], verb, reply)));
            answers.push((channel, answer));
        }
        self.carry_out(grouped(transactions), Pass::Reconciling).await;
        for (channel, mut answer) in answers {
            match answer.try_recv() {
                Ok(Ok(Stepped::Done(false))) => {}
                Ok(Ok(_)) => {
                    warn!(%channel, "the store had lost payments: the account is raised to the journal");
                }
                Ok(Err(error @ (Error::Corrupt { .. } | Error::UnknownFormat { .. }))) => {
                    // It pays for nothing as it is, and stops nobody else.
                    error!(%channel, %error, "an account cannot be compared with the journal");
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(Error::Unreachable { waited: Duration::ZERO }),
            }
        }
        if self.epoch() != Some(epoch) {
            return Err(Error::Unreachable { waited: Duration::ZERO });
        }
        if let Some(gate) = &mut self.gate {
            gate.replay.is_done = page.len() < count;
            gate.replay.after = page.last().map(|(channel, _)| *channel).or(after);
        }
        Ok(())
    }

    /// Says in the fence that this gateway has reconciled, and sees who has not.
    async fn join(&mut self, now: Round) -> Found {
        let Some(gate) = &mut self.gate else { return Found::Unknown };
        if let Err(error) = gate.enter(now.epoch).await {
            return Found::Closed(format!("the journal cannot be written: {error}"));
        }
        let (id, name, seen) = (gate.journal.id(), gate.name.clone(), gate.seen.clone());
        let (life, is_known) = (gate.life, gate.is_known);
        let verb = move |draft: &mut Draft<'_>| {
            let fence = draft.fence()?;
            // Of two that go by one journal, only the one that came last is heard of.
            if is_known && fence.life(id).is_some_and(|other| other != life) {
                return Ok(Joining::Twin);
            }
            join(draft, (id, &name, life), &seen, now)
        };
        let fence = match self.carry_one(Key::Fence, verb).await {
            Ok(Joining::Joined(fence)) => fence,
            Ok(Joining::Twin) => return self.has_a_twin(),
            Ok(Joining::Over) | Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {
                return Found::Unknown;
            }
            Err(error) => return unknown_members(&error),
        };
        if self.epoch() != Some(now.epoch) {
            return Found::Unknown;
        }
        let Some(gate) = &mut self.gate else { return Found::Unknown };
        gate.is_known = true;
        if gate.seen != fence {
            let (journal, seen) = (Arc::clone(&gate.journal), fence.clone());
            if let Err(error) = on_disk(move || journal.saw(&seen)).await {
                return Found::Closed(format!("the journal cannot be written: {error}"));
            }
            gate.seen = fence.clone();
        }
        let members = fence.members(now.epoch);
        let behind: Vec<_> = members.filter(|member| !member.is_reconciled).collect();
        match behind.as_slice() {
            [] => Found::Open(now.epoch),
            behind => Found::Closed(waiting(behind)),
        }
    }

    /// Another process has this journal, or a copy of it, and what one of them is told the other does not remember.
    fn has_a_twin(&mut self) -> Found {
        let reason: Arc<str> = "another gateway has a copy of this one's journal: start this one with a journal of its own".into();
        if let Some(gate) = &mut self.gate {
            gate.broken = Some(Arc::clone(&reason));
        }
        Found::Closed(reason.to_string())
    }

    /// Carries out one verb, whatever the gate.
    async fn carry_one<T: Send + 'static>(
        &mut self,
        key: Key,
        verb: impl FnMut(&mut Draft<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, mut answer) = oneshot::channel();
        let asked: Box<dyn Transaction> = Box::new(Asked::new(vec![key], verb, reply));
        self.carry_out(grouped(vec![asked]), Pass::Reconciling).await;
        answer.try_recv().unwrap_or(Err(Error::Unreachable { waited: Duration::ZERO }))
    }
}

/// The members, as the server has them now.
pub(super) fn members(draft: &mut Draft<'_>) -> Result<Vec<Member>, Error> {
    let epoch = draft.facts.epoch;
    let fence = draft.fence()?;
    Ok(epoch.map_or_else(Vec::new, |epoch| fence.members(epoch).collect()))
}

/// Waits for a member no more. Whether it was one.
pub(super) fn leave(draft: &mut Draft<'_>, id: MemberId) -> Result<bool, Error> {
    let mut fence = draft.fence()?;
    let was_member = fence.leave(id, draft.facts.server_now);
    if was_member {
        draft.put_fence(fence)?;
    }
    Ok(was_member)
}

/// The round that this is in, for who has seen another fence.
fn round(draft: &mut Draft<'_>, seen: &Fence) -> Result<Option<Round>, Error> {
    let Some(epoch) = draft.facts.epoch else { return Ok(None) };
    let mut fence = draft.fence()?;
    fence.recall(seen);
    Ok(Some(fence.round(epoch)))
}

/// What came of marking a gateway as reconciled.
enum Joining {
    Joined(Fence),
    /// It is another round already.
    Over,
    /// Another process has marked the same one.
    Twin,
}

/// Marks a gateway as reconciled in a round.
fn join(
    draft: &mut Draft<'_>,
    (id, name, life): (MemberId, &str, Token),
    seen: &Fence,
    now: Round,
) -> Result<Joining, Error> {
    let stored = draft.fence()?;
    let mut fence = stored.clone();
    fence.recall(seen);
    if draft.facts.epoch.map(|epoch| fence.round(epoch)) != Some(now) {
        return Ok(Joining::Over);
    }
    fence.reconciled(id, name, now, life);
    if fence != stored {
        draft.put_fence(fence.clone())?;
    }
    Ok(Joining::Joined(fence))
}

fn unknown_members(error: &Error) -> Found {
    Found::Closed(format!("who shares the store is not known: {error}"))
}

fn waiting(behind: &[Member]) -> String {
    struct Named<'a>(&'a Member);
    impl fmt::Display for Named<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} on `{}`", self.0.id, self.0.name)
        }
    }
    let named: Vec<_> = behind.iter().take(4).map(|member| Named(member).to_string()).collect();
    let more = behind.len().saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "another server holds the store now, and these gateways have yet to compare it with their journals: {}{more}; \
         start them, or say which are gone for good: `tollgate channels dismiss ID`",
        named.join(", ")
    )
}

/// Carries out what waits for the disk.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let stopped = |error: tokio::task::JoinError| Error::Stopped {
        reason: format!("the journal's task ended: {error}").into(),
    };
    spawn_blocking(work).await.map_err(stopped)?
}

/// What the operator calls this machine, if that can be told: it is shown and means nothing else.
fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// How often the server is looked at while the gate is open: so long may a new primary wait for a gateway that nobody
/// asks anything.
const OPEN: Duration = Duration::from_millis(1000);

/// And while it is not.
const CLOSED: Duration = Duration::from_millis(100);

/// Epochs remembered: an earlier one does not come back.
const MOST_ENTERED: usize = 256;

/// Accounts raised at once.
const PAGE: usize = 128;

const COMPARING: &str = "the accounts are being compared with the journal";

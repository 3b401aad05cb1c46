//! The gate before the accounts, where replicas may take over: what the actor does besides carrying out wishes.
//!
//! Each beat it looks whether the server is still in the epoch that it was in. In a new one it raises the accounts to what
//! this gateway's journal remembers, says so in the fence, and waits until every other member has done the same; until
//! then whoever asks for an account is told that it must wait. Claims need no gate: what they cost is found out on the ledger.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::oneshot, task::spawn_blocking, time::Instant};
use tracing::{error, info, warn};

use super::{
    actor::{Actor, Pass},
    channels,
    envelope::Key,
    fence::{Fence, Member, MemberId},
    group::grouped,
    journal::{Acknowledged, Journal},
    promise::Epoch,
    transaction::{Asked, Draft, Transaction},
};
use crate::{
    protocol::stellar::ContractId,
    store::{Error, channel::Stepped},
};

/// Whether accounts may be asked for.
pub(super) struct Gate {
    journal: Arc<Journal>,
    /// What this machine is called.
    name: String,
    replay: Replay,
    /// The epochs that this gateway has said to have reconciled at, or may have, the latest last; so does the journal. In
    /// all but that one it is waited for no more, so others may have sold there what the server of an earlier one lacks.
    entered: Vec<Epoch>,
    /// The epoch in which everybody has reconciled.
    open_in: Option<Epoch>,
    /// Why it is closed, in an epoch in which it is.
    reason: Arc<str>,
    /// Why it stays closed: the journal cannot be written.
    broken: Option<Arc<str>>,
    /// The fence as the journal remembers it.
    seen: Fence,
    /// When the server is looked at next.
    pub(super) next_beat: Instant,
}

/// How far the journal was read and the accounts raised to it, in one epoch.
#[derive(Clone, Copy, Default)]
struct Replay {
    epoch: Option<Epoch>,
    after: Option<ContractId>,
    is_done: bool,
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
            replay: Replay::default(),
            entered,
            open_in: None,
            reason: "the accounts are being compared with the journal".into(),
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
        let (Some(epoch), Some(gate)) = (self.epoch(), &mut self.gate) else {
            return Found::Unknown;
        };
        if gate.has_left(epoch) {
            // Whoever says where the primary is may know better by now.
            self.look_elsewhere();
            return Found::Closed(
                "this server was the primary before another one that this gateway has worked with since: lead the \
                 gateways to that one, or, if it is gone for good, restart this one"
                    .to_owned(),
            );
        }
        if gate.replay.epoch != Some(epoch) {
            gate.replay = Replay { epoch: Some(epoch), ..Replay::default() };
        }
        let begun = Instant::now();
        while let Some(gate) = &self.gate
            && !gate.replay.is_done
        {
            if begun.elapsed() > TURN {
                return Found::Closed(
                    "the accounts are being compared with the journal".to_owned(),
                );
            }
            match self.replay(epoch).await {
                Ok(()) => {}
                Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {
                    return Found::Unknown;
                }
                Err(error) => return Found::Closed(format!("the journal does not read: {error}")),
            }
        }
        self.join(epoch).await
    }

    /// Raises some accounts to what the journal remembers of them.
    async fn replay(&mut self, epoch: Epoch) -> Result<(), Error> {
        let Some(gate) = &self.gate else { return Ok(()) };
        let (journal, after) = (Arc::clone(&gate.journal), gate.replay.after);
        let page = on_disk(move || journal.page(after, PAGE)).await?;
        let mut transactions: Vec<Box<dyn Transaction>> = Vec::new();
        let mut answers = Vec::new();
        for (channel, acknowledged) in &page {
            let (channel, step) = (*channel, acknowledged.restore());
            let verb = move |draft: &mut Draft<'_>| channels::step(draft, channel, &step);
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
            gate.replay.is_done = page.len() < PAGE;
            gate.replay.after = page.last().map(|(channel, _)| *channel);
        }
        Ok(())
    }

    /// Says in the fence that this gateway has reconciled, and sees who has not.
    async fn join(&mut self, epoch: Epoch) -> Found {
        let Some(gate) = &mut self.gate else { return Found::Unknown };
        if let Err(error) = gate.enter(epoch).await {
            return Found::Closed(format!("the journal cannot be written: {error}"));
        }
        let (id, name, seen) = (gate.journal.id(), gate.name.clone(), gate.seen.clone());
        let verb = move |draft: &mut Draft<'_>| join(draft, epoch, id, &name, &seen);
        let fence = match self.carry_one(Key::Fence, verb).await {
            Ok(Some(fence)) => fence,
            Ok(None) | Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {
                return Found::Unknown;
            }
            Err(error) => {
                return Found::Closed(format!("who shares the store is not known: {error}"));
            }
        };
        if self.epoch() != Some(epoch) {
            return Found::Unknown;
        }
        let Some(gate) = &mut self.gate else { return Found::Unknown };
        if gate.seen != fence {
            let (journal, seen) = (Arc::clone(&gate.journal), fence.clone());
            if let Err(error) = on_disk(move || journal.saw(&seen)).await {
                return Found::Closed(format!("the journal cannot be written: {error}"));
            }
            gate.seen = fence.clone();
        }
        let behind: Vec<_> = fence.members(epoch).filter(|member| !member.is_reconciled).collect();
        match behind.as_slice() {
            [] => Found::Open(epoch),
            behind => Found::Closed(waiting(behind)),
        }
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

/// Marks a gateway as reconciled at `epoch`; `None` if that is over. The connection may have been lost, and another server be
/// the primary: its accounts were not raised to the journal.
fn join(
    draft: &mut Draft<'_>,
    epoch: Epoch,
    id: MemberId,
    name: &str,
    seen: &Fence,
) -> Result<Option<Fence>, Error> {
    if draft.facts.epoch != Some(epoch) {
        return Ok(None);
    }
    let stored = draft.fence()?;
    let mut fence = stored.clone();
    fence.recall(seen);
    fence.reconciled(id, name, epoch);
    if fence != stored {
        draft.put_fence(fence.clone())?;
    }
    Ok(Some(fence))
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

/// How long accounts are raised before others have their turn.
const TURN: Duration = Duration::from_millis(500);

/// Epochs remembered: an earlier one does not come back.
const MOST_ENTERED: usize = 256;

/// Accounts raised in one round.
const PAGE: usize = 128;

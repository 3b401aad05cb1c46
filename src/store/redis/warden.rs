//! The warden of the gate: a task that has the accounts compared with this gateway's journal, where replicas may take over.
//!
//! Each beat it looks whether the servers are still in the epochs that they were in. If one is in a new one it raises the
//! accounts to what the journal remembers, says so in the fence, and waits until every other member has done the same. A
//! cluster has one fence, for all its primaries; where nothing has changed the gate stays open meanwhile.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    channels,
    envelope::Key,
    fence::{Fence, Member, MemberId, Round},
    gate::{COMPARING, Gate, on_disk},
    journal::Journal,
    promise::Epoch,
    shards::{Shards, Table},
    transaction::Draft,
    wish::Standpoint,
};
use crate::{
    protocol::stellar::ContractId,
    store::{
        Error,
        channel::{Stepped, Token},
    },
};

pub(super) struct Warden {
    gate: Arc<Gate>,
    shards: Weak<Shards>,
    /// What this machine is called.
    name: String,
    /// Drawn at the start of the process.
    life: Token,
    /// Whether the fence was told of this life.
    is_known: bool,
    replay: Replay,
    /// The lives of the servers that this gateway has said to have reconciled with, or may have, the latest last; so does
    /// the journal. In all but the current ones it is waited for no more, so others may have sold there what the server of
    /// an earlier one lacks.
    entered: Vec<Epoch>,
    /// Those of `entered` that it was with last.
    current: Vec<Epoch>,
    /// The fence as the journal remembers it.
    seen: Fence,
    /// The round in which the gate was opened.
    opened: Option<Round>,
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

/// The servers as they are at a beat.
struct Now {
    table: Arc<Table>,
    /// Of each part; `None` for one that does not answer, which is not waited for and where nothing is sold.
    at: Vec<Option<Standpoint>>,
    /// The epoch of the server with the fence.
    here: Epoch,
}

impl Now {
    /// `None` where nobody can tell who shares the store.
    async fn of(shards: &Shards) -> Option<Self> {
        let table = shards.table();
        let asked = (0..table.count()).map(|place| shards.standpoint(&table, place));
        let at: Vec<_> =
            futures_util::future::join_all(asked).await.into_iter().map(Result::ok).collect();
        let here = (*at.get(table.place(Key::Fence.slot())?)?)?.epoch;
        Some(Self { table, at, here })
    }

    /// That of the store.
    fn epoch(&self) -> Epoch {
        let epochs = self.at.iter().map(|at| at.map_or(AWAY, |at| at.epoch));
        Epoch::of_all(&epochs.collect::<Vec<_>>())
    }

    /// Those of the servers that answer.
    fn epochs(&self) -> Vec<Epoch> {
        self.at.iter().flatten().map(|at| at.epoch).collect()
    }

    /// That of the server that has the account, if it answers.
    fn epoch_of(&self, channel: ContractId) -> Option<Epoch> {
        let place = self.table.place(Key::Account(channel).slot())?;
        self.at.get(place)?.map(|at| at.epoch)
    }
}

/// What a beat found out.
enum Found {
    Open(Round),
    Closed(String),
    /// There is more to compare.
    Comparing,
    /// Nothing: a server did not answer.
    Unknown,
}

impl Warden {
    /// # Errors
    /// Those of the journal.
    pub(super) fn new(gate: Arc<Gate>, shards: Weak<Shards>) -> Result<Self, Error> {
        let journal: &Journal = gate.journal();
        let (seen, entered, current) = (journal.seen()?, journal.entered()?, journal.current()?);
        Ok(Self {
            gate,
            shards,
            name: machine_name(),
            life: Token::draw(),
            is_known: false,
            replay: Replay::of(None),
            entered,
            current,
            seen,
            opened: None,
        })
    }

    /// Looks after the gate until it is over.
    pub(super) async fn run(mut self, over: CancellationToken) {
        // Cancelled it says nothing, and else it ends with the store.
        let _ended: Option<()> = over.run_until_cancelled(self.go_on()).await;
    }

    async fn go_on(&mut self) {
        loop {
            // Nobody who asks keeps the store alive.
            let Some(shards) = self.shards.upgrade() else { return };
            let wait = self.tend(&shards).await;
            drop(shards);
            let now = Instant::now();
            let next = now.checked_add(wait).unwrap_or(now);
            let soonest = now.checked_add(wait.min(CLOSED)).unwrap_or(now);
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.gate.awaited.notified() => sleep_until(soonest).await,
            }
        }
    }

    /// Looks at the servers and at the fence, and opens or closes the gate. How long that will do.
    async fn tend(&mut self, shards: &Shards) -> Duration {
        let Some(now) = Now::of(shards).await else { return CLOSED };
        match self.reconcile(shards, &now).await {
            Found::Open(round) => {
                self.gate.open(&now.epochs());
                self.opened = Some(round);
                OPEN
            }
            Found::Comparing => {
                self.gate.explain(COMPARING.to_owned());
                Duration::ZERO
            }
            Found::Closed(reason) => {
                self.gate.explain(reason);
                CLOSED
            }
            Found::Unknown => CLOSED,
        }
    }

    async fn reconcile(&mut self, shards: &Shards, now: &Now) -> Found {
        let left = |at: &Option<Standpoint>| at.is_some_and(|at| self.has_left(at.life));
        if let Some(place) = now.at.iter().position(left) {
            let others = now.at.iter().flatten().filter(|at| !self.has_left(at.life));
            self.gate.close(&others.map(|at| at.epoch).collect::<Vec<_>>());
            // Whoever says where the primary is may know better by now.
            now.table.look_elsewhere(place);
            return Found::Closed(
                "this server was the primary before another one that this gateway has worked with since: lead the \
                 gateways to that one, or, if it is gone for good, restart this one"
                    .to_owned(),
            );
        }
        let (seen, here, all) = (self.seen.clone(), now.here, now.epoch());
        let look = move |draft: &mut Draft<'_>| round(draft, &seen, here, all);
        let found = match shards.reconcile(Key::Fence, look).await {
            Ok(Some(round)) => round,
            Ok(None) | Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {
                return Found::Unknown;
            }
            Err(error) => {
                self.gate.close(&[]);
                return unknown_members(&error);
            }
        };
        // Before the journal is read, so that what is recorded after that is told to nobody: where nothing has changed it
        // may stay open.
        let is_as_before = self.opened.is_some_and(|opened| opened.is_followed_by(found));
        let still = if is_as_before { now.epochs() } else { Vec::new() };
        self.gate.close(&still);
        if self.replay.round != Some(found) {
            self.replay = Replay::of(Some(found));
        }
        if !self.replay.is_done {
            match self.replay(shards, now).await {
                Ok(()) if self.replay.is_done => {}
                Ok(()) => return Found::Comparing,
                Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {
                    self.replay.page = (self.replay.page / 2).max(1);
                    return Found::Closed(COMPARING.to_owned());
                }
                Err(error) => return Found::Closed(format!("the journal does not read: {error}")),
            }
        }
        self.join(shards, found, now).await
    }

    /// Whether another life was entered since `life` was.
    fn has_left(&self, life: Epoch) -> bool {
        self.entered.contains(&life) && !self.current.contains(&life)
    }

    /// Raises some accounts to what the journal remembers of them.
    async fn replay(&mut self, shards: &Shards, now: &Now) -> Result<(), Error> {
        let (journal, Replay { after, page: count, .. }) =
            (Arc::clone(self.gate.journal()), self.replay);
        let page = on_disk(move || journal.page(after, count)).await?;
        // What lists them may be behind by itself.
        shards.enlist(page.iter().map(|(channel, _)| *channel).collect()).await?;
        let mut raising = Vec::new();
        for (channel, acknowledged) in &page {
            let (channel, acknowledged) = (*channel, *acknowledged);
            // One whose server is away is raised when that is back: another round begins then.
            let Some(epoch) = now.epoch_of(channel) else { continue };
            let verb = move |draft: &mut Draft<'_>| {
                if draft.facts.epoch != Some(epoch) {
                    return Err(Error::Unreachable { waited: Duration::ZERO });
                }
                let now = draft.facts.server_now / 1000;
                channels::step(draft, channel, &acknowledged.restore(now))
            };
            let raised = shards.reconcile(Key::Account(channel), verb);
            raising.push(async move { (channel, raised.await) });
        }
        for (channel, raised) in futures_util::future::join_all(raising).await {
            match raised {
                Ok(Stepped::Done(false)) => {}
                Ok(_) => {
                    warn!(%channel, "the store had lost payments: the account is raised to the journal");
                }
                Err(error @ (Error::Corrupt { .. } | Error::UnknownFormat { .. })) => {
                    // It pays for nothing as it is, and stops nobody else.
                    error!(%channel, %error, "an account cannot be compared with the journal");
                }
                Err(error) => return Err(error),
            }
        }
        self.replay.is_done = page.len() < count;
        self.replay.after = page.last().map(|(channel, _)| *channel).or(after);
        Ok(())
    }

    /// Leaves the servers that it was with and that are no primaries any more, for good, before anybody can see that it
    /// reconciles with others.
    async fn enter(&mut self, now: &Now) -> Result<(), Error> {
        let mut current: Vec<_> = now.at.iter().flatten().map(|at| at.life).collect();
        if now.at.iter().any(Option::is_none) {
            // What is away may come back as it was, and nobody can tell which of them it was.
            let before = self.current.iter().filter(|life| !current.contains(life));
            current.extend(before.copied().collect::<Vec<_>>());
        }
        if self.current == current {
            return Ok(());
        }
        let mut entered = self.entered.clone();
        entered.retain(|life| !current.contains(life));
        entered.extend(&current);
        let surplus = entered.len().saturating_sub(MOST_ENTERED);
        entered.drain(..surplus);
        let journal = Arc::clone(self.gate.journal());
        let (written, count) = (entered.clone(), current.len());
        on_disk(move || journal.enters(&written, count)).await?;
        (self.entered, self.current) = (entered, current);
        Ok(())
    }

    /// Says in the fence that this gateway has reconciled, and sees who has not.
    async fn join(&mut self, shards: &Shards, found: Round, now: &Now) -> Found {
        if let Err(error) = self.enter(now).await {
            return Found::Closed(format!("the journal cannot be written: {error}"));
        }
        let (id, name, seen) = (self.gate.journal().id(), self.name.clone(), self.seen.clone());
        let (life, is_known, here) = (self.life, self.is_known, now.here);
        let verb = move |draft: &mut Draft<'_>| {
            let fence = draft.fence()?;
            // Of two that go by one journal, only the one that came last is heard of.
            match fence.life(id) {
                Some(other) if is_known && other != life => Ok(Joining::Twin),
                // Nobody waits for it: what it has open may be behind.
                None if is_known => Ok(Joining::Dismissed),
                _ => join(draft, (id, &name, life), &seen, (found, here)),
            }
        };
        let fence = match shards.reconcile(Key::Fence, verb).await {
            Ok(Joining::Joined(fence)) => fence,
            Ok(Joining::Twin) => return self.has_a_twin(),
            Ok(Joining::Dismissed) => {
                self.gate.close(&[]);
                (self.is_known, self.opened) = (false, None);
                return Found::Comparing;
            }
            Ok(Joining::Over) | Err(Error::Unreachable { .. } | Error::Unavailable { .. }) => {
                return Found::Unknown;
            }
            Err(error) => {
                self.gate.close(&[]);
                return unknown_members(&error);
            }
        };
        self.is_known = true;
        if self.seen != fence {
            let (journal, seen) = (Arc::clone(self.gate.journal()), fence.clone());
            if let Err(error) = on_disk(move || journal.saw(&seen)).await {
                return Found::Closed(format!("the journal cannot be written: {error}"));
            }
            self.seen = fence.clone();
        }
        let members = fence.members(found.epoch);
        let behind: Vec<_> = members.filter(|member| !member.is_reconciled).collect();
        match behind.as_slice() {
            [] => Found::Open(found),
            behind => Found::Closed(waiting(behind)),
        }
    }

    /// Another process has this journal, or a copy of it, and what one of them is told the other does not remember.
    fn has_a_twin(&self) -> Found {
        let reason: Arc<str> = "another gateway has a copy of this one's journal: start this one with a journal of its own".into();
        self.gate.shut(&reason);
        Found::Closed(reason.to_string())
    }
}

/// The members, as the servers are now.
///
/// # Errors
/// The server that has the fence does not answer.
pub(super) async fn members(shards: &Shards) -> Result<Vec<Member>, Error> {
    let now = Now::of(shards).await.map(|now| now.epoch());
    // Where there is no epoch, this fails.
    let all = now.unwrap_or(AWAY);
    let read = move |draft: &mut Draft<'_>| Ok(draft.fence()?.members(all).collect());
    shards.transact(vec![Key::Fence], read).await
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

/// The round that this is in, for who has seen another fence: `here` is the epoch that the server with the fence must be
/// in, and `all` that of all servers.
fn round(
    draft: &mut Draft<'_>,
    seen: &Fence,
    here: Epoch,
    all: Epoch,
) -> Result<Option<Round>, Error> {
    let mut fence = draft.fence()?;
    fence.recall(seen);
    Ok((draft.facts.epoch == Some(here)).then(|| fence.round(all)))
}

/// What came of marking a gateway as reconciled.
enum Joining {
    Joined(Fence),
    /// It is another round already.
    Over,
    /// Another process has marked the same one.
    Twin,
    /// An operator has said that it is gone.
    Dismissed,
}

/// Marks a gateway as reconciled in a round.
fn join(
    draft: &mut Draft<'_>,
    (id, name, life): (MemberId, &str, Token),
    seen: &Fence,
    (now, here): (Round, Epoch),
) -> Result<Joining, Error> {
    let stored = draft.fence()?;
    let mut fence = stored.clone();
    fence.recall(seen);
    if draft.facts.epoch != Some(here) || fence.round(now.epoch) != now {
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

/// What the operator calls this machine, if that can be told: it is shown and means nothing else.
fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// How often the servers are looked at while the gate is open: so long may a new primary wait for a gateway that nobody
/// asks anything.
const OPEN: Duration = Duration::from_millis(1000);

/// And while it is not.
const CLOSED: Duration = Duration::from_millis(100);

/// Stands for the epoch of a server that does not answer.
const AWAY: Epoch = Epoch([0; 16]);

/// Lives remembered: an earlier one does not come back.
const MOST_ENTERED: usize = 256;

/// Accounts raised at once.
const PAGE: usize = 128;

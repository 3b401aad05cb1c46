//! What is to be done about one channel, and before which others, from its account and what the ledger shows of it. Pure.

use std::cmp::Reverse;

use super::Settings;
use crate::{
    ledger::{channels::View, collector::Way},
    protocol::{commitment::Commitment, money::Amount},
    store::channel::{Account, Collection, Held, Phase, Summary},
};

/// All that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) account: &'a Summary,
    /// The last that was seen of it on the ledger.
    pub(super) view: Option<&'a View>,
    pub(super) settings: &'a Settings,
    /// The time now, in seconds since 1970.
    pub(super) now: u64,
    /// What somebody waits for.
    pub(super) asked: Option<Way>,
    /// Whether it is to be settled however little it owes.
    pub(super) urged: bool,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Nothing.
    Rest,
    /// Something is in flight: what it leaves is to be looked at.
    Wait,
    /// The ledger shows that so much was withdrawn.
    Withdrawn(Amount),
    /// The ledger shows that the channel has ended; what was delivered and not withdrawn is lost.
    Ended { lost: Amount },
    /// No more commitments are to be taken.
    BeginClosing(Reason),
    /// Commitments are to be taken again: there is nothing to close the channel with.
    Reopen,
    /// What became of a transaction is to be found out.
    Resolve(Collection),
    /// Money is to be collected.
    Collect(Way, Reason),
    /// The entries are to live for so many ledgers.
    Extend { ledgers: u32, reason: Reason },
}

/// Why something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    /// The payer may take the money back soon, or already.
    Refund,
    /// The payer has begun to close.
    CloseStart,
    /// Its entries end soon, so that it costs more to collect, or cannot be seen.
    Lapsing,
    /// Somebody asked for it.
    Asked,
    /// Much is unsettled.
    Value,
    /// It has been unsettled for long.
    Age,
    /// Nobody uses it any more.
    Idle,
    /// Its entries are to live longer.
    Upkeep,
}

/// Which of two channels comes first: the lesser. Bookkeeping is cheap, and may change the rest; then what is lost
/// soonest, then what is most, then what has waited longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    kind: Kind,
    /// The ledger from which on it may be lost, or costs more.
    deadline: u32,
    at_risk: Reverse<Amount>,
    unsettled_since: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Bookkeeping,
    Money,
    Upkeep,
}

impl Plan {
    /// Whether its payer may take the money back soon.
    pub(super) const fn is_pressing(&self) -> bool {
        matches!(self, Self::Collect(_, Reason::Refund))
    }

    /// Whether it takes a transaction.
    pub(super) const fn sends(&self) -> bool {
        matches!(self, Self::Collect(..) | Self::Extend { .. })
    }

    /// How it compares to what is to be done about others.
    pub(super) fn rank(&self, account: &Summary, view: Option<&View>) -> Rank {
        let (kind, deadline) = match self {
            Self::Collect(..) => (Kind::Money, view.and_then(|view| view.close_effective_at)),
            Self::Extend { reason: Reason::Upkeep, .. } => (Kind::Upkeep, None),
            Self::Extend { .. } => (Kind::Money, view.map(|view| view.live_until)),
            _ => (Kind::Bookkeeping, None),
        };
        Rank {
            kind,
            deadline: deadline.unwrap_or(u32::MAX),
            at_risk: Reverse(account.at_risk()),
            unsettled_since: account.unsettled_since().unwrap_or(u64::MAX),
        }
    }
}

/// Plans for one channel.
pub(super) fn plan(facts: &Facts<'_>) -> Plan {
    let Facts { account, view, .. } = *facts;
    if let Some(collection) = account.collection() {
        return Plan::Resolve(collection.clone());
    }
    if let Phase::Closed { .. } = account.phase() {
        return Plan::Rest;
    }
    if let Some(view) = view {
        if view.withdrawn > account.withdrawn() {
            return Plan::Withdrawn(view.withdrawn);
        }
        if let Some(effective_at) = view.close_effective_at {
            return ending(facts, view, effective_at);
        }
    }
    match account.phase() {
        Phase::Closing => closing(facts),
        Phase::Open | Phase::Closed { .. } => open(facts),
    }
}

/// A channel that ends on the ledger.
fn ending(facts: &Facts<'_>, view: &View, effective_at: u32) -> Plan {
    let Facts { account, .. } = *facts;
    let at_risk = account.at_risk();
    let over = effective_at <= view.ledger;
    let in_flight = !account.in_flight().is_zero();
    let is_dust = !is_worth_it(facts);
    let is_empty = view.balance.is_zero() && (view.is_balance_known || at_risk.is_zero());
    if over && (is_empty || (is_dust && !in_flight && facts.asked.is_none())) {
        return Plan::Ended { lost: at_risk };
    }
    if account.phase() == Phase::Open {
        return Plan::BeginClosing(Reason::CloseStart);
    }
    let ledgers = effective_at.saturating_sub(view.ledger);
    let left = u64::from(ledgers).saturating_mul(LEDGER_SECONDS);
    let near = left <= facts.settings.before_refund.as_secs();
    let reason = if near { Reason::Refund } else { Reason::CloseStart };
    match (is_dust, in_flight) {
        // What is delivered does not wait for what may be.
        (false, true) => Plan::Collect(Way::Settle, reason),
        (false, false) => Plan::Collect(Way::Close, reason),
        (true, true) => Plan::Wait,
        (true, false) => asked_or_rest(facts),
    }
}

/// A channel that we are closing.
fn closing(facts: &Facts<'_>) -> Plan {
    let Facts { account, view, asked, .. } = *facts;
    if view.is_none() && asked.is_none() && !is_worth_it(facts) {
        // It may be its payer who is closing it, and then it is not worth a transaction: the ledger tells.
        return Plan::Rest;
    }
    let reason = if asked.is_some() { Reason::Asked } else { Reason::Idle };
    if !account.in_flight().is_zero() {
        // It may take long: what is due by itself does not wait for it.
        return due(facts).map_or(Plan::Wait, |reason| Plan::Collect(Way::Settle, reason));
    }
    match account.closes_with() {
        Some(_) => Plan::Collect(Way::Close, reason),
        // What was in flight when it was to be closed has bought nothing. Its payer ends it, or goes on.
        None => Plan::Reopen,
    }
}

/// A channel that pays.
fn open(facts: &Facts<'_>) -> Plan {
    let Facts { account, view, settings, now, .. } = *facts;
    // Most of what it owed was settled by age before: what it has brought in all pays for its end.
    let brought = account.delivered().max(account.withdrawn());
    if idle_for(facts) >= settings.idle_for.as_secs()
        && view.is_some()
        && brought >= settings.min_value
        && account.closes_with().is_some()
    {
        return Plan::BeginClosing(Reason::Idle);
    }
    if let Some(reason) = due(facts) {
        return Plan::Collect(Way::Settle, reason);
    }
    if let Some(view) = view
        && view.ends_soon()
        && view.live_until >= view.ledger
        && (is_worth_it(facts) || now.saturating_sub(account.used_at()) < IN_USE_SECONDS)
    {
        let urgent = view.lives_on() < LAPSING_LEDGERS;
        let reason = if urgent { Reason::Lapsing } else { Reason::Upkeep };
        return Plan::Extend { ledgers: life(view), reason };
    }
    asked_or_rest(facts)
}

/// Why what is at risk is to be settled now, if so.
fn due(facts: &Facts<'_>) -> Option<Reason> {
    let Facts { account, view, settings, now, asked, urged } = *facts;
    let at_risk = account.at_risk();
    if at_risk.is_zero() {
        return None;
    }
    let is_asked = asked == Some(Way::Settle);
    if !(is_worth_it(facts) || is_asked || urged) {
        return None;
    }
    // Collecting brings archived entries back, and is what they are of use for.
    if view.is_some_and(|view| view.live_until < view.ledger) {
        return Some(Reason::Lapsing);
    }
    if is_asked {
        return Some(Reason::Asked);
    }
    if urged || at_risk >= settings.at_claimable.min(settings.max_unsettled) {
        return Some(Reason::Value);
    }
    let since = account.unsettled_since()?;
    (now.saturating_sub(since) >= settings.unsettled_for.as_secs()).then_some(Reason::Age)
}

/// Whether what is at risk is worth a transaction.
fn is_worth_it(facts: &Facts<'_>) -> bool {
    let at_risk = facts.account.at_risk();
    !at_risk.is_zero() && at_risk >= facts.settings.min_value
}

/// Somebody may ask to close what nothing is to be had from any more.
fn asked_or_rest(facts: &Facts<'_>) -> Plan {
    match (facts.asked, facts.account.closes_with()) {
        (Some(Way::Close), Some(_)) => Plan::Collect(Way::Close, Reason::Asked),
        _ => Plan::Rest,
    }
}

fn idle_for(facts: &Facts<'_>) -> u64 {
    if facts.account.in_flight().is_zero() {
        facts.now.saturating_sub(facts.account.used_at())
    } else {
        0
    }
}

/// How long entries are to live: twice as long as the payer would wait, and a week.
fn life(view: &View) -> u32 {
    view.refund_waiting_ledgers.saturating_mul(2).saturating_add(WEEK_LEDGERS)
}

/// The highest commitment held.
pub(super) fn highest(account: &Account) -> Option<Held> {
    account.held().last().copied()
}

impl From<Held> for Commitment {
    fn from(held: Held) -> Self {
        Self { amount: held.amount, signature: held.signature }
    }
}

/// How long a ledger lasts, about.
pub(super) const LEDGER_SECONDS: u64 = 5;
/// About a week of ledgers.
const WEEK_LEDGERS: u32 = 120_960;
/// About six hours of ledgers.
const LAPSING_LEDGERS: u32 = 4_320;
/// A channel that was used within a week is worth its rent.
const IN_USE_SECONDS: u64 = 604_800;

#[cfg(test)]
mod tests;

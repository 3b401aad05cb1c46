//! What is to be done about one channel, from its account and what the ledger shows of it. Pure.

use super::Settings;
use crate::{
    ledger::{channels::View, collector::Way},
    protocol::{commitment::Commitment, money::Amount},
    store::channel::{Account, Collection, Held, Phase},
};

/// All that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) account: &'a Account,
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
    /// What became of a transaction is to be found out.
    Resolve(Collection),
    /// Money is to be collected.
    Collect(Way, Reason),
    /// The entries are to live for so many ledgers.
    Extend { ledgers: u32, reason: Reason },
}

/// Why something is done, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    if over && (view.balance.is_zero() || (at_risk.is_zero() && !in_flight)) {
        return Plan::Ended { lost: at_risk };
    }
    if account.phase() == Phase::Open {
        return Plan::BeginClosing(Reason::CloseStart);
    }
    let ledgers = effective_at.saturating_sub(view.ledger);
    let left = u64::from(ledgers).saturating_mul(LEDGER_SECONDS);
    let near = left <= facts.settings.before_refund.as_secs();
    let reason = if near { Reason::Refund } else { Reason::CloseStart };
    match (at_risk.is_zero(), in_flight) {
        // What is delivered does not wait for what may be.
        (false, true) => Plan::Collect(Way::Settle, reason),
        (false, false) => Plan::Collect(Way::Close, reason),
        (true, true) => Plan::Wait,
        (true, false) => asked_or_rest(facts),
    }
}

/// A channel that we are closing.
fn closing(facts: &Facts<'_>) -> Plan {
    let Facts { account, .. } = *facts;
    let reason = if facts.asked.is_some() { Reason::Asked } else { Reason::Idle };
    if !account.in_flight().is_zero() {
        // It may take long: what is due by itself does not wait for it.
        return due(facts).map_or(Plan::Wait, |reason| Plan::Collect(Way::Settle, reason));
    }
    match to_close_with(account) {
        Some(_) => Plan::Collect(Way::Close, reason),
        None => Plan::Rest,
    }
}

/// A channel that pays.
fn open(facts: &Facts<'_>) -> Plan {
    let Facts { account, view, settings, now, .. } = *facts;
    let at_risk = account.at_risk();
    if !at_risk.is_zero() && idle_for(facts) >= settings.idle_for.as_secs() {
        return Plan::BeginClosing(Reason::Idle);
    }
    if let Some(reason) = due(facts) {
        return Plan::Collect(Way::Settle, reason);
    }
    if let Some(view) = view
        && view.ends_soon()
        && view.live_until >= view.ledger
        && (!at_risk.is_zero() || now.saturating_sub(account.used_at()) < IN_USE_SECONDS)
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
    // Collecting brings archived entries back, and is what they are of use for.
    if view.is_some_and(|view| view.live_until < view.ledger) {
        return Some(Reason::Lapsing);
    }
    if asked == Some(Way::Settle) {
        return Some(Reason::Asked);
    }
    if urged || at_risk >= settings.at_claimable.min(settings.max_unsettled) {
        return Some(Reason::Value);
    }
    let since = account.unsettled_since()?;
    (now.saturating_sub(since) >= settings.unsettled_for.as_secs()).then_some(Reason::Age)
}

/// Somebody may ask to close what nothing is to be had from any more.
fn asked_or_rest(facts: &Facts<'_>) -> Plan {
    match (facts.asked, to_close_with(facts.account)) {
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

/// The commitment that a channel can be closed with now: the smallest that covers what was delivered, or one that was
/// collected already. One above that would charge its payer for what it did not get.
pub(super) fn to_close_with(account: &Account) -> Option<Held> {
    let collected = || account.held().iter().find(|held| held.amount <= account.withdrawn());
    account.collectable().map(|collectable| collectable.commitment).or_else(|| collected().copied())
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

//! What must hold at every moment, and what must be seen to happen at some.

use stateright::Property;
use tollgate::store::channel::{Reserving, Step, Stepped};

use super::{
    Fleet,
    state::{Revision, State},
};

pub(crate) fn always() -> Vec<Property<Fleet>> {
    vec![
        Property::always(DURABLE, |_, state: &State| !state.seen.undurable),
        Property::always(MONOTONE, is_monotone),
        Property::always(CONSERVED, is_conserved),
        Property::always(COLLECTABLE, is_collectable),
        Property::always(ONCE, is_once),
        Property::always(BOUND, is_bound),
        Property::always(NOT_FAILED, is_not_failed),
    ]
}

/// Where payments are taken, the mark is not below one that an answer left for.
fn is_monotone(fleet: &Fleet, state: &State) -> bool {
    let served = fleet.credentials.iter().zip(state.seen.served);
    let mark = served.filter(|(_, served)| *served > 0).map(|(credential, _)| credential.amount);
    let mark = mark.max().unwrap_or(0);
    state.open().is_none_or(|record| record.account.standing().authorised.units() >= mark)
}

/// What was served is at most what is recorded as delivered, spent, authorised, deposited, each at most the next one.
fn is_conserved(fleet: &Fleet, state: &State) -> bool {
    let is_ordered = state.nodes.iter().all(|node| {
        let (account, standing) = (&node.record.account, node.record.account.standing());
        account.delivered() <= standing.spent
            && standing.spent <= standing.authorised
            && standing.authorised.units() <= fleet.deposited
    });
    let is_covered =
        state.open().is_none_or(|record| state.sold() <= record.account.delivered().units());
    is_ordered && is_covered && !state.seen.uncovered
}

/// Where payments are taken, one commitment is held that covers what was served and that the contract honours.
fn is_collectable(fleet: &Fleet, state: &State) -> bool {
    let (sold, deposited) = (state.sold(), fleet.deposited);
    sold == 0
        || state.open().is_none_or(|record| {
            let mut held = record.account.held().iter();
            held.any(|held| (sold..=deposited).contains(&held.amount.units()))
        })
}

/// One answer leaves for a payment; the upstream gives one too, and one more for each crash that came before its record.
fn is_once(fleet: &Fleet, state: &State) -> bool {
    (0..fleet.credentials.len()).all(|this| {
        let copies = || fleet.copies(this);
        let served: u8 = copies().map(|copy| state.seen.served[copy]).sum();
        let acts: u8 = copies().map(|copy| state.seen.acts[copy]).sum();
        let excused: u8 = copies().map(|copy| state.seen.excused[copy]).sum();
        // Whose lease ends while the upstream is asked has its answer held back.
        let lapses = u8::from(state.is_late) + u8::from(state.seen.rolled_back);
        served <= 1 && acts <= 1 + excused + lapses
    })
}

/// A payment buys one request.
fn is_bound(fleet: &Fleet, state: &State) -> bool {
    (0..fleet.credentials.len()).all(|this| {
        let acted = fleet.copies(this).filter(|copy| state.seen.acts[*copy] > 0);
        acted.count() <= 1
    })
}

/// Nobody pays for what the upstream did not deliver; and who was told that nothing was charged was not charged, unless the
/// answer came to another copy. Not so once acknowledged writes were lost: then what was in flight counts as delivered.
fn is_not_failed(fleet: &Fleet, state: &State) -> bool {
    let Some(record) = state.open().filter(|_| !state.seen.rolled_back) else { return true };
    let is_free = |payment: usize| {
        let is_told = state.seen.told_free[payment]
            && fleet.copies(payment).all(|copy| state.seen.served[copy] == 0);
        !is_told || !is_bought(fleet, state, payment)
    };
    record.account.delivered().units() <= state.delivered()
        && (0..fleet.credentials.len()).all(is_free)
}

fn is_bought(fleet: &Fleet, state: &State, credential: usize) -> bool {
    let mut account = state.nodes[state.primary].record.account.clone();
    let ask = fleet.ask(state, credential, Revision(62), None);
    let outcome = account.step(&Step::Reserve(Box::new(ask)));
    matches!(outcome, Stepped::Reserving(Reserving::Bought { .. }))
}

pub(crate) const DURABLE: &str = "I1 durable before served";
pub(crate) const MONOTONE: &str = "I2 the mark never falls";
pub(crate) const CONSERVED: &str = "I3 served, spent, authorised, deposited";
pub(crate) const COLLECTABLE: &str = "I4 collectable";
pub(crate) const ONCE: &str = "I5 once";
pub(crate) const BOUND: &str = "I6 bound";
pub(crate) const NOT_FAILED: &str = "I7 unknown is not failed";

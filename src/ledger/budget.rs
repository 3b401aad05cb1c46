//! What may be spent on network fees: a ceiling for all and one for each payer, over a sliding window.
//!
//! A payer whose transactions fail costs us fees and pays nothing, so everybody's fees are bounded before we sign. What
//! landed as a payment counts for all payers together and no longer for its own: who pays may go on paying. Kept in
//! memory: a restart begins a new window.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::protocol::stellar::Address;

/// The most that may be spent on fees within a sliding window, in stroops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In all.
    pub stroops: u64,
    /// For one payer's transactions that are under way or failed; its payments do not count.
    pub per_payer: u64,
    /// Within this long.
    pub per: Duration,
}

impl Budget {
    /// What holds where an operator says nothing: 10 XLM an hour, and a fiftieth of it for one payer.
    pub const USUAL: Self =
        Self { stroops: 100_000_000, per_payer: 2_000_000, per: Duration::from_secs(3_600) };
}

/// What was spent of a budget. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Spending {
    budget: Budget,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By number, oldest first; never longer than the window's transactions.
    spent: VecDeque<Spent>,
    next: u64,
    total: u64,
    by_payer: HashMap<Address, u64>,
}

#[derive(Debug)]
struct Spent {
    number: u64,
    at: u64,
    payer: Address,
    stroops: u64,
    /// How much of it counts against the payer.
    of_payer: u64,
}

/// Stroops set aside for one transaction; they are free again when this is dropped before [`Reservation::spend`].
#[derive(Debug)]
pub(super) struct Reservation {
    spending: Spending,
    number: u64,
    spent: bool,
}

/// The budget does not allow it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Exceeded {
    /// All payers together.
    #[error("the fee budget is spent")]
    All,
    /// This payer.
    #[error("the fee budget of this payer is spent")]
    Payer,
}

impl Spending {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, state: Arc::default() }
    }

    /// Sets `stroops` aside for a transaction of `payer`, at `now` in Unix seconds.
    pub(super) fn reserve(
        &self,
        payer: Address,
        stroops: u64,
        now: u64,
    ) -> Result<Reservation, Exceeded> {
        let mut state = self.lock();
        self.fits(&mut state, payer, stroops, now)?;
        let number = state.next;
        state.next = number.saturating_add(1);
        state.spent.push_back(Spent { number, at: now, payer, stroops: 0, of_payer: 0 });
        state.set(number, stroops, stroops);
        drop(state);
        Ok(Reservation { spending: self.clone(), number, spent: false })
    }

    /// Whether [`Spending::reserve`] would do now; sets nothing aside.
    pub(super) fn check(&self, payer: Address, stroops: u64, now: u64) -> Result<(), Exceeded> {
        self.fits(&mut self.lock(), payer, stroops, now)
    }

    /// What is not spent or set aside at `now`.
    pub(super) fn left(&self, now: u64) -> u64 {
        let mut state = self.lock();
        state.forget(now.saturating_sub(self.budget.per.as_secs()));
        self.budget.stroops.saturating_sub(state.total)
    }

    /// Whether more than half of it is left at `now`.
    pub(super) fn has_leeway(&self, now: u64) -> bool {
        self.left(now) > self.budget.stroops.midpoint(0)
    }

    fn fits(
        &self,
        state: &mut State,
        payer: Address,
        stroops: u64,
        now: u64,
    ) -> Result<(), Exceeded> {
        state.forget(now.saturating_sub(self.budget.per.as_secs()));
        let of_payer = state.by_payer.get(&payer).copied().unwrap_or_default();
        if of_payer.saturating_add(stroops) > self.budget.per_payer {
            return Err(Exceeded::Payer);
        }
        if state.total.saturating_add(stroops) > self.budget.stroops {
            return Err(Exceeded::All);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Counts the stroops as spent, whatever comes: the transaction is about to be sent.
    pub(super) const fn spend(&mut self) {
        self.spent = true;
    }

    /// Corrects what was set aside to what was charged in fact for a transaction that brought no payment.
    pub(super) fn lost(mut self, charged: u64) {
        self.spent = true;
        self.spending.lock().set(self.number, charged, charged);
    }

    /// The same for one that did: it counts no longer against the payer.
    pub(super) fn paid(mut self, charged: u64) {
        self.spent = true;
        self.spending.lock().set(self.number, charged, 0);
    }

    /// Gives the stroops back: the transaction never reached the network.
    pub(super) fn release(mut self) {
        self.spent = false;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.spent {
            self.spending.lock().set(self.number, 0, 0);
        }
    }
}

impl State {
    fn set(&mut self, number: u64, stroops: u64, of_payer: u64) {
        let Ok(at) = self.spent.binary_search_by_key(&number, |spent| spent.number) else {
            return;
        };
        let Some(spent) = self.spent.get_mut(at) else { return };
        let before = (
            std::mem::replace(&mut spent.stroops, stroops),
            std::mem::replace(&mut spent.of_payer, of_payer),
        );
        let payer = spent.payer;
        self.change(payer, before, (stroops, of_payer));
    }

    /// Forgets what was spent at `before` or earlier.
    fn forget(&mut self, before: u64) {
        while let Some(spent) = self.spent.pop_front_if(|spent| spent.at <= before) {
            self.change(spent.payer, (spent.stroops, spent.of_payer), (0, 0));
        }
    }

    /// Replaces what one transaction counts for, in all and of its payer.
    fn change(&mut self, payer: Address, before: (u64, u64), after: (u64, u64)) {
        self.total = self.total.saturating_add(after.0).saturating_sub(before.0);
        let of_payer = self.by_payer.entry(payer).or_default();
        *of_payer = of_payer.saturating_add(after.1).saturating_sub(before.1);
        if *of_payer == 0 {
            self.by_payer.remove(&payer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::stellar::AccountId;

    fn spending() -> Spending {
        let per = Duration::from_secs(60);
        Spending::new(Budget { stroops: 100, per_payer: 60, per })
    }

    fn payer(seed: u8) -> Address {
        Address::Account(AccountId([seed; 32]))
    }

    #[test]
    fn a_payer_cannot_spend_more_than_its_share_nor_all_more_than_the_whole() {
        let spending = spending();
        let mut held = Vec::new();
        held.push(spending.reserve(payer(1), 60, 1_000).unwrap());
        assert_eq!(spending.reserve(payer(1), 1, 1_000).err(), Some(Exceeded::Payer));
        assert_eq!(spending.reserve(payer(2), 41, 1_000).err(), Some(Exceeded::All));
        held.push(spending.reserve(payer(2), 40, 1_000).unwrap());
        assert_eq!(spending.reserve(payer(3), 1, 1_000).err(), Some(Exceeded::All));
    }

    #[test]
    fn what_was_not_sent_is_free_again_and_what_was_sent_is_not() {
        let spending = spending();
        drop(spending.reserve(payer(1), 60, 1_000).unwrap());
        let mut sent = spending.reserve(payer(1), 60, 1_000).unwrap();
        sent.spend();
        drop(sent);
        assert!(spending.reserve(payer(1), 1, 1_000).is_err());
    }

    #[test]
    fn the_charged_fee_replaces_the_reserved_one() {
        let spending = spending();
        let mut sent = spending.reserve(payer(1), 60, 1_000).unwrap();
        sent.spend();
        sent.lost(20);
        assert_eq!(spending.reserve(payer(1), 41, 1_000).err(), Some(Exceeded::Payer));
        assert!(spending.reserve(payer(1), 40, 1_000).is_ok());
    }

    #[test]
    fn what_was_paid_for_counts_for_all_and_not_against_its_payer() {
        let spending = spending();
        spending.reserve(payer(1), 60, 1_000).unwrap().paid(50);
        assert!(spending.reserve(payer(1), 50, 1_000).is_ok());
        assert_eq!(spending.reserve(payer(1), 51, 1_000).err(), Some(Exceeded::All));
        assert!(spending.reserve(payer(1), 51, 1_060).is_ok());
    }

    #[test]
    fn the_window_slides() {
        let spending = spending();
        spending.reserve(payer(1), 60, 1_000).unwrap().lost(60);
        assert!(spending.reserve(payer(1), 1, 1_059).is_err());
        let late = spending.reserve(payer(1), 60, 1_060).unwrap();
        late.lost(60);
        assert_eq!(spending.lock().spent.len(), 1);
        assert!(spending.reserve(payer(1), 60, 2_000).is_ok());
        assert!(spending.lock().by_payer.len() <= 1);
    }
}

//! The accounting rules, one at a time.

mod keeping;
mod records;

use std::time::Duration;

use super::*;

/// An account with this deposit, and what is asked of it with the rest as usual.
struct Desk {
    account: Account,
    deposited: i128,
    drawn: u8,
}

impl Desk {
    fn new(deposited: i128) -> Self {
        Self { account: Account::default(), deposited, drawn: 0 }
    }

    fn ask(&mut self, commitment: i128, challenge: u8, price: i128) -> Reserve {
        self.drawn = self.drawn.wrapping_add(1);
        let authorised = self.account.authorised;
        Reserve {
            commitment: Held { amount: units(commitment), signature: [7; 64] },
            challenge: ChallengeDigest([challenge; 16]),
            base: if units(commitment) > authorised { authorised } else { Amount::ZERO },
            binding: Binding([1; 32]),
            price: units(price),
            deposited: units(self.deposited),
            withdrawn: self.account.withdrawn,
            at_least: Amount::ZERO,
            most_unsettled: units(i128::MAX),
            expired: false,
            token: Token([self.drawn; 16]),
            now: 1_000,
            lease_until: 1_100,
            redelivery: Redelivery { attempts: 3, within: Duration::from_secs(86_400) },
        }
    }

    fn reserve(&mut self, commitment: i128, challenge: u8, price: i128) -> Reserving {
        let ask = self.ask(commitment, challenge, price);
        self.account.reserve(&ask)
    }

    /// As the stores do it.
    fn reserve_step(&mut self, commitment: i128, challenge: u8, price: i128) {
        let step = Step::Reserve(Box::new(self.ask(commitment, challenge, price)));
        self.account.step(&step);
    }

    fn token(&self) -> Token {
        Token([self.drawn; 16])
    }

    fn buy(&mut self, commitment: i128, challenge: u8, price: i128) {
        let outcome = self.reserve(commitment, challenge, price);
        assert!(matches!(outcome, Reserving::Reserved(_)), "{outcome:?}");
        self.keep(self.token());
    }

    /// As a caller does that hears it.
    fn keep(&mut self, token: Token) {
        self.account.keep(token, 200).unwrap();
        self.account.told(token);
    }
}

fn units(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

fn stands(authorised: i128, spent: i128) -> Reserving {
    Reserving::Reserved(Standing { authorised: units(authorised), spent: units(spent) })
}

#[test]
fn each_commitment_buys_one_request_and_raises_the_mark() {
    let mut desk = Desk::new(100);
    assert_eq!(desk.reserve(10, 1, 10), stands(10, 10));
    desk.account.keep(desk.token(), 200).unwrap();
    assert_eq!(desk.reserve(20, 2, 10), stands(20, 20));
}

#[test]
fn c01_the_same_credential_is_told_its_outcome_and_buys_nothing_more() {
    let mut desk = Desk::new(100);
    assert_eq!(desk.reserve(10, 1, 10), stands(10, 10));
    let first = desk.token();
    assert_eq!(desk.reserve(10, 1, 10), Reserving::InFlight);
    desk.account.keep(first, 204).unwrap();
    let standing = desk.account.standing();
    assert_eq!(desk.reserve(10, 1, 10), Reserving::Bought { status: 204, standing });
    assert_eq!(desk.reserve(10, 2, 10), Reserving::Refused(Unfit::Used));
    assert_eq!(desk.reserve(5, 3, 5), Reserving::Refused(Unfit::Short { needed: units(15) }));
    assert_eq!(desk.account.standing(), standing);
}

#[test]
fn c02_a_commitment_that_is_one_short_is_refused_and_not_kept_as_a_tip() {
    let mut desk = Desk::new(100);
    desk.buy(10, 1, 10);
    let before = desk.account.clone();
    let needed = units(20);
    assert_eq!(desk.reserve(19, 2, 10), Reserving::Refused(Unfit::Short { needed }));
    assert_eq!(desk.account, before);
    assert_eq!(desk.reserve(20, 2, 10), stands(20, 20));
}

#[test]
fn c07_a_commitment_above_the_deposit_never_replaces_a_collectable_one() {
    let mut desk = Desk::new(100);
    desk.buy(90, 1, 90);
    let before = desk.account.clone();
    assert_eq!(desk.reserve(101, 2, 10), Reserving::Refused(Unfit::OverDeposit));
    assert_eq!(desk.account, before);
    assert_eq!(desk.account.collectable().unwrap().commitment.amount, units(90));
    assert_eq!(desk.reserve(100, 2, 10), stands(100, 100));
}

#[test]
fn what_was_paid_too_much_is_credit() {
    let mut desk = Desk::new(100);
    desk.buy(50, 1, 10);
    assert_eq!(desk.account.standing().credit(), units(40));
    for n in 0..4 {
        desk.buy(i128::from(51 + n), 2 + n, 10);
    }
    assert_eq!(desk.reserve(55, 9, 10), Reserving::Refused(Unfit::Short { needed: units(60) }));
}

#[test]
fn c17_commitments_of_a_parallel_client_may_arrive_in_any_order() {
    let mut desk = Desk::new(100);
    for n in [5, 1, 4, 2, 3] {
        assert!(matches!(desk.reserve(n, n.try_into().unwrap(), 1), Reserving::Reserved(_)));
    }
    assert_eq!(desk.account.standing(), Standing { authorised: units(5), spent: units(5) });
}

#[test]
fn what_was_not_delivered_is_given_back_and_may_come_again() {
    let mut desk = Desk::new(100);
    desk.reserve(10, 1, 10);
    desk.account.give_back(desk.token(), true).unwrap();
    assert_eq!(desk.account.standing(), Standing { authorised: units(10), spent: units(0) });
    assert_eq!(desk.account.collectable(), None);
    assert_eq!(desk.reserve(10, 2, 10), Reserving::Refused(Unfit::Used), "by another challenge");
    assert_eq!(desk.reserve(10, 1, 10), stands(10, 10));
    desk.account.give_back(desk.token(), true).unwrap();
    desk.reserve(10, 1, 10);
    desk.account.give_back(desk.token(), true).unwrap();
    assert_eq!(desk.reserve(10, 1, 10), Reserving::Refused(Unfit::Spent), "three attempts");
    assert_eq!(desk.reserve(11, 2, 10), stands(11, 10), "the credit is there all the same");
}

#[test]
fn a_reservation_is_given_back_when_its_lease_has_ended_and_cannot_be_kept_then() {
    let mut desk = Desk::new(100);
    desk.reserve(10, 1, 10);
    let token = desk.token();
    assert!(!desk.account.sweep(1_100));
    assert!(desk.account.sweep(1_101));
    assert_eq!(desk.account.keep(token, 200), Err(Lapsed));
    assert_eq!(desk.account.standing().spent, units(0));
}

#[test]
fn a_step_whose_answer_was_lost_may_be_repeated() {
    let mut desk = Desk::new(100);
    let ask = desk.ask(10, 1, 10);
    assert_eq!(desk.account.reserve(&ask), stands(10, 10));
    assert_eq!(desk.account.reserve(&ask), stands(10, 10));
    desk.account.begin_closing();
    assert_eq!(desk.account.reserve(&ask), stands(10, 10), "whatever came between");
}

#[test]
fn the_smallest_commitment_that_covers_what_was_delivered_is_collected() {
    let mut desk = Desk::new(1_000);
    desk.buy(100, 1, 10);
    desk.reserve(300, 2, 150);
    assert_eq!(desk.account.collectable().unwrap().commitment.amount, units(100));
    desk.account.keep(desk.token(), 200).unwrap();
    assert_eq!(desk.account.collectable().unwrap().commitment.amount, units(300));
    assert!(desk.account.saw_withdrawn(units(300)));
    assert_eq!(desk.account.collectable(), None);
    assert_eq!(desk.account.unsettled_since(), None);
}

#[test]
fn c09_after_a_settlement_the_deposit_still_counts_whole() {
    let mut desk = Desk::new(1_000);
    desk.buy(500, 1, 500);
    desk.account.saw_withdrawn(units(500));
    assert_eq!(desk.reserve(600, 2, 100), stands(600, 600));
}

#[test]
fn an_amount_that_was_withdrawn_is_public_and_buys_nothing() {
    let mut desk = Desk::new(1_000);
    desk.buy(500, 1, 10);
    desk.account.saw_withdrawn(units(500));
    assert_eq!(desk.reserve(400, 2, 10), Reserving::Refused(Unfit::TooLow));
    assert_eq!(desk.reserve(501, 2, 10), stands(501, 20), "what was paid too much still counts");
}

#[test]
fn a_challenge_is_answered_once_however_long_ago() {
    let mut desk = Desk::new(10_000);
    desk.buy(1, 1, 1);
    let mut again = desk.ask(2, 1, 1);
    again.base = units(0);
    assert_eq!(desk.account.reserve(&again), Reserving::Refused(Unfit::ChallengeUsed));
    for n in 2..200_u8 {
        let mut ask = desk.ask(n.into(), n, 1);
        ask.base = units(i128::from(n) - 1);
        assert!(matches!(desk.account.reserve(&ask), Reserving::Reserved(_)));
        desk.keep(desk.token());
    }
    let mut forgotten = desk.ask(200, 1, 1);
    forgotten.base = units(0);
    assert_eq!(desk.account.reserve(&forgotten), Reserving::Refused(Unfit::ChallengeUsed));
    assert_eq!(desk.account.uses.len(), WINDOW);
    assert_eq!(desk.reserve(50, 250, 1), Reserving::Refused(Unfit::Used), "below the floor");
}

#[test]
fn a_commitment_at_or_below_what_its_challenge_named_is_refused() {
    let mut desk = Desk::new(100);
    desk.buy(10, 1, 1);
    let mut ask = desk.ask(9, 2, 1);
    ask.base = units(10);
    assert_eq!(desk.account.reserve(&ask), Reserving::Refused(Unfit::TooLow));
    ask.commitment.amount = units(11);
    assert_eq!(desk.account.reserve(&ask), stands(11, 2));
}

#[test]
fn k07_an_account_that_is_less_than_it_was_pays_for_nothing() {
    let mut desk = Desk::new(100);
    let mut ask = desk.ask(10, 1, 10);
    ask.at_least = units(5);
    let (found, at_least) = (units(0), units(5));
    assert_eq!(desk.account.reserve(&ask), Reserving::RolledBack { found, at_least });
    assert_eq!(desk.account, Account::default());
    ask.at_least = units(0);
    assert_eq!(desk.account.reserve(&ask), stands(10, 10));
}

#[test]
fn k12_more_withdrawn_than_was_authorised_is_a_store_that_was_rolled_back() {
    let mut desk = Desk::new(100);
    let mut ask = desk.ask(60, 1, 10);
    ask.withdrawn = units(50);
    assert!(matches!(desk.account.reserve(&ask), Reserving::RolledBack { .. }));
}

#[test]
fn k12_what_the_account_itself_saw_withdrawn_shows_a_rollback_to_a_caller_that_has_not_looked() {
    let mut desk = Desk::new(100);
    desk.buy(10, 1, 10);
    desk.account.saw_withdrawn(units(50));
    let mut ask = desk.ask(60, 2, 10);
    ask.withdrawn = units(0);
    let (found, at_least) = (units(10), units(50));
    assert_eq!(desk.account.reserve(&ask), Reserving::RolledBack { found, at_least });
    let commitment = Held { amount: units(50), signature: [7; 64] };
    assert!(desk.account.restore(commitment, units(50), 0, 7));
    assert_eq!(desk.account.reserve(&ask), Reserving::Refused(Unfit::ChallengeUsed));
    ask.base = units(50);
    assert_eq!(desk.account.reserve(&ask), stands(60, 60));
}

#[test]
fn k12_an_account_that_is_adopted_goes_on_from_what_the_ledger_shows() {
    let mut desk = Desk::new(1_000);
    desk.buy(10, 1, 10);
    let before = desk.account.clone();
    assert!(!desk.account.adopt(units(10), units(0)), "it is not behind");
    assert_eq!(desk.account, before);
    desk.reserve(20, 2, 10);
    let in_flight = desk.token();
    desk.account.saw_withdrawn(units(50));
    assert!(desk.account.adopt(units(50), units(0)));
    let standing = Standing { authorised: units(50), spent: units(50) };
    assert_eq!(desk.account.standing(), standing);
    assert_eq!((desk.account.at_risk(), desk.account.collectable()), (units(0), None));
    assert_eq!(desk.account.keep(in_flight, 200), Err(Lapsed));
    assert_eq!(desk.reserve(50, 3, 10), Reserving::Refused(Unfit::Used));
    assert_eq!(desk.reserve(59, 4, 10), Reserving::Refused(Unfit::Short { needed: units(60) }));
    desk.buy(60, 5, 10);
    assert_eq!(desk.account.collectable().unwrap().commitment.amount, units(60));
}

#[test]
fn k12_an_account_is_not_adopted_below_what_its_gateway_has_seen() {
    let mut desk = Desk::new(1_000);
    desk.buy(10, 1, 10);
    let adopt = Step::Adopt { withdrawn: units(50), at_least: units(0) };
    assert_eq!(desk.account.step(&adopt.knowing(units(80))), Stepped::Done(true));
    assert_eq!(desk.account.withdrawn(), units(50));
    let mut ask = desk.ask(90, 2, 10);
    ask.at_least = units(80);
    assert_eq!(desk.account.reserve(&ask), stands(90, 90));
}

#[test]
fn k05_an_account_that_was_rolled_back_forgets_no_delivery() {
    let mut desk = Desk::new(100);
    desk.reserve_step(10, 1, 10);
    let (token, mut stale) = (desk.token(), desk.account.clone());
    desk.account.step(&Step::Keep { token, status: 200 });
    desk.reserve_step(20, 2, 10);
    let commitment = *desk.account.held().last().unwrap();
    assert!(stale.restore(commitment, desk.account.standing().spent, desk.account.steps(), 7));
    assert!(!stale.give_back_all(), "what is not known to be undelivered counts as delivered");
    assert_eq!(stale.standing(), desk.account.standing());
    desk.account = stale;
    assert_eq!(desk.reserve(10, 1, 10), Reserving::Refused(Unfit::Used));
    assert_eq!(desk.reserve(20, 2, 10), Reserving::Refused(Unfit::Used));
    assert_eq!(desk.reserve(30, 3, 10), stands(30, 30));
}

#[test]
fn k05_an_account_that_lost_nothing_stays_as_it_is() {
    let mut desk = Desk::new(100);
    desk.reserve_step(10, 1, 10);
    let journaled = (*desk.account.held().last().unwrap(), units(10), desk.account.steps());
    let token = desk.token();
    desk.account.step(&Step::GiveBack { token, tried: true });
    let before = desk.account.clone();
    assert!(!desk.account.restore(journaled.0, journaled.1, journaled.2, 7));
    assert_eq!(desk.account, before);
}

#[test]
fn what_came_back_undelivered_does_not_come_again_once_its_signature_is_public() {
    let mut desk = Desk::new(1_000);
    desk.reserve(100, 1, 10);
    desk.account.give_back(desk.token(), true).unwrap();
    desk.buy(101, 2, 50);
    assert_eq!(desk.account.collectable().unwrap().commitment.amount, units(100));
    let mut again = desk.ask(100, 1, 10);
    again.withdrawn = units(99);
    assert!(matches!(desk.account.clone().reserve(&again), Reserving::Reserved(_)));
    again.withdrawn = units(100);
    assert_eq!(desk.account.reserve(&again), Reserving::Refused(Unfit::TooLow));
}

#[test]
fn c16_what_ends_the_channel_without_a_delivery_lets_no_answer_to_it_leave() {
    let mut desk = Desk::new(100);
    desk.buy(10, 1, 10);
    desk.reserve(20, 2, 10);
    let token = desk.token();
    let closing = Collection {
        closes: true,
        amount: units(10),
        transaction: TxHash([1; 32]),
        valid_until: 2_000,
        since_ledger: 5,
    };
    desk.account.collect(closing.clone()).unwrap();
    assert_eq!(desk.reserve(30, 3, 10), Reserving::Ended(Phase::Closing));
    assert_eq!(desk.account.keep(token, 200), Err(Lapsed), "while it may land");
    let mut failed = desk.account.clone();
    failed.collected(closing.transaction, false);
    assert!(failed.keep(token, 200).is_ok(), "it cannot land any more");
    desk.account.collected(closing.transaction, true);
    assert_eq!(desk.account.keep(token, 200), Err(Lapsed), "it has landed");
    assert_eq!(desk.account.at_risk(), units(0));
}

#[test]
fn what_was_collected_in_advance_is_not_unsettled() {
    let mut desk = Desk::new(1_000);
    desk.buy(100, 1, 10);
    desk.account.saw_withdrawn(units(100));
    desk.buy(101, 2, 10);
    assert_eq!(desk.account.unsettled_since(), None);
    desk.buy(120, 3, 90);
    assert_eq!(desk.account.unsettled_since(), Some(1_000));
}

#[test]
fn c16_a_channel_that_is_being_closed_takes_no_commitment_and_ends_what_is_in_flight() {
    let mut desk = Desk::new(100);
    desk.reserve(10, 1, 10);
    let token = desk.token();
    assert!(desk.account.begin_closing());
    assert_eq!(desk.reserve(20, 2, 10), Reserving::Ended(Phase::Closing));
    desk.account.keep(token, 200).unwrap();
    assert_eq!(desk.account.collectable().unwrap().commitment.amount, units(10));
}

#[test]
fn a_channel_that_cannot_be_closed_takes_commitments_again() {
    let mut desk = Desk::new(100);
    assert!(!desk.account.reopen(), "it is open");
    desk.reserve(10, 1, 10);
    desk.account.begin_closing();
    assert!(!desk.account.reopen(), "what is in flight may yet be delivered");
    desk.account.give_back(desk.token(), true).unwrap();
    assert!(desk.account.reopen());
    assert_eq!(desk.reserve(20, 2, 10), stands(20, 10));
    desk.account.ended();
    assert!(!desk.account.reopen(), "it has ended");
}

#[test]
fn one_collection_at_a_time_and_what_landed_is_withdrawn() {
    let mut desk = Desk::new(100);
    desk.buy(10, 1, 10);
    let collection = Collection {
        closes: true,
        amount: units(10),
        transaction: TxHash([1; 32]),
        valid_until: 2_000,
        since_ledger: 5,
    };
    let other = Collection { transaction: TxHash([2; 32]), ..collection };
    assert_eq!(desk.account.collect(collection.clone()), Ok(()));
    assert_eq!(desk.account.collect(collection.clone()), Ok(()));
    assert_eq!(desk.account.collect(other.clone()), Err(collection.clone()));
    assert!(!desk.account.collected(other.transaction, true));
    assert!(desk.account.collected(collection.transaction, true));
    assert_eq!(desk.account.withdrawn(), units(10));
    let transaction = Some(collection.transaction);
    assert_eq!(desk.account.phase(), Phase::Closed { transaction });
}

#[test]
fn held_commitments_have_a_bound_and_the_highest_is_always_among_them() {
    let mut desk = Desk::new(100_000);
    for n in 0..150_u8 {
        desk.buy(10_000 + i128::from(n), n, 1);
        assert!(desk.account.held.len() <= MOST_HELD);
        assert_eq!(desk.account.held.last().unwrap().amount, desk.account.authorised);
        let collectable = desk.account.collectable().unwrap();
        assert!(collectable.commitment.amount >= collectable.delivered);
    }
}

#[test]
fn a13_a_challenge_that_has_ended_is_answered_only_by_what_answered_it_before() {
    let mut desk = Desk::new(100);
    let mut ask = desk.ask(10, 1, 10);
    desk.account.reserve(&ask);
    desk.account.give_back(ask.token, true).unwrap();
    (ask.expired, ask.token) = (true, Token([99; 16]));
    assert_eq!(desk.account.reserve(&ask), stands(10, 10));
    let mut other = desk.ask(20, 2, 10);
    other.expired = true;
    assert_eq!(desk.account.reserve(&other), Reserving::Refused(Unfit::Expired));
    other.expired = false;
    assert_eq!(desk.account.reserve(&other), stands(20, 20));
}

#[test]
fn no_more_is_served_than_may_be_unsettled() {
    let mut desk = Desk::new(1_000);
    desk.buy(50, 1, 50);
    let mut ask = desk.ask(100, 2, 50);
    ask.most_unsettled = units(99);
    assert_eq!(desk.account.reserve(&ask), Reserving::Unsettled);
    ask.withdrawn = units(50);
    assert_eq!(desk.account.reserve(&ask), stands(100, 100));
}

#[test]
fn what_is_left_after_a_settlement_is_unsettled_since_it_was_sold() {
    let mut desk = Desk::new(1_000);
    desk.buy(10, 1, 10);
    let mut later = desk.ask(20, 2, 10);
    (later.now, later.lease_until) = (5_000, 5_100);
    desk.account.reserve(&later);
    desk.account.keep(later.token, 200).unwrap();
    assert_eq!(desk.account.unsettled_since(), Some(1_000));
    desk.account.saw_withdrawn(units(10));
    assert_eq!(desk.account.unsettled_since(), Some(5_000));
    desk.account.saw_withdrawn(units(20));
    assert_eq!(desk.account.unsettled_since(), None);
}

//! Keeping a reservation where the answer to that may be lost.

use super::*;

#[test]
fn a_keep_whose_answer_was_lost_may_be_repeated_until_it_is_heard() {
    let mut desk = Desk::new(100);
    desk.reserve(10, 1, 10);
    let token = desk.token();
    let kept = desk.account.keep(token, 201);
    assert_eq!(kept, Ok(Standing { authorised: units(10), spent: units(10) }));
    desk.buy(20, 2, 10);
    desk.account.begin_closing();
    assert_eq!(desk.account.keep(token, 201), Ok(desk.account.standing()), "whatever came between");
    desk.account.told(token);
    assert_eq!(desk.account.keep(token, 201), Err(Lapsed));
    assert_eq!(desk.account.give_back(token, true), Err(Lapsed), "its answer has left");
    assert_eq!(desk.account.delivered(), units(20));
}

#[test]
fn what_was_kept_and_not_heard_is_given_back_and_the_same_request_buys_with_it_again() {
    let mut desk = Desk::new(100);
    desk.reserve(10, 1, 10);
    let token = desk.token();
    desk.account.keep(token, 200).unwrap();
    assert_eq!(desk.account.at_risk(), units(10));
    let back = desk.account.give_back(token, true);
    assert_eq!(back, Ok(Standing { authorised: units(10), spent: units(0) }));
    assert_eq!(desk.account.collectable(), None);
    assert_eq!(desk.account.unsettled_since(), None);
    assert_eq!(desk.account.keep(token, 200), Err(Lapsed), "too late");
    assert_eq!(desk.account.give_back(token, true), Err(Lapsed), "once");
    assert_eq!(desk.reserve(10, 1, 10), stands(10, 10));
}

#[test]
fn what_is_taken_back_leaves_the_commitment_that_covers_the_rest() {
    let mut desk = Desk::new(1_000);
    desk.buy(100, 1, 100);
    desk.reserve(200, 2, 100);
    let second = desk.token();
    desk.reserve(300, 3, 100);
    let third = desk.token();
    desk.account.keep(second, 200).unwrap();
    desk.account.keep(third, 200).unwrap();
    assert_eq!(desk.account.collectable().unwrap().commitment.amount, units(300));
    let mut heard = desk.account.clone();
    desk.account.give_back(third, true).unwrap();
    assert_eq!(desk.account.collectable().unwrap().commitment.amount, units(200));
    desk.account.give_back(second, true).unwrap();
    assert_eq!(desk.account.collectable().unwrap().commitment.amount, units(100));
    heard.told(second);
    heard.told(third);
    assert_eq!(heard.held().len(), 1, "nothing can be taken back any more");
}

#[test]
fn what_is_kept_is_not_taken_back_by_a_lease_that_ends() {
    let mut desk = Desk::new(100);
    desk.reserve(10, 1, 10);
    let token = desk.token();
    desk.account.keep(token, 200).unwrap();
    assert!(!desk.account.sweep(1_101));
    assert!(!desk.account.give_back_all());
    assert!(desk.account.clone().give_back(token, true).is_ok(), "its caller still can");
    assert!(!desk.account.sweep(1_100 + 3_601));
    assert_eq!(desk.account.give_back(token, true), Err(Lapsed), "nobody has asked for an hour");
    assert_eq!(desk.account.delivered(), units(10));
}

#[test]
fn as_many_as_can_be_in_flight_may_be_taken_back_and_no_more_are_remembered() {
    let mut desk = Desk::new(100_000);
    let mut tokens = Vec::new();
    for n in 0..=MOST_UNTOLD {
        let n = i128::try_from(n).unwrap();
        let mut ask = desk.ask(n + 1, 0, 1);
        ask.challenge = ChallengeDigest(n.to_be_bytes());
        ask.token = Token(n.to_be_bytes());
        assert!(matches!(desk.account.reserve(&ask), Reserving::Reserved(_)));
        desk.account.keep(ask.token, 200).unwrap();
        tokens.push(ask.token);
    }
    assert_eq!(desk.account.uses.len(), MOST_UNTOLD + 1);
    let given_back = |token: &&Token| desk.account.clone().give_back(**token, true).is_ok();
    assert_eq!(tokens.iter().filter(given_back).count(), MOST_UNTOLD);
}

#[test]
fn a_credential_that_bought_an_answer_tells_its_outcome_to_the_same_request_alone() {
    let mut desk = Desk::new(100);
    desk.reserve(10, 1, 10);
    let token = desk.token();
    desk.account.keep(token, 204).unwrap();
    let standing = desk.account.standing();
    for is_heard in [false, true] {
        if is_heard {
            desk.account.told(token);
        }
        let mut other = desk.ask(10, 1, 10);
        other.binding = Binding([2; 32]);
        assert_eq!(desk.account.reserve(&other), Reserving::Refused(Unfit::Spent));
        assert_eq!(desk.reserve(10, 1, 10), Reserving::Bought { status: 204, standing });
    }
}

#[test]
fn k08_what_is_told_on_the_way_changes_nothing_of_the_step() {
    let mut desk = Desk::new(100);
    desk.reserve_step(10, 1, 10);
    let first = desk.token();
    desk.account.step(&Step::Keep { token: first, status: 200 });
    let ask = desk.ask(20, 2, 10);
    let then = Box::new(Step::Reserve(Box::new(ask)));
    let step = Step::After { told: vec![first], then };
    let steps = desk.account.steps();
    // A caller that has seen more than is stored is told so, whatever it tells on the way.
    let behind = desk.account.clone().step(&step.knowing(units(11)));
    let (found, at_least) = (units(10), units(11));
    assert_eq!(behind, Stepped::Reserving(Reserving::RolledBack { found, at_least }));
    assert_eq!(desk.account.step(&step.knowing(units(10))), Stepped::Reserving(stands(20, 20)));
    assert_eq!(desk.account.steps(), steps + 1);
    assert_eq!(desk.account.give_back(first, true), Err(Lapsed));
}

#[test]
fn what_dead_gateways_never_told_does_not_cost_the_payer_its_fine_commitments() {
    let mut desk = Desk::new(1_000_000);
    for n in 0..180_u8 {
        desk.reserve_step(i128::from(n) * 20 + 20, n, 20);
        match n % 3 {
            0 => desk.keep(desk.token()),
            // Recorded, and nobody says that the answer has left.
            1 => {
                desk.account.keep(desk.token(), 200).unwrap();
            }
            _ => {
                desk.account.give_back(desk.token(), true).unwrap();
            }
        }
        assert!(desk.account.held.len() <= MOST_HELD);
        let collectable = desk.account.collectable().unwrap();
        // One was made for each 20 units.
        assert_eq!(collectable.commitment.amount, collectable.delivered, "{n}");
    }
}

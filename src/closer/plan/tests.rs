use std::time::Duration;

use super::*;
use crate::{
    protocol::{
        commitment::CommitmentSeed,
        stellar::{AccountId, Address, ContractId, TxHash},
    },
    store::{
        Binding, Redelivery,
        channel::{ChallengeDigest, Reserve, Reserving, Token},
    },
};

const NOW: u64 = 1_000_000;
const LEDGER: u32 = 50_000;

fn units(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

/// A channel through which these prices were delivered, each by a commitment of all so far.
fn delivered(prices: &[i128]) -> Account {
    delivered_at(prices, NOW)
}

fn delivered_at(prices: &[i128], now: u64) -> Account {
    let mut account = Account::default();
    for price in prices {
        let token = fly_at(&mut account, *price, now);
        account.keep(token, 200).unwrap();
    }
    account
}

/// Has a request for `price` in flight.
fn fly(account: &mut Account, price: i128) -> Token {
    fly_at(account, price, NOW)
}

fn fly_at(account: &mut Account, price: i128, now: u64) -> Token {
    let amount = units(account.standing().authorised.units() + price);
    let token = Token(amount.units().to_be_bytes());
    let reserved = account.reserve(&Reserve {
        commitment: Held { amount, signature: [0; 64] },
        challenge: ChallengeDigest(token.0),
        base: Amount::ZERO,
        binding: Binding([0; 32]),
        price: units(price),
        deposited: units(1_000),
        withdrawn: Amount::ZERO,
        at_least: Amount::ZERO,
        most_unsettled: units(1_000),
        expired: false,
        token,
        now,
        lease_until: now + 60,
        redelivery: Redelivery { attempts: 3, within: Duration::from_secs(60) },
    });
    assert!(matches!(reserved, Reserving::Reserved(_)), "{reserved:?}");
    token
}

fn view() -> View {
    let account = Address::Account(AccountId([1; 32]));
    View {
        channel: ContractId([2; 32]),
        token: ContractId([3; 32]),
        payee: account,
        payer: account,
        key: CommitmentSeed::from_bytes(&[4; 32]).key(),
        balance: units(1_000),
        is_balance_known: true,
        withdrawn: Amount::ZERO,
        refund_waiting_ledgers: 17_280,
        close_effective_at: None,
        live_until: LEDGER + 120_000,
        ledger: LEDGER,
    }
}

fn closing_at(ledger: u32) -> View {
    View { close_effective_at: Some(ledger), ..view() }
}

fn settings() -> Settings {
    Settings {
        at_claimable: units(100),
        max_unsettled: units(500),
        min_value: Amount::ZERO,
        unsettled_for: Duration::from_secs(3_600),
        idle_for: Duration::from_secs(36_000),
        before_refund: Duration::from_secs(7_200),
    }
}

fn plan_at(account: &Account, view: &View, now: u64, asked: Option<Way>) -> Plan {
    let settings = settings();
    let account = &account.summary();
    plan(&Facts { account, view: Some(view), settings: &settings, now, asked, urged: false })
}

fn plan_of(account: &Account, view: &View) -> Plan {
    plan_at(account, view, NOW, None)
}

#[test]
fn what_is_under_way_is_resolved_before_anything_else() {
    let mut account = delivered(&[200]);
    let collection = Collection {
        closes: false,
        amount: units(200),
        transaction: TxHash([1; 32]),
        valid_until: NOW,
        since_ledger: 1,
    };
    account.collect(collection.clone()).unwrap();
    assert_eq!(plan_of(&account, &closing_at(LEDGER + 1)), Plan::Resolve(collection));
    account.collected(TxHash([1; 32]), false);
    assert_eq!(plan_of(&account, &view()), Plan::Collect(Way::Settle, Reason::Value));
}

#[test]
fn an_open_channel_is_settled_by_value_then_by_age_and_closed_when_idle() {
    let account = delivered(&[99]);
    assert_eq!(plan_of(&account, &view()), Plan::Rest);
    assert_eq!(plan_of(&delivered(&[99, 1]), &view()), Plan::Collect(Way::Settle, Reason::Value));
    assert_eq!(plan_at(&account, &view(), NOW + 3_599, None), Plan::Rest);
    let aged = plan_at(&account, &view(), NOW + 3_600, None);
    assert_eq!(aged, Plan::Collect(Way::Settle, Reason::Age));
    let idle = plan_at(&account, &view(), NOW + 36_000, None);
    assert_eq!(idle, Plan::BeginClosing(Reason::Idle));
}

/// By then most are settled, by their age.
#[test]
fn an_idle_channel_is_closed_though_it_owes_nothing_if_it_has_paid_for_that() {
    let settings = Settings { min_value: units(10), ..settings() };
    let plan_idle = |account: &Account, view| {
        let now = NOW + 36_000;
        let (asked, urged) = (None, false);
        let account = &account.summary();
        plan(&Facts { account, view, settings: &settings, now, asked, urged })
    };
    let mut account = delivered(&[10]);
    account.saw_withdrawn(units(10));
    let seen = View { withdrawn: units(10), ..view() };
    assert_eq!(plan_idle(&account, Some(&seen)), Plan::BeginClosing(Reason::Idle));
    // Its payer may have closed it meanwhile.
    assert_eq!(plan_idle(&account, None), Plan::Rest);
    account.begin_closing();
    let close = Plan::Collect(Way::Close, Reason::Idle);
    assert_eq!(plan_idle(&account, Some(&seen)), close);
    assert_eq!(plan_idle(&account, None), Plan::Rest);
    assert_eq!(plan_idle(&delivered(&[9]), Some(&view())), Plan::Rest);
}

#[test]
fn what_is_not_worth_a_transaction_is_left_until_somebody_asks_for_it() {
    let settings = Settings { min_value: units(10), ..settings() };
    let far = closing_at(LEDGER + 10_000);
    let archived = View { live_until: LEDGER - 1, ..view() };
    let plan_for = |account: &Account, view: &View, asked, urged| {
        let (view, now) = (Some(view), NOW + 30_000);
        let account = &account.summary();
        plan(&Facts { account, view, settings: &settings, now, asked, urged })
    };
    let (dust, enough) = (delivered(&[9]), delivered(&[10]));
    let settle = |reason| Plan::Collect(Way::Settle, reason);
    for (view, reason) in [(&view(), Reason::Age), (&archived, Reason::Lapsing)] {
        assert_eq!(plan_for(&dust, view, None, false), Plan::Rest);
        assert_eq!(plan_for(&enough, view, None, false), settle(reason));
    }
    assert_eq!(plan_for(&dust, &view(), Some(Way::Settle), false), settle(Reason::Asked));
    assert_eq!(plan_for(&dust, &view(), None, true), settle(Reason::Value));
    let close = |reason| Plan::Collect(Way::Close, reason);
    let closing = |account: &Account| {
        let mut account = account.clone();
        account.begin_closing();
        account
    };
    let (dust, enough) = (closing(&dust), closing(&enough));
    assert_eq!(plan_for(&dust, &far, None, false), Plan::Rest);
    assert_eq!(plan_for(&enough, &far, None, false), close(Reason::CloseStart));
    assert_eq!(plan_for(&dust, &far, Some(Way::Close), false), close(Reason::Asked));
    // Somebody asked for it before, who may be gone.
    assert_eq!(plan_for(&dust, &view(), None, false), close(Reason::Idle));
    let over = closing_at(LEDGER);
    assert_eq!(plan_for(&dust, &over, None, false), Plan::Ended { lost: units(9) });
    assert_eq!(plan_for(&enough, &over, None, false), close(Reason::Refund));
}

#[test]
fn first_comes_what_is_lost_soonest_then_what_is_most_then_what_waited_longest() {
    let rank =
        |price, view: &View, plan: &Plan| plan.rank(&delivered(&[price]).summary(), Some(view));
    let (settle, close) =
        (Plan::Collect(Way::Settle, Reason::Age), Plan::Collect(Way::Close, Reason::CloseStart));
    let lapsing = View { live_until: LEDGER + 60, ..view() };
    let extend = |reason| Plan::Extend { ledgers: 1, reason };
    let order = [
        rank(1, &view(), &Plan::Withdrawn(units(1))),
        rank(1, &closing_at(LEDGER + 50), &close),
        rank(1, &lapsing, &extend(Reason::Lapsing)),
        rank(900, &closing_at(LEDGER + 70), &close),
        rank(3, &closing_at(LEDGER + 70), &close),
        rank(900, &view(), &settle),
        settle.rank(&delivered_at(&[3], NOW - 1).summary(), Some(&view())),
        rank(3, &view(), &settle),
        rank(900, &view(), &extend(Reason::Upkeep)),
    ];
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?}");
}

#[test]
fn a_channel_is_not_idle_while_something_is_in_flight() {
    let mut account = delivered(&[99]);
    fly(&mut account, 1);
    let later = plan_at(&account, &view(), NOW + 36_000, None);
    assert_eq!(later, Plan::Collect(Way::Settle, Reason::Age));
}

#[test]
fn no_threshold_is_needed_for_a_wish_or_by_an_urge() {
    let account = delivered(&[1]);
    let wish = plan_at(&account, &view(), NOW, Some(Way::Settle));
    assert_eq!(wish, Plan::Collect(Way::Settle, Reason::Asked));
    let (settings, view) = (settings(), view());
    let facts = Facts {
        account: &account.summary(),
        view: Some(&view),
        settings: &settings,
        now: NOW,
        asked: None,
        urged: true,
    };
    assert_eq!(plan(&facts), Plan::Collect(Way::Settle, Reason::Value));
    assert_eq!(plan(&Facts { urged: false, ..facts }), Plan::Rest);
}

#[test]
fn a_close_start_ends_payments_first_and_is_more_urgent_the_nearer_the_refund_is() {
    let mut account = delivered(&[1]);
    let (far, near) = (closing_at(LEDGER + 1_441), closing_at(LEDGER + 1_440));
    assert_eq!(plan_of(&account, &far), Plan::BeginClosing(Reason::CloseStart));
    account.begin_closing();
    assert_eq!(plan_of(&account, &far), Plan::Collect(Way::Close, Reason::CloseStart));
    assert_eq!(plan_of(&account, &near), Plan::Collect(Way::Close, Reason::Refund));
}

#[test]
fn a_channel_that_ends_is_settled_while_something_is_in_flight_and_closed_after_it() {
    let mut account = delivered(&[1]);
    let token = fly(&mut account, 5);
    account.begin_closing();
    let ending = closing_at(LEDGER + 10_000);
    assert_eq!(plan_of(&account, &ending), Plan::Collect(Way::Settle, Reason::CloseStart));
    account.saw_withdrawn(units(1));
    assert_eq!(plan_of(&account, &ending), Plan::Wait);
    account.keep(token, 200).unwrap();
    assert_eq!(plan_of(&account, &ending), Plan::Collect(Way::Close, Reason::CloseStart));
    account.saw_withdrawn(units(6));
    assert_eq!(plan_of(&account, &ending), Plan::Rest);
}

#[test]
fn a_channel_has_ended_when_nothing_is_left_or_nothing_is_owed_after_its_time() {
    let mut account = delivered(&[7]);
    account.begin_closing();
    let over = closing_at(LEDGER);
    assert_eq!(plan_of(&account, &over), Plan::Collect(Way::Close, Reason::Refund));
    let drained = View { balance: Amount::ZERO, ..closing_at(LEDGER) };
    assert_eq!(plan_of(&account, &drained), Plan::Ended { lost: units(7) });
    // It is not told, or archived: a transaction finds out.
    let untold = View { is_balance_known: false, ..drained };
    assert_eq!(plan_of(&account, &untold), Plan::Collect(Way::Close, Reason::Refund));
    account.saw_withdrawn(units(7));
    assert_eq!(plan_of(&account, &over), Plan::Ended { lost: Amount::ZERO });
    account.ended();
    assert_eq!(plan_of(&account, &over), Plan::Rest);
}

#[test]
fn what_the_ledger_shows_as_withdrawn_is_recorded_first() {
    let account = delivered(&[200]);
    let paid = View { withdrawn: units(200), balance: units(800), ..view() };
    assert_eq!(plan_of(&account, &paid), Plan::Withdrawn(units(200)));
}

#[test]
fn a_channel_is_closed_once_nothing_is_in_flight_and_never_for_more_than_was_delivered() {
    let mut account = delivered(&[5]);
    let token = fly(&mut account, 50);
    account.begin_closing();
    assert_eq!(plan_at(&account, &view(), NOW, Some(Way::Close)), Plan::Wait);
    account.give_back(token, true).unwrap();
    let close = plan_at(&account, &view(), NOW, Some(Way::Close));
    assert_eq!(close, Plan::Collect(Way::Close, Reason::Asked));
    assert_eq!(account.closes_with().unwrap().amount, units(5));

    let mut unpaid = Account::default();
    let token = fly(&mut unpaid, 50);
    unpaid.give_back(token, true).unwrap();
    assert_eq!(unpaid.closes_with(), None);
    assert_eq!(highest(&unpaid).unwrap().amount, units(50));
}

#[test]
fn a_channel_that_there_is_nothing_to_close_with_goes_on() {
    let mut account = Account::default();
    let token = fly(&mut account, 50);
    account.begin_closing();
    for asked in [None, Some(Way::Close)] {
        assert_eq!(plan_at(&account, &view(), NOW, asked), Plan::Wait);
    }
    account.give_back(token, true).unwrap();
    for asked in [None, Some(Way::Close)] {
        assert_eq!(plan_at(&account, &view(), NOW, asked), Plan::Reopen);
    }
    // Its payer ends it, and who pays is to open another one.
    assert_eq!(plan_of(&account, &closing_at(LEDGER + 10)), Plan::Rest);
    account.reopen();
    assert_eq!(plan_at(&account, &view(), NOW, Some(Way::Close)), Plan::Rest);
}

#[test]
fn entries_are_extended_before_they_end_and_while_they_are_of_use() {
    let account = delivered(&[1]);
    let at = |live_until| View { live_until, ..view() };
    let wanted = 2 * 17_280 + WEEK_LEDGERS;
    let extend = |reason| Plan::Extend { ledgers: wanted, reason };
    assert_eq!(plan_of(&account, &at(LEDGER + 34_560)), Plan::Rest);
    assert_eq!(plan_of(&account, &at(LEDGER + 34_559)), extend(Reason::Upkeep));
    assert_eq!(plan_of(&account, &at(LEDGER + 4_319)), extend(Reason::Lapsing));
    // Archived: collecting brings them back.
    let archived = at(LEDGER - 1);
    assert_eq!(plan_of(&account, &archived), Plan::Collect(Way::Settle, Reason::Lapsing));
    let mut settled = account;
    settled.saw_withdrawn(units(1));
    assert_eq!(plan_of(&settled, &archived), Plan::Rest);
    assert_eq!(plan_of(&settled, &at(LEDGER + 10)), extend(Reason::Lapsing));
    let (view, settings) = (at(LEDGER + 10), Settings { min_value: units(2), ..settings() });
    let (now, view) = (NOW + IN_USE_SECONDS, Some(&view));
    let account = &settled.summary();
    let later = Facts { account, view, settings: &settings, now, asked: None, urged: false };
    assert_eq!(plan(&later), Plan::Rest);
}

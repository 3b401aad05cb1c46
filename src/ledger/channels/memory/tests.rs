use super::*;
use crate::protocol::{
    commitment::CommitmentSeed,
    money::Amount,
    stellar::{AccountId, Address},
};

const MAX_AGE: Duration = Duration::from_secs(30);

fn channel(number: u32) -> ContractId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    ContractId(bytes)
}

fn fit(number: u32, ledger: u32) -> Judged {
    let view = View {
        channel: channel(number),
        token: ContractId([5; 32]),
        payee: Address::Account(AccountId([4; 32])),
        payer: Address::Account(AccountId([3; 32])),
        key: CommitmentSeed::from_bytes(&[1; 32]).key(),
        balance: Amount::from_units(700).unwrap(),
        is_balance_known: true,
        withdrawn: Amount::ZERO,
        refund_waiting_ledgers: 100,
        close_effective_at: None,
        live_until: 1_000_000,
        ledger,
    };
    Judged { ledger, view: Some(view), unfit: None }
}

fn missing(ledger: u32) -> Judged {
    Judged { ledger, view: None, unfit: Some(Unfit::Missing) }
}

fn memory() -> (Memory, Instant) {
    let start = Instant::now();
    (Memory::new(MAX_AGE, start), start)
}

fn is_known(memory: &Memory, number: u32) -> bool {
    memory.seen(channel(number)).is_some()
}

#[test]
fn channels_that_nobody_uses_are_forgotten() {
    let (memory, start) = memory();
    for number in 1..=3 {
        memory.take(channel(number), fit(number, 10), start).unwrap().unwrap();
    }
    memory.keep(channel(1));
    let later = start + Duration::from_secs(590);
    memory.hear(11, later);
    memory.take(channel(2), fit(2, 11), later).unwrap().unwrap();
    assert!(matches!(memory.recall(channel(2), later), Recalled::Fresh(Ok(_))));
    // Seen again, and not asked for, is not used.
    memory.take(channel(3), fit(3, 11), later).unwrap().unwrap();
    memory.sweep(start + Duration::from_secs(610), false);
    assert!((1..=3).all(|number| is_known(&memory, number)));
    memory.sweep(start + Duration::from_secs(610), true);
    assert_eq!([1, 2, 3].map(|number| is_known(&memory, number)), [true, true, false]);
    memory.forget(channel(1));
    assert!(!is_known(&memory, 1));
}

#[test]
fn what_is_not_fit_is_not_remembered_unless_it_was_known_or_is_kept() {
    let (memory, start) = memory();
    memory.keep(channel(2));
    memory.take(channel(3), fit(3, 10), start).unwrap().unwrap();
    for number in 1..=3 {
        let answer = memory.take(channel(number), missing(11), start);
        assert_eq!(answer, Ok(Err(Unfit::Missing)));
    }
    assert!(matches!(memory.recall(channel(1), start), Recalled::Unknown));
    for number in [2, 3] {
        let recalled = memory.recall(channel(number), start);
        assert!(matches!(recalled, Recalled::Fresh(Err(Unfit::Missing))), "{recalled:?}");
    }
    assert_eq!([2, 3].map(|number| is_known(&memory, number)), [false, true]);
}

#[test]
fn a_view_is_as_old_as_its_ledger_and_a_close_is_never_too_old() {
    let (memory, start) = memory();
    let mut closing = fit(2, 10);
    closing.unfit = Some(Unfit::Closing { effective_at: 200 });
    memory.keep(channel(2));
    memory.take(channel(1), fit(1, 10), start).unwrap().unwrap();
    assert!(memory.take(channel(2), closing, start).unwrap().is_err());
    let old = start + MAX_AGE + Duration::from_millis(1);
    // Read again as of the same ledger it is as old as before.
    assert!(memory.take(channel(1), fit(1, 10), old).is_ok());
    assert!(matches!(memory.recall(channel(1), start + MAX_AGE), Recalled::Fresh(Ok(_))));
    assert!(matches!(memory.recall(channel(1), old), Recalled::Stale));
    let recalled = memory.recall(channel(2), old);
    assert!(matches!(recalled, Recalled::Fresh(Err(Unfit::Closing { .. }))));
    // A ledger later it is new.
    memory.take(channel(1), fit(1, 11), old).unwrap().unwrap();
    assert!(matches!(memory.recall(channel(1), old), Recalled::Fresh(Ok(_))));
}

#[test]
fn an_answer_from_before_all_that_is_remembered_is_no_answer() {
    let (memory, start) = memory();
    memory.hear(100, start);
    let lags = TooOld::Lags { ledger: 97, latest: 100 };
    assert_eq!(memory.take(channel(1), fit(1, 97), start), Err(lags));
    assert!(matches!(memory.recall(channel(1), start), Recalled::Unknown));
    assert!(memory.take(channel(1), fit(1, 100), start).is_ok());
}

#[test]
fn those_are_read_first_that_were_not_read_for_longest() {
    let (memory, start) = memory();
    for (number, ledger) in [(1, 20), (2, 22), (3, 21), (4, 22)] {
        memory.take(channel(number), fit(number, ledger), start).unwrap().unwrap();
    }
    memory.keep(channel(4));
    memory.keep(channel(5));
    let order = |seconds| {
        let due = memory.due(start + Duration::from_secs(seconds));
        due.into_iter().map(|wanted| wanted.channel).collect::<Vec<_>>()
    };
    // Never seen; with money to collect; and the rest by age.
    assert_eq!(order(1), [5, 4, 1, 3, 2].map(channel));
    // Long after they were asked for, they are read only now and then.
    memory.hear(23, start + Duration::from_secs(190));
    for number in 1..=3 {
        let asked = start + Duration::from_secs(190);
        memory.take(channel(number), fit(number, 23), asked).unwrap().unwrap();
    }
    assert_eq!(order(200), [5, 4].map(channel));
    assert_eq!(order(206).len(), 5);
}

#[test]
fn a_crowd_has_bounds_and_makes_room_for_those_in_use() {
    let (memory, start) = memory();
    for number in 0..60_000 {
        memory.take(channel(number), fit(number, 10), start).unwrap().unwrap();
    }
    assert_eq!(memory.all().len(), MOST_KNOWN);
    assert!(is_known(&memory, 1) && !is_known(&memory, 59_999));
    // Since the last of them came, which takes its time on a busy machine.
    let later = Instant::now() + Duration::from_secs(130);
    memory.hear(11, later);
    memory.take(channel(1), fit(1, 11), later).unwrap().unwrap();
    assert!(matches!(memory.recall(channel(1), later), Recalled::Fresh(Ok(_))));
    memory.sweep(later, false);
    assert_eq!(memory.all().len(), 1);
    memory.take(channel(59_999), fit(59_999, 11), later).unwrap().unwrap();
    assert!(is_known(&memory, 59_999));
}

#[test]
fn a_known_channel_is_sought_once_a_second() {
    let (memory, start) = memory();
    memory.take(channel(1), fit(1, 10), start).unwrap().unwrap();
    let may = |ms| memory.may_seek(channel(1), start + Duration::from_millis(ms));
    assert_eq!([0, 1, 999, 1_000, 1_001].map(may), [true, false, false, true, false]);
    assert!(memory.may_seek(channel(2), start));
}

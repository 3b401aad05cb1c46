//! How a channel pays, as the server sees it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::task::JoinSet;
use tollgate::{
    client::{
        Error,
        channel::{Event, Limits, Payer, Purse, Terms},
    },
    protocol::{
        commitment::CommitmentSeed,
        money::Amount,
        stellar::{Address, ContractId, Network},
    },
};

use super::{
    amount, charge,
    stub::{Stub, whole},
    toll::{Fate, PRICE, Toll, total},
};

const CHANNEL: ContractId = ContractId([2; 32]);

fn seed() -> CommitmentSeed {
    CommitmentSeed::from_bytes(&[1; 32])
}

async fn toll() -> Toll {
    Toll::open(CHANNEL, seed().key()).await
}

fn terms() -> Terms {
    Terms {
        network: Network::Testnet,
        channel: CHANNEL,
        asset: Network::Testnet.usdc(),
        payee: Address::Contract(ContractId([3; 32])),
        deposited: amount(10_000_000),
    }
}

fn payer() -> Payer {
    let purse = Purse::in_memory(terms(), seed(), Limits::default(), Amount::ZERO);
    Payer::new(Arc::new(purse), Duration::from_secs(10))
}

/// Pays for one request, and answers its status and what happened.
async fn pay(payer: &Payer, toll: &Toll) -> (StatusCode, Vec<String>) {
    let mut events = Vec::new();
    let tell = |event: Event<'_>| events.push(format!("{event:?}"));
    let paid = payer.send(toll.stub.get(), tell).await.unwrap();
    let name = |event: String| event.split(['(', ' ']).next().unwrap().to_owned();
    (paid.response.status(), events.into_iter().map(name).collect())
}

#[tokio::test]
async fn after_the_first_a_request_is_paid_in_one_round_trip() {
    let (toll, payer) = (toll().await, payer());
    for _ in 0..100 {
        let paid = payer.send(toll.stub.get(), |_| {}).await.unwrap();
        assert_eq!(paid.response.status(), StatusCode::OK);
        let payment = paid.payment.unwrap();
        assert_eq!(payment.receipt.unwrap().spent, payment.total);
        assert_eq!(whole(paid.response.into_body()).await, "the thing");
    }
    assert_eq!(toll.stub.asked().len(), 101);
    assert_eq!(toll.presented(), (1..=100).map(|nth| nth * PRICE).collect::<Vec<_>>());
    assert_eq!(toll.account().delivered(), payer.purse().signed());
}

#[tokio::test]
async fn where_no_challenge_is_brought_a_402_brings_it() {
    let (toll, payer) = (toll().await, payer());
    toll.bring_nothing();
    for _ in 0..3 {
        assert_eq!(pay(&payer, &toll).await, (StatusCode::OK, names(["Asked", "Signed", "Taken"])));
    }
    assert_eq!(toll.stub.asked().len(), 6);
    assert_eq!(toll.presented(), [PRICE, 2 * PRICE, 3 * PRICE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_are_all_taken_and_cost_what_they_cost() {
    let (toll, payer) = (toll().await, payer());
    let mut sending = JoinSet::new();
    for _ in 0..8 {
        let (payer, get) = (payer.clone(), toll.stub.get());
        sending.spawn(async move {
            for _ in 0..25 {
                let paid = payer.send(get.clone(), |event| {
                    assert!(!matches!(event, Event::Refused), "a correct client is not refused");
                });
                let paid = paid.await.unwrap();
                assert_eq!(paid.response.status(), StatusCode::OK);
            }
        });
    }
    while let Some(done) = sending.join_next().await {
        done.unwrap();
    }
    let mut presented = toll.presented();
    assert_eq!(presented.len(), 200);
    presented.sort_unstable();
    presented.dedup();
    assert_eq!(presented.len(), 200, "an amount is used once");
    assert_eq!(toll.account().delivered(), amount(200 * PRICE));
    assert_eq!(payer.purse().signed(), amount(200 * PRICE));
    // Each of the eight asked once, and was then brought what it needed.
    assert!(toll.stub.asked().len() <= 208);
}

#[tokio::test]
async fn what_is_pending_or_was_lost_is_presented_again_as_it_is() {
    for fates in [&[Fate::Pend][..], &[Fate::Break], &[Fate::Break, Fate::Conflict]] {
        let (toll, payer) = (toll().await, payer());
        toll.play(fates.iter().copied());
        let (status, mut events) = pay(&payer, &toll).await;
        assert_eq!(events.iter().filter(|name| *name == "Pending").count(), fates.len());
        events.dedup();
        assert_eq!(
            (status, events),
            (StatusCode::OK, names(["Asked", "Signed", "Pending", "Taken"]))
        );
        let asked = toll.stub.asked();
        let mut presented: Vec<_> =
            asked[1..].iter().map(|asked| asked.headers["authorization"].clone()).collect();
        presented.dedup();
        assert_eq!(presented.len(), 1, "{fates:?}");
        assert_eq!(payer.purse().signed(), amount(PRICE));
    }
}

#[tokio::test]
async fn what_was_delivered_and_lost_is_not_paid_for_again() {
    let (toll, payer) = (toll().await, payer());
    toll.play([Fate::Lose]);
    // The server says that it was bought: the answer is lost, and the caller is to know.
    let lost = pay(&payer, &toll).await;
    assert_eq!(lost, (StatusCode::PAYMENT_REQUIRED, names(["Asked", "Signed", "Pending"])));
    assert_eq!(toll.presented(), [PRICE, PRICE]);
    assert_eq!(pay(&payer, &toll).await.0, StatusCode::OK);
    assert_eq!(toll.account().delivered(), amount(2 * PRICE));
}

#[tokio::test]
async fn a_conflict_at_first_sight_is_an_answer() {
    let (toll, payer) = (toll().await, payer());
    toll.play([Fate::Conflict]);
    let answer = pay(&payer, &toll).await;
    assert_eq!(answer, (StatusCode::CONFLICT, names(["Asked", "Signed"])));
}

#[tokio::test]
async fn it_is_not_presented_for_longer_than_agreed() {
    let toll = toll().await;
    let purse = Purse::in_memory(terms(), seed(), Limits::default(), Amount::ZERO);
    let payer = Payer::new(Arc::new(purse), Duration::ZERO);
    toll.play([Fate::Break]);
    let error = payer.send(toll.stub.get(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Unanswered { .. }), "{error}");
    assert!(error.may_have_paid());
    toll.play([Fate::Pend]);
    let paid = payer.send(toll.stub.get(), |_| {}).await.unwrap();
    assert_eq!(paid.response.status(), StatusCode::SERVICE_UNAVAILABLE);
    // It can be presented later, and is signed for beyond until then.
    let payment = paid.payment.unwrap();
    assert!(payment.receipt.is_none());
    assert_eq!(pay(&payer, &toll).await.0, StatusCode::OK);
    assert!(payer.purse().signed() > payment.total);
}

#[tokio::test]
async fn what_was_refused_or_not_delivered_is_not_lost() {
    let (toll, payer) = (toll().await, payer());
    toll.play([Fate::Refuse, Fate::Refuse, Fate::Fail]);
    let (status, events) = pay(&payer, &toll).await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    let twice = ["Asked", "Signed", "Refused", "Asked", "Signed", "Refused", "Asked", "Signed"];
    assert_eq!(events, names(twice));
    assert_eq!(toll.presented(), [PRICE, PRICE + 1, PRICE + 2]);
    for _ in 0..10 {
        assert_eq!(pay(&payer, &toll).await.0, StatusCode::OK);
    }
    assert_eq!(toll.account().delivered(), amount(10 * PRICE));
    assert_eq!(payer.purse().signed(), amount(10 * PRICE));
    // Three times refused, and it is the caller's turn.
    toll.play([Fate::Refuse, Fate::Refuse, Fate::Refuse]);
    assert_eq!(pay(&payer, &toll).await.0, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(pay(&payer, &toll).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_server_that_claims_what_was_never_signed_gets_nothing() {
    let (toll, payer) = (toll().await, payer());
    toll.bring_nothing();
    assert_eq!(pay(&payer, &toll).await.0, StatusCode::OK);
    toll.claim(PRICE + 1);
    let error = payer.send(toll.stub.get(), |_| {}).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server claims commitments of 0.0010001 USDC, but the purse has signed 0.001 USDC: if its state was lost, \
         tell it what was signed"
    );
    assert!(!error.may_have_paid());
    assert_eq!((toll.presented().len(), payer.purse().signed()), (1, amount(PRICE)));
    toll.claim(PRICE);
    assert_eq!(pay(&payer, &toll).await.0, StatusCode::OK);
}

#[tokio::test]
async fn nothing_is_signed_for_another_channel_network_or_rail() {
    let payer = payer();
    let other = Toll::open(CHANNEL, seed().key()).await;
    let purse = Purse::in_memory(
        Terms { network: Network::Pubnet, ..terms() },
        seed(),
        Limits::default(),
        Amount::ZERO,
    );
    let abroad = Payer::new(Arc::new(purse), Duration::ZERO);
    let error = abroad.send(other.stub.get(), |_| {}).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "none of the ways to pay can be used: it is on `stellar:testnet`, not `stellar:pubnet`"
    );
    let sandbox = super::sandbox().await;
    let asking = charge::challenge(&charge::request(&sandbox)).to_header();
    let shop = Stub::start(move |_| {
        let problem = br#"{"detail":"channel C is \u001b not for sale"}"#;
        Some(charge::refused([asking.clone()]).map(|_| Bytes::from_static(problem)))
    })
    .await;
    let error = payer.send(shop.get(), |_| {}).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "none of the ways to pay can be used: it is `stellar/charge`, not `stellar/channel`; \
         the server says \"channel C is \\u{1b} not for sale\""
    );
    assert_eq!(payer.purse().signed(), Amount::ZERO);
}

#[tokio::test]
async fn what_costs_nothing_or_is_paid_already_is_sent_as_it_is() {
    let payer = payer();
    let free = Stub::start(|_| Some(Response::new(Bytes::from_static(b"free")))).await;
    let paid = payer.send(free.get(), |_| panic!("nothing happens")).await.unwrap();
    assert!(paid.payment.is_none());
    let mut request = free.get();
    request.headers_mut().insert("authorization", "Payment e30".parse().unwrap());
    let error = payer.send(request, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyPaid), "{error}");
    assert_eq!(free.asked().len(), 1);
}

#[tokio::test]
async fn a_purse_on_file_goes_on_where_another_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    let toll = toll().await;
    let payer = |least| {
        let purse = Purse::on_file(&path, terms(), seed(), Limits::default(), amount(least));
        purse.map(|purse| Payer::new(Arc::new(purse), Duration::ZERO))
    };
    let first = payer(0).unwrap();
    for _ in 0..3 {
        pay(&first, &toll).await;
    }
    assert!(payer(0).is_err(), "one process at a time");
    drop(first);
    assert_eq!(pay(&payer(0).unwrap(), &toll).await.0, StatusCode::OK);
    assert_eq!(toll.presented().pop(), Some(4 * PRICE));
    // Without the file it would take the server's word, which it does not.
    std::fs::remove_file(&path).unwrap();
    let lost = payer(0).unwrap();
    let error = lost.send(toll.stub.get(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Overclaimed { .. }), "{error}");
    drop(lost);
    assert_eq!(pay(&payer(4 * PRICE).unwrap(), &toll).await.0, StatusCode::OK);
}

#[tokio::test]
async fn nothing_is_presented_that_could_not_be_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("within/state.json");
    let toll = toll().await;
    let purse = Purse::on_file(&path, terms(), seed(), Limits::default(), Amount::ZERO).unwrap();
    let payer = Payer::new(Arc::new(purse), Duration::ZERO);
    std::fs::remove_dir_all(folder.path().join("within")).unwrap();
    let error = payer.send(toll.stub.get(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Purse(_)), "{error}");
    assert_eq!((toll.presented().len(), payer.purse().signed()), (0, Amount::ZERO));
}

#[tokio::test]
async fn the_last_request_can_close_the_channel() {
    let (toll, payer) = (toll().await, payer());
    pay(&payer, &toll).await;
    assert!(!toll.closed());
    let closed = payer.close(toll.stub.get(), |_| {}).await.unwrap();
    assert_eq!(closed.payment.unwrap().receipt.unwrap().reference, "cd".repeat(32));
    assert!(toll.closed());
    let said = toll.stub.asked().pop().unwrap().charge().unwrap();
    assert_eq!(said.payload.as_ref().unwrap()["action"], "close");
    assert_eq!(total(&said), 2 * PRICE);
    assert_eq!(said.source, None);
}

fn names<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).to_vec()
}

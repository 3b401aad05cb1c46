use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    store::{Binding, Claim, Claiming, Redelivery, Settled},
    telemetry::{Clock, metrics::Metrics},
};

#[test]
fn a_signature_is_the_specifications() {
    // The example of the specification's reference implementations.
    let secret = Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signature =
        secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn a_secret_is_24_to_64_bytes_behind_its_prefix() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    for (length, is_one) in [(0, false), (23, false), (24, true), (64, true), (65, false)] {
        let encoded = STANDARD.encode(vec![7; length]);
        assert_eq!(Secret::read(&format!("whsec_{encoded}")).is_ok(), is_one, "{length}");
        assert!(Secret::read(&encoded).is_err());
    }
    assert!(Secret::read("whsec_not base64 at all, not at all").is_err());
    assert_eq!(
        format!("{:?}", Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
        "Ok(Secret(…))"
    );
}

fn event(key: &[u8]) -> Event {
    let data = json!({ "amount": "10000" });
    Event { kind: Kind::PaymentSettled, key: key.to_vec(), at: 1_700_000_000, data }
}

#[test]
fn one_event_has_one_name_and_another_has_another() {
    let told = event(b"abc").told();
    assert_eq!(told.id, Event { at: 1, ..event(b"abc") }.told().id);
    assert_ne!(told.id, event(b"abd").told().id);
    let of_another = Event { kind: Kind::PaymentUndelivered, ..event(b"abc") };
    assert_ne!(told.id, of_another.told().id);
    let body: Value = serde_json::from_slice(&told.body).unwrap();
    let expected = json!({
        "id": format!("evt_{}", hex::encode(told.id)),
        "type": "payment.settled",
        "time": "2023-11-14T22:13:20.000Z",
        "data": { "amount": "10000" },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn who_subscribes_is_told_and_nothing_is_made_for_nobody() {
    let store = Store::in_memory().await.unwrap();
    let webhook = |url: &str, kinds: &[Kind]| Webhook {
        url: url.parse().unwrap(),
        secret: Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
        kinds: kinds.to_vec(),
    };
    let nobody = notices(&store, Kind::PaymentSettled, || panic!("nobody hears of it"));
    assert_eq!(nobody, []);
    let one = webhook("http://a.example/", &[Kind::PaymentSettled, Kind::SponsorLow]);
    let other = webhook("http://a.example/b", &[Kind::SponsorLow]);
    subscribe(&store, &[one.clone(), other.clone()]);
    let made = |kind| {
        let made = notices(&store, kind, || Event { kind, ..event(&[]) });
        made.into_iter().map(|notice| notice.receiver).collect::<Vec<_>>()
    };
    assert_eq!(made(Kind::PaymentSettled), [one.receiver()]);
    assert_eq!(made(Kind::SponsorLow), [one.receiver(), other.receiver()]);
    assert_eq!(made(Kind::ChannelClosing), []);
}

/// The one to whom nobody listens.
fn nobody() -> Webhook {
    Webhook {
        url: "http://127.0.0.1:1/".parse().unwrap(),
        secret: Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
        kinds: Kind::ALL.to_vec(),
    }
}

/// Waits until `is_so` says of what waits for [`nobody`].
async fn until_waiting(store: &Store, is_so: impl Fn(&[[u8; 16]]) -> bool) {
    let look = async {
        loop {
            let page = store.waiting(nobody().receiver(), None).await.unwrap();
            let ids: Vec<_> = page.notices.into_iter().map(|(_, notice)| notice.id).collect();
            if is_so(&ids) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), look).await.unwrap();
}

#[tokio::test]
async fn what_was_not_taken_for_three_days_is_given_up_and_counted() {
    let store = Store::in_memory().await.unwrap();
    let (clock, telling, metrics) = (Clock::fixed(NOW), Telling::default(), Metrics::default());
    telling.figures.expose(&metrics);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    subscribe(&store, &[nobody()]);
    let tell = async |key: &[u8], at| {
        let told = notices(&store, Kind::PaymentSettled, || Event { at, ..event(key) });
        let id = told[0].id;
        store.tell(told).await.unwrap();
        id
    };
    tell(b"old", NOW - 3 * 24 * 3_600 - 1).await;
    let young = tell(b"young", NOW - 3 * 24 * 3_600).await;
    Sender::start(&[nobody()], (&store, &clock), &telling, &tasks, &stop);
    until_waiting(&store, |ids| ids == [young]).await;
    // It is tried, and then its time is over too.
    let is_told = |line: &str| metrics.text().lines().any(|told| told.starts_with(line));
    let of = |outcome: &str, value: u32| {
        let labels = format!("receiver=\"127.0.0.1:1\",outcome=\"{outcome}\"");
        format!("gateway_webhook_events_total{{{labels}}} {value}")
    };
    let tried = async {
        while is_told(&of("failed", 0)) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), tried).await.unwrap();
    assert!(is_told(&of("given_up", 1)), "{}", metrics.text());
    clock.advance(Duration::from_secs(1));
    until_waiting(&store, |ids| ids.is_empty()).await;
    let given_up = async {
        while !is_told(&of("given_up", 2)) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), given_up).await.unwrap();
    assert!(is_told(&of("delivered", 0)) && is_told(&of("dropped", 0)), "{}", metrics.text());
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn what_nobody_sends_any_more_is_forgotten_where_there_is_no_webhook() {
    let store = Store::in_memory().await.unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    subscribe(&store, &[nobody()]);
    let week = 7 * 24 * 3_600;
    for (key, at) in [(b"old", NOW - week - 1), (b"new", NOW - week)] {
        let told = notices(&store, Kind::PaymentSettled, || Event { at, ..event(key) });
        store.tell(told).await.unwrap();
    }
    let kept = event(b"new").told().id;
    Sender::start(&[], (&store, &Clock::fixed(NOW)), &Telling::default(), &tasks, &stop);
    until_waiting(&store, |ids| ids == [kept]).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

/// A payment that has settled, and bought nothing.
async fn settle(store: &Store, key: ClaimKey) {
    let claim = Claim {
        key,
        alias: None,
        binding: Binding([0; 32]),
        now: NOW,
        keep_until: NOW + 1_000,
        redelivery: Redelivery { attempts: 3, within: Duration::from_secs(500) },
    };
    let Claiming::Fresh(mut ticket) = store.claim(claim).await.unwrap() else { panic!() };
    let settled = Settled { transaction: None, receipt: Bytes::new(), at: NOW };
    store.settled(&mut ticket, settled).await.unwrap();
    store.release(ticket).await.unwrap();
}

#[tokio::test]
async fn a_payment_that_cannot_be_looked_at_keeps_no_other_from_being_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tollgate.redb");
    let store = Store::open(file.clone()).await.unwrap();
    subscribe(&store, &[nobody()]);
    for n in [1, 2] {
        settle(&store, ClaimKey([n; 32])).await;
        let event = || Event { kind: Kind::PaymentUndelivered, at: NOW, ..event(&[n]) };
        store.tell(unless_delivered(&store, ClaimKey([n; 32]), event)).await.unwrap();
    }
    store.close().await.unwrap();
    {
        let db = redb::Database::open(&file).unwrap();
        let tx = db.begin_write().unwrap();
        let claims = redb::TableDefinition::<&[u8; 32], &[u8]>::new("claims");
        tx.open_table(claims).unwrap().insert(&[1; 32], &b"of no version"[..]).unwrap();
        tx.commit().unwrap();
    }
    let store = Store::open(file).await.unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    subscribe(&store, &[nobody()]);
    Sender::start(
        &[nobody()],
        (&store, &Clock::fixed(NOW + 30)),
        &Telling::default(),
        &tasks,
        &stop,
    );
    let told = Event { kind: Kind::PaymentUndelivered, ..event(&[2]) }.told().id;
    until_waiting(&store, |ids| ids == [told]).await;
    // Its doubt goes, and only the other one's stays.
    let left = async {
        while store.waiting(deliveries::DOUBTS, None).await.unwrap().waiting != 1 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), left).await.unwrap();
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn payments_that_are_not_looked_at_any_more_are_counted() {
    let store = Store::in_memory().await.unwrap();
    let (telling, metrics) = (Telling::default(), Metrics::default());
    telling.figures.expose(&metrics);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    subscribe(&store, &[nobody()]);
    let told = event(b"one").told();
    let doubts = |count| vec![deliveries::doubt(ClaimKey([1; 32]), told.clone()); count];
    store.tell(doubts(10_000)).await.unwrap();
    store.tell(doubts(3)).await.unwrap();
    Sender::start(&[nobody()], (&store, &Clock::fixed(NOW)), &telling, &tasks, &stop);
    let line =
        "gateway_webhook_events_total{receiver=\"payment.undelivered\",outcome=\"dropped\"} 3";
    let counted = async {
        while !metrics.text().contains(line) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), counted).await.unwrap();
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

const NOW: u64 = 1_700_000_000;

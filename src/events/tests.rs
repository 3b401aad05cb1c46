use super::*;

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

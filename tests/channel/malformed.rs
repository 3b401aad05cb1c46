//! What cannot be read buys nothing, costs nothing, and is told how to pay.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, Method, StatusCode, header::AUTHORIZATION};
use proptest::{
    prelude::{Just, Strategy as _, any, prop},
    prop_oneof,
    strategy::ValueTree as _,
    test_runner::TestRunner,
};

use tollgate::protocol::mpp;

use crate::{
    agent::Answer,
    payer::Payer,
    world::{PRICE, World},
};

async fn bring(payer: &Payer, authorization: &[u8]) -> Option<Answer> {
    let mut request = payer.request(Method::GET, "/weather");
    // What is no header at all no client can send.
    let value = HeaderValue::from_bytes(authorization).ok()?;
    request.headers_mut().insert(AUTHORIZATION, value);
    Some(payer.send(request).await)
}

/// What a credential's token encodes.
fn json_of(credential: &mpp::Credential) -> Vec<u8> {
    let header = credential.encode();
    let token = header.to_str().unwrap().strip_prefix("Payment ").unwrap().to_owned();
    URL_SAFE_NO_PAD.decode(token).unwrap()
}

/// Cases I01, I02.
#[tokio::test]
async fn i01_i02_a_commitment_that_cannot_be_read_gets_a_fresh_challenge() {
    let world = World::start().await;
    let payer = world.payer().await;
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = format!("{{\"challenge\":\"{}\"}}", "a".repeat(12_000));
    let honest = payer.commit(&payer.challenge("/weather").await, PRICE);
    let text = String::from_utf8(json_of(&honest)).unwrap();
    let twice = text.replacen('{', "{\"challenge\":{},", 1);
    let number = text.replace(&format!("\"{PRICE}\""), &PRICE.to_string());
    assert_ne!(number, text, "the amount is text");
    let encoded = [
        "null",
        "[]",
        "1",
        "\"\"",
        "{}",
        "{\"challenge\":{}}",
        "\u{feff}{}",
        "{\"a\":1e309}",
        &deep,
        &long,
        &twice,
        &number,
        &format!("{text} x"),
        text.strip_suffix('}').unwrap(),
    ]
    .map(|text| format!("Payment {}", URL_SAFE_NO_PAD.encode(text)));
    let raw = ["Payment", "Payment ", "Payment ***", "Payment /w", "Payment bnVsbA=="];
    let invalid = format!("Payment {}", URL_SAFE_NO_PAD.encode([0xff, 0xfe, b'{', b'}']));
    let all = raw.iter().map(|text| (*text).to_owned()).chain(encoded).chain([invalid]);
    for authorization in all {
        let answer = bring(&payer, authorization.as_bytes()).await.unwrap();
        assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{authorization:.80}: {answer:?}");
        assert!(answer.channel_challenge().is_some(), "{authorization:.80}: {answer:?}");
    }
    assert_eq!(world.hits(), 0);
    payer.present("/weather", &honest).await.assert_channel_paid();
    assert_eq!(world.hits(), 1);
    world.end().await;
}

/// Case I05: bytes of a good credential changed, dropped and doubled.
#[tokio::test]
async fn i05_no_change_of_a_commitment_buys_a_second_answer() {
    let world = World::start().await;
    let payer = world.payer().await;
    let honest = payer.commit(&payer.challenge("/weather").await, PRICE);
    let text = json_of(&honest);
    let place = any::<prop::sample::Index>;
    let change = prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| (at, Some(byte), false)),
        (place(), Just(None)).prop_map(|(at, none)| (at, none, false)),
        (place(), Just(None)).prop_map(|(at, none)| (at, none, true)),
    ];
    let changes = prop::collection::vec(change, 1..4);
    let mut runner = TestRunner::deterministic();
    for _ in 0..400 {
        let mut text = text.clone();
        for (at, byte, doubles) in changes.new_tree(&mut runner).unwrap().current() {
            let at = at.index(text.len());
            match (byte, doubles) {
                (Some(byte), _) => text[at] = byte,
                (None, true) => text.insert(at, text[at]),
                (None, false) => drop(text.remove(at)),
            }
        }
        let authorization = format!("Payment {}", URL_SAFE_NO_PAD.encode(&text));
        let answer = bring(&payer, authorization.as_bytes()).await.unwrap();
        let text = String::from_utf8_lossy(&text);
        // One that still says the same buys what it says, once.
        let said = [StatusCode::OK, StatusCode::PAYMENT_REQUIRED];
        assert!(said.contains(&answer.status), "{text}: {answer:?}");
    }
    assert!(world.hits() <= 1, "{}", world.hits());
    payer.present("/weather", &honest).await.assert_channel_paid();
    assert_eq!(world.hits(), 1);
    world.end().await;
}

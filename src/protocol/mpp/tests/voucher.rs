use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::{
    channel::{
        Action, INTENT, NotChannel, PAYMENT_CHANNEL, PAYMENT_NEXT, Payload, Receipt, Request,
        named, next_challenge, reference,
    },
    *,
};
use crate::protocol::{
    commitment::{BadSignature, CommitmentSeed},
    mpp::{self, charge::InvalidPayload},
    stellar::{AddressError, ContractId},
};

const CHANNEL: &str = "CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ";

fn units(amount: i128) -> Amount {
    Amount::from_units(amount).unwrap()
}

/// The request of vector V9.
fn asked() -> Request {
    Request {
        amount: units(1_000_000),
        channel: CHANNEL.parse().unwrap(),
        cumulative: units(2_000_000),
        external_id: None,
        network: Network::Testnet,
        reference: "00000000-0000-4000-8000-000000000001".to_owned(),
    }
}

#[test]
fn a_request_is_written_in_canonical_form() {
    let named = Request { external_id: Some("sale \"7\" é\u{1}".to_owned()), ..asked() };
    for request in [asked(), named] {
        assert_eq!(request.encode(), encode_canonical(&request.to_json()));
    }
}

/// The challenge of vector V9, with a description if there is one.
fn challenge(description: Option<&str>) -> Challenge {
    let (opaque, json) = (opaque(), asked().to_json());
    let parts =
        Parts { intent: INTENT, description, body: None, opaque: None, ..parts(&json, &opaque) };
    Challenge::issue(&secrets(KEY, None), parts)
}

/// What a payer sends to [`asked`].
fn paid() -> Payload {
    let seed = CommitmentSeed::from_bytes(&[1; 32]);
    let commitment = seed.sign(Network::Testnet, asked().channel, units(3_000_000));
    Payload::new(Action::Voucher, commitment)
}

fn receipt() -> Receipt {
    Receipt {
        reference: asked().reference,
        timestamp_ms: 1_893_455_700_000,
        external_id: Some("order-1".to_owned()),
        challenge_id: challenge(None).id.to_string(),
        channel: asked().channel,
        accepted: units(3_000_000),
        spent: units(2_500_000),
    }
}

/// What `headers` say of `name`, one value a line.
fn headers(name: &http::HeaderName, values: &[&str]) -> HeaderMap {
    let values = values.iter().map(|value| HeaderValue::from_bytes(value.as_bytes()).unwrap());
    values.map(|value| (name.clone(), value)).collect()
}

#[test]
fn v9_a_channel_request_is_that_of_the_reference() {
    let text = r#"{"amount":"1000000","channel":"CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ","methodDetails":{"cumulativeAmount":"2000000","network":"stellar:testnet","reference":"00000000-0000-4000-8000-000000000001"}}"#;
    assert_eq!(serde_jcs::to_string(&asked().to_json()).unwrap(), text);
    assert_eq!(asked().channel, ContractId([2; 32]));
    let challenge = challenge(None);
    assert_eq!(challenge.id.as_str(), "34QXbZOYO1TqBKpiLOJRmjBIeB_mZVB0BXeE7jTTljo");
    assert_eq!(challenge.request, asked().encode());
    assert_eq!(Request::decode(&challenge.request).unwrap(), asked());
}

#[test]
fn a_request_is_read_with_what_may_stand_in_it() {
    let full = Request {
        external_id: Some("order \"1\"".to_owned()),
        network: Network::Pubnet,
        cumulative: Amount::ZERO,
        ..asked()
    };
    assert_eq!(Request::decode(&full.encode()).unwrap(), full);
    let mut json = asked().to_json();
    json["description"] = json!("for people");
    json["methodDetails"].as_object_mut().unwrap().remove("network");
    assert_eq!(Request::decode(&encode_canonical(&json)).unwrap(), asked());
}

#[test]
fn a_request_that_is_not_understood_whole_is_refused() {
    let changes: [(&str, Value); 26] = [
        ("/amount", json!(1_000_000)),
        ("/amount", json!("0")),
        ("/amount", json!("-1")),
        ("/amount", json!("+1")),
        ("/amount", json!("01")),
        ("/amount", json!("1.0")),
        ("/amount", json!("1e5")),
        ("/amount", json!("")),
        ("/amount", json!("170141183460469231731687303715884105728")),
        ("/channel", json!("GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG")),
        ("/channel", json!(CHANNEL.to_lowercase())),
        ("/channel", json!(format!(" {CHANNEL}"))),
        ("/channel", Value::Null),
        ("/externalId", json!(1)),
        ("/description", json!({})),
        ("/methodDetails", json!([])),
        ("/methodDetails", Value::Null),
        ("/methodDetails/network", json!("testnet")),
        ("/methodDetails/network", json!("stellar:public")),
        ("/methodDetails/cumulativeAmount", json!(2_000_000)),
        ("/methodDetails/cumulativeAmount", json!("00")),
        ("/methodDetails/cumulativeAmount", json!("-1")),
        ("/methodDetails/reference", json!(1)),
        ("/methodDetails/reference", Value::Null),
        ("/currency", json!(CHANNEL)),
        ("/methodDetails/feePayer", json!(true)),
    ];
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut json = asked().to_json();
        let members = json.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        members.insert(key.to_owned(), value.clone());
        assert!(Request::decode(&encode_canonical(&json)).is_err(), "{pointer} = {value}");
    }
    for key in ["amount", "channel", "methodDetails", "cumulativeAmount", "reference"] {
        let mut json = asked().to_json();
        json.as_object_mut().unwrap().remove(key);
        if let Some(details) = json.get_mut("methodDetails").and_then(Value::as_object_mut) {
            details.remove(key);
        }
        assert!(Request::decode(&encode_canonical(&json)).is_err(), "without {key}");
    }
}

#[test]
fn a_reference_is_a_random_uuid() {
    assert_eq!(reference([0; 16]), "00000000-0000-4000-8000-000000000000");
    assert_eq!(reference([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    let counted = std::array::from_fn(|at| u8::try_from(at).unwrap() * 0x11);
    assert_eq!(reference(counted), "00112233-4455-4677-8899-aabbccddeeff");
}

#[test]
fn a_payload_is_the_one_of_the_reference() {
    // The signature of vector C1.
    let signature = "a90764b6d4e252fc080a12d5355fc7d194593a5ea2aa4ad9c55cf6f88072f9565c793e1e075f484c8281c275b76371f8307bdb522aa67121420cef61f9e3c50c";
    let json = json!({ "action": "voucher", "amount": "1000000", "signature": signature });
    let payload = Payload::from_json(&json).unwrap();
    assert_eq!(payload.to_json(), json);
    assert_eq!((payload.action, payload.amount), (Action::Voucher, units(1_000_000)));
    let key = CommitmentSeed::from_bytes(&[1; 32]).key();
    let commitment = payload.commitment();
    assert_eq!(key.verify(Network::Testnet, asked().channel, &commitment), Ok(()));
    let close = Payload { action: Action::Close, ..payload };
    assert_eq!(close.to_json()["action"], "close");
    assert_eq!(Payload::from_json(&close.to_json()), Ok(close));
    assert_eq!(Payload::new(Action::Close, commitment), close);
    assert_eq!(format!("{close:?} {commitment:?}"), "Payload(close 1000000) Commitment(1000000)");
}

#[test]
fn c01_an_amount_has_one_spelling_and_is_not_zero() {
    let read = |amount: Value| {
        let mut json = paid().to_json();
        json["amount"] = amount;
        Payload::from_json(&json).map(|payload| payload.amount)
    };
    for amount in [1, 3_000_000, i128::MAX] {
        assert_eq!(read(json!(amount.to_string())), Ok(units(amount)));
    }
    let bad = [
        "",
        "0",
        "00",
        "-0",
        "-1",
        "+5",
        "05",
        "5.0",
        "5e3",
        "0x5",
        " 5",
        "5 ",
        "5\n",
        "٣",
        "5_0",
        "NaN",
        "170141183460469231731687303715884105728",
    ];
    for text in bad {
        assert_eq!(read(json!(text)), Err(InvalidPayload("amount")), "{text}");
    }
    for value in [json!(5), json!(5.0), json!(true), json!(["5"]), json!({}), Value::Null] {
        assert_eq!(read(value.clone()), Err(InvalidPayload("amount")), "{value}");
    }
}

#[test]
fn c03_a_signature_is_128_hex_digits_of_either_case() {
    let hex = hex::encode(paid().signature);
    let read = |signature: Value| {
        let mut json = paid().to_json();
        json["signature"] = signature;
        Payload::from_json(&json)
    };
    for good in [hex.clone(), hex.to_uppercase(), hex[..64].to_uppercase() + &hex[64..]] {
        assert_eq!(read(json!(good)), Ok(paid()));
    }
    let bad = [
        String::new(),
        hex[..126].to_owned(),
        hex[..127].to_owned(),
        format!("{hex}0"),
        format!("{hex}00"),
        format!("0x{hex}"),
        format!("0x{}", &hex[2..]),
        format!(" {}", &hex[1..]),
        format!("g{}", &hex[1..]),
        URL_SAFE_NO_PAD.encode(paid().signature),
    ];
    for text in bad {
        assert_eq!(read(json!(text)), Err(InvalidPayload("signature")), "{text}");
    }
    for value in [json!(1), json!([hex]), Value::Null] {
        assert_eq!(read(value), Err(InvalidPayload("signature")));
    }
    // Well spelled is not signed: that is for the key to say.
    let zero = read(json!("0".repeat(128))).unwrap().commitment();
    let key = CommitmentSeed::from_bytes(&[1; 32]).key();
    assert_eq!(key.verify(Network::Testnet, asked().channel, &zero), Err(BadSignature));
}

#[test]
fn c05_what_else_a_payload_says_changes_nothing() {
    let mut json = paid().to_json();
    for (key, value) in [
        ("channel", json!("CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAD2KM")),
        ("network", json!("stellar:pubnet")),
        ("commitment", json!("0000001100000001")),
        ("cumulativeAmount", json!("1")),
        ("source", json!("did:pkh:stellar:testnet:G")),
    ] {
        json[key] = value;
    }
    assert_eq!(Payload::from_json(&json), Ok(paid()));
}

#[test]
fn a_payload_has_one_of_two_actions() {
    for action in ["", "open", "topUp", "Voucher", "CLOSE", "voucher "] {
        let mut json = paid().to_json();
        json["action"] = json!(action);
        assert_eq!(Payload::from_json(&json), Err(InvalidPayload("action")), "{action}");
    }
    for key in ["action", "amount", "signature"] {
        let mut json = paid().to_json();
        json.as_object_mut().unwrap().remove(key);
        assert_eq!(Payload::from_json(&json), Err(InvalidPayload(key)));
    }
    for json in [Value::Null, json!([]), json!("voucher"), json!({ "type": "transaction" })] {
        assert_eq!(Payload::from_json(&json), Err(InvalidPayload("action")), "{json}");
    }
}

#[test]
fn a_receipt_tells_of_the_channel_and_every_client_reads_it() {
    let header = receipt().to_mpp().encode();
    let json: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header.as_bytes()).unwrap()).unwrap();
    assert_eq!(
        json,
        json!({
            "method": "stellar",
            "reference": "00000000-0000-4000-8000-000000000001",
            "externalId": "order-1",
            "status": "success",
            "timestamp": "2029-12-31T23:55:00.000Z",
            "intent": "channel",
            "challengeId": "34QXbZOYO1TqBKpiLOJRmjBIeB_mZVB0BXeE7jTTljo",
            "channel": CHANNEL,
            "cumulativeAmount": "3000000",
            "acceptedCumulative": "3000000",
            "spent": "2500000",
        })
    );
    let read = mpp::Receipt::decode(header.as_bytes()).unwrap();
    assert_eq!(Receipt::from_mpp(&read).unwrap(), receipt());
}

#[test]
fn a_receipt_of_another_payment_or_that_contradicts_itself_is_none_of_a_channel() {
    let good = receipt().to_mpp();
    let read = |change: &dyn Fn(&mut mpp::Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        match Receipt::from_mpp(&receipt) {
            Ok(_) => None,
            Err(Malformed::Member(member)) => Some(member),
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(read(&|_| ()), None);
    assert_eq!(read(&|receipt| receipt.method = "tempo".to_owned()), Some("method"));
    let keys =
        ["intent", "challengeId", "channel", "cumulativeAmount", "acceptedCumulative", "spent"];
    for key in keys {
        assert_eq!(read(&|receipt| drop(receipt.extra.remove(key))), Some(key));
        let number = |receipt: &mut mpp::Receipt| receipt.extra[key] = json!(1);
        assert_eq!(read(&number), Some(key));
    }
    for (key, text) in [
        ("intent", "charge"),
        ("channel", "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG"),
        ("cumulativeAmount", "3000001"),
        ("spent", "3000001"),
        ("spent", "-1"),
        ("spent", "01"),
    ] {
        let changed = |receipt: &mut mpp::Receipt| receipt.extra[key] = json!(text);
        assert_eq!(read(&changed), Some(key), "{text}");
    }
}

#[test]
fn the_next_challenge_stands_without_its_scheme() {
    let challenge = challenge(Some("Say \"hi\" \\ ok, a=b"));
    let next = challenge.to_next();
    let header = challenge.to_header();
    assert_eq!(header.to_str().unwrap(), format!("Payment {}", next.to_str().unwrap()));
    assert!(next.as_bytes().starts_with(br#"id="34QXb"#));
    assert_eq!(members(&Challenge::from_next(&next).unwrap()), members(&challenge));
    let text = next.to_str().unwrap();
    let read = |values: &[&str]| next_challenge(&headers(&PAYMENT_NEXT, values));
    assert_eq!(members(&read(&[text]).unwrap().unwrap()), members(&challenge));
    assert!(matches!(read(&[]), Ok(None)));
    assert!(matches!(read(&[text, text]), Err(Malformed::Repeated)));
}

#[test]
fn what_is_not_one_challenge_is_no_next_one() {
    let next = challenge(None).to_next();
    let text = next.to_str().unwrap();
    let read = |text: &str| Challenge::from_next(&HeaderValue::from_str(text).unwrap());
    assert!(read(text).is_ok());
    assert!(read(&format!(" ,{text}, later=\"x\"")).is_ok());
    assert!(matches!(read(&format!("Payment {text}")), Err(Malformed::Syntax)));
    assert!(matches!(read(&format!("{text}, Basic realm=\"x\"")), Err(Malformed::Syntax)));
    assert!(matches!(read(&format!("{text}, x")), Err(Malformed::Syntax)));
    assert!(matches!(read(&format!("{text}, {text}")), Err(Malformed::Repeated)));
    assert!(matches!(read(""), Err(Malformed::Member("id"))));
    assert!(matches!(read(&text[..text.len() - 1]), Err(Malformed::Syntax)));
    let long = text.replace("request=\"", &format!("request=\"{}", "e".repeat(16_384)));
    assert!(matches!(read(&long), Err(Malformed::TooLong(16_384))));
}

#[test]
fn c25_a_channel_is_named_in_one_spelling_only() {
    let named = |values: &[&str]| named(&headers(&PAYMENT_CHANNEL, values));
    assert_eq!(named(&[]), Ok(None));
    assert_eq!(named(&[CHANNEL]), Ok(Some(ContractId([2; 32]))));
    assert_eq!(named(&[CHANNEL, CHANNEL]), Err(NotChannel::Repeated));
    assert_eq!(named(&[CHANNEL, ""]), Err(NotChannel::Repeated));
    for (text, error) in [
        ("", AddressError::Malformed),
        (&CHANNEL.to_lowercase(), AddressError::Malformed),
        (&format!("c{}", &CHANNEL[1..]), AddressError::Malformed),
        (&format!(" {CHANNEL}"), AddressError::Malformed),
        (&format!("{CHANNEL} "), AddressError::Malformed),
        (&format!("{CHANNEL}="), AddressError::Malformed),
        (&format!("{CHANNEL},{CHANNEL}"), AddressError::Malformed),
        (&format!("\"{CHANNEL}\""), AddressError::Malformed),
        (&CHANNEL[..55], AddressError::Malformed),
        (&CHANNEL.replace("FNSZ", "FNSA"), AddressError::Malformed),
        (&CHANNEL.replace("CABA", "CABB"), AddressError::Malformed),
        (&hex::encode([2; 32]), AddressError::Malformed),
        ("Ç", AddressError::Malformed),
        ("GCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOJR", AddressError::NotContract),
        (
            "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ",
            AddressError::Muxed,
        ),
        ("SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY", AddressError::Secret),
    ] {
        assert_eq!(named(&[text]), Err(NotChannel::Address(error)), "{text}");
    }
}

prop_compose! {
    fn any_asked()(
        amount in 1..=i128::MAX,
        channel: [u8; 32],
        cumulative in 0..=i128::MAX,
        external_id: Option<String>,
        pubnet: bool,
        random: [u8; 16],
    ) -> Request {
        Request {
            amount: units(amount),
            channel: ContractId(channel),
            cumulative: units(cumulative),
            external_id,
            network: if pubnet { Network::Pubnet } else { Network::Testnet },
            reference: reference(random),
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        request in any_asked(),
        signature in prop::collection::vec(any::<u8>(), 64),
        close: bool,
        description: Option<String>,
    ) {
        let action = if close { Action::Close } else { Action::Voucher };
        let signature = signature.try_into().unwrap();
        let payload = Payload { action, amount: request.amount, signature };
        prop_assert_eq!(Payload::from_json(&payload.to_json()), Ok(payload));
        prop_assert_eq!(Request::decode(&request.encode()).unwrap(), request);
        let challenge = challenge(description.as_deref());
        let read = Challenge::from_next(&challenge.to_next()).unwrap();
        prop_assert_eq!(members(&read), members(&challenge));
    }

    #[test]
    fn no_input_makes_a_reader_panic(text: String, bytes: Vec<u8>, number: f64) {
        let members =
            ["action", "amount", "signature", "channel", "methodDetails", "cumulativeAmount", "spent"];
        for member in members {
            for value in [json!(text), json!(number), json!([text]), json!({ "amount": text })] {
                let mut json = asked().to_json();
                json[member] = value.clone();
                let _ = Request::decode(&encode_canonical(&json));
                let mut json = paid().to_json();
                json[member] = value.clone();
                let _ = Payload::from_json(&json);
                let mut receipt = receipt().to_mpp();
                receipt.extra.insert(member.to_owned(), value);
                let _ = Receipt::from_mpp(&receipt);
            }
        }
        let _ = Request::decode(&text);
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let _ = Challenge::from_next(&value);
            let headers = HeaderMap::from_iter([(PAYMENT_CHANNEL, value)]);
            prop_assert!(named(&headers).is_err());
        }
    }
}

//! The wire shapes, read and written.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn requirements() -> Requirements {
    Requirements {
        network: Network::Testnet,
        amount: Amount::from_units(10_000).unwrap(),
        asset: Network::Testnet.usdc().contract,
        pay_to: "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG".parse().unwrap(),
        max_timeout_seconds: 60,
        quote: Some("abc".to_owned()),
    }
}

fn payload() -> Value {
    json!({"x402Version": 2, "payload": {"transaction": "AAAA"}, "accepted": requirements().to_json()})
}

#[test]
fn requirements_have_the_shape_of_the_scheme() {
    let json = requirements().to_json();
    assert_eq!(
        json,
        json!({"scheme": "exact", "network": "stellar:testnet", "amount": "10000",
            "asset": "CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA",
            "payTo": "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG",
            "maxTimeoutSeconds": 60, "extra": {"areFeesSponsored": true, "quote": "abc"}})
    );
    assert_eq!(Requirements::from_json(&json), Ok(requirements()));
}

#[test]
fn a_challenge_is_written_as_its_json_says() {
    let resource = Resource {
        url: "https://a.example/x?\"y\"".to_owned(),
        description: "Wetter für morgen".to_owned(),
        mime_type: String::new(),
    };
    let written = Template::new(&requirements()).challenge("Payment required", &resource, "abc");
    let said = PaymentRequired {
        error: "Payment required".to_owned(),
        resource,
        accepts: vec![requirements().to_json()],
        extensions: Some(identifier::ADVERTISED.clone()),
    };
    assert_eq!(PaymentRequired::decode(written.as_bytes()).unwrap(), said);
    assert_eq!(written, encode(&said.to_json()));
}

#[test]
fn an_echo_may_add_to_extra_and_change_nothing_else() {
    let echo = |change: fn(&mut Map<String, Value>)| {
        let mut json = requirements().to_json();
        change(json.as_object_mut().unwrap());
        Requirements::from_json(&json)
    };
    assert!(
        echo(|o| {
            o["extra"]["more"] = json!([1]);
        })
        .is_ok()
    );
    assert_eq!(
        echo(|o| {
            o["amount"] = json!(10_000);
        }),
        Err(Mismatch("amount"))
    );
    assert_eq!(
        echo(|o| {
            o["amount"] = json!("0");
        }),
        Err(Mismatch("amount"))
    );
    assert_eq!(
        echo(|o| {
            o["maxTimeoutSeconds"] = json!("60");
        }),
        Err(Mismatch("maxTimeoutSeconds"))
    );
    assert_eq!(
        echo(|o| {
            o["scheme"] = json!("upto");
        }),
        Err(Mismatch("scheme"))
    );
    assert_eq!(
        echo(|o| {
            o["network"] = json!("stellar:futurenet");
        }),
        Err(Mismatch("network"))
    );
    assert_eq!(
        echo(|o| {
            o.insert("note".into(), json!(1));
        }),
        Err(Mismatch("accepted"))
    );
    assert_eq!(
        echo(|o| {
            o.remove("extra");
        }),
        Err(Mismatch("extra"))
    );
    assert_eq!(
        echo(|o| {
            o["payTo"] = json!("x");
        }),
        Err(Mismatch("payTo"))
    );
}

#[test]
fn a_payload_reads_padded_or_not() {
    let header = encode(&payload());
    let padded = header.to_str().unwrap();
    let decoded = Payload::decode(padded.as_bytes()).unwrap();
    assert_eq!((decoded.transaction.as_str(), &decoded.json), ("AAAA", &payload()));
    let bare = padded.trim_end_matches('=');
    assert_eq!(Payload::decode(bare.as_bytes()).unwrap(), decoded);
}

#[test]
fn what_is_no_payload_says_why() {
    let header = |json: Value| encode(&json).to_str().unwrap().to_owned();
    let with = |key: &str, value: Value| {
        let mut json = payload();
        json[key] = value;
        header(json)
    };
    for (text, problem) in [
        (String::new(), "not valid JSON"),
        ("*".to_owned(), "not standard base64"),
        ("e30_".to_owned(), "not standard base64"),
        (header(Value::Null), "`the payment` is missing"),
        (header(json!([])), "`the payment` is missing"),
        (header(json!({})), "`x402Version` must be"),
        (with("x402Version", json!(1)), "`x402Version` must be"),
        (with("x402Version", json!("2")), "`x402Version` must be"),
        (with("accepted", Value::Null), "`accepted` is missing"),
        (with("payload", json!({"transaction": 1})), "`payload.transaction` is missing"),
        ("A".repeat(MAX_HEADER_BYTES + 1), "longer than"),
    ] {
        let error = Payload::decode(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(problem), "{text:.30}: {error}");
    }
}

#[test]
fn settlements_read_leniently_and_write_strictly() {
    let bare = Settlement::from_json(&json!({"success": false})).unwrap();
    assert_eq!(bare.to_json(), json!({"success": false, "transaction": "", "network": ""}));
    assert!(Settlement::from_json(&json!({"success": "true"})).is_err());
    assert!(Settlement::from_json(&json!({"success": true, "transaction": 1})).is_err());
}

proptest! {
    #[test]
    fn no_header_makes_the_readers_panic(bytes: Vec<u8>) {
        let _ = Payload::decode(&bytes);
        let _ = PaymentRequired::decode(&bytes);
        let _ = Settlement::decode(&bytes);
    }
}

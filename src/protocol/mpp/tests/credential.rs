use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

use super::*;

/// Either a source, or what is wrong.
fn read(line: &[u8]) -> Result<Option<String>, String> {
    match Credential::parse(line) {
        Ok(found) => Ok(found.map(|credential| credential.source.unwrap_or_default())),
        Err(error) => Err(error.to_string()),
    }
}

fn good() -> String {
    credential(issued(|_| {})).encode().to_str().unwrap().to_owned()
}

fn malformed(reason: &str) -> Result<Option<String>, String> {
    Err(format!("the credential is malformed: {reason}"))
}

fn paid() -> Result<Option<String>, String> {
    Ok(Some("did:pkh:stellar:testnet:G".to_owned()))
}

#[test]
fn what_is_written_is_read() {
    let credential =
        credential(issued(|parts| parts.header = CredentialHeader::PaymentAuthorization));
    let read = Credential::parse(credential.encode().as_bytes()).unwrap().unwrap();
    assert_eq!(members(&read.challenge), members(&credential.challenge));
    assert_eq!((read.payload, read.source), (credential.payload, credential.source));
}

#[test]
fn the_scheme_is_found_beside_others_in_any_case() {
    let token = good().replace("Payment ", "");
    for line in [
        format!("Payment {token}"),
        format!("pAYMENT   {token}  "),
        format!("Payment\t{token}"),
        format!("Bearer x, Payment {token}"),
        format!("Payment {token}, Bearer x"),
        format!(" ,, payment {token},"),
        format!(r#"Digest a="b, Payment c", d=e, Payment {token}"#),
        format!(r#"Digest payment = "x", Payment {token}"#),
        format!("Payment {}", STANDARD.encode(URL_SAFE_NO_PAD.decode(&token).unwrap())),
        format!("Payment {}", URL_SAFE.encode(URL_SAFE_NO_PAD.decode(&token).unwrap())),
    ] {
        assert_eq!(read(line.as_bytes()), paid(), "{line}");
    }
    for line in [
        "",
        "  ",
        "Bearer x",
        "Basic dXNlcjpwYXNz",
        "Payments x",
        "PaymentX",
        "xPayment y",
        "Digest payment=\"x\"",
        "Bearer \"Payment x\"",
    ] {
        assert_eq!(read(line.as_bytes()), Ok(None), "{line}");
    }
    assert_eq!(read(b"Bearer \xff\xfe, x"), Ok(None));
}

#[test]
fn a23_two_credentials_are_ambiguous_wherever_they_stand() {
    let good = good();
    let none = HeaderMap::new();
    let with = |lines: &[(HeaderName, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        find(&headers)
    };
    let (plain, other) = (AUTHORIZATION, PAYMENT_AUTHORIZATION);
    for lines in [
        [(plain.clone(), good.as_str()), (plain.clone(), good.as_str())].as_slice(),
        &[(other.clone(), &good), (other.clone(), &good)],
        &[(plain.clone(), &good), (other.clone(), &good)],
        &[(plain.clone(), &format!("{good}, {good}"))],
        &[(other.clone(), &format!("{good}, Bearer x, payment y"))],
        &[(plain.clone(), &good), (other.clone(), "Payment")],
        &[(plain.clone(), "Payment"), (plain.clone(), "Payment")],
    ] {
        assert!(matches!(with(lines), Err(FindError::Ambiguous)), "{lines:?}");
    }
    for lines in [
        [(plain.clone(), good.as_str())].as_slice(),
        &[(other.clone(), &good)],
        &[(plain.clone(), "Bearer x"), (other.clone(), &good)],
        &[(plain.clone(), "Bearer x"), (plain.clone(), &good)],
        &[(plain.clone(), &good), (other, "Bearer x")],
    ] {
        assert!(matches!(with(lines), Ok(Some(_))), "{lines:?}");
    }
    assert!(matches!(find(&none), Ok(None)));
    assert!(matches!(with(&[(plain.clone(), "Bearer x"), (plain, "Basic y")]), Ok(None)));
}

#[test]
fn i01_what_is_no_credential_is_malformed() {
    let json = |text: &str| format!("Payment {}", URL_SAFE_NO_PAD.encode(text));
    let whole = json_of(&credential(issued(|_| {})).encode());
    let with = |change: fn(&mut Value)| {
        let mut json = whole.clone();
        change(&mut json);
        line(&json)
    };
    for (line, reason) in [
        ("Payment".to_owned(), "not valid JSON: EOF while parsing a value at line 1 column 0"),
        ("Payment !".to_owned(), "not base64url"),
        ("Payment a".to_owned(), "not base64url"),
        (format!("{} x", good()), "not base64url"),
        (
            format!("Payment {}", URL_SAFE_NO_PAD.encode(b"\"\xff\"")),
            "not valid JSON: invalid unicode code point at line 1 column 2",
        ),
        (json("null"), "`challenge` is missing or not as it must be"),
        (json("[]"), "`challenge` is missing or not as it must be"),
        (json("1"), "`challenge` is missing or not as it must be"),
        (json("\"\""), "`challenge` is missing or not as it must be"),
        (json("{}"), "`challenge` is missing or not as it must be"),
        (
            json(r#"{"challenge":{},"challenge":{}}"#),
            "not valid JSON: a key stands twice in one object at line 1 column 31",
        ),
        (json("\u{feff}{}"), "not valid JSON: expected value at line 1 column 1"),
        (json("{} x"), "not valid JSON: trailing characters at line 1 column 4"),
        (
            with(|json| json["challenge"] = json!("text")),
            "`challenge` is missing or not as it must be",
        ),
        (
            with(|json| json["challenge"]["request"] = json!({})),
            "`request` is missing or not as it must be",
        ),
        (
            with(|json| json["challenge"]["realm"] = Value::Null),
            "`realm` is missing or not as it must be",
        ),
        (with(|json| json["challenge"]["id"] = json!(1)), "`id` is missing or not as it must be"),
        (
            with(|json| json["challenge"]["method"] = json!(["stellar"])),
            "`method` is missing or not as it must be",
        ),
        (
            with(|json| json["challenge"]["opaque"] = json!({"a": 1})),
            "`opaque` is missing or not as it must be",
        ),
        (
            with(|json| json["challenge"]["opaque"] = json!(["a"])),
            "`opaque` is missing or not as it must be",
        ),
        (
            with(|json| json["challenge"]["header"] = json!("Cookie")),
            "`header` is missing or not as it must be",
        ),
        (with(|json| json["source"] = json!(1)), "`source` is missing or not as it must be"),
    ] {
        assert_eq!(read(line.as_bytes()), malformed(reason), "{line}");
    }
    assert_eq!(read(with(|_| {}).as_bytes()), paid());
}

#[test]
fn unknown_members_are_passed_over_and_a_missing_payload_is_told_later() {
    let mut json = json_of(&credential(issued(|_| {})).encode());
    json["later"] = json!(1);
    json["challenge"]["later"] = json!({ "a": [] });
    json.as_object_mut().unwrap().remove("payload");
    let read = Credential::parse(line(&json).as_bytes()).unwrap().unwrap();
    assert_eq!(read.payload, None);
    assert_eq!(
        read.challenge.verify_id(&secrets(KEY, None), CredentialHeader::Authorization),
        Ok(())
    );
}

#[test]
fn an_opaque_echoed_as_a_map_is_the_text_that_was_sent() {
    let mut json = json_of(&credential(issued(|_| {})).encode());
    json["challenge"]["opaque"] =
        json!({ "n": "BwcHBwcHBwcHBwcHBwcHBw", "iat": "1893455700", "_mppx_scope": "GET /data" });
    let echo = Credential::parse(line(&json).as_bytes()).unwrap().unwrap().challenge;
    assert_eq!(echo.opaque, Some(opaque().encode()));
    assert_eq!(echo.verify_id(&secrets(KEY, None), CredentialHeader::Authorization), Ok(()));
}

#[test]
fn f14_a_credential_has_room_for_the_largest_transaction_and_no_more() {
    let sized = |length: usize| {
        let mut credential = credential(issued(|_| {}));
        credential.payload =
            Some(json!({ "type": "transaction", "transaction": "A".repeat(length) }));
        read(credential.encode().as_bytes())
    };
    assert_eq!(sized(8192), paid());
    assert_eq!(sized(12_288), malformed("longer than 16384 bytes"));
}

#[test]
fn stripping_takes_the_payment_and_leaves_the_rest() {
    let payment = good();
    let strip = |lines: &[&str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, HeaderValue::from_str(line).unwrap());
        }
        headers.append(PAYMENT_AUTHORIZATION, HeaderValue::from_str(&payment).unwrap());
        strip(&mut headers);
        assert_eq!(headers.get(PAYMENT_AUTHORIZATION), None);
        let kept = headers.get_all(AUTHORIZATION).into_iter();
        kept.map(|line| line.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(strip(&[]).is_empty());
    assert!(strip(&[&payment]).is_empty());
    assert!(strip(&["Payment !, payment"]).is_empty());
    assert_eq!(strip(&["Bearer x"]), ["Bearer x"]);
    assert_eq!(strip(&[&format!("Bearer x, {payment}")]), ["Bearer x"]);
    assert_eq!(strip(&["Bearer  x ,y", &payment, "Basic z"]), ["Bearer  x, y", "Basic z"]);
    assert_eq!(strip(&[r#"Digest a="b, Payment c", d=e"#]), [r#"Digest a="b, Payment c", d=e"#]);
}

#[test]
fn debug_shows_no_payload() {
    let shown = format!("{:?}", credential(issued(|_| {})));
    assert!(!shown.contains("AAAA"), "{shown}");
}

#[test]
fn a_receipt_has_its_known_members_first_and_reads_back() {
    let extra = json!({ "challengeId": "abc", "status": "forged" });
    let receipt = Receipt {
        method: "stellar".to_owned(),
        reference: "ad6eaa18".to_owned(),
        timestamp_ms: 1_795_355_180_635,
        external_id: Some("order-1".to_owned()),
        extra: extra.as_object().unwrap().clone(),
    };
    let header = receipt.encode();
    let json = r#"{"method":"stellar","reference":"ad6eaa18","externalId":"order-1","status":"success","timestamp":"2026-11-22T13:46:20.635Z","challengeId":"abc"}"#;
    assert_eq!(header, URL_SAFE_NO_PAD.encode(json));
    let read = Receipt::decode(header.as_bytes()).unwrap();
    assert_eq!(Value::from(read.extra.clone()), json!({ "challengeId": "abc" }));
    assert_eq!(read, Receipt { extra: read.extra.clone(), ..receipt });
    for (from, to) in [
        ("success", "failed"),
        ("\"method\"", "\"m\""),
        ("\"reference\"", "\"r\""),
        ("2026-11-22T", "2026-11-22 "),
        ("\"order-1\"", "1"),
        ("{\"method", "[{\"method"),
        ("\"abc\"", "\"abc\",\"method\":\"x\""),
    ] {
        let header = URL_SAFE_NO_PAD.encode(json.replace(from, to));
        assert!(Receipt::decode(header.as_bytes()).is_err(), "{to}");
    }
    assert!(Receipt::decode(&[b'A'; 16_385]).is_err());
}

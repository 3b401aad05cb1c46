use base64::engine::general_purpose::STANDARD;

use super::*;

const DEFAULT: CredentialHeader = CredentialHeader::Authorization;
const OTHER: CredentialHeader = CredentialHeader::PaymentAuthorization;

/// How to change one member of a challenge.
type Change = (&'static str, fn(&mut Challenge));

#[test]
fn an_issued_challenge_is_known_again() {
    for header in [DEFAULT, OTHER] {
        let challenge = issued(|parts| parts.header = header);
        assert_eq!(challenge.verify_id(&secrets(KEY, None), header), Ok(()));
        assert_eq!(challenge.id.as_str().len(), 43);
    }
}

#[test]
fn the_description_is_the_one_thing_that_the_id_does_not_bind() {
    let mut challenge = issued(|_| {});
    challenge.description = None;
    assert_eq!(challenge.verify_id(&secrets(KEY, None), DEFAULT), Ok(()));
}

#[test]
fn a10_a_flipped_byte_anywhere_in_the_echo_breaks_the_id() {
    let members = ["id", "realm", "method", "intent", "request", "expires", "digest", "opaque"];
    let whole = json_of(&credential(issued(|_| {})).encode());
    let parse = |json: &Value| Credential::parse(line(json).as_bytes()).unwrap().unwrap();
    assert_eq!(parse(&whole).challenge.verify_id(&secrets(KEY, None), DEFAULT), Ok(()));
    for member in members {
        let text = whole["challenge"][member].as_str().unwrap().to_owned();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let mut json = whole.clone();
            json["challenge"][member] = String::from_utf8(bytes).unwrap().into();
            let echo = parse(&json).challenge;
            let verdict = echo.verify_id(&secrets(KEY, None), DEFAULT);
            assert_eq!(verdict, Err(NotOurs), "{member}, byte {at}");
        }
    }
}

#[test]
fn a10_a_member_taken_out_or_put_in_breaks_the_id() {
    let bare = || issued(|parts| (parts.body, parts.opaque) = (None, None));
    let changes: [Change; 7] = [
        ("expires", |echo| echo.expires = None),
        ("digest", |echo| echo.digest = Some(digest::write(&[9; 32]))),
        ("opaque", |echo| echo.opaque = Some("e30".to_owned())),
        ("header", |echo| echo.header = OTHER),
        ("digest for expires", |echo| echo.digest = echo.expires.take()),
        ("opaque for expires", |echo| echo.opaque = echo.expires.take()),
        ("a longer realm", |echo| echo.realm.push(' ')),
    ];
    for (what, change) in changes {
        let mut echo = bare();
        change(&mut echo);
        assert_eq!(echo.verify_id(&secrets(KEY, None), DEFAULT), Err(NotOurs), "{what}");
    }
    assert_eq!(bare().verify_id(&secrets(KEY, None), DEFAULT), Ok(()));
}

#[test]
fn a11_an_id_that_is_empty_missing_or_of_another_secret_is_not_ours() {
    let other = secrets("another-secret-of-at-least-32-bytes", None);
    assert_eq!(issued(|_| {}).verify_id(&other, DEFAULT), Err(NotOurs));
    let whole = json_of(&credential(issued(|_| {})).encode());
    for id in [json!(""), Value::Null] {
        let mut json = whole.clone();
        match id {
            Value::Null => json["challenge"].as_object_mut().unwrap().remove("id"),
            id => json["challenge"].as_object_mut().unwrap().insert("id".to_owned(), id),
        };
        let echo = Credential::parse(line(&json).as_bytes()).unwrap().unwrap().challenge;
        assert_eq!(echo.verify_id(&secrets(KEY, None), DEFAULT), Err(NotOurs));
    }
}

#[test]
fn an_id_has_one_spelling() {
    let issued = issued(|_| {});
    let tag = URL_SAFE_NO_PAD.decode(issued.id.as_str()).unwrap();
    for spelling in [format!("{}=", issued.id), STANDARD.encode(&tag), hex::encode(&tag)] {
        let mut echo = issued.clone();
        echo.id = ChallengeId::new(spelling);
        assert_eq!(echo.verify_id(&secrets(KEY, None), DEFAULT), Err(NotOurs), "{:?}", echo.id);
    }
}

#[test]
fn a_request_that_says_the_same_in_other_words_is_not_ours() {
    let mut echo = issued(|_| {});
    let json = URL_SAFE_NO_PAD.decode(&echo.request).unwrap();
    let spaced = String::from_utf8(json).unwrap().replace("\":", "\": ");
    echo.request = URL_SAFE_NO_PAD.encode(spaced);
    assert_eq!(charge::Request::decode(&echo.request).unwrap(), request());
    assert_eq!(echo.verify_id(&secrets(KEY, None), DEFAULT), Err(NotOurs));
}

#[test]
fn j05_after_a_rotation_both_secrets_count_and_after_the_next_one_only_the_newer() {
    let old = issued(|_| {});
    let second = "the-second-secret-has-32-bytes-or-more";
    let third = "the-third-secret-has-32-bytes-or-more-";
    assert_eq!(old.verify_id(&secrets(second, Some(KEY)), DEFAULT), Ok(()));
    assert_eq!(old.verify_id(&secrets(KEY, Some(second)), DEFAULT), Ok(()));
    assert_eq!(old.verify_id(&secrets(third, Some(second)), DEFAULT), Err(NotOurs));
    assert_eq!(old.verify_id(&secrets(second, None), DEFAULT), Err(NotOurs));
}

#[test]
fn j10_a_short_secret_is_refused_and_no_secret_is_shown() {
    let long = "0123456789abcdef0123456789abcdef";
    assert!(Secrets::new(long.into(), Some(long.into())).is_ok());
    let weak = |current: &str, previous: Option<&str>| {
        Secrets::new(current.into(), previous.map(Into::into)).unwrap_err().to_string()
    };
    assert_eq!(
        weak(&long[1..], None),
        "the current secret has 31 bytes, and needs at least 32: make one with `openssl rand -base64 32`"
    );
    assert_eq!(
        weak(long, Some("")),
        "the previous secret has 0 bytes, and needs at least 32: make one with `openssl rand -base64 32`"
    );
    // Bytes count, not characters.
    assert!(Secrets::new("ü".repeat(16).as_str().into(), None).is_ok());
    assert_eq!(format!("{:?}", secrets(long, Some(long))), "Secrets(…)");
}

#[test]
fn an_echo_that_lost_its_header_is_known_where_the_route_has_one() {
    let mut echo = issued(|parts| parts.header = OTHER);
    assert_eq!(echo.verify_id(&secrets(KEY, None), DEFAULT), Ok(()));
    echo.header = DEFAULT;
    assert_eq!(echo.verify_id(&secrets(KEY, None), OTHER), Ok(()));
    assert_eq!(echo.verify_id(&secrets(KEY, None), DEFAULT), Err(NotOurs));
    // Issued before the route had one.
    assert_eq!(issued(|_| {}).verify_id(&secrets(KEY, None), OTHER), Ok(()));
    // What it did not lose is not made up.
    let mut echo = issued(|_| {});
    echo.header = OTHER;
    assert_eq!(echo.verify_id(&secrets(KEY, None), OTHER), Err(NotOurs));
}

#[test]
fn a_bar_within_a_slot_does_not_make_seven_slots_of_eight() {
    let eight = issued(|parts| parts.header = OTHER);
    let mut seven = eight.clone();
    seven.header = DEFAULT;
    seven.opaque = Some(format!("Payment-Authorization|{}", eight.opaque.as_ref().unwrap()));
    let mac = |challenge: &Challenge| {
        let fed = challenge.feed(secrets::mac(b"key"), challenge.header);
        hmac::Mac::finalize(fed).into_bytes()
    };
    assert_eq!(mac(&seven), mac(&eight), "else this test shows nothing");
    assert_eq!(seven.verify_id(&secrets(KEY, None), DEFAULT), Err(NotOurs));
    // And what we issue has no bar.
    assert_eq!(issued(|parts| parts.realm = "a|b").realm, "a/b");
}

#[test]
fn what_an_operator_writes_is_made_harmless() {
    for (text, safe) in [
        ("plain text, \"quoted\" \\ too", "plain text, \"quoted\" \\ too"),
        ("Payment for API", "Payment-for API"),
        ("one payment each, one PAYMENT\teach", "one payment-each, one PAYMENT-each"),
        ("prepayment  plan", "prepayment- plan"),
        ("payment payment payment", "payment-payment-payment"),
        ("payments for all: payment", "payments for all: payment"),
        ("payment\u{a0}x payment\u{b}x", "payment?x payment?x"),
        ("a\r\nWWW-Authenticate: Basic", "a  WWW-Authenticate: Basic"),
        ("5 € — 😀", "5 ? ? ?"),
        ("a|b\0\u{7f}", "a/b??"),
        ("", ""),
    ] {
        assert_eq!(harmless(text), safe);
        assert_eq!(harmless(safe), safe);
    }
    let challenge = issued(|parts| {
        parts.realm = "The payment people";
        parts.description = Some("One payment each\r\nSet-Cookie: a=b");
    });
    let header = challenge.to_header();
    assert_eq!(old_client_pieces(header.to_str().unwrap()), 1, "{header:?}");
    assert_eq!(challenge.verify_id(&secrets(KEY, None), DEFAULT), Ok(()));
}

/// In how many pieces `mppx` 0.6 cuts a header: at `Payment` and white space, in any case, quoted or not.
fn old_client_pieces(header: &str) -> usize {
    let lower = header.to_ascii_lowercase();
    let after = lower.match_indices("payment").map(|(at, word)| at + word.len());
    after.filter(|at| lower[*at..].starts_with(char::is_whitespace)).count()
}

#[test]
fn a_header_is_ascii_on_one_line_whatever_the_challenge_holds() {
    let mut challenge = issued(|_| {});
    challenge.description = Some("a\r\nb\u{e9}\0\"\\".to_owned());
    challenge.realm = "\u{2014}".to_owned();
    let header = challenge.to_header();
    let text = header.to_str().unwrap();
    assert!(text.contains(r#"description="a??b??\"\\""#), "{text}");
    assert!(text.contains(r#"realm="?""#), "{text}");
}

#[test]
fn a_challenge_names_its_header_only_if_it_is_not_the_default() {
    let with = issued(|parts| parts.header = OTHER).to_header();
    assert!(with.to_str().unwrap().contains(r#", header="Payment-Authorization", opaque="#));
    assert!(!issued(|_| {}).to_header().to_str().unwrap().contains("header="));
}

#[test]
fn an_opaque_is_read_only_as_it_is_written() {
    let opaque = opaque();
    let text = opaque.encode();
    assert_eq!(Opaque::decode(&text).unwrap(), opaque);
    let json = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let canonical =
        r#"{"_mppx_scope":"GET /data","iat":"1893455700","n":"BwcHBwcHBwcHBwcHBwcHBw"}"#;
    assert_eq!(text, json(canonical));
    for other in [
        String::new(),
        "e30".to_owned(),
        format!("{text}="),
        json(&canonical.replace(':', ": ")),
        json(&canonical.replace('}', r#","x":"y"}"#)),
        json(&canonical.replace("\"1893455700\"", "1893455700")),
        json(&canonical.replace("1893455700", "01893455700")),
        json(&canonical.replace("1893455700", "+1893455700")),
        json(&canonical.replace("1893455700", "-1")),
        json(&canonical.replace("Bw\"", "Bx\"")),
        json(&canonical.replace("BwcHBwcH", "BwcH")),
        json(&canonical.replace("_mppx_scope", "scope")),
    ] {
        assert!(Opaque::decode(&other).is_err(), "{other}");
    }
}

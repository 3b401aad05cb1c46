//! The vectors of the reference implementations, and of RFC 8785.

use hmac::Mac as _;

use super::*;

/// What the id binds, in its order; the header only where it is not the default.
struct Slots<'a> {
    expires: Option<&'a str>,
    digest: Option<&'a str>,
    header: CredentialHeader,
    opaque: Option<&'a str>,
}

const NONE: Slots<'_> =
    Slots { expires: None, digest: None, header: CredentialHeader::Authorization, opaque: None };

/// The challenge that the id vectors of `mppx` have in common.
fn tempo(id: &str, slots: &Slots<'_>) -> Challenge {
    Challenge {
        id: ChallengeId::new(id.to_owned()),
        realm: "api.example.com".to_owned(),
        method: "tempo".to_owned(),
        intent: "charge".to_owned(),
        request: "eyJhbW91bnQiOiIxMDAwMDAwIn0".to_owned(),
        description: None,
        digest: slots.digest.map(Into::into),
        expires: slots.expires.map(Into::into),
        header: slots.header,
        opaque: slots.opaque.map(Into::into),
    }
}

fn id_under(key: &str, slots: &Slots<'_>) -> String {
    let challenge = tempo("", slots);
    let mac = challenge.feed(secrets::mac(key.as_bytes()), challenge.header);
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

#[test]
fn v1_to_v7_ids_are_those_of_mppx() {
    let short = "test-vector-secret";
    let long = "test-vector-secret-minimum-32-byte-secret";
    let expires = Some("2025-01-06T12:00:00Z");
    let vectors = [
        (short, NONE, "X6v1eo7fJ76gAxqY0xN9Jd__4lUyDDYmriryOM-5FO4"),
        (
            short,
            Slots {
                expires,
                digest: Some("sha-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE"),
                ..NONE
            },
            "m39jbWWCIfmfJZSwCfvKFFtBl0Qwf9X4nOmDb21peLA",
        ),
        (
            short,
            Slots { opaque: Some(&encode_canonical(&json!({}))), ..NONE },
            "vb4IyH-0LdJ3s7L0QAw8jIzcZkyxksPhIvEfmHmzA9k",
        ),
        (
            short,
            Slots {
                expires,
                opaque: Some(&encode_canonical(&json!({ "pi": "pi_3abc123XYZ" }))),
                ..NONE
            },
            "KAfoMrA4fnzS1DPWN_cUv_b3_yHxCizdp6OhH7gluMY",
        ),
        (long, NONE, "6QDs0BmhrI_v67iWeCMvGqQJEFQ6ErWKlk7zi5xL6t0"),
        (
            long,
            Slots { opaque: Some("trace-123"), ..NONE },
            "1XJ-Ti0DACNe3E1zHvwH6OdnKlhUx6xKxDbhJyexng4",
        ),
        (
            long,
            Slots { header: CredentialHeader::PaymentAuthorization, ..NONE },
            "re8MIMJYpIJ0r_aiizscg6ghtipQM8IpOa_NtpwIU8E",
        ),
    ];
    for (at, (key, slots, id)) in vectors.into_iter().enumerate() {
        assert_eq!(id_under(key, &slots), id, "V{}", at + 1);
        if key == long {
            let challenge = tempo(id, &slots);
            assert_eq!(challenge.verify_id(&secrets(long, None), slots.header), Ok(()));
        }
    }
}

#[test]
fn v8_a_charge_challenge_is_that_of_mppx() {
    let mut request = request().to_json();
    request["recipient"] = json!("GBHEGW3KWOY2OFH767EDALFGCUTBOEVBDQMCKUSJ7LPDVHTXHPCV2DBV");
    let json = r#"{"amount":"100000","currency":"CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA","methodDetails":{"credentialTypes":["transaction"],"feePayer":true,"network":"stellar:testnet"},"recipient":"GBHEGW3KWOY2OFH767EDALFGCUTBOEVBDQMCKUSJ7LPDVHTXHPCV2DBV"}"#;
    let base64 = "eyJhbW91bnQiOiIxMDAwMDAiLCJjdXJyZW5jeSI6IkNCSUVMVEs2WUJaSlU1VVAyV1dRRVVDWUtMUFU2QVVOWjJCUTRXV0ZFSUUzVVNDSUhNWFFEQU1BIiwibWV0aG9kRGV0YWlscyI6eyJjcmVkZW50aWFsVHlwZXMiOlsidHJhbnNhY3Rpb24iXSwiZmVlUGF5ZXIiOnRydWUsIm5ldHdvcmsiOiJzdGVsbGFyOnRlc3RuZXQifSwicmVjaXBpZW50IjoiR0JIRUdXM0tXT1kyT0ZINzY3RURBTEZHQ1VUQk9FVkJEUU1DS1VTSjdMUERWSFRYSFBDVjJEQlYifQ";
    assert_eq!(serde_jcs::to_string(&request).unwrap(), json);
    assert_eq!(encode_canonical(&request), base64);
    let opaque = encode_canonical(&json!({ "_mppx_scope": "GET /data" }));
    assert_eq!(opaque, "eyJfbXBweF9zY29wZSI6IkdFVCAvZGF0YSJ9");

    // Ours always carry more in `opaque`, so theirs is put in by hand, and the id with it.
    let ours = super::opaque();
    let parts = Parts { body: None, opaque: None, ..parts(&request, &ours) };
    let mut challenge = Challenge::issue(&secrets(KEY, None), parts);
    challenge.opaque = Some(opaque);
    challenge.id = ChallengeId::new("uzZDWcRuZwVtOWlgsXxvwESPqFp5_WMnIwIJzEcaqnE".to_owned());
    assert_eq!(challenge.verify_id(&secrets(KEY, None), challenge.header), Ok(()));
    assert_eq!(
        challenge.to_header(),
        format!(
            r#"Payment id="uzZDWcRuZwVtOWlgsXxvwESPqFp5_WMnIwIJzEcaqnE", realm="api.example.com", method="stellar", intent="charge", request="{base64}", description="Say \"hi\" \\ ok", expires="2030-01-01T00:00:00.000Z", opaque="eyJfbXBweF9zY29wZSI6IkdFVCAvZGF0YSJ9""#
        )
    );
}

#[test]
fn v9_a_channel_challenge_is_issued_as_by_mppx() {
    let request = json!({
        "methodDetails": {
            "reference": "00000000-0000-4000-8000-000000000001",
            "network": "stellar:testnet",
            "cumulativeAmount": "2000000",
        },
        "channel": "CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ",
        "amount": "1000000",
    });
    let opaque = opaque();
    let parts = Parts {
        intent: "channel",
        description: None,
        body: None,
        opaque: None,
        ..parts(&request, &opaque)
    };
    let challenge = Challenge::issue(&secrets(KEY, None), parts);
    assert_eq!(
        challenge.request,
        "eyJhbW91bnQiOiIxMDAwMDAwIiwiY2hhbm5lbCI6IkNBQkFFQVFDQUlCQUVBUUNBSUJBRUFRQ0FJQkFFQVFDQUlCQUVBUUNBSUJBRUFRQ0FJQkFGTlNaIiwibWV0aG9kRGV0YWlscyI6eyJjdW11bGF0aXZlQW1vdW50IjoiMjAwMDAwMCIsIm5ldHdvcmsiOiJzdGVsbGFyOnRlc3RuZXQiLCJyZWZlcmVuY2UiOiIwMDAwMDAwMC0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMDEifX0"
    );
    assert_eq!(challenge.id.as_str(), "34QXbZOYO1TqBKpiLOJRmjBIeB_mZVB0BXeE7jTTljo");
}

#[test]
fn a_digest_is_that_of_mppx_and_read_with_colons_too() {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(br#"{"amount":"1000"}"#).into();
    let text = digest::write(&hash);
    assert_eq!(text, "sha-256=Bxp4xJtbVfsB9npD5AEWUnIk76Cuv8Au4ECDA+F0biY=");
    assert!(digest::matches(&text, &hash));
    assert!(digest::matches("sha-256=:Bxp4xJtbVfsB9npD5AEWUnIk76Cuv8Au4ECDA+F0biY=:", &hash));
    let other = sha2::Sha256::digest(b"").into();
    for wrong in [
        "",
        "sha-256=",
        "sha-256=::",
        "sha-256=:",
        "sha-512=Bxp4xJtbVfsB9npD5AEWUnIk76Cuv8Au4ECDA+F0biY=",
        "Bxp4xJtbVfsB9npD5AEWUnIk76Cuv8Au4ECDA+F0biY=",
        "sha-256=:Bxp4xJtbVfsB9npD5AEWUnIk76Cuv8Au4ECDA+F0biY=",
        &digest::write(&other),
    ] {
        assert!(!digest::matches(wrong, &hash), "{wrong}");
    }
}

#[test]
fn canonical_json_is_that_of_rfc_8785() {
    let cases = [
        (
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#,
        ),
        (
            // By UTF-16 units the smiley, a surrogate pair, stands before the Hebrew letter.
            r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#,
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        ),
        (
            r#"{"1":{"f":{"f":"hi","F":5},"\n":56.0},"10":{},"":"empty","a":{},"111":[{"e":"yes","E":"no"}],"A":{}}"#,
            r#"{"":"empty","1":{"\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}"#,
        ),
        (r#"{"html":"<a href='x'>&</a>\u2028"}"#, "{\"html\":\"<a href='x'>&</a>\u{2028}\"}"),
        (
            r"[-0,1e21,1e20,123456789012345680000,5e-324]",
            "[0,1e+21,100000000000000000000,123456789012345680000,5e-324]",
        ),
    ];
    for (json, canonical) in cases {
        let value = crate::protocol::json::parse(json.as_bytes()).unwrap();
        assert_eq!(serde_jcs::to_string(&value).unwrap(), canonical);
        assert_eq!(encode_canonical(&value), URL_SAFE_NO_PAD.encode(canonical));
    }
}

#[test]
fn a_time_has_milliseconds_and_is_read_with_any_offset() {
    for (ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_893_456_000_000, "2030-01-01T00:00:00.000Z"),
        (1_795_355_180_635, "2026-11-22T13:46:20.635Z"),
        (951_782_400_007, "2000-02-29T00:00:00.007Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(timestamp::write(ms), text);
        assert_eq!(timestamp::read(text), Ok(ms));
    }
    assert_eq!(timestamp::write(u64::MAX), "9999-12-31T23:59:59.999Z");
    for (text, ms) in [
        ("2030-01-01T00:00:00Z", 1_893_456_000_000),
        ("2030-01-01T02:30:00+02:30", 1_893_456_000_000),
        ("2029-12-31T19:00:00.5-05:00", 1_893_456_000_500),
        ("2030-01-01T00:00:00.0009999999999Z", 1_893_456_000_000),
        ("2030-01-01T00:00:00-00:00", 1_893_456_000_000),
    ] {
        assert_eq!(timestamp::read(text), Ok(ms), "{text}");
    }
    for text in [
        "",
        "2030-01-01",
        "2030-01-01T00:00:00",
        "2030-01-01T00:00:00.Z",
        "2030-01-01 00:00:00Z",
        "2030-01-01t00:00:00Z",
        "2030-01-01T00:00:00z",
        "2030-01-01T00:00:60Z",
        "2030-01-01T24:00:00Z",
        "2030-02-29T00:00:00Z",
        "2030-13-01T00:00:00Z",
        "2030-01-01T00:00:00+24:00",
        "2030-01-01T00:00:00+0000",
        "2030-01-01T00:00:00Z ",
        " 2030-01-01T00:00:00Z",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:00:00+00:01",
        "+12030-01-01T00:00:00Z",
        "２030-01-01T00:00:00Z",
    ] {
        assert_eq!(timestamp::read(text), Err(timestamp::NotTime), "{text}");
    }
}

//! The `Payment` scheme: one credential or none, no challenge but ours, and what is written reads back.
//!
//! Input: the value of a header, or the JSON that is within one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::transaction;
use crate::protocol::{
    json,
    mpp::{
        self, ACCEPT_PAYMENT, AcceptPayment, Challenge, Credential, CredentialHeader, Opaque,
        PAYMENT_AUTHORIZATION, Parts, Receipt, Secrets, channel, charge,
    },
    stellar::Network,
};

pub(super) fn check(bytes: &[u8]) {
    line(bytes);
    let token = URL_SAFE_NO_PAD.encode(bytes);
    if let Ok(credential) = Credential::from_token(token.as_bytes()) {
        reads_back(&credential, token.len());
    }
    receipt(token.as_bytes());
    parameters(&token);
    if let Ok(json) = json::parse(bytes) {
        let written = mpp::encode_canonical(&json);
        let again = URL_SAFE_NO_PAD.decode(&written).ok().and_then(|text| json::parse(&text).ok());
        let again = again.expect("the canonical form is JSON");
        assert_eq!(mpp::encode_canonical(&again), written);
    }
}

/// The bytes as the value of each field.
fn line(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    for challenge in mpp::parse_challenges([&value]).into_iter().flatten() {
        let again = mpp::parse_challenges([&challenge.to_header()]);
        assert!(matches!(again.as_slice(), [Ok(_)]), "{again:?}");
        is_ours_only_if_issued(&challenge);
    }
    if let Ok(challenge) = Challenge::from_next(&value) {
        assert!(Challenge::from_next(&challenge.to_next()).is_ok());
    }
    receipt(bytes);
    let mut headers = HeaderMap::new();
    headers.append(AUTHORIZATION, value.clone());
    let found = mpp::find(&headers);
    let parsed = Credential::parse(bytes);
    assert_eq!(format!("{found:?}"), format!("{parsed:?}"));
    if let Ok(Some(credential)) = &found {
        reads_back(credential, bytes.len());
    }
    let held = !matches!(found, Ok(None));
    headers.append(PAYMENT_AUTHORIZATION, value.clone());
    headers.append(ACCEPT_PAYMENT, value.clone());
    // Two are one too many, wherever they stand.
    assert_eq!(!matches!(mpp::find(&headers), Ok(None)), held);
    assert!(!held || mpp::find(&headers).is_err());
    if let Some(accepted) = AcceptPayment::from_headers(&headers) {
        let ranked = accepted.rank(&OFFERS);
        let mut sorted = ranked.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert!(!ranked.is_empty() && sorted.len() == ranked.len());
        assert!(ranked.iter().all(|index| *index < OFFERS.len()));
    }
    mpp::strip(&mut headers);
    assert!(matches!(mpp::find(&headers), Ok(None)), "{headers:?}");
    if !held {
        assert_eq!(headers.get(AUTHORIZATION), Some(&value), "another's credential");
    }
}

fn reads_back(credential: &Credential, length: usize) {
    is_ours_only_if_issued(&credential.challenge);
    let written = credential.encode();
    match Credential::parse(written.as_bytes()) {
        Ok(Some(read)) => assert_eq!(all(&read), all(credential)),
        // An `opaque` that came as a map is longer as the text of one.
        other => assert!(written.len() > length.min(LONGEST), "{other:?}"),
    }
    parameters(&credential.challenge.request);
    if let Some(opaque) = credential.challenge.opaque.as_deref() {
        parameters(opaque);
    }
    let Some(payload) = &credential.payload else { return };
    if let Ok(payload) = charge::Payload::from_json(payload) {
        if let charge::Payload::Transaction(transaction) = &payload {
            transaction::text(transaction);
        }
        assert_eq!(charge::Payload::from_json(&payload.to_json()), Ok(payload));
    }
    if let Ok(payload) = channel::Payload::from_json(payload) {
        assert_eq!(channel::Payload::from_json(&payload.to_json()), Ok(payload));
    }
}

/// Text as each kind of parameter.
fn parameters(text: &str) {
    if let Ok(request) = charge::Request::decode(text) {
        let read = charge::Request::decode(&request.encode());
        assert_eq!(read.ok().as_ref(), Some(&request));
        assert!(!request.amount.is_zero());
    }
    if let Ok(request) = channel::Request::decode(text) {
        let read = channel::Request::decode(&request.encode());
        assert_eq!(read.ok().as_ref(), Some(&request));
        assert!(!request.amount.is_zero());
    }
    if let Ok(opaque) = Opaque::decode(text) {
        assert_eq!(opaque.encode(), text, "one spelling");
    }
}

fn receipt(value: &[u8]) {
    let Ok(receipt) = Receipt::decode(value) else { return };
    let written = receipt.encode();
    match Receipt::decode(written.as_bytes()) {
        Ok(read) => assert_eq!(read, receipt),
        Err(error) => assert!(written.len() > value.len(), "{error}"),
    }
    if let Ok(told) = channel::Receipt::from_mpp(&receipt) {
        assert!(told.spent <= told.accepted);
        let read = channel::Receipt::from_mpp(&told.to_mpp());
        assert_eq!(read.ok().as_ref(), Some(&told));
    }
}

/// The one challenge that was issued here is known again, in its one spelling, and nothing else is.
fn is_ours_only_if_issued(challenge: &Challenge) {
    let secrets = Secrets::new(SECRET.into(), []).expect("long enough");
    let issued = issued(&secrets);
    assert_eq!(issued.verify_id(&secrets, CredentialHeader::Authorization), Ok(()));
    for configured in [CredentialHeader::Authorization, CredentialHeader::PaymentAuthorization] {
        if challenge.verify_id(&secrets, configured).is_ok() {
            assert_eq!(bound(challenge), bound(&issued));
        }
    }
}

/// The challenge that the corpus has seeds of.
fn issued(secrets: &Secrets) -> Challenge {
    let request = json!({
        "amount": "10000",
        "currency": Network::Testnet.usdc().contract.to_string(),
        "methodDetails": { "credentialTypes": ["transaction"], "feePayer": true, "network": "stellar:testnet" },
        "recipient": "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG",
    });
    let opaque = Opaque { scope: "GET /a".to_owned(), nonce: [7; 16], issued_at: 1_893_455_700 };
    let parts = Parts {
        realm: "api.example.com",
        method: charge::METHOD,
        intent: charge::INTENT,
        request: mpp::encode_canonical(&request),
        description: Some("A day"),
        body: None,
        expires_ms: 1_893_456_000_000,
        header: CredentialHeader::Authorization,
        opaque: Some(&opaque),
    };
    Challenge::issue(secrets, parts)
}

/// What an id binds, and the id.
fn bound(challenge: &Challenge) -> [&str; 8] {
    [
        challenge.id.as_str(),
        &challenge.realm,
        &challenge.method,
        &challenge.intent,
        &challenge.request,
        challenge.expires.as_deref().unwrap_or_default(),
        challenge.digest.as_deref().unwrap_or_default(),
        challenge.opaque.as_deref().unwrap_or_default(),
    ]
}

fn all(credential: &Credential) -> (String, Option<&Value>) {
    (format!("{credential:?}"), credential.payload.as_ref())
}

/// Not that of other tests, whose challenges are in the corpus too.
const SECRET: &str = "the-secret-that-no-other-test-issues-under";
const OFFERS: [(&str, &str); 3] =
    [("stellar", "charge"), ("stellar", "channel"), ("stellar", "session")];
/// As long as the reader takes a token.
const LONGEST: usize = 16 * 1024;

//! Messages of x402: one reading each, and what is written reads back.
//!
//! Input: the value of a header, or the JSON that is within one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::transaction;
use crate::{
    facilitate,
    protocol::{
        json,
        stellar::Network,
        x402::{
            self, Payload, PaymentRequired, Requirements, Settlement, Verification, identifier,
        },
    },
};

pub(super) fn check(bytes: &[u8]) {
    header(bytes);
    header(STANDARD.encode(bytes).as_bytes());
    let Ok(json) = json::parse(bytes) else { return };
    // A value has one meaning, however it is spelled.
    let written = json.to_string();
    assert_eq!(json::parse(written.as_bytes()).ok().as_ref(), Some(&json));
    message(&json);
}

fn header(value: &[u8]) {
    let payload = Payload::decode(value).ok();
    assert_eq!(payload, Payload::decode(value).ok());
    if let Some(payload) = &payload {
        let written = x402::encode(&payload.json);
        if written.len() <= value.len() {
            let read = Payload::decode(written.as_bytes()).ok();
            assert_eq!(read.as_ref(), Some(payload));
        }
        if let Ok(accepted) = Requirements::from_json(&payload.accepted) {
            reads_back(&accepted);
        }
        assert!(payload.accepted.is_object());
        if let Ok(Some(id)) = identifier::of(&payload.json) {
            assert!((16..=128).contains(&id.len()) && id.is_ascii());
        }
        transaction::text(&payload.transaction);
    }
    if let Ok(challenge) = PaymentRequired::decode(value) {
        let written = x402::encode(&challenge.to_json());
        match PaymentRequired::decode(written.as_bytes()) {
            Ok(read) => assert_eq!(read, challenge),
            Err(error) => assert!(written.len() > value.len(), "{error}"),
        }
        let any = x402::decode_challenge(value).expect("what is a challenge is a message");
        assert!(any.get("accepts").is_some_and(Value::is_array));
    }
    if let Ok(settlement) = Settlement::decode(value) {
        let read = Settlement::from_json(&settlement.to_json()).ok();
        assert_eq!(read.as_ref(), Some(&settlement));
    }
}

fn message(json: &Value) {
    if let Ok(requirements) = Requirements::from_json(json) {
        reads_back(&requirements);
    }
    if let Ok(verification) = Verification::from_json(json) {
        let read = Verification::from_json(&verification.to_json()).ok();
        assert_eq!(read.as_ref(), Some(&verification));
    }
    // What a facilitator of ours is asked: never about another network than its own.
    for network in [Network::Testnet, Network::Pubnet] {
        if let Some(payment) = facilitate::read_ask(json, network) {
            assert_eq!(payment.expected.network, network);
            assert!(!payment.expected.amount.is_zero());
            assert!((1..=3_600).contains(&payment.max_timeout_seconds));
        }
    }
}

fn reads_back(requirements: &Requirements) {
    let json = requirements.to_json();
    assert_eq!(Requirements::from_json(&json).as_ref(), Ok(requirements));
    let amount = json.get("amount").and_then(Value::as_str);
    let told = amount.and_then(|text| text.parse::<i128>().ok());
    assert_eq!(told, Some(requirements.amount.units()));
    assert!(!requirements.amount.is_zero() && requirements.max_timeout_seconds > 0);
}

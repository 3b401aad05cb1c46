use super::{channel::*, *};
use crate::protocol::stellar::ContractId;

/// The request of vector V9.
fn asked() -> Request {
    Request {
        amount: Amount::from_units(1_000_000).unwrap(),
        channel: ContractId([2; 32]),
        cumulative: Amount::from_units(2_000_000).unwrap(),
        external_id: None,
        network: Network::Testnet,
        reference: "00000000-0000-4000-8000-000000000001".to_owned(),
    }
}

#[test]
fn v9_a_channel_request_is_that_of_the_reference() {
    let text = r#"{"amount":"1000000","channel":"CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ","methodDetails":{"cumulativeAmount":"2000000","network":"stellar:testnet","reference":"00000000-0000-4000-8000-000000000001"}}"#;
    assert_eq!(serde_jcs::to_string(&asked().to_json()).unwrap(), text);
    assert_eq!(Request::decode(&asked().encode()).unwrap(), asked());
    let opaque = opaque();
    let json = asked().to_json();
    let parts = Parts {
        intent: INTENT,
        description: None,
        body: None,
        opaque: None,
        ..parts(&json, &opaque)
    };
    let challenge = Challenge::issue(&secrets(KEY, None), &parts);
    assert_eq!(challenge.id.as_str(), "34QXbZOYO1TqBKpiLOJRmjBIeB_mZVB0BXeE7jTTljo");
    assert_eq!(Request::decode(&challenge.request).unwrap(), asked());
}

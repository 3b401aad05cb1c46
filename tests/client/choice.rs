//! Which of the ways to pay is taken.

use bytes::Bytes;
use http::{HeaderValue, Response};
use proptest::prelude::*;
use serde_json::json;
use tollgate::{
    client::{Challenge, Client, Error, Method, Mode, Offer, Wanted},
    protocol::{
        mpp::charge::{CredentialType, Request},
        stellar::{ContractId, Network},
        x402::{self, PAYMENT_REQUIRED},
    },
};
use tollgate_sandbox::Sandbox;

use super::{
    accepted, amount, answer,
    charge::{challenge, refused, request, shop, sponsored},
    client, sandbox,
};

/// An x402 challenge of one way to pay, at this price.
fn x402(sandbox: &Sandbox, units: &str) -> HeaderValue {
    let mut accepted = accepted(sandbox);
    *accepted.get_mut("amount").unwrap() = json!(units);
    x402::encode(&json!({ "x402Version": 2, "accepts": [accepted] }))
}

/// Adds an x402 challenge behind the others, or before them.
fn with_x402(response: Response<Bytes>, header: HeaderValue, first: bool) -> Response<Bytes> {
    let mut both = answer(response.status(), PAYMENT_REQUIRED, header);
    if first {
        both.headers_mut().extend(response.headers().clone());
        return both;
    }
    let mut response = response;
    response.headers_mut().extend(both.headers().clone());
    response
}

fn name(offer: &Offer) -> String {
    let rail = match offer {
        Offer::X402(_) => "x402",
        Offer::Charge(offer) if offer.request.fee_payer => "sponsored",
        Offer::Charge(_) => "own",
    };
    format!("{rail} {}", offer.amount())
}

fn choose(response: &Response<Bytes>, method: Method, mode: Mode) -> Result<String, Vec<String>> {
    let challenge = Challenge::of(response).unwrap().unwrap();
    let wanted = Wanted { mode, ..Wanted::by(method, Network::Testnet) };
    match challenge.choose(&wanted) {
        Ok(offer) => Ok(name(&offer)),
        Err(Error::NoOffer { reasons }) => Err(reasons),
        Err(error) => panic!("{error}"),
    }
}

fn charges(requests: &[Request]) -> Response<Bytes> {
    refused(requests.iter().map(|request| challenge(request).to_header()))
}

#[tokio::test]
async fn the_cheapest_is_taken_then_the_sponsored_then_the_first() {
    let sandbox = sandbox().await;
    let at = |units, of: Request| Request { amount: amount(units), ..of };
    let (own, free) = (request(&sandbox), sponsored(&sandbox));
    let any = |response: &Response<Bytes>| choose(response, Method::Any, Mode::Pull).unwrap();
    for (requests, taken) in [
        (vec![own.clone(), free.clone()], "sponsored 10000"),
        (vec![free.clone(), at(9_999, own.clone())], "own 9999"),
        (vec![at(10_001, free.clone()), at(9_999, free.clone())], "sponsored 9999"),
    ] {
        assert_eq!(any(&charges(&requests)), taken);
    }
    // Beside x402, which is always sponsored.
    for (charge, units, first, taken) in [
        (free.clone(), "10000", true, "x402 10000"),
        (free.clone(), "10000", false, "sponsored 10000"),
        (own.clone(), "10000", true, "x402 10000"),
        (own.clone(), "10000", false, "x402 10000"),
        (own, "10001", true, "own 10000"),
        (free.clone(), "9999", false, "x402 9999"),
    ] {
        let both = with_x402(charges(&[charge]), x402(&sandbox, units), first);
        assert_eq!(any(&both), taken, "x402 at {units}, first: {first}");
    }
    // What is in another asset has no comparable price.
    let other = Request { currency: ContractId([7; 32]), ..at(1, free.clone()) };
    assert_eq!(any(&charges(&[free.clone(), other.clone()])), "sponsored 10000");
    assert_eq!(any(&charges(&[other, free])), "sponsored 1");
}

#[tokio::test]
async fn the_rail_and_the_way_that_are_named_are_taken_even_if_they_cost_more() {
    let sandbox = sandbox().await;
    let charge = charges(&[sponsored(&sandbox), request(&sandbox)]);
    let both = with_x402(charge, x402(&sandbox, "1"), true);
    let taken = |method, mode| choose(&both, method, mode);
    assert_eq!(taken(Method::Any, Mode::Pull).unwrap(), "x402 1");
    assert_eq!(taken(Method::X402, Mode::Pull).unwrap(), "x402 1");
    assert_eq!(taken(Method::Charge, Mode::Pull).unwrap(), "sponsored 10000");
    assert_eq!(taken(Method::Charge, Mode::Push).unwrap(), "own 10000");
    assert_eq!(taken(Method::Any, Mode::Push).unwrap(), "own 10000");

    let charge_alone = charges(&[sponsored(&sandbox)]);
    let x402_alone = with_x402(charges(&[]), x402(&sandbox, "1"), true);
    let refused = |response, method, mode| choose(response, method, mode).unwrap_err();
    let cannot = "the server pays its fee and sends the transaction itself, so it cannot be pushed";
    assert_eq!(refused(&charge_alone, Method::Charge, Mode::Push), [cannot]);
    assert_eq!(refused(&charge_alone, Method::X402, Mode::Pull), ["it is by charge, not by x402"]);
    assert_eq!(refused(&x402_alone, Method::Charge, Mode::Pull), ["it is by x402, not by charge"]);
    let cannot = "it is by x402, which cannot be pushed";
    assert_eq!(refused(&x402_alone, Method::Any, Mode::Push), [cannot]);
}

#[tokio::test]
async fn a_charge_that_cannot_be_paid_is_passed_over_and_told() {
    let sandbox = sandbox().await;
    let own = request(&sandbox);
    let of = |request: &Request| challenge(request).to_header();
    let text = |header: HeaderValue| header.to_str().unwrap().to_owned();
    let changed = |from: &str, to: &str| text(of(&own)).replace(from, to).parse().unwrap();
    let unusable: Vec<HeaderValue> = vec![
        changed("\"stellar\"", "\"tempo\""),
        changed("\"charge\"", "\"channel\""),
        changed("request=\"", "request=\"!"),
        of(&Request { network: Network::Pubnet, ..own.clone() }),
        of(&Request { credential_types: vec![CredentialType::Hash], ..own.clone() }),
        changed("id=", "id=\"twice\", id="),
        HeaderValue::from_static("Payment nonsense"),
        HeaderValue::from_bytes(b"Payment id=\"\x9b\", realm=\"").unwrap(),
        HeaderValue::from_static("Basic realm=\"x\""),
    ];
    let reasons = choose(&refused(unusable.clone()), Method::Any, Mode::Pull).unwrap_err();
    assert_eq!(reasons.len(), 8, "{reasons:?}");
    assert_eq!(reasons[0], "it is `tempo/charge`, not `stellar/charge`");
    assert_eq!(reasons[1], "it is `stellar/channel`, not `stellar/charge`");
    assert!(reasons[2].starts_with("its charge cannot be read: "), "{reasons:?}");
    assert_eq!(reasons[3], "it is on `stellar:pubnet`, not `stellar:testnet`");
    assert_eq!(reasons[4], "it takes no payload of type `transaction`");
    for reason in &reasons[5..] {
        assert!(reason.starts_with("its `Payment` challenge cannot be read: "), "{reason}");
    }
    assert!(reasons.iter().all(|reason| !reason.contains(char::is_control)), "{reasons:?}");

    let good = with_x402(refused(unusable.clone()), x402(&sandbox, "1"), false);
    assert_eq!(choose(&good, Method::Any, Mode::Pull).unwrap(), "x402 1");
    let nonsense = HeaderValue::from_static("e30=");
    let good = with_x402(refused([unusable, vec![of(&own)]].concat()), nonsense, true);
    assert_eq!(choose(&good, Method::Any, Mode::Pull).unwrap(), "own 10000");
    // Neither is a request for money that this client knows.
    let other = refused([HeaderValue::from_static("Basic realm=\"x\"")]);
    assert!(Challenge::of(&other).unwrap().is_none());
}

#[tokio::test]
async fn a_charge_in_another_asset_than_the_limits_is_not_paid() {
    let sandbox = sandbox().await;
    let shop = shop(&challenge(&sponsored(&sandbox))).await;
    let asset = Network::Testnet.xlm();
    let limit = Some(tollgate::client::Limit { amount: amount(i128::MAX), asset });
    let settings = super::settings(&sandbox, &sandbox.accounts().payer);
    let client = Client::new(tollgate::client::Settings { limit, ..settings });
    let error = client.send(shop.get(), |_| {}).await.unwrap_err();
    let expected = format!(
        "none of the ways to pay can be used: it is in {}, not XLM",
        sandbox.usdc_contract()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(shop.asked().len(), 1);
}

#[tokio::test]
async fn a_charge_without_the_money_is_not_presented() {
    let sandbox = sandbox().await;
    let dear = Request { amount: amount(100_000_000_000_000), ..sponsored(&sandbox) };
    let shop = shop(&challenge(&dear)).await;
    let error = client(&sandbox).send(shop.get(), |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert_eq!(shop.asked().len(), 1);
}

proptest! {
    #[test]
    fn no_challenge_makes_the_client_panic(
        values in prop::collection::vec(
            prop_oneof![
                any::<Vec<u8>>(),
                "(Payment|payment|Basic) (id|realm|method|intent|request|expires|header)=\"?[ -~]{0,40}\"?(, (id|request|method|intent|expires)=\"[ -~]{0,20}\"){0,6}"
                    .prop_map(String::into_bytes),
            ],
            0..4,
        ),
        x402 in prop::option::of(any::<Vec<u8>>()),
    ) {
        let values = values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok());
        let mut response = refused(values);
        if let Some(value) = x402.and_then(|value| HeaderValue::from_bytes(&value).ok()) {
            response.headers_mut().insert(PAYMENT_REQUIRED, value);
        }
        if let Ok(Some(challenge)) = Challenge::of(&response) {
            for mode in [Mode::Pull, Mode::Push] {
                let wanted = Wanted { mode, ..Wanted::by(Method::Any, Network::Testnet) };
                prop_assert!(challenge.choose(&wanted).is_err(), "nobody asked for money");
            }
        }
    }
}

//! Routes that are paid by MPP charge, with x402 and without.

use std::time::Duration;

use insta::assert_snapshot;

use super::{
    mpp::{alone, bad, both, good, methods, terms},
    read,
};
use crate::{pay::MethodName, protocol::mpp::CredentialHeader};

#[test]
fn a_route_takes_x402_and_charges_side_by_side() {
    let settings = good(&both("{ charge: {} }"));
    let charge = MethodName::Charge { sponsored: true };
    assert_eq!(methods(&terms(&settings).offers), [MethodName::X402, charge]);
    assert_eq!(terms(&settings).credential_header, CredentialHeader::Authorization);
    assert!(!terms(&settings).bind_body);
    assert_eq!(settings.warnings.to_string(), "");
    let payment = settings.payment.unwrap();
    assert!(payment.x402.is_some() && payment.sponsor.is_some());
    let mpp = payment.mpp.unwrap();
    assert_eq!(&*mpp.realm, "tollgate");
    assert!(mpp.secrets.is_none(), "the store's own secret is used");
    assert_eq!(mpp.challenge_ttl, Duration::from_secs(300));
    assert!(!mpp.charge.unwrap().unsigned_push);
}

#[test]
fn every_key_of_the_section_and_of_a_route_is_read() {
    let settings = good(&routed(
        &both(
            "{ realm: shop, secret_key: { env: KEY }, previous_secret_keys: [{ env: OLD }], \
             challenge_ttl: 90s, charge: { sponsored: false, unsigned_push: true } }",
        ),
        "credential_header: payment-authorization, bind_body: true",
    ));
    let terms = terms(&settings);
    assert_eq!(methods(&terms.offers), [MethodName::X402, MethodName::Charge { sponsored: false }]);
    assert_eq!(terms.credential_header, CredentialHeader::PaymentAuthorization);
    assert!(terms.bind_body);
    let mpp = settings.payment.unwrap().mpp.unwrap();
    assert_eq!((&*mpp.realm, mpp.challenge_ttl.as_secs()), ("shop", 90));
    assert!(mpp.secrets.is_some() && mpp.charge.unwrap().unsigned_push);
}

#[test]
fn methods_that_a_route_does_not_name_are_all_that_are_configured() {
    let charge = MethodName::Charge { sponsored: true };
    let unnamed = |text: &str| text.replace(", accept: [x402, mpp.charge]", "");
    assert_eq!(
        methods(&terms(&good(&unnamed(&both("{ charge: {} }")))).offers),
        [MethodName::X402, charge]
    );
    let inherited = unnamed(&both("{ charge: {} }")) + "defaults: { accept: [mpp.charge] }\n";
    assert_eq!(methods(&terms(&good(&inherited)).offers), [charge]);
    let only = alone("{ charge: {} }").replace(", accept: [mpp.charge]", "");
    assert_eq!(methods(&terms(&good(&only)).offers), [charge]);
}

#[test]
fn a_challenge_has_to_outlive_the_upstream() {
    let slow = |time: &str| routed(&alone("{ charge: {} }"), &format!("timeout: {time}"));
    assert_snapshot!(bad(&slow("300s")), @r"
    gateway.yaml:12:54: routes[0].timeout: the upstream may take 300 s, and a charge lives 300 s until it has to be settled

    hint: raise `payments.mpp.challenge_ttl` to 310s, lower `timeout`, or say `settle: before`
    ");
    assert_snapshot!(good(&slow("295s")).warnings, @r"
    gateway.yaml:12:54: routes[0].timeout: the upstream may take 295 s, and a charge lives 300 s until it has to be settled

    hint: raise `payments.mpp.challenge_ttl` to 305s, lower `timeout`, or say `settle: before`
    ");
    assert_snapshot!(bad(&slow("1h")), @r"
    gateway.yaml:12:54: routes[0].timeout: the upstream may take 3600 s, and a charge lives 300 s until it has to be settled

    hint: lower `timeout`, or say `settle: before`
    ");
    assert!(good(&slow("290s")).warnings.is_empty());
    let before = slow("600s").replace("timeout:", "settle: before, timeout:");
    assert!(good(&before).warnings.is_empty(), "what settles first has no such bound");
    let text = routed(&both("{ challenge_ttl: 30s, charge: {} }"), "timeout: 60s");
    assert_snapshot!(bad(&text), @r"
    gateway.yaml:12:54: routes[0].timeout: the upstream may take 60 s, and a payment lives 60 s until it has to be settled

    hint: raise `payments.x402.max_timeout_seconds` to 70, lower `timeout`, or say `settle: before`
    gateway.yaml:12:54: routes[0].timeout: the upstream may take 60 s, and a charge lives 30 s until it has to be settled

    hint: raise `payments.mpp.challenge_ttl` to 70s, lower `timeout`, or say `settle: before`
    ");
}

#[test]
fn each_method_may_have_a_price_of_its_own_and_a_charge_its_payer_of_fees() {
    let accept = |text: &str| both("{ charge: {} }").replace("[x402, mpp.charge]", text);
    let settings = good(&accept(
        "{ x402: { price: \"$0.02\" }, mpp.charge: { price: \"$0.015\", sponsored: false } }",
    ));
    let offers: Vec<_> =
        terms(&settings).offers.iter().map(|offer| (offer.method, offer.amount.units())).collect();
    let charge = MethodName::Charge { sponsored: false };
    assert_eq!(offers, [(MethodName::X402, 200_000), (charge, 150_000)]);
    let settings = good(&accept("{ mpp.charge: { sponsored: false } }"));
    assert_eq!(terms(&settings).offers[0].amount.units(), 10_000, "the route's price");
    assert_snapshot!(bad(&accept("{ x402: { price: \"$1\", sponsored: true } }")), @r"
    gateway.yaml:12:76: routes[0].accept.x402: unknown key `sponsored`

    hint: known here: `price`
    ");
    assert_snapshot!(bad(&accept("{ mpp.charge: { price: \"$1\", sponsor: true } }")), @r"
    gateway.yaml:12:82: routes[0].accept.mpp.charge: unknown key `sponsor`

    hint: did you mean `sponsored`?
    ");
    assert_snapshot!(bad(&accept("{ mpp.chrage: { price: \"$1\", sponsored: false } }")), @r"
    gateway.yaml:12:55: routes[0].accept: `mpp.chrage` is no payment method

    hint: did you mean `mpp.charge`?
    ");
    assert_snapshot!(bad(&accept("[mpp.charge, mpp.charge]")), @r"
    gateway.yaml:12:66: routes[0].accept[1]: `mpp.charge` is in the list already

    hint: name it once
    ");
    assert_snapshot!(bad(&accept("[mpp]")), @r"
    gateway.yaml:12:54: routes[0].accept[0]: `mpp` is no payment method

    hint: this version knows `x402`, `mpp.charge` or `mpp.channel`
    ");
    assert_snapshot!(bad(&accept("[mpp.channel]")), @r"
    gateway.yaml:12:54: routes[0].accept[0]: `mpp.channel` is not configured under `payments`

    hint: configure it: `payments: { mpp: { channel: { signer: { env: RECIPIENT_SECRET } } } }`
    ");
    assert_snapshot!(bad(&alone("{ charge: {} }").replace("[mpp.charge]", "[x402]")), @r"
    gateway.yaml:12:54: routes[0].accept[0]: `x402` is not configured under `payments`

    hint: configure it: `payments: { x402: { facilitator: self } }`
    ");
}

#[test]
fn where_a_credential_comes_means_something_on_routes_that_mpp_pays() {
    let route = |keys: &str| routed(&both("{ charge: {} }"), keys);
    let header = |text: &str| route(&format!("credential_header: {text}"));
    assert_snapshot!(bad(&header("X-Payment")), @r"
    gateway.yaml:12:64: routes[0].credential_header: `X-Payment` is no header that a credential comes in

    hint: write `authorization` or `payment-authorization`
    ");
    assert_snapshot!(bad(&header("Payment-Authorization")), @r"
    gateway.yaml:12:64: routes[0].credential_header: `Payment-Authorization` is no header that a credential comes in

    hint: write `payment-authorization`
    ");
    let x402 = header("payment-authorization").replace("[x402, mpp.charge]", "[x402]");
    assert_snapshot!(bad(&x402), @r"
    gateway.yaml:12:45: routes[0]: `credential_header` means nothing on a route that no MPP method pays

    hint: remove it, or accept `mpp.charge` too: x402 has a header of its own
    ");
    assert_snapshot!(bad(&route("bind_body: 1")), @r"
    gateway.yaml:12:56: routes[0].bind_body: `1` is neither `true` nor `false`

    hint: write `true` or `false`
    ");
    let free = both("{ charge: {} }")
        .replace("free: true", "free: true, credential_header: authorization, bind_body: true");
    assert_snapshot!(bad(&free), @r"
    gateway.yaml:13:39: routes[1]: `credential_header` means nothing on a free route

    hint: remove it, or give the route a price
    gateway.yaml:13:73: routes[1]: `bind_body` means nothing on a free route

    hint: remove it, or give the route a price
    ");
    let body = route("bind_body: true").replace("[x402, mpp.charge]", "[x402]");
    assert!(terms(&good(&body)).bind_body, "an x402 payment is bound to a body too");
    assert_eq!(
        terms(&good(&header("authorization"))).credential_header,
        CredentialHeader::Authorization
    );
}

#[test]
fn the_example_offers_both_rails() {
    let settings = read(include_str!("../../../gateway.yaml")).unwrap();
    let charge = MethodName::Charge { sponsored: true };
    assert_eq!(methods(&terms(&settings).offers), [MethodName::X402, charge]);
    assert_eq!(settings.warnings.to_string(), "");
}

/// `text` with more keys of its priced route.
fn routed(text: &str, keys: &str) -> String {
    text.replace(" accept: [", &format!(" {keys}, accept: ["))
}

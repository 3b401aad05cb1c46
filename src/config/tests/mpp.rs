//! The section `payments.mpp`: challenges, their keys, and who pays the fee of a charge.

use insta::assert_snapshot;

use super::{SPONSOR, changed, faults, read_with, variables};
use crate::{
    config::{Env, Payment, Settings},
    pay::{MethodName, Offer, Terms},
    protocol::mpp::{Challenge, CredentialHeader, Parts, Secrets},
    route::Access,
};

/// Keys of 44 bytes, as `openssl rand -base64 32` writes them, and one of 31.
const KEY: &str = "canary-key-1-canary-key-1-canary-key-1-canar";
const OLD: &str = "canary-key-2-canary-key-2-canary-key-2-canar";
const OLDER: &str = "canary-key-3-canary-key-3-canary-key-3-canar";
const WEAK: &str = "canary-key-4-canary-key-4-canar";

/// The short form with the section `payments.mpp` beside `payments.x402`, and a route that takes both.
pub(super) fn both(mpp: &str) -> String {
    let text = changed("self }", &format!("self }}, mpp: {mpp}"));
    text.replace("[x402]", "[x402, mpp.charge]")
}

/// The same without x402.
pub(super) fn alone(mpp: &str) -> String {
    changed("x402: { facilitator: self }", &format!("mpp: {mpp}")).replace("[x402]", "[mpp.charge]")
}

pub(super) fn without_sponsors(text: &str) -> String {
    text.replace("  sponsors: [{ env: SPONSOR_SECRET }]\n", "")
}

fn env() -> Env {
    let mut variables = variables();
    variables.extend([("KEY", KEY), ("OLD", OLD), ("OLDER", OLDER), ("WEAK", WEAK)]);
    Env::fixed(variables)
}

pub(super) fn good(text: &str) -> Settings {
    read_with(text, &env()).unwrap_or_else(|faults| panic!("{faults}"))
}

pub(super) fn bad(text: &str) -> String {
    read_with(text, &env()).expect_err("the file has a fault")
}

pub(super) fn paid(text: &str) -> Payment {
    good(text).payment.unwrap()
}

pub(super) fn terms(settings: &Settings) -> &Terms {
    let Access::Priced(terms) = &settings.table.routes()[0].access else { panic!() };
    terms
}

pub(super) fn methods(offers: &[Offer]) -> Vec<MethodName> {
    offers.iter().map(|offer| offer.method).collect()
}

#[test]
fn mpp_does_without_x402_and_needs_what_moves_money() {
    let payment = paid(&alone("{ charge: {} }"));
    assert!(payment.x402.is_none() && payment.mpp.is_some() && payment.sponsor.is_some());
    let bare = alone("{ charge: {} }")
        .replace("network: { env: STELLAR_NETWORK, default: \"stellar:testnet\" }\n", "")
        .replace("store: { embedded: { path: ./state.redb } }\n", "");
    assert_snapshot!(bad(&bare), @r"
    gateway.yaml:1:1: `network` is missing

    hint: say where the money moves: `network: stellar:testnet`
    gateway.yaml:1:1: `store` is missing

    hint: payments are remembered in a file: `store: { embedded: { path: ./state.redb } }`
    ");
    assert_snapshot!(faults(&changed("{ x402: { facilitator: self } }", "{}")), @r"
    gateway.yaml:9:11: payments: no payment method is configured

    hint: configure one or both: `payments: { x402: { facilitator: self }, mpp: { charge: {} } }`
    gateway.yaml:12:54: routes[0].accept[0]: `x402` is not configured under `payments`

    hint: configure it: `payments: { x402: { facilitator: self } }`
    ");
    assert_snapshot!(bad(&alone("{}")), @r"
    gateway.yaml:9:18: payments.mpp: `charge` is missing

    hint: say what is taken: `charge: {}`, or `channel: { signer: { env: RECIPIENT_SECRET } }`, or both
    ");
    assert_snapshot!(bad(&alone("{ charge: { sponsord: true }, secret: { env: KEY } }")), @r"
    gateway.yaml:9:30: payments.mpp.charge: unknown key `sponsord`

    hint: did you mean `sponsored`?
    gateway.yaml:9:48: payments.mpp: unknown key `secret`

    hint: known here: `realm`, `secret_key`, `previous_secret_keys`, `challenge_ttl`, `charge` or `channel`
    ");
    assert_snapshot!(bad(&alone("true")), @r"
    gateway.yaml:9:18: payments.mpp: expected a mapping, got text

    hint: write a mapping here
    ");
}

#[test]
fn the_realm_is_the_public_host_where_nothing_else_is_said() {
    let realm = |text: &str| paid(text).mpp.unwrap().realm.to_string();
    let named = both("{ charge: {} }") + "public_url: https://api.example.com:8443\n";
    assert_eq!(realm(&named), "api.example.com");
    assert_eq!(realm(&named.replace("mpp: {", "mpp: { realm: shop,")), "shop");
    let of = |realm: &str| bad(&both(&format!("{{ realm: {realm}, charge: {{}} }}")));
    assert_snapshot!(of("\"\""), @r#"
    gateway.yaml:9:56: payments.mpp.realm: `` is no realm

    hint: write the host that clients know, such as `api.example.com`: up to 200 printable ASCII characters, no quotes and no backslash
    "#);
    assert_snapshot!(of("müsli.example"), @r#"
    gateway.yaml:9:56: payments.mpp.realm: `müsli.example` is no realm

    hint: write the host that clients know, such as `api.example.com`: up to 200 printable ASCII characters, no quotes and no backslash
    "#);
    assert_snapshot!(of("'say \"hi\"'"), @r#"
    gateway.yaml:9:56: payments.mpp.realm: `say "hi"` is no realm

    hint: write the host that clients know, such as `api.example.com`: up to 200 printable ASCII characters, no quotes and no backslash
    "#);
    assert_snapshot!(of("\"a|b\""), @r"
    gateway.yaml:9:56: payments.mpp.realm: `a|b` is a realm that some clients would misread

    hint: write `a/b`
    ");
    assert_snapshot!(of("\"Payment desk\""), @r"
    gateway.yaml:9:56: payments.mpp.realm: `Payment desk` is a realm that some clients would misread

    hint: write `Payment-desk`
    ");
}

#[test]
fn a_challenge_lives_from_half_a_minute_to_half_an_hour() {
    let mpp = |ttl: &str| both(&format!("{{ challenge_ttl: {ttl}, charge: {{}} }}"));
    assert_snapshot!(bad(&mpp("29s")), @r"
    gateway.yaml:9:64: payments.mpp.challenge_ttl: `29s` is out of range

    hint: write a duration from `30s` to `30m`
    ");
    assert_snapshot!(bad(&mpp("31m")), @r"
    gateway.yaml:9:64: payments.mpp.challenge_ttl: `31m` is out of range

    hint: write a duration from `30s` to `30m`
    ");
    assert_snapshot!(bad(&mpp("300")), @r"
    gateway.yaml:9:64: payments.mpp.challenge_ttl: `300` has no unit

    hint: write `300s`, `300m` or the like
    ");
    for (text, seconds) in [("45s", 45), ("30m", 1_800)] {
        assert_eq!(paid(&mpp(text)).mpp.unwrap().challenge_ttl.as_secs(), seconds);
    }
}

/// J10: a key that could be guessed would let anybody issue challenges.
#[test]
fn j10_keys_of_challenges_come_by_reference_and_are_long_enough() {
    let mpp = |keys: &str| bad(&both(&format!("{{ {keys}, charge: {{}} }}")));
    assert_snapshot!(mpp("secret_key: { env: WEAK }"), @r"
    gateway.yaml:9:61: payments.mpp.secret_key: the value of `WEAK` has 31 bytes, and needs at least 32

    hint: make a key that nobody guesses: `openssl rand -base64 32`
    ");
    assert_snapshot!(mpp(&format!("secret_key: {KEY}")), @r"
    gateway.yaml:9:61: payments.mpp.secret_key: a secret must not be written in this file

    hint: put it into the environment, `{ env: NAME }`, or a file, `{ file: PATH }`
    ");
    assert_snapshot!(mpp(&format!("secret_key: {{ env: MISSING, default: {KEY} }}")), @r"
    gateway.yaml:9:61: payments.mpp.secret_key: a secret has no default

    hint: remove `default`: a secret comes from `{ env: NAME }` or `{ file: PATH }`
    ");
    assert_snapshot!(mpp("previous_secret_keys: [{ env: OLD }]"), @r"
    gateway.yaml:9:71: payments.mpp.previous_secret_keys: there are previous keys, and `secret_key` is missing

    hint: name the key that took their place: `secret_key: { env: MPP_SECRET_KEY }`
    ");
    assert_snapshot!(mpp(&format!("secret_key: {{ env: KEY }}, previous_secret_keys: [{{ env: WEAK }}, {OLD}, {{ env: MISSING }}]")), @r"
    gateway.yaml:9:98: payments.mpp.previous_secret_keys[0]: the value of `WEAK` has 31 bytes, and needs at least 32

    hint: make a key that nobody guesses: `openssl rand -base64 32`
    gateway.yaml:9:113: payments.mpp.previous_secret_keys[1]: a secret must not be written in this file

    hint: put it into the environment, `{ env: NAME }`, or a file, `{ file: PATH }`
    gateway.yaml:9:159: payments.mpp.previous_secret_keys[2]: the environment variable `MISSING` is not set

    hint: set `MISSING`
    ");
    assert_snapshot!(mpp("secret_key: { env: KEY }, previous_secret_keys: { env: OLD }"), @r"
    gateway.yaml:9:97: payments.mpp.previous_secret_keys: expected a list, got a mapping

    hint: write a list here
    ");
    let same = good(&both(
        "{ secret_key: { env: KEY }, previous_secret_keys: [{ env: KEY }], charge: {} }",
    ));
    assert_snapshot!(same.warnings, @r"
    gateway.yaml:9:98: payments.mpp.previous_secret_keys[0]: is the same key as `payments.mpp.secret_key`

    hint: name the key that was in use before it
    ");
    assert!(paid(&both("{ previous_secret_keys: [], charge: {} }")).mpp.unwrap().secrets.is_none());
}

#[test]
fn j05_a_rotation_keeps_what_was_issued_under_every_previous_key() {
    let secrets = |keys: &str| {
        paid(&both(&format!("{{ {keys}, charge: {{}} }}"))).mpp.unwrap().secrets.unwrap()
    };
    let rotated =
        secrets("secret_key: { env: KEY }, previous_secret_keys: [{ env: OLD }, { env: OLDER }]");
    let header = CredentialHeader::Authorization;
    let issue = |secrets: &Secrets| {
        let parts = Parts {
            realm: "tollgate",
            method: "stellar",
            intent: "charge",
            request: "e30".to_owned(),
            description: None,
            body: None,
            expires_ms: 0,
            header,
            opaque: None,
        };
        Challenge::issue(secrets, parts)
    };
    for name in ["KEY", "OLD", "OLDER"] {
        let challenge = issue(&secrets(&format!("secret_key: {{ env: {name} }}")));
        assert!(challenge.verify_id(&rotated, header).is_ok(), "{name}");
    }
    let only = secrets("secret_key: { env: KEY }");
    assert!(issue(&rotated).verify_id(&only, header).is_ok(), "the current one issues");
    let stranger = Secrets::new("s".repeat(32).into(), None).unwrap();
    assert!(issue(&stranger).verify_id(&rotated, header).is_err());
}

#[test]
fn a_charge_is_sponsored_where_there_are_sponsors() {
    let remote = |text: &str| text.replace("self", "{ url: https://f.example/x402 }");
    let text = remote(&both("{ charge: {} }"));
    assert!(paid(&text).sponsor.is_some());
    let bare = good(&without_sponsors(&text));
    assert!(!terms(&bare).charge().unwrap().1);
    assert!(bare.payment.unwrap().sponsor.is_none());

    let unsponsored = remote(&both("{ charge: { sponsored: false } }"));
    assert!(paid(&unsponsored).sponsor.is_none(), "nothing here pays a fee");
    let own = "{ mpp.charge: { price: \"$1\", sponsored: true } }";
    let by_route = good(&unsponsored.replace("[x402, mpp.charge]", own));
    assert_eq!(methods(&terms(&by_route).offers), [MethodName::Charge { sponsored: true }]);
    assert!(by_route.payment.unwrap().sponsor.is_some());

    assert_snapshot!(bad(&without_sponsors(&remote(&both("{ charge: { sponsored: true } }")))), @r"
    gateway.yaml:8:97: payments.mpp.charge.sponsored: a sponsored charge takes keys that pay its fee, and `stellar.sponsors` names none

    hint: name one, `sponsors: [{ env: SPONSOR_SECRET }]`, or say `sponsored: false`
    ");
    assert_snapshot!(bad(&without_sponsors(&text.replace("[x402, mpp.charge]", own))), @r"
    gateway.yaml:11:93: routes[0].accept.mpp.charge.sponsored: a sponsored charge takes keys that pay its fee, and `stellar.sponsors` names none

    hint: name one, `sponsors: [{ env: SPONSOR_SECRET }]`, or say `sponsored: false`
    ");
    assert_snapshot!(bad(&both("{ charge: { sponsored: \"true\" } }")), @r"
    gateway.yaml:9:70: payments.mpp.charge.sponsored: `true` is in quotes, which makes it text

    hint: remove the quotes
    ");
}

#[test]
fn a_bare_hash_that_pays_is_a_warning() {
    let warnings = |push: &str| {
        good(&both(&format!("{{ charge: {{ unsigned_push: {push} }} }}"))).warnings.to_string()
    };
    assert_snapshot!(warnings("true"), @r"
    gateway.yaml:9:74: payments.mpp.charge.unsigned_push: the bare hash of a transaction pays, and anyone who watches the ledger has it

    hint: leave it off: clients that push can sign the hash (`signedHash`)
    ");
    assert_eq!(warnings("false"), "");
}

#[test]
fn j06_keys_of_challenges_do_not_show() {
    let text =
        both("{ secret_key: { env: KEY }, previous_secret_keys: [{ env: OLD }], charge: {} }");
    let settings = good(&text);
    assert!(settings.payment.as_ref().unwrap().mpp.as_ref().unwrap().secrets.is_some());
    let shown = format!("{settings:?}{settings:#?}{}", settings.warnings);
    assert!(shown.contains("realm") && shown.contains("Secrets"), "{shown}");
    assert!(!shown.contains("canary") && !shown.contains(SPONSOR), "{shown}");
}

//! Who may call: `mode`, `allow`, `free_quota`, and the rates under `limits`.

use std::{fs, path::Path, time::Duration};

use insta::assert_snapshot;

use super::{SHORT, broken, changed, read, read_with, variables};
use crate::{
    callers::{Allow, Mode, Rate, Rules},
    config::{Env, parse},
};

const KEY: &str = "canary-key-canary-key";
const SHARED: &str = "canary-secret-canary-secret-canary";

fn env() -> Env {
    let mut variables = variables();
    variables.extend([
        ("KEY", KEY),
        ("SHARED", SHARED),
        ("WEAK", "canary"),
        ("WORDS", "canary words canary words canary words"),
    ]);
    Env::fixed(variables)
}

/// The short form whose priced route has these keys besides.
fn text(route: &str) -> String {
    changed("accept: [x402] }", &format!("accept: [x402], {route} }}"))
}

fn bad(route: &str) -> String {
    read_with(&text(route), &env()).expect_err("the file has a fault")
}

/// The rules of the priced route.
fn rules(text: &str) -> Rules {
    let settings = read_with(text, &env()).unwrap_or_else(|faults| panic!("{faults}"));
    settings.table.routes()[0].callers.clone()
}

fn rate(per_second: u32, scope: &str) -> Option<Rate> {
    Some(Rate { per_second: per_second.try_into().unwrap(), scope: scope.into() })
}

#[test]
fn a_route_has_the_rules_of_the_defaults_and_its_own_before_them() {
    let none = rules(SHORT);
    assert!(none.allow.is_empty() && none.free.is_none());
    assert_eq!((none.unpaid, none.paid, none.mode), (None, None, Mode::Enforce));
    let defaults = "defaults:\n  allow: [{ api_key: { keys: [{ env: KEY }] } }]\n  \
                    free_quota: { requests: 5, per: 24h }\n  \
                    limits: { unpaid_rps_per_ip: 20, paid_rps_per_payer: 30 }\nmode: observe\n";
    let inherits = rules(&format!("{SHORT}{defaults}"));
    assert!(matches!(&*inherits.allow, [Allow::Keys(_)]));
    let free = inherits.free.unwrap();
    assert_eq!((free.requests.get(), free.per), (5, Duration::from_secs(86_400)));
    assert_eq!((&*free.scope, inherits.mode), ("", Mode::Observe));
    assert_eq!((inherits.unpaid, inherits.paid), (rate(20, ""), rate(30, "")));
    let own = "allow: [], free_quota: none, limits: { unpaid_rps_per_ip: 1 }, mode: enforce";
    let own = rules(&format!("{}{defaults}", text(own)));
    assert!(own.allow.is_empty() && own.free.is_none());
    assert_eq!((own.unpaid, own.paid), (rate(1, "GET /weather"), rate(30, "")));
    assert_eq!(own.mode, Mode::Enforce);
}

#[test]
fn who_observes_is_told_so() {
    let settings = read(&format!("{SHORT}mode: observe\n")).unwrap();
    assert_snapshot!(settings.warnings.to_string(), @r"
    gateway.yaml:14:7: mode: nobody is asked to pay here: every request goes through, and what it would cost is counted

    hint: remove it, or write `mode: enforce`, once prices are to hold
    ");
    assert_snapshot!(bad("mode: observed"), @r"
    gateway.yaml:12:67: routes[0].mode: `observed` is no mode

    hint: did you mean `observe`?
    ");
    assert_snapshot!(bad("mode: off"), @r"
    gateway.yaml:12:67: routes[0].mode: `off` is no mode

    hint: write `enforce` or `observe`
    ");
}

#[test]
fn what_is_for_those_who_pay_means_nothing_where_nobody_does() {
    assert_snapshot!(broken("free: true", "free: true, mode: observe"), @r"
    gateway.yaml:13:39: routes[1]: `mode` means nothing on a free route

    hint: remove it, or give the route a price
    ");
    assert_snapshot!(broken("free: true", "free: true, free_quota: none"), @r"
    gateway.yaml:13:39: routes[1]: `free_quota` means nothing on a free route

    hint: remove it, or give the route a price
    ");
    assert_snapshot!(broken("free: true", "deny: 404, limits: { unpaid_rps_per_ip: 5 }"), @r"
    gateway.yaml:13:48: routes[1].limits: `unpaid_rps_per_ip` means nothing on a denied route

    hint: remove it, or give the route a price
    ");
}

#[test]
fn a_rate_is_a_whole_number_a_second() {
    assert_snapshot!(bad("limits: { unpaid_rps_per_ip: 0 }"), @r"
    gateway.yaml:12:90: routes[0].limits.unpaid_rps_per_ip: `0` is out of range

    hint: write a whole number from 1 to 1000000
    ");
    assert_snapshot!(bad("limits: { paid_rps_per_payer: 0.5 }"), @r"
    gateway.yaml:12:91: routes[0].limits.paid_rps_per_payer: `0.5` is not a whole number

    hint: write a whole number from 1 to 1000000
    ");
}

#[test]
fn a_quota_says_how_many_and_how_long() {
    assert_snapshot!(bad("free_quota: { requests: 5 }"), @r"
    gateway.yaml:12:73: routes[0].free_quota: `per` is missing

    hint: write `{ requests: 100, per: 24h }`, or `none`
    ");
    assert_snapshot!(bad("free_quota: { requests: 5, per: 8000h }"), @r"
    gateway.yaml:12:93: routes[0].free_quota.per: `8000h` is out of range

    hint: write a period from `1s` to `744h`
    ");
    assert_snapshot!(bad("free_quota: 100"), @r"
    gateway.yaml:12:73: routes[0].free_quota: `100` is no quota

    hint: write `{ requests: 100, per: 24h }`, or `none`
    ");
}

#[test]
fn a_key_is_a_secret_that_nobody_guesses_or_its_digest() {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let two = format!(
        "allow: [{{ api_key: {{ header: X-Key, keys: [{{ env: KEY }}, {{ sha256: {digest} }}] }} }}]"
    );
    assert_eq!(format!("{:?}", rules(&text(&two)).allow), "[Keys(Keys(2 in `x-key`))]");
    let one = |key: &str| bad(&format!("allow: [{{ api_key: {{ keys: [{key}] }} }}]"));
    assert_snapshot!(one(KEY), @r"
    gateway.yaml:12:89: routes[0].allow[0].api_key.keys[0]: a secret must not be written in this file

    hint: put it into the environment, `{ env: NAME }`, or a file, `{ file: PATH }`
    ");
    assert_snapshot!(one("{ env: WEAK }"), @r"
    gateway.yaml:12:89: routes[0].allow[0].api_key.keys[0]: the value of `WEAK` has 6 characters, and needs at least 16

    hint: take a key that nobody guesses: `openssl rand -hex 32`
    ");
    assert_snapshot!(one("{ env: WORDS }"), @r"
    gateway.yaml:12:89: routes[0].allow[0].api_key.keys[0]: the value of `WORDS` cannot stand in a header

    hint: a key is one word of printable ASCII characters
    ");
    assert_snapshot!(one("{ sha256: canary }"), @r#"
    gateway.yaml:12:99: routes[0].allow[0].api_key.keys[0].sha256: this is no SHA-256 in hex

    hint: write the 64 digits that `printf %s "$KEY" | sha256sum` prints
    "#);
    assert_snapshot!(bad("allow: [{ api_key: { keys: [] } }]"), @r#"
    gateway.yaml:12:88: routes[0].allow[0].api_key.keys: there is no key

    hint: list them: `keys: [{ env: PARTNER_KEY }, { sha256: "…" }]`
    "#);
}

#[test]
fn h02_no_header_that_says_where_a_request_comes_from_lets_it_in() {
    for header in [
        "X-Forwarded-For",
        "x-real-ip",
        "Forwarded",
        "Cookie",
        "Payment-Signature",
        "Accept-Payment",
        "X-Request-Id",
        "traceparent",
        "tracestate",
        "CDN-Loop",
        "Origin",
        "X-HTTP-Method-Override",
        "X-Original-Url",
        "X_Original_Url",
        "X-Rewrite-Url",
    ] {
        let rule =
            format!("allow: [{{ api_key: {{ header: {header}, keys: [{{ env: KEY }}] }} }}]");
        let told = bad(&rule);
        assert!(
            told.contains("is a header with a meaning of its own, and carries no key"),
            "{told}"
        );
    }
    assert_snapshot!(bad("allow: [{ api_key: { header: a b, keys: [{ env: KEY }] } }]"), @r"
    gateway.yaml:12:90: routes[0].allow[0].api_key.header: `a b` is no name of a header

    hint: write one such as `X-Api-Key`
    ");
}

#[test]
fn a_rule_says_what_it_lets_in() {
    assert_snapshot!(bad("allow: [{}]"), @r"
    gateway.yaml:12:69: routes[0].allow[0]: expected one of `api_key` and `jwt`

    hint: write one rule an item: `- api_key: { keys: [{ env: PARTNER_KEY }] }`
    ");
    assert_snapshot!(bad("allow: [{ apikey: {} }]"), @r"
    gateway.yaml:12:71: routes[0].allow[0]: unknown key `apikey`

    hint: did you mean `api_key`?
    ");
    assert_snapshot!(bad("allow: everybody"), @r"
    gateway.yaml:12:68: routes[0].allow: expected a list, got text

    hint: write a list here
    ");
}

#[test]
fn a_token_has_an_issuer_an_audience_and_one_kind_of_keys() {
    let jwt = |rest: &str| format!("allow: [{{ jwt: {{ issuer: me, audience: api{rest} }} }}]");
    let good = text(&jwt(", secret: { env: SHARED }"));
    assert_eq!(
        format!("{:?}", rules(&good).allow),
        "[Tokens(Tokens(of `me` for [\"api\"], 1 keys))]"
    );
    assert_snapshot!(bad(&jwt("")), @r"
    gateway.yaml:12:76: routes[0].allow[0].jwt: expected one of `jwks_file`, `jwks_url` and `secret`

    hint: say what the tokens are signed with: `jwks_file: jwks.json`
    ");
    assert_snapshot!(bad(&jwt(", secret: { env: WEAK }")), @r"
    gateway.yaml:12:113: routes[0].allow[0].jwt.secret: the value of `WEAK` has 6 characters, and needs at least 32

    hint: a shorter one can be guessed from a token: `openssl rand -hex 32`
    ");
    assert_snapshot!(bad(&jwt(", jwks_url: \"http://id.example/jwks\"")), @r"
    gateway.yaml:12:115: routes[0].allow[0].jwt.jwks_url: `http://id.example/jwks` is not `https`: whoever is in between could put in a key

    hint: write the URL with `https`
    ");
    assert_snapshot!(bad("allow: [{ jwt: { secret: { env: SHARED } } }]"), @r"
    gateway.yaml:12:76: routes[0].allow[0].jwt: `issuer` is missing

    hint: name who makes the tokens, as their `iss` does
    gateway.yaml:12:76: routes[0].allow[0].jwt: `audience` is missing

    hint: name whom they are for, as their `aud` does
    ");
}

#[test]
fn a_set_of_keys_is_read_and_one_that_several_routes_name_is_fetched_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let rule = "allow: [{ jwt: { issuer: me, audience: [api], jwks_file: jwks.json } }]";
    let read_here = |text: &str| {
        parse(text, "gateway.yaml", folder.path(), &env()).map_err(|faults| faults.to_string())
    };
    assert_snapshot!(read_here(&text(rule)).unwrap_err(), @r"
    gateway.yaml:12:118: routes[0].allow[0].jwt.jwks_file: cannot read `jwks.json`: No such file or directory (os error 2)

    hint: the file must exist and be readable for this process
    ");
    fs::write(&path, r#"{ "keys": [] }"#).unwrap();
    assert_snapshot!(read_here(&text(rule)).unwrap_err(), @r"
    gateway.yaml:12:118: routes[0].allow[0].jwt.jwks_file: `jwks.json` is no JSON Web Key Set with a key of use here

    hint: take the one that the issuer publishes, with keys of RSA, P-256, P-384 or Ed25519
    ");
    let set = r#"{ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] }"#;
    fs::write(&path, set).unwrap();
    read_here(&text(rule)).unwrap();
    let url =
        "allow: [{ jwt: { issuer: me, audience: api, jwks_url: \"https://id.example/jwks\" } }]";
    let twice = format!("{}defaults: {{ {url} }}\n", text(url));
    let settings = parse(&twice, "gateway.yaml", Path::new("/"), &env()).unwrap();
    assert_eq!(settings.tokens.len(), 1);
}

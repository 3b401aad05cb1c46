//! The section `admin`: the operator's own port.

use insta::assert_snapshot;
use secrecy::ExposeSecret as _;

use super::{SHORT, read, read_with, variables};
use crate::config::{Admin, Env};

const TOKEN: &str = "canary-token-canary-token-canary-token";

fn text(admin: &str) -> String {
    format!("{SHORT}admin: {admin}\n")
}

fn env() -> Env {
    let mut variables = variables();
    variables.extend([
        ("TOKEN", TOKEN),
        ("WEAK", "canary-token"),
        ("WORDS", "canary token canary token canary token"),
    ]);
    Env::fixed(variables)
}

fn good(admin: &str) -> Admin {
    let settings = read_with(&text(admin), &env()).unwrap_or_else(|faults| panic!("{faults}"));
    settings.admin.unwrap()
}

fn bad(admin: &str) -> String {
    read_with(&text(admin), &env()).expect_err("the file has a fault")
}

/// J07: without a section there is no port, and off loopback there is none without a token.
#[test]
fn j07_the_admin_port_is_asked_for_and_is_guarded_off_loopback() {
    assert!(read(SHORT).unwrap().admin.is_none());
    for local in ["127.0.0.1:9901", "\"[::1]:0\""] {
        let admin = good(&format!("{{ address: {local} }}"));
        assert!(admin.token.is_none() && admin.address.ip().is_loopback());
    }
    let open = good("{ address: 0.0.0.0:9901, token: { env: TOKEN } }");
    assert_eq!(open.token.unwrap().expose_secret(), TOKEN);
    assert_snapshot!(bad("{ address: 0.0.0.0:9901 }"), @r"
    gateway.yaml:14:8: admin: `0.0.0.0:9901` can be reached from elsewhere, and there is no `token`

    hint: set one, `token: { env: ADMIN_TOKEN }`, or listen on 127.0.0.1
    ");
    assert_snapshot!(bad("{ address: 127.0.0.1:8402 }"), @r"
    gateway.yaml:14:19: admin.address: `127.0.0.1:8402` is the address of the listener `public`

    hint: customers must not reach the admin port: give it an address of its own
    ");
    assert_snapshot!(bad("{ address: 127.0.0.1:3000 }"), @r"
    gateway.yaml:14:8: admin: `127.0.0.1:3000` is a server of the upstream `upstream`

    hint: customers must not reach the admin port: give it an address of its own
    ");
    assert_snapshot!(bad("{ address: 0.0.0.0:3000, token: { env: TOKEN } }"), @r"
    gateway.yaml:14:8: admin: `0.0.0.0:3000` is a server of the upstream `upstream`

    hint: customers must not reach the admin port: give it an address of its own
    ");
    assert_snapshot!(bad("{}"), @r"
    gateway.yaml:14:8: admin: `address` is missing

    hint: say where: `address: 127.0.0.1:9901`
    ");
    assert_snapshot!(bad("{ address: 9901, tokn: x }"), @r"
    gateway.yaml:14:19: admin.address: `9901` is not an address to listen on

    hint: write an IP address too: `127.0.0.1:9901`
    gateway.yaml:14:25: admin: unknown key `tokn`

    hint: did you mean `token`?
    ");
    assert_snapshot!(bad("127.0.0.1:9901"), @r"
    gateway.yaml:14:8: admin: expected a mapping, got text

    hint: write a mapping here
    ");
}

#[test]
fn j10_the_token_comes_by_reference_and_cannot_be_guessed() {
    let with = |token: &str| bad(&format!("{{ address: 127.0.0.1:9901, token: {token} }}"));
    assert_snapshot!(with(TOKEN), @r"
    gateway.yaml:14:42: admin.token: a secret must not be written in this file

    hint: put it into the environment, `{ env: NAME }`, or a file, `{ file: PATH }`
    ");
    assert_snapshot!(with("{ env: WEAK }"), @r"
    gateway.yaml:14:42: admin.token: the value of `WEAK` has 12 characters, and needs at least 32

    hint: make a token that nobody guesses: `openssl rand -hex 32`
    ");
    assert_snapshot!(with("{ env: WORDS }"), @r"
    gateway.yaml:14:42: admin.token: the value of `WORDS` cannot stand in a header

    hint: take printable ASCII characters without spaces: `openssl rand -hex 32`
    ");
    assert_snapshot!(with("{ env: MISSING }"), @r"
    gateway.yaml:14:42: admin.token: the environment variable `MISSING` is not set

    hint: set `MISSING`
    ");
}

#[test]
fn j06_the_token_does_not_show() {
    let admin = good("{ address: 127.0.0.1:9901, token: { env: TOKEN } }");
    let shown = format!("{admin:?}{admin:#?}");
    assert!(shown.contains("9901") && !shown.contains("canary"), "{shown}");
}

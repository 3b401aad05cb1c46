//! The section `webhooks`: who is told of what happens.

use insta::assert_snapshot;

use super::{SHORT, read_with, variables};
use crate::{
    config::{Env, Settings},
    events::Kind,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn told(webhooks: &str) -> Result<Settings, String> {
    let mut variables = variables();
    variables.extend([("HOOK", SECRET), ("SHORT_HOOK", "whsec_c2hvcnQ="), ("BARE", "hunter2")]);
    read_with(&format!("{SHORT}webhooks: {webhooks}\n"), &Env::fixed(variables))
}

#[track_caller]
fn good(webhooks: &str) -> Settings {
    told(webhooks).unwrap_or_else(|faults| panic!("{faults}"))
}

fn bad(webhooks: &str) -> String {
    told(webhooks).unwrap_err()
}

#[test]
fn a_webhook_hears_of_all_events_unless_it_names_some() {
    assert!(good("[]").webhooks.is_empty());
    let settings = good(
        "[{ url: https://a.example/hook?key=1, secret: { env: HOOK } }, \
         { url: http://127.0.0.1:9000, secret: { env: HOOK }, events: [sponsor.low, payment.settled] }]",
    );
    let [all, some] = settings.webhooks.as_slice() else { panic!("{:?}", settings.webhooks) };
    assert_eq!(
        (all.host(), all.url.to_string().as_str()),
        ("a.example", "https://a.example/hook?key=1")
    );
    assert_eq!(all.kinds, Kind::ALL);
    assert_eq!(some.kinds, [Kind::SponsorLow, Kind::PaymentSettled]);
    assert_ne!(all.receiver(), some.receiver());
    // Neither the secret nor a key in the URL is shown.
    let shown = format!("{:?}", settings.webhooks);
    assert!(!shown.contains("key=1") && !shown.contains("MfKQ9"), "{shown}");
}

#[test]
fn what_is_missing_in_a_webhook_is_told() {
    assert_snapshot!(bad("[{}, { url: ftp://a.example, secret: whsec_abc, events: [] }]"), @r#"
    gateway.yaml:14:12: webhooks[0]: `url` is missing

    hint: say where: `url: https://ops.example.com/tollgate`
    gateway.yaml:14:12: webhooks[0]: `secret` is missing

    hint: what is sent is signed: `secret: { env: WEBHOOK_SECRET }`
    gateway.yaml:14:23: webhooks[1].url: `ftp://a.example` is not an `http` or `https` URL

    hint: write it like `https://ops.example.com/tollgate`
    gateway.yaml:14:48: webhooks[1].secret: a secret must not be written in this file

    hint: put it into the environment, `{ env: NAME }`, or a file, `{ file: PATH }`
    gateway.yaml:14:67: webhooks[1].events: there is no event

    hint: name one, or leave `events` out to hear of all
    "#);
}

#[test]
fn what_is_no_secret_is_told_and_never_repeated() {
    assert_snapshot!(bad(
        "[{ url: https://a.example, secret: { env: SHORT_HOOK } }, { url: https://b.example, secret: { env: BARE } }]"
    ), @r#"
    gateway.yaml:14:46: webhooks[0].secret: the value of `SHORT_HOOK` is not `whsec_` and 24 to 64 bytes in base64

    hint: make one: `echo "whsec_$(openssl rand -base64 32)"`
    gateway.yaml:14:103: webhooks[1].secret: the value of `BARE` is not `whsec_` and 24 to 64 bytes in base64

    hint: make one: `echo "whsec_$(openssl rand -base64 32)"`
    "#);
}

#[test]
fn what_is_no_event_is_told() {
    assert_snapshot!(bad(
        "[{ url: https://a.example, secret: { env: HOOK }, events: [payment.setled, refund, payment.settled] }]"
    ), @r#"
    gateway.yaml:14:70: webhooks[0].events[0]: `payment.setled` is no event

    hint: did you mean `payment.settled`?
    gateway.yaml:14:86: webhooks[0].events[1]: `refund` is no event

    hint: write `payment.settled`, `payment.undelivered`, `channel.closing`, `channel.collected`, `sponsor.low`, `store.unavailable` or `facilitator.unavailable`
    "#);
}

#[test]
fn a_url_that_is_given_twice_is_told() {
    let twice = "{ url: https://a.example, secret: { env: HOOK } }";
    assert_snapshot!(bad(&format!("[{twice}, {twice}]")), @r#"
    gateway.yaml:14:63: webhooks[1]: this URL is given twice

    hint: one webhook hears of all `events` that it names: keep one of the two
    "#);
    let many: Vec<_> = (0..17)
        .map(|n| format!("{{ url: https://a.example/{n}, secret: {{ env: HOOK }} }}"))
        .collect();
    assert_snapshot!(bad(&format!("[{}]", many.join(", "))), @r#"
    gateway.yaml:14:11: webhooks: there are 17 webhooks

    hint: name 16 at most: one that tells the others, if need be
    "#);
}

#[test]
fn a_webhook_in_the_clear_is_a_warning() {
    let settings = good("[{ url: http://hooks.example/a, secret: { env: HOOK } }]");
    assert_snapshot!(settings.warnings.to_string(), @r#"
    gateway.yaml:14:19: webhooks[0].url: `http://hooks.example/a` is not `https`, and leaves this machine

    hint: whoever is on the way reads who paid how much: write the URL with `https`
    "#);
}

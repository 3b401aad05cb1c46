//! The schema for editors: it takes what the reader takes, and knows the same keys.

use std::{collections::BTreeSet, sync::LazyLock};

use jsonschema::Validator;
use serde_json::Value;

use super::{SHORT, changed, faults, read};
use crate::config::SCHEMA;

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::validator_for(&schema).unwrap()
});

/// What the schema says against `text`.
fn against(text: &str) -> Vec<String> {
    let document: Value = serde_yaml::from_str(text).unwrap();
    let tell =
        |error: jsonschema::ValidationError<'_>| format!("{}: {error}", error.instance_path());
    VALIDATOR.iter_errors(&document).map(tell).collect()
}

/// Every text that a test of the reader finds good comes here.
#[track_caller]
pub(super) fn assert_takes(text: &str) {
    let against = against(text);
    assert!(against.is_empty(), "{against:#?}\n{text}");
}

#[test]
fn the_schema_takes_the_configuration_of_the_demo() {
    assert_takes(include_str!("../../../gateway.yaml"));
    assert_takes(SHORT);
}

#[test]
fn the_schema_refuses_what_an_editor_can_see() {
    for (old, new) in [
        ("version: 1", "version: 2"),
        ("routes:", "rotues:"),
        ("free: true", "fre: true"),
        ("free: true", "free: yes please"),
        ("free: true", "free: true, timeout: 5"),
        ("free: true", "free: true, limits: { body: 1MB }"),
        ("{ env: SPONSOR_SECRET }", "SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY"),
        ("accept: [x402]", "accept: [x403]"),
        ("accept: [x402]", "accept: [x402], mode: observed"),
        ("match: GET /health, ", ""),
    ] {
        assert!(!against(&changed(old, new)).is_empty(), "{new}");
    }
}

#[test]
fn the_schema_and_the_reader_agree_on_zeros_and_variables() {
    let drain = |text: &str| format!("{SHORT}drain: {{ {text} }}\n");
    for bad in [
        changed("{ env: SPONSOR_SECRET }", "{ file: { env: SPONSOR_SECRET } }"),
        drain("timeout: 0s"),
        drain("timeout: 000ms"),
        format!("{SHORT}defaults: {{ limits: {{ body: 0B }} }}\n"),
    ] {
        assert!(!against(&bad).is_empty(), "{bad}");
        faults(&bad);
    }
    for good in [
        changed("version: 1", "version: { env: NONE, default: 1 }"),
        format!("{SHORT}unmatched: {{ env: NONE, default: 404 }}\n"),
        drain("delay: 0s, timeout: 010s"),
    ] {
        assert!(read(&good).is_ok(), "{good}");
    }
}

/// Each mapping of the schema by name, and a file with a key in it that no mapping has.
fn rows() -> Vec<(&'static str, String)> {
    let more = |text: &str| format!("{SHORT}{text}\n");
    let instead = |old: &str, new: &str| changed(old, new);
    let upstream = |text: &str| {
        changed(
            "upstream: http://127.0.0.1:3000",
            &format!("upstreams: {{ a: {{ servers: [https://a.example], {text} }} }}"),
        )
    };
    let listener = |text: &str| {
        let text = format!("listeners: [{{ name: a, address: 127.0.0.1:1, {text} }}]");
        changed("listen: 127.0.0.1:8402", &text)
    };
    let route = |text: &str| changed("accept: [x402] }", &format!("accept: [x402], {text} }}"));
    let mpp = |text: &str| {
        changed(
            "{ facilitator: self } }",
            &format!("{{ facilitator: self }}, mpp: {{ {text} }} }}"),
        )
    };
    let rule = |text: &str| route(&format!("allow: [{{ {text} }}]"));
    vec![
        ("", more("zzzzzzzz: 1")),
        ("listener", listener("zzzzzzzz: 1")),
        ("listener_limits", listener("limits: { zzzzzzzz: 1 }")),
        ("listener_tls", listener("tls: { zzzzzzzz: 1 }")),
        ("certificate", listener("tls: { certificates: [{ zzzzzzzz: 1 }] }")),
        ("admin", more("admin: { zzzzzzzz: 1 }")),
        ("stellar", instead("stellar:\n", "stellar:\n  zzzzzzzz: 1\n")),
        ("asset", instead("stellar:\n", "stellar:\n  assets: { A: { zzzzzzzz: 1 } }\n")),
        ("sponsor_budget", instead("stellar:\n", "stellar:\n  sponsor_budget: { zzzzzzzz: 1 }\n")),
        ("store", instead("{ embedded: { path: ./state.redb } }", "{ zzzzzzzz: 1, redis: {} }")),
        ("embedded", instead("path: ./state.redb", "path: a, zzzzzzzz: 1")),
        ("redis", instead("{ embedded: { path: ./state.redb } }", "{ redis: { zzzzzzzz: 1 } }")),
        ("payments", instead("{ facilitator: self } }", "{ facilitator: self }, zzzzzzzz: 1 }")),
        ("x402", instead("facilitator: self", "facilitator: self, zzzzzzzz: 1")),
        ("facilitator", instead("facilitator: self", "facilitator: { zzzzzzzz: 1 }")),
        ("mpp", mpp("charge: {}, zzzzzzzz: 1")),
        ("charge", mpp("charge: { zzzzzzzz: 1 }")),
        ("channel", mpp("channel: { zzzzzzzz: 1 }")),
        ("close", mpp("channel: { close: { zzzzzzzz: 1 } }")),
        ("upstream", upstream("zzzzzzzz: 1")),
        ("upstream_tls", upstream("tls: { zzzzzzzz: 1 }")),
        ("health", upstream("health: { zzzzzzzz: 1 }")),
        ("eject", upstream("eject: { zzzzzzzz: 1 }")),
        ("headers", upstream("headers: { zzzzzzzz: 1 }")),
        ("defaults", more("defaults: { zzzzzzzz: 1 }")),
        ("default_limits", more("defaults: { limits: { zzzzzzzz: 1 } }")),
        ("route", route("zzzzzzzz: 1")),
        ("route_limits", route("limits: { zzzzzzzz: 1 }")),
        ("describe", route("describe: { zzzzzzzz: 1 }")),
        ("redelivery", route("redelivery: { zzzzzzzz: 1 }")),
        ("method", instead("accept: [x402]", "accept: { x402: { zzzzzzzz: 1 } }")),
        ("charge_method", instead("accept: [x402]", "accept: { mpp.charge: { zzzzzzzz: 1 } }")),
        ("units", instead("\"$0.001\"", "{ zzzzzzzz: 1 }")),
        ("variable", instead("version: 1", "version: { env: A, zzzzzzzz: 1 }")),
        ("allow_rule", rule("zzzzzzzz: 1")),
        ("api_key", rule("api_key: { zzzzzzzz: 1 }")),
        ("digest", rule("api_key: { keys: [{ sha256: a, zzzzzzzz: 1 }] }")),
        ("jwt", rule("jwt: { zzzzzzzz: 1 }")),
        ("quota", route("free_quota: { zzzzzzzz: 1 }")),
        ("drain", more("drain: { zzzzzzzz: 1 }")),
        ("reload", more("reload: { zzzzzzzz: 1 }")),
        ("access_log_long", more("access_log: { zzzzzzzz: 1 }")),
        ("webhook", more("webhooks: [{ zzzzzzzz: 1 }]")),
    ]
}

#[test]
fn the_schema_knows_the_keys_that_the_reader_knows_and_no_others() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let keys_of = |name: &str| -> BTreeSet<String> {
        let mapping = if name.is_empty() { &schema } else { &schema["$defs"][name] };
        assert_eq!(mapping["additionalProperties"], false, "{name}");
        mapping["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let rows = rows();
    for (name, text) in &rows {
        let told = faults(text);
        let hint =
            told.split("unknown key `zzzzzzzz`").nth(1).unwrap_or_else(|| panic!("{name}: {told}"));
        let hint = hint.split("hint: known here: ").nth(1).unwrap().lines().next().unwrap();
        let known: BTreeSet<_> = hint.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert_eq!(keys_of(name), known, "{name}");
    }
    // None is left out. What a method is called is read by a table of its own.
    let defs = schema["$defs"].as_object().unwrap();
    let with_keys = defs.iter().filter(|(_, def)| def.get("properties").is_some());
    let told: BTreeSet<_> = rows.iter().map(|(name, _)| *name).chain(["accept_priced"]).collect();
    for (name, _) in with_keys {
        assert!(told.contains(name.as_str()), "{name}");
    }
}

//! Kubernetes manifests: read, and held against the schemas of the API.

use std::process::Command;

use serde_json::Value;

use crate::tools::{fetched, run_on, tree};

/// The documents of a file of manifests.
#[track_caller]
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_yaml::from_multiple(text).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// Asserts that the API of the oldest and the newest Kubernetes takes each of them, with no field that it does not know.
///
/// The Prometheus operator's kinds have no schema there; their tests look at what matters in them.
#[track_caller]
pub(crate) fn assert_valid(documents: &[Value]) {
    if let Err(faults) = validate(documents) {
        panic!("{faults}");
    }
}

/// What the API would refuse.
pub(crate) fn validate(documents: &[Value]) -> Result<(), String> {
    let known = documents.iter().filter(|document| {
        document["apiVersion"].as_str().is_none_or(|version| version != "monitoring.coreos.com/v1")
    });
    let known: Vec<&Value> = known.collect();
    assert!(!known.is_empty(), "there is nothing to validate");
    hold_against(&["1.33.0", "1.37.0"], &known)
}

/// What the documents have that one of `schemas` does not allow.
pub(crate) fn hold_against(schemas: &[&str], documents: &[&Value]) -> Result<(), String> {
    let mut command = Command::new("python3");
    command.arg("-S").arg(tree("tests/deploy/validate.py")).env("PYTHONPATH", fetched("python"));
    command.args(schemas.iter().map(|name| fetched("schemas").join(name)));
    run_on(command, &serde_json::to_string(documents).unwrap()).map(drop)
}

/// The only document of `kind` whose name ends with `suffix`.
#[track_caller]
pub(crate) fn only<'a>(documents: &'a [Value], kind: &str, suffix: &str) -> &'a Value {
    let mut found = documents.iter().filter(|document| {
        document["kind"] == kind && document["metadata"]["name"].as_str().unwrap().ends_with(suffix)
    });
    let only = found.next().unwrap_or_else(|| panic!("there is no {kind} …{suffix}"));
    assert!(found.next().is_none(), "there is more than one {kind} …{suffix}");
    only
}

#[test]
fn a_field_that_the_api_does_not_know_is_found() {
    let valid = r#"
apiVersion: v1
kind: Service
metadata: { name: a }
spec: { ports: [{ port: 80 }] }
"#;
    assert_valid(&documents(valid));
    for (wrong, said) in [
        (valid.replace("port: 80", "port: eighty"), "spec.ports.0.port"),
        (valid.replace("ports:", "prots:"), "prots"),
        (valid.replace("Service", "Servize"), "servize-v1"),
    ] {
        let faults = validate(&documents(&wrong)).unwrap_err();
        assert!(faults.contains(said), "{faults}");
    }
}

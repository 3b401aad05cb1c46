//! `@stellar/stellar-sdk` 14, 15 and 17, unmodified, against the sandbox over TLS: the checks of `tests/interop/shared`.

#![expect(clippy::unwrap_used, reason = "a test ends where it finds something else")]

#[path = "support/npm.rs"]
mod npm;

use std::time::Duration;

use self::npm::{OverTls, json_lines};

#[tokio::test]
async fn npm_sdk_14_passes_its_checks() {
    check("sdk-14").await;
}

#[tokio::test]
async fn npm_sdk_15_passes_its_checks() {
    check("sdk-15").await;
}

#[tokio::test]
async fn npm_sdk_17_passes_its_checks() {
    check("sdk-17").await;
}

/// Runs the checks of one SDK; the process fails if one of them does.
async fn check(package: &str) {
    let network = OverTls::start(Duration::from_millis(250)).await;
    let checks = json_lines(network.node(package, "check.mjs")).await;
    assert!(checks.len() >= 20, "{package} ran {} checks", checks.len());
    assert!(checks.iter().all(|check| check["ok"] == true), "{checks:#?}");
}

//! `gateway.yaml`: settings, or faults that each say where they are.
//!
//! Input: the file's text.

use std::{collections::BTreeMap, path::Path};

use crate::config::{Diagnostics, Env, Settings, parse};

pub(super) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Files are the operator's own: some of this machine's never end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let read = || parse(text, NAME, Path::new(NOWHERE), &env());
    match (read(), read()) {
        (Ok(settings), Ok(again)) => agrees(&settings, &again),
        (Err(faults), Err(again)) => {
            assert_eq!(faults, again);
            are_told(&faults, text);
        }
        (first, second) => panic!("{:?} and then {:?}", first.err(), second.err()),
    }
}

fn agrees(settings: &Settings, again: &Settings) {
    assert_eq!(format!("{settings:?}"), format!("{again:?}"));
    let shown = format!("{settings:?}");
    for secret in env_values().into_values() {
        assert!(secret.len() < 32 || !shown.contains(secret), "a secret is shown");
    }
}

fn are_told(faults: &Diagnostics, text: &str) {
    assert!(!faults.is_empty(), "refused for no reason");
    // A line of YAML may end with a carriage return alone.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    let mut last = None;
    for fault in faults {
        let at = fault.at.unwrap_or_else(|| panic!("no place: {fault}"));
        let line = at.line.checked_sub(1).and_then(|line| lines.get(line));
        let line = line.unwrap_or_else(|| panic!("beyond the text: {fault}"));
        let columns = line.chars().count().saturating_add(1);
        assert!((1..=columns).contains(&at.column), "{columns} columns: {fault}");
        assert!(Some(at) >= last, "out of order: {fault}");
        last = Some(at);
        assert!(!fault.what.is_empty() && !fault.hint.is_empty(), "{fault}");
        assert!(!fault.what.contains(['\n', '\r', '\u{1b}']), "{fault:?}");
    }
}

fn env() -> Env {
    Env::fixed(env_values())
}

fn env_values() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("SECRET", "a-secret-of-more-than-thirty-two-bytes"),
        ("SEED", "SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY"),
        ("PAYEE", "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG"),
        ("URL", "http://127.0.0.1:8000"),
        ("EMPTY", ""),
    ])
}

const NAME: &str = "gateway.yaml";
const NOWHERE: &str = "/nonexistent";

//! The corpora that `cargo fuzz` left, read by every test run; and changes of them, the same in every run.

mod bounds;
mod change;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
};

use super::*;

#[test]
fn every_input_of_the_corpora_keeps_the_promises() {
    for check in ALL {
        for (name, bytes) in corpus(check) {
            keeps(check, &name, &bytes);
        }
    }
}

#[test]
fn the_corpora_are_small_and_those_of_the_checks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
    let mut folders: Vec<String> = folders.map(|name| name.into_string().unwrap()).collect();
    folders.sort();
    assert_eq!(folders, ALL.map(|check| check.name));
    let inputs = ALL.into_iter().flat_map(corpus);
    let bytes: usize = inputs.map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes <= 300 << 10, "{bytes} bytes: minimise them, as fuzz/README.md says");
}

#[test]
fn i05_no_change_of_a_commitment_an_address_or_an_amount_breaks_a_promise() {
    changed(COMMITMENT, 10_000);
}

#[test]
fn no_change_of_a_configuration_breaks_a_promise() {
    changed(CONFIG, 2_000);
}

#[test]
fn f16_no_change_of_a_request_splits_a_connection_in_two_ways() {
    changed(FRAMING, 5_000);
}

#[test]
fn no_change_of_a_head_breaks_a_promise() {
    changed(HEADER, 20_000);
}

#[test]
fn i05_no_change_of_a_challenge_or_a_credential_breaks_a_promise() {
    changed(MPP, 10_000);
}

#[test]
fn no_change_of_an_answer_breaks_a_promise() {
    changed(RPC, 20_000);
}

#[test]
fn no_change_of_a_target_breaks_a_promise() {
    changed(TARGET, 20_000);
}

#[test]
fn i05_no_change_of_a_transaction_breaks_a_promise() {
    changed(TRANSACTION, 20_000);
}

#[test]
fn i05_no_change_of_an_x402_message_breaks_a_promise() {
    changed(X402, 20_000);
}

/// Runs `check` over so many changes of its corpus.
fn changed(check: Check, times: usize) {
    let inputs: Vec<Vec<u8>> = corpus(check).into_iter().map(|(_, bytes)| bytes).collect();
    let mut changes = change::Changes::new(&inputs);
    for at in 0..times {
        keeps(check, &format!("change {at}"), &changes.next());
    }
}

fn keeps(check: Check, name: &str, bytes: &[u8]) {
    let run = AssertUnwindSafe(|| allocation_counter::measure(|| (check.run)(bytes)));
    let used = catch_unwind(run).unwrap_or_else(|panic| {
        eprintln!("{}: {name} breaks a promise: b\"{}\"", check.name, bytes.escape_ascii());
        resume_unwind(panic)
    });
    let (held, most) = (used.bytes_max, check.most_memory);
    assert!(held <= most, "{}: {name} held {held} bytes, at most {most}", check.name);
}

/// The files of a corpus, in the order of their names.
fn corpus(check: Check) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(check.name);
    let mut inputs: Vec<(String, Vec<u8>)> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} has no corpus", check.name);
    inputs
}

//! The `.env` file behind the environment: what it gives, and what is told when it cannot be read.

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

use insta::assert_snapshot;
use tempfile::TempDir;

use super::{RECIPIENT, SHORT, SPONSOR};
use crate::config::{Env, EnvFile, load};

/// A folder with the short form and this `.env`.
fn folder(env: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (config, file) = (folder.path().join("gateway.yaml"), folder.path().join(".env"));
    std::fs::write(&config, SHORT).unwrap();
    std::fs::write(&file, env).unwrap();
    mode(&file, 0o600);
    (folder, config)
}

fn mode(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn complete() -> String {
    format!(
        "# keys\nexport STELLAR_RPC_URL='http://127.0.0.1:8000'\nSTELLAR_RECIPIENT = \"{RECIPIENT}\"\n\n\
         SPONSOR_SECRET=first\nSPONSOR_SECRET={SPONSOR} # the last one counts\n"
    )
}

#[test]
fn a_configuration_finds_its_values_in_the_env_file_beside_it() {
    let (folder, config) = folder(&complete());
    let env = Env::in_folder(folder.path());
    let settings = load(&config, &env).unwrap();
    assert_eq!(settings.payment.unwrap().rpc_url, "http://127.0.0.1:8000/");
    assert!(settings.warnings.iter().all(|warning| !warning.what.contains("every user")));
    assert_eq!(env.var("STELLAR_NETWORK"), None);
    assert_eq!(format!("{env:?}"), "Env::process()");
    let none = Env::in_folder(tempfile::tempdir().unwrap().path());
    assert_eq!(none.var("STELLAR_RECIPIENT"), None);
}

#[test]
fn the_environment_of_the_process_wins() {
    // The test runner sets this one.
    let (folder, _) = folder("CARGO_MANIFEST_DIR=elsewhere\nONLY_IN_THE_FILE=here\nEMPTY=\n");
    let env = Env::in_folder(folder.path());
    assert_eq!(env.var("CARGO_MANIFEST_DIR").unwrap(), env!("CARGO_MANIFEST_DIR"));
    assert_eq!(env.var("ONLY_IN_THE_FILE").unwrap(), "here");
    assert_eq!(env.var("EMPTY"), None);
}

#[test]
fn a_line_that_cannot_be_read_is_told_by_its_place_and_not_repeated() {
    let (folder, _) = folder(&format!("A=1\n{SPONSOR}\nB=two words\nC=3\n"));
    let told = EnvFile::read(&folder.path().join(".env")).unwrap_err().to_string();
    let told = told.replace(&folder.path().display().to_string(), "FOLDER");
    assert_snapshot!(told, @r"
    FOLDER/.env:2:1: the line cannot be read

    hint: write `NAME=value`, with the value in single quotes if it has a space
    FOLDER/.env:3:1: the line cannot be read

    hint: write `NAME=value`, with the value in single quotes if it has a space
    ");
}

#[test]
fn a_line_that_is_meant_for_somebody_else_stops_nobody() {
    let (folder, config) = folder(&format!("THEIRS=two words\n{}", complete()));
    assert!(load(&config, &Env::in_folder(folder.path())).is_ok());
    std::fs::write(folder.path().join(".env"), b"\xff").unwrap();
    assert_eq!(Env::in_folder(folder.path()).var("STELLAR_RECIPIENT"), None);
}

#[test]
fn a_secret_in_a_file_that_everybody_can_read_is_warned_of() {
    let (folder, config) = folder(&complete());
    mode(&folder.path().join(".env"), 0o644);
    let settings = load(&config, &Env::in_folder(folder.path())).unwrap();
    let told = settings.warnings.to_string();
    let told = told.replace(&folder.path().display().to_string(), "FOLDER");
    assert_snapshot!(told, @r"
    FOLDER/gateway.yaml:8:14: stellar.sponsors[0]: every user of this machine can read the secret `SPONSOR_SECRET` in `FOLDER/.env`

    hint: take the right away: `chmod 600`
    ");
}

//! Runs the npm programs of `tests/interop` against a sandbox, unmodified packages and all.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tollgate_sandbox::{Clock, Options, Sandbox};

/// A sandbox that npm clients accept: over TLS, its certificate in a folder that lives as long.
pub(crate) struct OverTls {
    pub(crate) sandbox: Sandbox,
    _folder: tempfile::TempDir,
}

impl OverTls {
    /// Starts one with a ledger each `interval`.
    pub(crate) async fn start(interval: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            tls_listen: Some(([127, 0, 0, 1], 0).into()),
            certificate: Some(folder.path().join("sandbox.pem")),
            clock: Clock::Interval(interval),
            ..Options::default()
        };
        Self { sandbox: Sandbox::start(options).await.unwrap(), _folder: folder }
    }

    /// `node SCRIPT` of the interop folder `package`, with the sandbox's env lines set; killed when dropped.
    pub(crate) fn node(&self, package: &str, script: &str) -> Command {
        let folder = installed(package);
        let own = folder.join("node_modules/.bin/node");
        let mut command = Command::new(if own.exists() { own } else { "node".into() });
        command.current_dir(folder).arg(script).envs(self.sandbox.env_lines());
        command.kill_on_drop(true).stdin(Stdio::null());
        command
    }
}

/// Runs `command` to its end and reads the JSON lines it prints, which are shown if it fails.
pub(crate) async fn json_lines(mut command: Command) -> Vec<Value> {
    let output = command.stderr(Stdio::piped()).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{text}\n{errors}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The interop folder `package`, with its packages as the lock file has them.
fn installed(package: &str) -> PathBuf {
    // This file serves the tests of the gateway too, one folder further up.
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interop = ["tests/interop", "../tests/interop"].map(|path| own.join(path));
    let folder = interop.iter().find(|path| path.is_dir()).unwrap().canonicalize().unwrap();
    let folder = folder.join(package);
    let mut wanted = Sha256::new();
    for name in ["package.json", ".npmrc", "package-lock.json"] {
        wanted.update(std::fs::read(folder.join(name)).unwrap());
    }
    let found = std::fs::read_to_string(folder.join("node_modules/.installed-from"));
    assert_eq!(
        found.as_deref().map(str::trim).ok(),
        Some(hex::encode(wanted.finalize()).as_str()),
        "the npm packages of {} are missing or out of date: run `tests/interop/install`",
        folder.display()
    );
    folder
}

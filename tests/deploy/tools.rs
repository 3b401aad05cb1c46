//! The programs that `deploy/` is checked with, and the tree that it is in.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// A file or folder of the repository.
pub(crate) fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of the repository.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(tree(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What `tests/support/tools` fetched.
pub(crate) fn fetched(path: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    let path = cache.join("tollgate/tools").join(path);
    assert!(path.exists(), "{} is missing: run tests/support/tools", path.display());
    path
}

/// A fetched program, with nothing to read of this machine's user and no cluster to ask.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(fetched(&format!("bin/{name}")));
    command.env_clear().env("HOME", "/nonexistent").env("KUBECONFIG", "/nonexistent");
    command.current_dir(tree("")).stdin(Stdio::null());
    command
}

/// Runs it, and tells what it wrote: to stdout if it did what it was told, else to stderr too.
pub(crate) fn run(mut command: Command) -> Result<String, String> {
    told(&command.output().unwrap())
}

/// As [`run`], with `input` to read.
pub(crate) fn run_on(mut command: Command, input: &str) -> Result<String, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    told(&child.wait_with_output().unwrap())
}

fn told(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stdout) + &text(&output.stderr)),
    }
}

/// A process that ends with its test.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

//! The `tollgate` command itself, as an operator runs it.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use crate::world::PATIENCE;

/// A running `tollgate`; killed when dropped.
pub(crate) struct Tollgate {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The lines of its log so far.
    said: Vec<String>,
    log: Lines<BufReader<ChildStderr>>,
    _child: Child,
}

impl Tollgate {
    /// `tollgate ARGUMENTS` with this environment and no other, once it listens.
    pub(crate) async fn start(arguments: &[&str], env: Vec<(&'static str, String)>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["--log-format", "json"]).args(arguments).env_clear().envs(env);
        command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let nowhere = ([0, 0, 0, 0], 0).into();
        let mut tollgate = Self { address: nowhere, said: Vec::new(), log, _child: child };
        let line = tollgate.logged("listening").await;
        tollgate.address = line["fields"]["address"].as_str().unwrap().parse().unwrap();
        tollgate
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The first line of the log that says `part`.
    pub(crate) async fn logged(&mut self, part: &str) -> Value {
        if let Some(line) = self.said.iter().find(|line| line.contains(part)) {
            return serde_json::from_str(line).unwrap();
        }
        let said = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                self.said.push(line.clone());
                if line.contains(part) {
                    return serde_json::from_str(&line).unwrap();
                }
            }
            panic!("the log ended without {part}");
        };
        let waited = tokio::time::timeout(PATIENCE, said).await;
        waited.unwrap_or_else(|_| panic!("the log does not say {part}"))
    }
}

/// Asks again and again until `done` says so, for a while.
pub(crate) async fn until<T>(what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(found) = done().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("never: {what}"))
}

//! The gateway as a process of its own: `tollgate run`, as an operator starts, signals and kills it.
//!
//! Shared by the tests that need one; each of them adds what it wants in an `impl` of its own.

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};
use tollgate_sandbox::Sandbox;

/// A running `tollgate run`; killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    log: watch::Sender<Vec<Value>>,
}

impl Process {
    /// Starts one with the configuration in the file `config`; it listens when this returns.
    pub(crate) async fn start(config: &Path, sandbox: &Sandbox) -> Self {
        Self::start_with(config, sandbox, |_| {}).await
    }

    /// As [`Process::start`], by a command that is changed before.
    pub(crate) async fn start_with(
        config: &Path,
        sandbox: &Sandbox,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let started = Self::try_start(config, sandbox, change).await;
        started.unwrap_or_else(|log| panic!("it ended:\n{log}"))
    }

    /// As [`Process::start_with`]; one that ends instead leaves what it has said.
    pub(crate) async fn try_start(
        config: &Path,
        sandbox: &Sandbox,
        change: impl FnOnce(&mut Command),
    ) -> Result<Self, String> {
        // A write beyond a limit on file sizes is an error to be told of, not a deadly signal. What a test wants done before
        // that it says in `FIRST`.
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; eval \"$FIRST\"; exec \"$@\"", "sh"])
            .arg(env!("CARGO_BIN_EXE_tollgate"))
            .args(["--log-format", "json", "run", "--config"])
            .arg(config)
            .env_clear()
            .envs(sandbox.env_lines())
            .env("PATH", "/usr/bin:/bin")
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (log, _) = watch::channel(Vec::new());
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                kept.send_modify(|log| log.push(line));
            }
        });
        let mut process = Self { child, address: ([127, 0, 0, 1], 0).into(), log };
        let listening = {
            let Self { child, log, .. } = &mut process;
            let log = &*log;
            tokio::select! {
                line = logged(log, "listening") => line,
                _ = child.wait() => return Err(text(log)),
            }
        };
        process.address = listening["fields"]["address"].as_str().unwrap().parse().unwrap();
        Ok(process)
    }

    /// The URL of the gateway without a path.
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for the first line that says `text`.
    pub(crate) async fn logged(&self, text: &str) -> Value {
        logged(&self.log, text).await
    }

    pub(crate) fn log(&self) -> String {
        text(&self.log)
    }

    /// Ends it without a warning: `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}

async fn logged(log: &watch::Sender<Vec<Value>>, sought: &str) -> Value {
    let find = |log: &[Value]| log.iter().find(|line| line.to_string().contains(sought)).cloned();
    let mut lines = log.subscribe();
    let said = timeout(PATIENCE, lines.wait_for(|log| find(log).is_some())).await;
    let Ok(Ok(said)) = said else { panic!("not in time: the log says {sought}\n{}", text(log)) };
    find(&said).unwrap()
}

fn text(log: &watch::Sender<Vec<Value>>) -> String {
    log.borrow().iter().map(|line| format!("{line}\n")).collect()
}

const PATIENCE: Duration = Duration::from_secs(30);

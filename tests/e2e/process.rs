//! The gateway as a process of its own: `tollgate run`, as an operator starts, signals and kills it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};
use tollgate_sandbox::{Options, Sandbox};

use crate::{
    upstream::Upstream,
    world::{Agent, Plan, until, yaml},
};

/// A ledger, an upstream and a folder with a `gateway.yaml`, for processes that come and go.
pub struct Site {
    pub sandbox: Sandbox,
    pub upstream: Upstream,
    folder: TempDir,
}

/// A running `tollgate run`; killed when dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Site {
    pub async fn new(plan: &Plan<'_>) -> Self {
        let options = Options { clock: plan.ledgers, ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let upstream = Upstream::start().await;
        let site = Self { sandbox, upstream, folder: tempfile::tempdir().unwrap() };
        site.write(&yaml(&site.upstream, plan));
        site
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    /// Replaces the configuration at once, as an editor does.
    pub fn write(&self, yaml: &str) {
        let new = self.folder.path().join("gateway.yaml.new");
        std::fs::write(&new, yaml).unwrap();
        std::fs::rename(new, self.config()).unwrap();
    }

    /// Starts a gateway, which is ready when this returns.
    pub async fn run(&self) -> Process {
        let process = self.run_unready().await;
        process.logged("payments can be settled").await;
        process
    }

    pub async fn run_unready(&self) -> Process {
        Process::start(&self.config(), &self.sandbox).await
    }

    pub fn payee_usdc(&self) -> i128 {
        self.sandbox.usdc_balance(&self.sandbox.accounts().recipient.address()).unwrap()
    }

    /// The agent with the payer's key, at `process`.
    pub fn agent(&self, process: &Process) -> Agent {
        let url = format!("http://{}", process.address);
        Agent::new(&self.sandbox, &self.sandbox.accounts().payer, url)
    }
}

impl Process {
    async fn start(config: &Path, sandbox: &Sandbox) -> Self {
        // A write beyond a limit on file sizes is an error to be told of, not a deadly signal.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_tollgate")])
            .args(["--log-format", "json", "run", "--config"])
            .arg(config)
            .env_clear()
            .envs(sandbox.env_lines())
            .env("PATH", "/usr/bin:/bin")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                kept.lock().unwrap().push(line);
            }
        });
        let mut process = Self { child, address: ([127, 0, 0, 1], 0).into(), log };
        let listening = process.logged("listening").await;
        process.address = listening["fields"]["address"].as_str().unwrap().parse().unwrap();
        process
    }

    /// Waits for the first line that says `text`.
    pub async fn logged(&self, text: &str) -> Value {
        let find = || {
            let log = self.log.lock().unwrap();
            log.iter().find(|line| line.to_string().contains(text)).cloned()
        };
        until(&format!("the log says {text}"), || find().is_some()).await;
        find().unwrap()
    }

    pub fn log(&self) -> String {
        let log = self.log.lock().unwrap();
        log.iter().map(|line| format!("{line}\n")).collect()
    }

    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Ends it without a warning: `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to end: SIGTERM.
    pub async fn terminate(&self) {
        self.tell("kill", &["-TERM"]).await;
    }

    /// Tells it to read its configuration again: SIGHUP.
    pub async fn hang_up(&self) {
        self.tell("kill", &["-HUP"]).await;
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> ExitStatus {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait());
        ended.await.expect("it ends in time").unwrap()
    }

    /// Makes every write to a file fail from now on, as on a disk that is full or broken.
    pub async fn break_disk(&self) {
        let id = self.id().to_string();
        let status = Command::new("prlimit").args(["--fsize=0", "--pid", &id]).status().await;
        assert!(status.unwrap().success());
    }

    /// The memory that it has in use, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    async fn tell(&self, program: &str, arguments: &[&str]) {
        let id = self.id().to_string();
        let status = Command::new(program).args(arguments).arg(&id).status().await;
        assert!(status.unwrap().success());
    }
}

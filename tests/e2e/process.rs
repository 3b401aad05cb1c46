//! A gateway in a process of its own, between a ledger and an upstream that outlive it.

#[path = "../support/process.rs"]
mod child;

use std::{path::PathBuf, process::ExitStatus, time::Duration};

use tempfile::TempDir;
use tokio::process::Command;
use tollgate_sandbox::{Options, Sandbox};

pub(crate) use self::child::Process;
use crate::{
    upstream::Upstream,
    world::{Agent, Plan, yaml},
};

/// A ledger, an upstream and a folder with a `gateway.yaml`, for processes that come and go.
pub struct Site {
    pub sandbox: Sandbox,
    pub upstream: Upstream,
    folder: TempDir,
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
        Agent::new(&self.sandbox, &self.sandbox.accounts().payer, process.base())
    }
}

impl Process {
    fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Asks it to end: SIGTERM.
    pub async fn terminate(&self) {
        self.tell("kill", &["-TERM"]).await;
    }

    /// Waits for its end.
    pub async fn ended(mut self) -> ExitStatus {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait());
        ended.await.expect("it ends in time").unwrap()
    }

    /// Tells it to read its configuration again: SIGHUP.
    pub async fn hang_up(&self) {
        self.tell("kill", &["-HUP"]).await;
    }

    /// Makes every write to a file fail from now on, as on a disk that is full or broken.
    pub async fn break_disk(&self) {
        self.tell("prlimit", &["--fsize=0", "--pid"]).await;
    }

    /// Lets it have no more than so many files and sockets open, from now on.
    pub async fn limit_files(&self, count: usize) {
        self.tell("prlimit", &[&format!("--nofile={count}:1024"), "--pid"]).await;
    }

    /// The memory that it has in use, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// What of it is its own, in KiB: not the pages of its program, of which a debug build has many.
    pub fn own_kib(&self) -> u64 {
        self.status_kib("RssAnon:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Runs `program` with the process's id as its last argument.
    async fn tell(&self, program: &str, arguments: &[&str]) {
        let id = self.id().to_string();
        let status = Command::new(program).args(arguments).arg(&id).status().await;
        assert!(status.unwrap().success());
    }
}

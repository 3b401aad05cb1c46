//! A real Redis or Valkey server of a test's own, which it may kill, restart, stop for a while and ask anything.
//!
//! Needs what `tests/support/servers` fetches. Shared by the tests that need one; each of them adds what it wants in an
//! `impl` of its own.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

/// A running server with a folder of its own; killed when dropped.
pub(crate) struct Server {
    program: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) child: Option<Child>,
    /// Reads what the server says, or the pipe would fill up, and the server wait for it.
    log: JoinSet<()>,
}

/// How a server is started.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) appendonly: bool,
    /// `always`, `everysec` or `no`.
    pub(crate) appendfsync: &'static str,
    pub(crate) maxmemory_policy: &'static str,
    pub(crate) password: Option<&'static str>,
    pub(crate) replica_of: Option<SocketAddr>,
    /// Anything else, as on the command line without the dashes: `("maxmemory", "10mb")`.
    pub(crate) more: Vec<(&'static str, String)>,
}

impl Default for Settings {
    /// What the gateway asks of a server that keeps payments.
    fn default() -> Self {
        Self {
            appendonly: true,
            appendfsync: "always",
            maxmemory_policy: "noeviction",
            password: None,
            replica_of: None,
            more: Vec::new(),
        }
    }
}

impl Server {
    pub(crate) async fn redis(settings: Settings) -> Self {
        Self::start("redis-server", settings).await
    }

    pub(crate) async fn valkey(settings: Settings) -> Self {
        Self::start("valkey-server", settings).await
    }

    async fn start(program: &str, settings: Settings) -> Self {
        let program = cache().join("bin").join(program);
        assert!(program.exists(), "{program:?} is missing: run `tests/support/servers`");
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let mut server =
            Self { program, settings, folder, address, child: None, log: JoinSet::new() };
        for _ in 0..20 {
            if server.run().await {
                return server;
            }
            // Someone was faster to have this port.
            server.address = free_address();
        }
        panic!("no port is free for {:?}", server.program);
    }

    /// Starts the process; `false` if its port is taken. It has read its data and takes commands when this returns.
    async fn run(&mut self) -> bool {
        let Settings { appendonly, appendfsync, maxmemory_policy, password, replica_of, more } =
            self.settings.clone();
        // The server goes with the thread that started it, even if that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
        let mut set = |name: &str, value: &str| {
            command.arg(format!("--{name}")).args(value.split(' '));
        };
        set("bind", "127.0.0.1");
        set("port", &self.address.port().to_string());
        set("daemonize", "no");
        set("save", "");
        set("appendonly", if appendonly { "yes" } else { "no" });
        set("appendfsync", appendfsync);
        set("maxmemory-policy", maxmemory_policy);
        if let Some(password) = password {
            set("requirepass", password);
            set("masterauth", password);
        }
        if let Some(primary) = replica_of {
            set("replicaof", &format!("{} {}", primary.ip(), primary.port()));
        }
        for (name, value) in more {
            set(name, &value);
        }
        let mut child = command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut log = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("Ready to accept connections") {
                self.child = Some(child);
                self.log.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return true;
            }
            log.push_str(&line);
            log.push('\n');
        }
        assert!(log.contains("in use"), "the server did not start:\n{log}");
        false
    }

    /// Kills it without a warning: what was not written is lost, and what waits in the kernel is not.
    pub(crate) async fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// Starts it anew on the same data and port; kills it first if it runs.
    pub(crate) async fn restart(&mut self) {
        self.kill9().await;
        assert!(self.run().await, "another program took the port {} meanwhile", self.address);
    }

    pub(crate) fn url(&self) -> String {
        let user = self.settings.password.map_or_else(String::new, |word| format!(":{word}@"));
        format!("redis://{user}{}/", self.address)
    }
}

/// An address that nobody listens on, outside the range that the kernel takes ports from by itself: so it stays free
/// while a server is restarted.
pub(crate) fn free_address() -> SocketAddr {
    loop {
        let port = 10_000
            + u16::try_from(rand_core::RngCore::next_u32(&mut rand_core::OsRng) % 22_000).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

pub(crate) fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("tollgate/servers")
}

//! A real Redis or Valkey server of a test's own, which it may kill, restart, stop for a while and ask anything.
//!
//! Needs what `tests/support/servers` fetches. Shared by the tests that need one.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
};

use redis::{FromRedisValue, Value};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

/// A running server with a folder of its own; killed when dropped.
pub(crate) struct Server {
    program: PathBuf,
    settings: Settings,
    folder: tempfile::TempDir,
    address: SocketAddr,
    child: Option<Child>,
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

    /// As [`Server::restart`], with other settings.
    pub(crate) async fn restart_with(&mut self, settings: Settings) {
        self.settings = settings;
        self.restart().await;
    }

    /// Stops the process where it is: its sockets stay open and say nothing.
    pub(crate) async fn pause(&self) {
        self.signal("STOP").await;
    }

    /// Lets a paused process go on.
    pub(crate) async fn resume(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let id = self.child.as_ref().and_then(Child::id).expect("the server runs");
        let sent = Command::new("kill").args(["-s", signal, &id.to_string()]).status().await;
        assert!(sent.unwrap().success());
    }

    /// Where it keeps its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        self.url_at(self.address)
    }

    /// The URL of the server as it is reached at `address`, through a relay.
    pub(crate) fn url_at(&self, address: SocketAddr) -> String {
        let user = self.settings.password.map_or_else(String::new, |word| format!(":{word}@"));
        format!("redis://{user}{address}/")
    }

    /// A connection past all relays.
    pub(crate) async fn connect(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Carries out a command, its words separated by blanks, and returns its answer.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        for word in words {
            asked.arg(word);
        }
        let answer: Value = asked.query_async(&mut self.connect().await).await.unwrap();
        T::from_redis_value(answer).unwrap()
    }
}

/// An address that nobody listens on, outside the range that the kernel takes ports from by itself: so it stays free
/// while a server is restarted.
fn free_address() -> SocketAddr {
    loop {
        let port = 10_000
            + u16::try_from(rand_core::RngCore::next_u32(&mut rand_core::OsRng) % 22_000).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("tollgate/servers")
}

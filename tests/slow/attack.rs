//! slowhttptest, as Debian has it.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::site::Site;

/// How the connections dawdle.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Heads,
    Bodies,
    Reads,
}

impl Kind {
    /// What a connection may cost the gateway at most, in KiB: two of them where a request goes through to the upstream, and
    /// what is read ahead.
    pub(crate) const fn most(self) -> u64 {
        match self {
            Self::Heads => 64,
            Self::Bodies => 96,
            Self::Reads => 192,
        }
    }
}

/// A running attack; it ends when dropped.
pub(crate) struct Attack {
    child: Child,
}

impl Attack {
    /// Opens `connections` within a few seconds, and holds on to them.
    pub(crate) fn start(kind: Kind, base: &str, connections: usize, length: Duration) -> Self {
        let program = cache().join("bin/slowhttptest");
        assert!(program.exists(), "{program:?} is missing: run `tests/support/servers`");
        // It has to be there until the last payment is made.
        let length = (length + Duration::from_secs(30)).as_secs().to_string();
        let count = connections.to_string();
        let rate = (connections / 2).max(50).to_string();
        // It polls connections that were cut without a rest. An attacker does that on a machine of its own.
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(program);
        command.args(["-c", &count, "-l", &length, "-r", &rate, "-v", "1", "-p", "30"]);
        let path = match kind {
            Kind::Heads => {
                command.args(["-H", "-i", "2", "-x", "24"]);
                "/free"
            }
            Kind::Bodies => {
                command.args(["-B", "-i", "2", "-s", "1048576", "-x", "10"]);
                "/upload"
            }
            Kind::Reads => {
                // More than fits into the buffers of both ends.
                command.args(["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "1"]);
                "/large"
            }
        };
        let child = command
            .args(["-u", &format!("{base}{path}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Waits until so many connections are there.
    pub(crate) async fn connected(&self, site: &Site, connections: usize) {
        let there = async {
            while site.connections() < connections {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), there).await.expect("the attack has begun");
    }

    /// Ends it.
    pub(crate) async fn end(mut self) -> String {
        let is_over = self.child.try_wait().unwrap();
        self.child.kill().await.unwrap();
        format!(
            "  the attack {}",
            if is_over.is_some() { "had ended" } else { "went on until the end" }
        )
    }
}

fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("tollgate/servers")
}

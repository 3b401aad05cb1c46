//! The processes of a run: the upstream, and the proxies before it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tollgate_sandbox::Sandbox;

use crate::run::Watched;

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    child: Child,
    /// Where it takes HTTP/1.1.
    pub(crate) h1: SocketAddr,
    /// Where it takes HTTP/2 with prior knowledge.
    pub(crate) h2: SocketAddr,
    /// Whether it can ask for money.
    pub(crate) is_gateway: bool,
}

impl Server {
    pub(crate) fn watched(&self) -> Watched {
        Watched(self.child.id())
    }

    /// nginx, answering by itself: `/small`, `/large`, `/upload` and `/402`.
    ///
    /// A request that is mirrored is read whole first; what `return` answers at once would come before its body.
    pub(crate) fn upstream(folder: &Path) -> Self {
        let files = folder.join("files");
        fs::create_dir(&files).unwrap();
        fs::write(files.join("large"), vec![b'x'; LARGE]).unwrap();
        fs::write(files.join("upload"), "").unwrap();
        let locations = format!(
            "root {};\n\
             location = /small {{ return 200 '{SMALL_BODY}'; }}\n\
             location = /upload {{ mirror /nowhere; error_page 405 =200 @taken; }}\n\
             location = /nowhere {{ internal; return 204; }}\n\
             location @taken {{ return 200 'taken'; }}\n\
             location = /402 {{ return 402 'pay'; }}",
            files.display()
        );
        Self::nginx(folder, "upstream", "", &locations)
    }

    /// nginx as a proxy.
    pub(crate) fn nginx_proxy(folder: &Path, upstream: SocketAddr) -> Self {
        let before = format!(
            "upstream up {{ server {upstream}; keepalive 64; keepalive_requests 100000000; }}"
        );
        let location = "location / { proxy_pass http://up; proxy_http_version 1.1; \
                        proxy_set_header Connection ''; proxy_set_header Host $host; \
                        proxy_set_header X-Forwarded-For $remote_addr; \
                        proxy_request_buffering off; proxy_max_temp_file_size 0; \
                        proxy_buffer_size 16k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; }";
        Self::nginx(folder, "nginx", &before, location)
    }

    /// nginx as Debian has it: one worker for each core.
    fn nginx(folder: &Path, name: &'static str, before: &str, locations: &str) -> Self {
        let (h1, h2) = (free_address(), free_address());
        let folder = folder.display();
        let config = format!(
            "daemon off; worker_processes auto;\n\
             error_log {folder}/{name}.log; pid {folder}/{name}.pid;\n\
             events {{ worker_connections 16384; }}\n\
             http {{\n\
             access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; client_max_body_size 8m;\n\
             keepalive_requests 100000000; keepalive_timeout 300s; http2_max_concurrent_streams 256;\n\
             client_body_temp_path {folder}/{name}.body; proxy_temp_path {folder}/{name}.proxy;\n\
             fastcgi_temp_path {folder}/{name}.f; uwsgi_temp_path {folder}/{name}.u; scgi_temp_path {folder}/{name}.s;\n\
             {before}\n\
             server {{ listen {h1} backlog=4096; listen {h2} http2; server_name bench;\n{locations}\n}}\n\
             }}\n"
        );
        let path = PathBuf::from(format!("{folder}/{name}.conf"));
        fs::write(&path, config).unwrap();
        let child =
            quiet("nginx").arg("-p").arg(path.parent().unwrap()).arg("-c").arg(&path).spawn();
        let child = child.expect("nginx is installed: `apt-get install nginx`");
        Self { name, child, h1, h2, is_gateway: false }.up()
    }

    /// Debian's HAProxy with one thread for each core, as it is by itself; `None` if it cannot be had.
    pub(crate) fn haproxy(folder: &Path, upstream: SocketAddr) -> Option<Self> {
        let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/proxy/fetch");
        let fetched = Command::new(fetch).stdin(Stdio::null()).status();
        if !fetched.is_ok_and(|status| status.success()) {
            return None;
        }
        let (h1, h2) = (free_address(), free_address());
        let config = format!(
            "global\n no strict-limits\n maxconn 16384\n\
             defaults\n mode http\n timeout connect 5s\n timeout client 300s\n timeout server 300s\n\
             \x20timeout http-keep-alive 300s\n http-reuse always\n option forwardfor\n\
             frontend one\n bind {h1}\n bind {h2} proto h2\n default_backend up\n\
             backend up\n server up {upstream} maxconn 512\n"
        );
        let path = folder.join("haproxy.cfg");
        fs::write(&path, config).unwrap();
        let program = cache().join("proxies/bin/haproxy");
        let child = quiet(program).args(["-db", "-f"]).arg(&path).spawn().unwrap();
        Some(Self { name: "HAProxy", child, h1, h2, is_gateway: false }.up())
    }

    /// A gateway of its own folder, on which all rails are open when this returns.
    pub(crate) fn tollgate(
        name: &'static str,
        program: &Path,
        folder: &Path,
        upstream: SocketAddr,
        sandbox: &Sandbox,
    ) -> Self {
        let folder = folder.join(name);
        // Beside the configuration each write of the store would be noticed as a change of the folder that is watched.
        fs::create_dir_all(folder.join("state")).unwrap();
        let config = folder.join("gateway.yaml");
        fs::write(&config, yaml(upstream)).unwrap();
        let mut child = quiet(program)
            .args(["--log-format", "json", "run", "--config"])
            .arg(&config)
            .env_clear()
            .envs(sandbox.env_lines())
            .env("PATH", "/usr/bin:/bin")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let address = log.by_ref().find_map(|line| {
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            let says =
                |text: &str| line.pointer("/fields/message").is_some_and(|said| said == text);
            let address = line.pointer("/fields/address").filter(|_| says("listening"));
            address.map(|address| address.as_str().unwrap().parse().unwrap())
        });
        let address = address.expect("the gateway listens");
        thread::spawn(move || log.for_each(drop));
        Self { name, child, h1: address, h2: address, is_gateway: true }.up()
    }

    /// Waits until it takes connections.
    fn up(mut self) -> Self {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(self.h1).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "{} does not start", self.name);
            thread::sleep(Duration::from_millis(20));
        }
        self
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked, and not killed: nginx takes its workers along. It may have ended by itself.
        drop(Command::new("kill").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}

/// What was compiled with this bench.
pub(crate) fn own_program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_tollgate"))
}

fn quiet(program: impl AsRef<std::ffi::OsStr>) -> Command {
    // The server goes with the thread that started it, even if that is killed.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var("HOME").unwrap()).join(".cache");
    std::env::var("XDG_CACHE_HOME").map_or_else(|_| home(), PathBuf::from).join("tollgate")
}

/// Free when it was looked for; nginx and HAProxy do not tell which port they were given.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn yaml(upstream: SocketAddr) -> String {
    let code = hex::encode(tollgate_sandbox::channel_code());
    format!(
        r#"version: 1
listeners: [{{ name: public, address: 127.0.0.1:0, limits: {{ connections_per_address: 16384 }} }}]
admin: {{ address: 127.0.0.1:0 }}
upstream: http://{upstream}
network: stellar:testnet
stellar:
  rpc_url: {{ env: STELLAR_RPC_URL }}
  pay_to: {{ env: STELLAR_RECIPIENT }}
  sponsors: [{{ env: SPONSOR_SECRET }}]
payments:
  x402: {{ facilitator: self }}
  mpp:
    realm: api.example.com
    charge: {{ sponsored: true }}
    channel: {{ wasm_hashes: ["{code}"], min_refund_waiting_ledgers: 100, signer: {{ env: RECIPIENT_SECRET }} }}
store: {{ embedded: {{ path: ./state/state.redb }} }}
routes:
  - {{ match: GET /small, free: true }}
  - {{ match: GET /large, free: true }}
  - {{ match: POST /upload, free: true, limits: {{ body: 8MiB }} }}
  - {{ name: weather, match: "GET /v1/weather/{{city}}", price: "$0.001", accept: [x402, mpp.charge, mpp.channel] }}
  - {{ match: ANY /internal/*, deny: 404 }}
"#
    )
}

pub(crate) const LARGE: usize = 1 << 20;
pub(crate) const SMALL: usize = SMALL_BODY.len();
const SMALL_BODY: &str = "{\"city\":\"San Francisco\",\"temperature\":17,\"wind\":12.25}\n";
const PATIENCE: Duration = Duration::from_secs(20);

//! H07: a shared cache before the gateway hands nobody what another has paid for, nor the price that another was told.

use std::{fs, net::SocketAddr, path::Path, process::Stdio};

use http::{Method, StatusCode};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Duration, sleep, timeout},
};

use crate::{
    upstream::Script,
    world::{PRICE, World},
};

/// nginx as a cache that keeps whatever it is not told to leave.
struct Cache {
    address: SocketAddr,
    _process: Child,
    _folder: TempDir,
}

impl Cache {
    /// One before `origin`, if nginx is installed.
    async fn before(origin: SocketAddr) -> Option<Self> {
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].map(Path::new);
        let program = program.into_iter().find(|path| path.exists())?;
        let folder = tempfile::tempdir().unwrap();
        // Free a moment ago.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let here = folder.path().display();
        let path = |name| format!("{name}_temp_path {here}/{name};");
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(path).concat();
        let config = format!(
            "daemon off; master_process off; error_log {here}/error.log; pid {here}/pid;\n\
             events {{}}\nhttp {{ access_log off; {paths}\n\
             proxy_cache_path {here}/cache keys_zone=all:1m;\n\
             server {{ listen {address}; location / {{ proxy_pass http://{origin}; proxy_http_version 1.1;\n\
             proxy_set_header Connection ''; proxy_cache all; proxy_cache_valid any 10m;\n\
             add_header X-Cache $upstream_cache_status always; }} }} }}\n",
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let process = Command::new(program)
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let listening = async {
            while TcpStream::connect(address).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), listening).await.expect("nginx listens");
        Some(Self { address, _process: process, _folder: folder })
    }
}

#[tokio::test]
async fn h07_a_shared_cache_keeps_neither_what_was_paid_for_nor_what_it_costs() {
    let world = World::start().await;
    let Some(cache) = Cache::before(world.gateway.addresses()[0]).await else { return };
    let mut agent = world.agent();
    agent.base = format!("http://{}", cache.address);
    world.upstream.play(Script {
        headers: vec![
            ("cache-control", "public, max-age=600, s-maxage=600"),
            ("x-accel-expires", "600"),
            ("expires", "Thu, 31 Dec 2099 23:59:59 GMT"),
        ],
        ..Script::default()
    });
    let before = world.payee_usdc();
    for times in 1..=2 {
        // Whoever asks is asked for money, though this address was paid for before; and who pays is served, though it
        // was refused before.
        agent.ask(Method::GET, "/weather").await.assert_refused("Payment required");
        let paid = agent.pay("/weather").await;
        paid.assert_paid();
        assert_eq!(paid.headers["x-cache"], "MISS", "{paid:?}");
        assert_eq!(world.upstream.hits().len(), times);
    }
    assert_eq!(world.payee_usdc() - before, 2 * PRICE);

    // Its twin: what is free is kept, as the upstream says.
    for cached in ["MISS", "HIT", "HIT"] {
        let free = agent.ask(Method::GET, "/health").await;
        assert_eq!(
            (free.status, &free.headers["x-cache"]),
            (StatusCode::OK, &cached.parse().unwrap())
        );
    }
    assert_eq!(world.upstream.hits().len(), 3);
    world.end().await;
}

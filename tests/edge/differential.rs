//! F16: what the gateway forwards is read alike by whoever stands behind it.
//!
//! Requests, most of them mangled, go through a gateway to each of several parsers: Python's, Node's, nginx and HAProxy
//! with a recorder behind, and the recorder itself, which takes what the gateway writes by the letter. All of them must
//! have read the same requests: as many, with the same methods, targets and lengths. And none of them one of a path
//! that the gateway keeps.
//!
//! `TOLLGATE_DIFFERENTIAL` says how many requests, if not a few hundred; and fetches HAProxy if it is not there.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command as Blocking, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tollgate::{app::Gateway, telemetry::Clock};

use crate::site::{LONG, Origin, Wire, settings, within};

const FEW: usize = 300;
const LISTENERS: &str = "listeners: [{ name: a, address: 127.0.0.1:0, \
                         limits: { header_timeout: 1s, body_timeout: 1s } }]";
/// What ends every conversation, if nothing did before.
const END: &str = "GET /free/end HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn f16_whoever_stands_behind_the_gateway_reads_what_it_has_read() {
    let asked: Option<usize> =
        std::env::var("TOLLGATE_DIFFERENTIAL").ok().map(|count| count.parse().unwrap());
    let count = asked.unwrap_or(FEW);
    let mut parsers = vec![Parser::recorder().await];
    parsers.push(Parser::script("python3", "server.py").await);
    parsers.push(Parser::script("node", "server.mjs").await);
    parsers.extend(Parser::nginx().await);
    parsers.extend(Parser::haproxy(asked.is_some()).await);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for number in 0..count {
        let request = mangled(&mut random);
        let mut conversations = JoinSet::new();
        for parser in &parsers {
            let (address, request) = (parser.gateway.addresses()[0], request.clone());
            let name = parser.name;
            conversations.spawn(async move {
                let mut wire = Wire::new(TcpStream::connect(address).await.unwrap());
                wire.send(&request).await;
                (name, timeout(LONG / 2, wire.rest()).await)
            });
        }
        let text = String::from_utf8_lossy(&request);
        let answers = conversations.join_all().await.into_iter();
        let answers: Vec<String> = answers
            .map(|(name, answer)| {
                answer.unwrap_or_else(|_| panic!("{number} hangs before {name}: {text:?}"))
            })
            .collect();
        let statuses: Vec<Vec<u16>> = answers.iter().map(|answer| statuses(answer)).collect();
        assert!(statuses.iter().all(|one| *one == statuses[0]), "{number}: {text:?}: {answers:?}");
        let expected = parsers[0].read();
        for parser in &parsers[1..] {
            // What a process has read comes a little later.
            let begun = Instant::now();
            while parser.read().len() < expected.len() && begun.elapsed() < LONG {
                sleep(Duration::from_millis(1)).await;
            }
            let (read, name) = (parser.read(), parser.name);
            assert_eq!(read, expected, "{name} reads {number} in another way: {text:?}");
        }
    }
    let read = parsers[0].read();
    assert!(read.iter().all(|line| line.split(' ').nth(1).unwrap().starts_with("/free/")));
    // A gateway that refuses everything would pass all that.
    let whole = read.iter().filter(|line| !line.contains("/free/end")).count();
    assert!(whole * 5 > count, "{whole} of {count}");
    assert!(read.iter().any(|line| line.starts_with("POST") && !line.ends_with(" 0")));
    let names: Vec<&str> = parsers.iter().map(|parser| parser.name).collect();
    eprintln!("{count} requests, {} of them read alike by {}", read.len(), names.join(", "));
}

/// A gateway, and what stands behind it.
struct Parser {
    name: &'static str,
    gateway: Gateway,
    seen: Seen,
    _folder: TempDir,
    _process: Option<Child>,
}

/// What was read.
enum Seen {
    Lines(Arc<Mutex<Vec<String>>>),
    Origin(Origin),
}

impl Parser {
    async fn recorder() -> Self {
        let origin = Origin::start().await;
        let upstream = origin.address;
        Self::before("recorder", upstream, Seen::Origin(origin), None, folder()).await
    }

    /// A script that prints its port, and then what it reads.
    async fn script(program: &'static str, name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge/parsers").join(name);
        let mut child = Command::new(program)
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port: u16 = within(lines.next_line()).await.unwrap().unwrap().parse().unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.lock().unwrap().push(line);
            }
        });
        let upstream = SocketAddr::from(([127, 0, 0, 1], port));
        Self::before(program, upstream, Seen::Lines(seen), Some(child), folder()).await
    }

    /// nginx before a recorder, if it is installed.
    async fn nginx() -> Option<Self> {
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].map(Path::new);
        let program = program.into_iter().find(|path| path.exists())?;
        let (origin, folder, address) = (Origin::start().await, folder(), free_address());
        let here = folder.path().display();
        let path = |name| format!("{name}_temp_path {here}/{name};");
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(path).concat();
        let config = format!(
            "daemon off; master_process off; error_log {here}/error.log; pid {here}/pid;\n\
             events {{}}\nhttp {{ access_log off; {paths}\n\
             server {{ listen {address}; merge_slashes off; location / {{ proxy_pass http://{}; \
             proxy_http_version 1.1; proxy_set_header Connection ''; }} }} }}\n",
            origin.address
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file);
        Some(Self::proxy("nginx", command, address, origin, folder).await)
    }

    /// HAProxy before a recorder, if it was fetched.
    async fn haproxy(is_wanted: bool) -> Option<Self> {
        let home = std::env::var("HOME").unwrap_or_default();
        let cache = std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| format!("{home}/.cache"));
        let program = PathBuf::from(cache).join("tollgate/proxies/bin/haproxy");
        if is_wanted {
            let fetch = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/proxy/fetch");
            drop(Blocking::new(fetch).stdin(Stdio::null()).status());
        }
        if !program.exists() {
            return None;
        }
        let (origin, folder, address) = (Origin::start().await, folder(), free_address());
        let config = format!(
            "global\n no strict-limits\n maxconn 64\ndefaults\n mode http\n timeout connect 5s\n \
             timeout client 20s\n timeout server 20s\n option http-buffer-request\n\
             frontend one\n bind {address}\n default_backend up\nbackend up\n server up {}\n",
            origin.address
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&file);
        Some(Self::proxy("HAProxy", command, address, origin, folder).await)
    }

    async fn proxy(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        origin: Origin,
        folder: TempDir,
    ) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.kill_on_drop(true).spawn().unwrap();
        within(async {
            while TcpStream::connect(address).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        Self::before(name, address, Seen::Origin(origin), Some(child), folder).await
    }

    async fn before(
        name: &'static str,
        upstream: SocketAddr,
        seen: Seen,
        process: Option<Child>,
        folder: TempDir,
    ) -> Self {
        let settings = settings(LISTENERS, upstream, folder.path()).unwrap();
        let gateway = Gateway::start(settings, Clock::system()).await.unwrap();
        Self { name, gateway, seen, _folder: folder, _process: process }
    }

    /// `METHOD target length` of every request that has come whole.
    fn read(&self) -> Vec<String> {
        match &self.seen {
            Seen::Lines(lines) => lines.lock().unwrap().clone(),
            Seen::Origin(origin) => origin.requests().iter().map(|text| line_of(text)).collect(),
        }
    }
}

/// `METHOD target length` of a request that was written by the gateway, or by a proxy behind it; a letter is a byte.
fn line_of(request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let line = head.split(" HTTP/1.1").next().unwrap();
    let length = if head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked") {
        let (mut rest, mut length) = (body, 0);
        while let Some((size, behind)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                break;
            }
            length += size;
            let data: usize = behind.chars().take(size + 2).map(char::len_utf8).sum();
            rest = &behind[data..];
        }
        length
    } else {
        body.chars().count()
    };
    format!("{line} {length}")
}

/// The status of each answer; those of a body that broke off may be told or not.
fn statuses(answers: &str) -> Vec<u16> {
    let parts = answers.split("HTTP/1.1 ").skip(1);
    parts.map(|part| part[..3].parse().unwrap()).filter(|status| *status >= 200).collect()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A sequence that is the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    /// Mostly the first of them, otherwise one of the others.
    fn pick<'a>(&mut self, plain: &'a str, odd: &[&'a str]) -> &'a str {
        if self.below(8) > 0 { plain } else { odd[self.below(odd.len())] }
    }
}

/// One or two requests, of which most are wrong in a place or two, and what ends the conversation.
fn mangled(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=random.below(2) {
        bytes.extend(request(random));
    }
    if random.below(4) == 0 {
        let at = random.below(bytes.len());
        let odd = [b'\r', b'\n', b'\0', b' ', b':', b';', b'0', b'2', b'a', 0xe9, b'#', b','];
        let byte = odd[random.below(odd.len())];
        match random.below(3) {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes.extend(END.as_bytes());
    bytes
}

fn request(random: &mut Random) -> Vec<u8> {
    let methods = ["HEAD", "DELETE", "OPTIONS", "PUT", "PATCH", "get", "FOO", "TRACE", "GET "];
    let targets = [
        "/free/y?a=b",
        "/free/",
        "/free/x%20y",
        "/free/%3f",
        "/free/?/../kept",
        "//free/x",
        "/free//x",
        "/free/../kept/x",
        "/free/%2e%2e/kept/x",
        "/free/x%2fy",
        "/free/x;y",
        "/free/x#y",
        "/kept/x",
        "/KEPT/x",
        "http://gw/free/x",
        "http://evil/free/x",
        "*",
        "free/x",
        "/free/caf\u{e9}",
        "/free/x\\y",
        "/free/x y",
    ];
    let versions = ["HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 ", "HTTP/11", ""];
    let ends = ["\n", "\r", "\r\r\n", "\n\r\n", " \r\n"];
    let has_body = random.below(2) == 0;
    let method = random.pick(if has_body { "POST" } else { "GET" }, &methods);
    let target = random.pick("/free/x", &targets);
    let version = random.pick("HTTP/1.1", &versions);
    let mut text = format!("{method} {target} {version}{}", random.pick("\r\n", &ends));
    let hosts = [
        "host:gw",
        "Host: gw\r\nHost: gw",
        "Host: gw\r\nHost: evil",
        "Host : gw",
        "X: y",
        "Host: a@gw",
    ];
    text += random.pick("Host: gw", &hosts);
    text += random.pick("\r\n", &ends);
    let plain = [
        "Accept: */*",
        "X-Y: z",
        "Connection: keep-alive",
        "Cookie: a=b; c=d",
        "Authorization: Basic eA==",
    ];
    let odd = [
        "X: a\r\n b",
        "Upgrade: h2c",
        "Connection: X-Y, upgrade",
        "Expect: 100-continue",
        "Expect: foo",
        "Content-Length: 0",
        "Content-Length: 5",
        "Content-Length: +5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding : chunked",
        "Transfer_Encoding: chunked",
        "Content_Length: 5",
        "X-Forwarded-For: 1.1.1.1",
        "X-Http-Method-Override: DELETE",
        "X\u{e9}: y",
        "X: \u{e9}",
        "Trailer: X-Sum",
        "TE: trailers",
        "X",
        ": x",
        "X:",
        "Connection: close",
    ];
    // Each at most once: nginx takes no second `Authorization`, which is its right.
    let (first, count) = (random.below(plain.len()), random.below(3));
    for at in first..first + count {
        text += plain[at % plain.len()];
        text += "\r\n";
    }
    if random.below(5) == 0 {
        text += odd[random.below(odd.len())];
        text += random.pick("\r\n", &ends);
    }
    let hidden = "GET /free/hidden HTTP/1.1\r\nHost: gw\r\n\r\n";
    let body = match (has_body, random.below(5)) {
        (false, _) => "\r\n".to_owned(),
        (true, 0) => format!("Content-Length: {}\r\n\r\n{hidden}", hidden.len()),
        (true, 1) => format!(
            "Content-Length: {}\r\n\r\nhello",
            random.pick("5", &["4", "6", "05", "5, 5", "0x5", "70"])
        ),
        (true, _) => {
            let size = random.pick(
                "5",
                &["05", "5;a=b", "5 ", "0x5", "4", "6", "+5", "5;a\n", "fffffffffffffffff"],
            );
            let last = random.pick(
                "0\r\n\r\n",
                &["0\r\nX-Sum: 1\r\n\r\n", "0\r\n", "00\r\n\r\n", "0\n\n", "0\r\n a: b\r\n\r\n"],
            );
            let end = random.pick("\r\n", &ends);
            format!("Transfer-Encoding: chunked\r\n\r\n{size}\r\nhello{end}{last}")
        }
    };
    (text + &body).into_bytes()
}

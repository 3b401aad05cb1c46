//! Listeners that come, stay and go with the configuration.

use std::{net::SocketAddr, path::Path};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tollgate::{
    app::{Gateway, NotReloaded},
    config::{self, Env, Settings},
    telemetry::Clock,
};

use crate::origin::{Origin, head};

fn settings(listeners: &str, origin: &Origin) -> Settings {
    let text = format!(
        "version: 1\nlisteners:\n{listeners}\nupstreams:\n  app: {{ servers: [http://{}], health: {{ path: /, interval: 1s }} }}\n\
         drain: {{ timeout: 10s }}\nroutes:\n  - {{ match: ANY /*, upstream: app, free: true }}\n",
        origin.address
    );
    config::parse(&text, "gateway.yaml", Path::new(""), &Env::fixed([("", ""); 0])).unwrap()
}

async fn is_served(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    ask(&mut stream).await
}

async fn ask(stream: &mut TcpStream) -> bool {
    if stream.write_all(b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n").await.is_err() {
        return false;
    }
    let Some(head) = head(stream).await else { return false };
    stream.read_u8().await.is_ok() && head.starts_with("HTTP/1.1 200 ")
}

const A: &str = "  - { name: a, address: \"127.0.0.1:0\" }";
const B: &str = "  - { name: b, address: \"127.0.0.1:0\" }";

#[tokio::test]
async fn listeners_are_opened_kept_and_closed_as_the_configuration_says() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(settings(A, &origin), Clock::system()).await.unwrap();
    let a = gateway.addresses()[0];
    let mut kept = TcpStream::connect(a).await.unwrap();
    assert!(ask(&mut kept).await);

    let both = format!("{B}\n{A}");
    gateway.reload(settings(&both, &origin)).unwrap();
    let [b, still] = gateway.addresses()[..] else { panic!() };
    assert_eq!(still, a, "a socket that is still wanted is kept");
    assert!(is_served(b).await && is_served(a).await && ask(&mut kept).await);

    gateway.reload(settings(B, &origin)).unwrap();
    assert_eq!(gateway.addresses(), [b]);
    assert!(is_served(b).await);
    while TcpStream::connect(a).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let mut last = Vec::new();
    kept.read_to_end(&mut last).await.unwrap();
    assert!(last.is_empty(), "nothing was under way on it");
    // Whoever wants the address has it.
    drop(tokio::net::TcpListener::bind(a).await.unwrap());
    gateway.stop().await;
}

#[tokio::test]
async fn what_was_begun_at_a_listener_that_goes_is_finished() {
    let origin = Origin::start().await;
    let gateway =
        Gateway::start(settings(&format!("{A}\n{B}"), &origin), Clock::system()).await.unwrap();
    let mut stream = TcpStream::connect(gateway.addresses()[0]).await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
    // It has come in once another request behind it was answered.
    assert!(is_served(gateway.addresses()[0]).await);
    gateway.reload(settings(B, &origin)).unwrap();
    assert!(head(&mut stream).await.is_some_and(|head| head.starts_with("HTTP/1.1 200 ")));
    gateway.stop().await;
}

#[tokio::test]
async fn who_waits_at_a_listener_that_goes_is_taken_in_as_before() {
    use std::io::Write as _;
    let origin = Origin::start().await;
    let proxied = "  - { name: p, address: \"127.0.0.1:0\", trusted_proxies: [127.0.0.0/8], proxy_protocol: true }";
    let both = format!("{proxied}\n{B}");
    let gateway = Gateway::start(settings(&both, &origin), Clock::system()).await.unwrap();
    // Nothing else runs in between, so it is in the system's queue when the listener goes.
    let mut waiting = std::net::TcpStream::connect(gateway.addresses()[0]).unwrap();
    waiting.write_all(b"PROXY TCP4 198.51.100.7 192.0.2.1 4660 443\r\n").unwrap();
    waiting.write_all(b"GET /who HTTP/1.1\r\nHost: gw\r\n\r\n").unwrap();
    gateway.reload(settings(B, &origin)).unwrap();
    waiting.set_nonblocking(true).unwrap();
    let mut waiting = TcpStream::from_std(waiting).unwrap();
    let mut answer = Vec::new();
    waiting.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("198.51.100.7 http"),
        "{answer}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_listener_that_cannot_be_opened_leaves_all_as_it_was() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(settings(A, &origin), Clock::system()).await.unwrap();
    let a = gateway.addresses()[0];
    let before = gateway.last_reload();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let wanted = format!("{B}\n  - {{ name: c, address: \"{}\" }}", taken.local_addr().unwrap());
    let refused = gateway.reload(settings(&wanted, &origin));
    assert!(matches!(refused, Err(NotReloaded::Listen(_))), "{refused:?}");
    assert_eq!(gateway.addresses(), [a]);
    assert!(is_served(a).await);
    let after = gateway.last_reload();
    assert_eq!((after.is_successful, after.hash), (false, before.hash));
    drop(taken);
    gateway.reload(settings(&wanted, &origin)).unwrap();
    assert!(gateway.last_reload().is_successful);
    assert_eq!(gateway.addresses().len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn changed_limits_of_a_listener_hold_for_who_comes_next() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(settings(A, &origin), Clock::system()).await.unwrap();
    let a = gateway.addresses()[0];
    let mut first = TcpStream::connect(a).await.unwrap();
    assert!(ask(&mut first).await);
    let with = |limits: &str| {
        format!("  - {{ name: a, address: \"127.0.0.1:0\", limits: {{ {limits} }} }}")
    };
    gateway.reload(settings(&with("connections: 1"), &origin)).unwrap();
    assert_eq!(gateway.addresses(), [a]);
    assert!(!is_served(a).await, "the one place is taken");
    assert!(ask(&mut first).await, "who is in stays in");
    gateway.reload(settings(&with("connections: 9"), &origin)).unwrap();
    assert!(is_served(a).await);
    gateway.stop().await;
}

#[tokio::test]
async fn six_hundred_reloads_leave_no_task_behind() {
    let origin = Origin::start().await;
    let gateway = Gateway::start(settings(A, &origin), Clock::system()).await.unwrap();
    assert!(is_served(gateway.addresses()[0]).await);
    let tasks = gateway.background_tasks();
    assert!(tasks > 0, "the upstream's health is watched");
    for reload in 0..600 {
        gateway.reload(settings(if reload % 2 == 0 { B } else { A }, &origin)).unwrap();
    }
    let ended = async {
        while gateway.background_tasks() > tasks {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::clients::LONG, ended).await.expect("what was before ends");
    assert!(is_served(gateway.addresses()[0]).await);
    gateway.stop().await;
}

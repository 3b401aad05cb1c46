//! The end of a gateway, in order.

use std::time::Duration;

use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tollgate::client::{Offer, Overrides, Wanted};
use tollgate::protocol::stellar::Network;

use crate::{
    clients::{self, LONG, Tally},
    origin::head,
    site::{Site, Version},
};

/// `GET path` on a new connection; what came until its end.
pub(crate) async fn fetch(address: std::net::SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let ask = format!("GET {path} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn j11_sigterm_under_load_cuts_nothing_off_and_ends_in_order() {
    let site = Site::start().await;
    let listen = "listen: 127.0.0.1:0\nadmin: { address: \"127.0.0.1:0\" }";
    site.write(&site.yaml(listen, Version::A));
    let mut gateway = site.run().await;
    let admin = gateway.logged("admin port open").await["fields"]["address"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let (base, address) = (gateway.base(), gateway.address);
    let agents = site.agents(&base, 4).await;
    let payee = site.payee_usdc();
    assert!(fetch(admin, "/readyz").await.unwrap().starts_with("HTTP/1.1 200 "));

    let mut asking: JoinSet<Tally> = JoinSet::new();
    let never = CancellationToken::new();
    for _ in 0..8 {
        asking.spawn(clients::ask(address, Duration::from_millis(20), never.clone()));
    }
    // Requests that are long under way, and payments that are being settled.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /slow HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
    let mut buying = JoinSet::new();
    for agent in agents {
        let challenge = agent.challenge_of(Method::GET, "/paid").await;
        let wanted = Wanted::by(tollgate::client::Method::X402, Network::Testnet);
        let Offer::X402(offer) = challenge.choose(&wanted).unwrap() else { panic!() };
        let credential = agent.client.sign_x402(&offer, &Overrides::default()).await.unwrap();
        buying.spawn(async move { agent.present_with(Method::GET, "/paid", &credential).await });
    }
    let sending = tollgate_sandbox::Method::SendTransaction;
    let begun = site.sandbox.calls(sending);
    while site.sandbox.calls(sending) == begun {
        tokio::task::yield_now().await;
    }

    gateway.signal("-TERM").await;
    gateway.logged("stopping").await;
    // Not ready any more, and still served for as long as `drain.delay` says.
    let ready = timeout(LONG, async {
        while fetch(admin, "/readyz").await.unwrap().starts_with("HTTP/1.1 200 ") {}
    });
    ready.await.expect("it says that it is stopping");
    let late = fetch(address, "/free").await.unwrap();
    assert!(late.starts_with("HTTP/1.1 200 "), "{late}");
    let answer = head(&mut slow).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"),
        "{answer}"
    );
    let mut bought = 0;
    while let Some(answer) = buying.join_next().await {
        answer.unwrap().assert_paid();
        bought += 1;
    }
    let ended = timeout(LONG * 2, gateway.child.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0), "{}", gateway.log());
    assert_eq!(site.payee_usdc() - payee, bought * Version::A.prices()[0]);
    // None of those who kept asking was cut off: each was told that its answer was the last.
    let mut sum = Tally::default();
    while let Some(tally) = asking.join_next().await {
        sum.add(tally.unwrap());
    }
    println!("{} requests, {} connections that ended in order", sum.requests, sum.reconnects);
    assert!(sum.reconnects > 0);
}

#[tokio::test]
async fn a_signal_during_the_start_ends_only_what_it_is_meant_to_end() {
    let site = Site::start().await;
    // A store that takes connections and says nothing holds the start up.
    let store = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redis = format!(
        "redis: {{ url: \"redis://{}\", durability: redis-single, timeout: 10s }}",
        store.local_addr().unwrap()
    );
    let yaml = site.yaml("listen: 127.0.0.1:0", Version::A);
    site.write(&yaml.replace("embedded: { path: ./state.redb }", &redis));
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["run", "--config"]).arg(site.config()).env_clear().envs(site.sandbox.env_lines());
    let mut gateway = command.kill_on_drop(true).spawn().unwrap();
    let _held = timeout(LONG, store.accept()).await.expect("it asks its store").unwrap();
    for signal in ["-HUP", "-USR1", "-TERM"] {
        let id = gateway.id().unwrap().to_string();
        let sent = tokio::process::Command::new("kill").args([signal, &id]).status().await;
        assert!(sent.unwrap().success(), "{signal}");
    }
    let ended = timeout(LONG, gateway.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}

#[tokio::test]
async fn j11_a_second_signal_ends_it_at_once() {
    let site = Site::start().await;
    site.write(&site.yaml("listen: 127.0.0.1:0", Version::A).replace("delay: 500ms", "delay: 10m"));
    let mut gateway = site.run().await;
    gateway.signal("-TERM").await;
    gateway.logged("stopping").await;
    gateway.signal("-TERM").await;
    let ended = timeout(LONG, gateway.child.wait()).await.expect("it ends").unwrap();
    assert_eq!(ended.code(), Some(1), "{}", gateway.log());
}

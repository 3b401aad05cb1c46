//! I09, I10: those who pay slowly, or only seem to, keep nobody else from paying.

use std::net::{Ipv4Addr, SocketAddr};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Duration, sleep, timeout},
};
use tollgate::client::Credential;
use tollgate_sandbox::{Method as Rpc, Moment};

use crate::world::{Agent, World, until};

/// As many payments as one address may have under way: half of the room.
const SHARE: usize = 512;
const LONG: Duration = Duration::from_secs(20);

/// A connection to the gateway from this address of the machine.
async fn from(address: u8, gateway: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, address), 0).into()).unwrap();
    socket.connect(gateway).await.unwrap()
}

/// Presents a payment from this address; what comes back can be read.
async fn present(address: u8, world: &World, credential: &Credential) -> TcpStream {
    let mut stream = from(address, world.gateway.addresses()[0]).await;
    let request = format!(
        "GET /weather HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\npayment-signature: {}\r\n\r\n",
        credential.header().to_str().unwrap(),
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The whole answer; fails instead of hanging.
async fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    timeout(LONG, stream.read_to_string(&mut answer)).await.expect("it hangs").unwrap();
    answer
}

async fn signed(agent: &Agent, count: usize) -> Vec<Credential> {
    let mut signed = Vec::new();
    while signed.len() < count {
        let some =
            (0..64.min(count - signed.len())).map(|_| agent.sign_for(Method::GET, "/weather"));
        signed.extend(join_all(some).await);
    }
    signed
}

#[tokio::test]
async fn i09_i10_payments_that_wait_for_the_ledger_have_a_share_and_others_go_on() {
    let world = World::start().await;
    let credentials = signed(&world.agent(), SHARE + 3).await;
    let stranger = world.payers(1).await.remove(0);
    let (of_stranger, of_payer) = (signed(&stranger, 1).await.remove(0), &credentials[SHARE + 1]);
    let before = world.sandbox.calls(Rpc::SimulateTransaction);
    let hold = world.sandbox.faults().hold(Rpc::SimulateTransaction, Moment::BeforeEffect);
    let flood = credentials[..SHARE].iter().map(|credential| present(1, &world, credential));
    let flood = join_all(flood).await;
    // What only seems to pay is found out before the ledger is asked, and takes no room.
    for _ in 0..10 {
        let mut forged = credentials[SHARE + 2].payload().clone();
        forged["accepted"]["amount"] = "1".into();
        let refused = answer(present(2, &world, &Credential::x402(forged)).await).await;
        assert!(refused.starts_with("HTTP/1.1 402 "), "{refused}");
    }
    // One more of the same address is sent away, told when to come again; so is its payer, from wherever it comes.
    for (address, credential) in [(1, &credentials[SHARE]), (2, of_payer)] {
        let begun = async {
            loop {
                let told = answer(present(address, &world, credential).await).await;
                if told.starts_with("HTTP/1.1 503 ") {
                    return told;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let told = timeout(LONG, begun).await.expect("it is never full");
        assert!(told.contains("\r\nretry-after: "), "{told}");
        assert!(!told.contains("payment-required: "), "no reason to pay anew: {told}");
    }
    let asked = world.sandbox.calls(Rpc::SimulateTransaction) - before;
    assert!(usize::try_from(asked).unwrap() <= SHARE + 8, "{asked} calls");
    // What is free goes on, and another payer is as well off as before.
    assert_eq!(world.agent().ask(Method::GET, "/health").await.status, StatusCode::OK);
    let other = present(3, &world, &of_stranger).await;
    until("the other is heard", || world.sandbox.calls(Rpc::SimulateTransaction) > before + asked)
        .await;
    drop(hold);
    let mut other = answer(other).await;
    let served = async {
        // All of them come to the upstream at once, which may be told to come again.
        while other.starts_with("HTTP/1.1 503 ") {
            sleep(Duration::from_millis(50)).await;
            other = answer(present(3, &world, &of_stranger).await).await;
        }
        other
    };
    let other = timeout(LONG, served).await.expect("it is never served");
    assert!(other.starts_with("HTTP/1.1 200 ") && other.contains("payment-response: "), "{other}");
    drop(flood);
    world.end().await;
}

#[tokio::test]
async fn i10_uploads_that_nobody_paid_for_have_a_share_of_the_upstream() {
    let routes = r"
  - { name: free, match: ANY /free, free: true }
  - { name: health, match: GET /health, free: true }
";
    let world = World::with_routes(routes).await;
    let gateway = world.gateway.addresses()[0];
    // More than half of what the upstream takes at once.
    let mut dribbling = Vec::new();
    for _ in 0..160 {
        let mut stream = from(3, gateway).await;
        let head = b"POST /free HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nslow";
        stream.write_all(head).await.unwrap();
        dribbling.push(stream);
    }
    let post = async |address| {
        let mut stream = from(address, gateway).await;
        let head = b"POST /free HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 4\r\n\r\n";
        stream.write_all(head).await.unwrap();
        stream.write_all(b"fast").await.unwrap();
        answer(stream).await
    };
    let full = async {
        loop {
            let told = post(3).await;
            if told.starts_with("HTTP/1.1 503 ") {
                return told;
            }
        }
    };
    let told = timeout(LONG, full).await.expect("it is never full");
    assert!(told.contains("\r\nretry-after: 1\r\n"), "{told}");
    assert!(post(2).await.starts_with("HTTP/1.1 200 "));
    // Others are not meant.
    assert_eq!(world.agent().ask(Method::GET, "/health").await.status, StatusCode::OK);
    for stream in &mut dribbling {
        // Some were sent away.
        drop(stream.write_all(b" body").await);
    }
    let again = async { while !post(3).await.starts_with("HTTP/1.1 200 ") {} };
    timeout(LONG, again).await.expect("there is room again");
    world.end().await;
}

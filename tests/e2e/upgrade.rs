//! A request for another protocol on a priced route: paid for at its handshake, and leading nowhere until then.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tollgate::client::Credential;

use crate::world::{PRICE, Plan, World};

/// An upstream that switches protocols at once, tells a secret, and sends back what comes; it tells of every connection
/// when that has ended what came over it.
struct Far {
    address: SocketAddr,
    ended: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Far {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let end = end.clone();
                tokio::spawn(async move { end.send(talk(stream).await) });
            }
        });
        Self { address, ended, task }
    }

    async fn ended(&mut self) -> String {
        timeout(LONG, self.ended.recv()).await.unwrap().unwrap()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn talk(mut stream: TcpStream) -> String {
    let mut all = head(&mut stream).await;
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsecret";
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        all.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        if stream.write_all(&piece[..length]).await.is_err() {
            break;
        }
    }
    all
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(LONG, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Asks to switch, with a payment or without; the head of the answer and the connection.
async fn ask(world: &World, credential: Option<&Credential>) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(world.gateway.addresses()[0]).await.unwrap();
    let payment = credential.map_or_else(String::new, |credential| {
        format!("{}: {}\r\n", credential.name(), credential.header().to_str().unwrap())
    });
    let request = format!(
        "GET /weather HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{payment}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    (head(&mut stream).await, stream)
}

async fn world(far: &Far) -> World {
    World::build(Plan { upstream: Some(far.address), ..Plan::default() }).await
}

#[tokio::test]
async fn g05_a_switch_is_paid_for_at_its_handshake() {
    let mut far = Far::start().await;
    let world = world(&far).await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let (unpaid, _) = ask(&world, None).await;
    assert!(unpaid.starts_with("HTTP/1.1 402 "), "{unpaid}");

    let credential = agent.sign("/weather", &Default::default()).await;
    let (paid, mut stream) = ask(&world, Some(&credential)).await;
    assert!(paid.starts_with("HTTP/1.1 101 "), "{paid}");
    for line in ["upgrade: websocket\r\n", "connection: upgrade\r\n", "payment-response: "] {
        assert!(paid.contains(line), "{paid}");
    }
    // The head left when the money had moved.
    assert_eq!(world.payee_usdc() - before, PRICE);
    stream.write_all(b"hello").await.unwrap();
    let mut said = [0; 11];
    timeout(LONG, stream.read_exact(&mut said)).await.unwrap().unwrap();
    assert_eq!(&said, b"secrethello");
    drop(stream);
    let heard = far.ended().await;
    assert!(heard.ends_with("\r\n\r\nhello"), "{heard}");
    assert!(!heard.contains("payment-signature"), "{heard}");

    // One payment, one handshake.
    let (again, _) = ask(&world, Some(&credential)).await;
    assert!(!again.starts_with("HTTP/1.1 101 "), "{again}");
    world.end().await;
}

#[tokio::test]
async fn g05_a_switch_whose_payment_fails_leads_nowhere() {
    let mut far = Far::start().await;
    let world = world(&far).await;
    let agent = world.agent();
    let credential = agent.sign("/weather", &Default::default()).await;
    // The upstream switches, and then the ledger does not take the payment.
    world.sandbox.faults().fail_transactions(1, |_| true);
    let (refused, mut stream) = ask(&world, Some(&credential)).await;
    assert!(refused.starts_with("HTTP/1.1 402 "), "{refused}");
    let heard = far.ended().await;
    assert!(heard.ends_with("\r\n\r\n"), "{heard}");
    // Nor when the connection ends, which is when hyper would hand it over.
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(LONG, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    let rest = String::from_utf8_lossy(&rest);
    assert!(!rest.contains("secret"), "{rest}");
    world.end().await;
}

const LONG: Duration = Duration::from_secs(20);

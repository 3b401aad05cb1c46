//! What is not the payer's doing costs it nothing: an RPC that is down or of another network, an upstream that is not there,
//! a gateway that is full. And what a page can read of it.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::sleep};
use tollgate::client::{Credential, Overrides};
use tollgate_sandbox::{Fault, Method as Rpc, Times};

use super::{by_hand, order, payer, present, pull, send, soon, unsponsored};
use crate::{
    forge::Spent,
    table::Deserted,
    upstream::Script,
    world::{Agent, Answer, PRICE, Plan, World, read},
};

/// A payment of POST `path` for the gateway to send.
async fn pulled(agent: &Agent, path: &str) -> Credential {
    let offer = agent.charge_offer_of(Method::POST, path).await;
    agent.client.sign_charge(&offer, &Overrides::default()).await.unwrap()
}

/// As a page of another origin asks.
async fn from_a_page(agent: &Agent, path: &str, credential: &Credential) -> Answer {
    let mut request = agent.request(Method::POST, path);
    request.headers_mut().insert("origin", "https://app.example".parse().unwrap());
    read(agent.client.present(request, credential).await.unwrap()).await
}

#[tokio::test]
async fn d09_a_gateway_that_starts_without_its_rpc_asks_nobody_for_money_until_it_is_there() {
    let world = World::build(unsponsored()).await;
    world.sandbox.faults().arm(None, Times::Always, Fault::Drop);
    let world = world.restart_unready(Duration::ZERO).await;
    let (agent, _) = payer(&world);
    for _ in 0..3 {
        agent.ask(Method::POST, "/order").await.assert_fault("payments-unavailable");
    }
    assert!(world.gateway.ready(Duration::ZERO).await.is_err());
    assert_eq!(agent.ask(Method::GET, "/health").await.status, StatusCode::OK);

    world.sandbox.faults().clear();
    world.until_ready().await;
    let credential = pulled(&agent, "/order").await;
    present(&agent, &credential).await.assert_charge_paid();
    world.end().await;
}

#[tokio::test]
async fn d10_an_rpc_of_another_network_takes_no_charges() {
    let plan = Plan { network: "stellar:pubnet", ..unsponsored() };
    let world = World::build_unready(plan).await;
    let (agent, _) = payer(&world);
    let trouble = world.gateway.ready(Duration::from_secs(1)).await.unwrap_err();
    assert!(trouble.0.contains("does not serve stellar:pubnet"), "{trouble}");
    agent.ask(Method::POST, "/order").await.assert_fault("payments-unavailable");
    assert_eq!(agent.ask(Method::GET, "/health").await.status, StatusCode::OK);
    assert_eq!(world.sandbox.calls(Rpc::SendTransaction), 0);
    world.end().await;
}

#[tokio::test]
async fn an_upstream_that_is_not_there_uses_up_no_attempt_and_one_that_fails_does() {
    let deserted = Deserted::new();
    let world = World::build(Plan { upstream: Some(deserted.address), ..unsponsored() }).await;
    deserted.leave().await;
    let (agent, _) = payer(&world);
    let before = world.payee_usdc();
    let credential = pulled(&agent, "/order").await;
    // Three attempts are what a route gives. Once it is known that nobody is there, the upstream is not asked.
    let (unknown, known) = (StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE);
    for status in [unknown, known, known, known, known] {
        let answer = present(&agent, &credential).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.receipt().is_none(), "{answer:?}");
        assert_eq!(world.payee_usdc() - before, PRICE);
    }
    // Nor is anybody asked to pay for it.
    let unpaid = agent.ask(Method::POST, "/order").await;
    assert_eq!(unpaid.status, StatusCode::SERVICE_UNAVAILABLE, "{unpaid:?}");
    assert!(unpaid.headers.get("www-authenticate").is_none(), "{unpaid:?}");
    world.reload(&unsponsored());
    world.upstream.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
    for attempt in 1..=2 {
        let answer = present(&agent, &credential).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{answer:?}");
        assert_eq!(world.upstream.hits().len(), attempt);
    }
    world.upstream.play(Script::default());
    present(&agent, &credential).await.assert_charge_paid();

    let unlucky = pulled(&agent, "/order").await;
    world.upstream.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
    for _ in 0..3 {
        assert_eq!(present(&agent, &unlucky).await.status, StatusCode::BAD_GATEWAY);
    }
    world.upstream.play(Script::default());
    present(&agent, &unlucky).await.assert_refused("duplicate_settlement");
    assert_eq!(world.upstream.hits().len(), 6);
    assert_eq!(world.payee_usdc() - before, 2 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn i10_bodies_that_are_read_whole_have_a_share_of_room_and_who_finds_none_is_not_charged() {
    let routes = r#"
  - { name: big, match: POST /order, price: "$0.001", accept: [mpp.charge], bind_body: true, limits: { body: 32MiB }, timeout: 30s }
"#;
    let world = World::build(Plan { routes, ..unsponsored() }).await;
    let (agent, _) = payer(&world);
    let credential = pulled(&agent, "/order").await;
    let spent = Spent::of(&world);
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(world.gateway.addresses()[0]).await.unwrap();
        let head = format!(
            "POST /order HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\ncontent-length: 33554432\r\n\r\n",
            credential.header().to_str().unwrap(),
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; 33_554_431]).await.unwrap();
        slow.push(stream);
    }
    let order = |body: &'static [u8]| {
        agent.request(Method::POST, "/order").map(|_| Bytes::from_static(body))
    };
    let present =
        async |body| read(agent.client.present(order(body), &credential).await.unwrap()).await;
    // It was signed for an empty body.
    let until = async |is_so: fn(StatusCode) -> bool| loop {
        let answer = present(b"x").await;
        if is_so(answer.status) {
            break answer;
        }
        sleep(Duration::from_millis(5)).await;
    };
    let full = soon("the room is full", until(|status| status != 402)).await;
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE, "{full:?}");
    assert!(full.headers.contains_key("retry-after") && full.charges().is_empty(), "{full:?}");
    // What pays nothing is not kept, so there is always room for that.
    let unpaid = read(agent.client.exchange(order(&[b'x'; 100_000])).await.unwrap()).await;
    assert_eq!(unpaid.status, StatusCode::PAYMENT_REQUIRED, "{unpaid:?}");
    assert_eq!(Spent::of(&world), spent);
    // Somebody else has a share of its own: its body is read, and is not the one that was signed for.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    let mut other = socket.connect(world.gateway.addresses()[0]).await.unwrap();
    let request = format!(
        "POST /order HTTP/1.1\r\nhost: localhost\r\nauthorization: {}\r\ncontent-length: 1\r\n\r\nx",
        credential.header().to_str().unwrap(),
    );
    other.write_all(request.as_bytes()).await.unwrap();
    let mut told = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut other, &mut told).await.unwrap();
    assert_eq!(&told, b"HTTP/1.1 402");

    drop(slow);
    soon("there is room again", until(|status| status == 402)).await;
    present(b"").await.assert_charge_paid();
    world.end().await;
}

#[tokio::test]
async fn a_charged_failure_of_the_upstream_carries_no_charge_receipt() {
    let routes = r#"
  - { name: order, match: POST /order, price: "$0.001", accept: [mpp.charge], charge_when: "<600", timeout: 5s }
  - { name: late, match: POST /late, price: "$0.001", accept: [mpp.charge], settle: after, charge_when: "<600", timeout: 5s }
"#;
    let world = World::build(Plan { routes, ..unsponsored() }).await;
    let (agent, _) = payer(&world);
    let before = world.payee_usdc();
    let mut paid = 0;
    let failures =
        [("/order", StatusCode::NOT_FOUND), ("/late", StatusCode::INTERNAL_SERVER_ERROR)];
    for (path, status) in failures {
        world.upstream.play(Script { status, ..Script::default() });
        let credential = pulled(&agent, path).await;
        let answer = agent.present_with(Method::POST, path, &credential).await;
        paid += PRICE;
        assert_eq!((answer.status, world.payee_usdc() - before), (status, paid), "{path}");
        assert!(answer.receipt().is_none(), "{answer:?}");
        assert_eq!(answer.headers["cache-control"], "private", "{answer:?}");
        let again = agent.present_with(Method::POST, path, &credential).await;
        again.assert_refused("duplicate_settlement");
        world.upstream.play(Script::default());
        let credential = pulled(&agent, path).await;
        agent.present_with(Method::POST, path, &credential).await.assert_charge_paid();
        paid += PRICE;
    }
    assert_eq!(world.payee_usdc() - before, paid);
    world.end().await;
}

#[tokio::test]
async fn a_page_can_read_what_the_gateway_says_and_of_the_upstream_what_that_allows() {
    let world = by_hand().await;
    let (agent, own) = payer(&world);
    let (offer, envelope) = order(&agent).await;
    send(&world, &envelope);
    let hash = agent.client.hash(&envelope).unwrap();
    let (pulled, pushed) = (pull(&offer, &envelope, &own), offer.push(hash, &own));
    let conflict = from_a_page(&agent, "/order", &pulled).await;
    conflict.assert_in_use("transaction_sent_already");
    let pending = from_a_page(&agent, "/order", &pushed).await;
    assert_eq!(pending.assert_pending(), hash.to_string());
    for answer in [&conflict, &pending] {
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "{answer:?}");
    }
    assert!(!present(&agent, &pushed).await.headers.contains_key("access-control-allow-origin"));

    world.sandbox.close_ledger().await;
    let served = from_a_page(&agent, "/order", &pushed).await;
    served.assert_charge_paid();
    assert!(!served.headers.contains_key("access-control-allow-origin"), "{served:?}");
    let exposed = served.headers["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("Payment-Receipt"), "{exposed}");

    let allowed = ("access-control-allow-origin", "https://app.example");
    world.upstream.play(Script { headers: vec![allowed], ..Script::default() });
    let (offer, envelope) = order(&agent).await;
    let credential = pull(&offer, &envelope, &own);
    let presented = from_a_page(&agent, "/order", &credential);
    let served = world.while_ledgers_close(presented).await;
    served.assert_charge_paid();
    let origins: Vec<_> = served.headers.get_all(allowed.0).iter().collect();
    assert_eq!(origins, [allowed.1], "{served:?}");
    world.end().await;
}

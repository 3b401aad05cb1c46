//! I10: clients that go away at every step of an upload, many at once, cost nobody money and leave no room taken.

use futures_util::future::join_all;
use http::{Method, header::AUTHORIZATION};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Duration, sleep, timeout},
};
use tollgate::protocol::mpp::Credential;

use crate::{
    payer::{Payer, asked},
    world::{PRICE, World},
};

/// Where a client goes away, or that it does not.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    BehindHead,
    InBody,
    BehindBody,
    Never,
}

/// Sends a request with this payment until the client goes away; what the answer says, if it stays.
async fn send(world: &World, payer: &Payer, credential: &Credential, leaves: Leaves) -> String {
    let mut stream = TcpStream::connect(world.gateway.addresses()[0]).await.unwrap();
    let head = format!(
        "POST /act HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {}\r\npayment-channel: {}\r\n\
         content-length: 10\r\n\r\n",
        credential.encode().to_str().unwrap(),
        payer.channel,
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let body: &[u8] = match leaves {
        Leaves::BehindHead => b"",
        Leaves::InBody => b"01234",
        Leaves::BehindBody | Leaves::Never => b"0123456789",
    };
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    if let Leaves::Never = leaves {
        timeout(Duration::from_secs(20), stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
    } else {
        // Its request is taken up by then, or not: either is fair.
        sleep(Duration::from_millis(20)).await;
    }
    answer
}

#[tokio::test]
async fn i10_clients_that_go_away_at_each_step_lose_no_money_and_leave_no_room_taken() {
    let world = World::start().await;
    let payer = world.payer().await;
    let mut credentials = Vec::new();
    for index in 1..=48 {
        let unpaid = payer.send(payer.request(Method::POST, "/act")).await;
        let challenge = unpaid.channel_challenge().unwrap();
        credentials.push(payer.commit(&challenge, PRICE * index));
    }
    let steps = [Leaves::BehindHead, Leaves::InBody, Leaves::BehindBody, Leaves::Never];
    let clients = credentials.iter().zip(steps.into_iter().cycle());
    let clients = clients.map(|(credential, leaves)| {
        let (world, payer) = (&world, &payer);
        async move { (leaves, send(world, payer, credential, leaves).await) }
    });
    for (leaves, answer) in join_all(clients).await {
        if let Leaves::Never = leaves {
            // 402 where a commitment that is above it was taken before, and no credit was left for this one.
            let is_fair =
                answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 402 ");
            assert!(is_fair, "{answer}");
        }
    }
    // What was not delivered is credit: another request costs no more than is missing of its price.
    let settled = async {
        loop {
            let unpaid = payer.send(payer.request(Method::POST, "/act")).await;
            let challenge = unpaid.channel_challenge().unwrap();
            let (above, more) = asked(&challenge);
            let mut request = payer.request(Method::POST, "/act");
            request
                .headers_mut()
                .insert(AUTHORIZATION, payer.commit(&challenge, above + more).encode());
            let answer = payer.send(request).await;
            if answer.status == http::StatusCode::OK {
                return answer.assert_channel_paid();
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let (authorised, spent) = timeout(Duration::from_secs(20), settled).await.unwrap();
    assert!(spent <= authorised);
    // Bodies that came whole were delivered, whether or not their client stayed; nothing else was.
    let come = || world.upstream.hits().into_iter().filter(|hit| hit.body.len() == 10).count();
    let mut whole = 0;
    while whole != come() {
        whole = come();
        sleep(Duration::from_millis(300)).await;
    }
    let account = world.end_and_read(payer.channel).await.unwrap();
    let delivered = i128::try_from(whole + 1).unwrap() * PRICE;
    assert_eq!(account.standing().spent.units(), delivered, "{whole} came whole");
}

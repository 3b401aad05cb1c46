//! A client that takes longer to send its body than a reservation lasts.

use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Duration, sleep, timeout},
};

use crate::{
    payer::due,
    world::{PRICE, Plan, World},
};

/// It takes the minute that a body may take, so it runs where `TOLLGATE_SLOW_TESTS` is set. That a payment's patience has
/// this effect is tested beside the guard, without the minute.
#[tokio::test]
async fn slow_a_body_that_takes_too_long_is_cut_off_and_costs_nothing() {
    if std::env::var_os("TOLLGATE_SLOW_TESTS").is_none() {
        eprintln!("skipped: TOLLGATE_SLOW_TESTS is not set");
        return;
    }
    let routes = r#"  - { name: act, match: POST /act, price: "$0.001", accept: [mpp.channel], timeout: 1s }"#;
    let world = World::build(Plan { routes, ..Plan::default() }).await;
    let payer = world.payer().await;
    let unpaid = payer.send(payer.request(Method::POST, "/act")).await;
    let credential = payer.commit(&unpaid.channel_challenge().unwrap(), PRICE);
    let mut stream = TcpStream::connect(world.gateway.addresses()[0]).await.unwrap();
    let head = format!(
        "POST /act HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\npayment-channel: {}\r\n\
         transfer-encoding: chunked\r\n\r\n",
        credential.encode().to_str().unwrap(),
        payer.channel,
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A client that is slow, and never silent.
    let (mut answer, mut output) = stream.into_split();
    let sending = async move {
        while output.write_all(b"1\r\nx\r\n").await.is_ok() {
            sleep(Duration::from_millis(500)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut told = vec![0; 12];
    tokio::select! {
        read = timeout(Duration::from_secs(100), answer.read_exact(&mut told)) => {
            read.unwrap().unwrap();
        }
        () = sending => unreachable!("it goes on"),
    }
    assert_eq!(told, b"HTTP/1.1 504");
    // It is credit, and a client that hurries pays with the same commitment.
    let unpaid = payer.send(payer.request(Method::POST, "/act")).await;
    assert_eq!(due(&unpaid.channel_challenge().unwrap()), PRICE + 1);
    let mut again = payer.request(Method::POST, "/act");
    again.headers_mut().insert(http::header::AUTHORIZATION, credential.encode());
    assert_eq!(payer.send(again).await.assert_channel_paid(), (PRICE, PRICE));
    world.end().await;
}

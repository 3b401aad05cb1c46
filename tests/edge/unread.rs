//! Bodies that nobody reads: the connection goes on behind them, or the answer says that it does not.

use tokio::net::TcpStream;

use crate::site::{Site, Wire, status_of};

/// Longer than what is read at once, and no longer than what is read for nothing.
const SHORT: usize = 600 << 10;
const LONG: usize = 4 << 20;

fn post(length: usize, more: &str) -> Vec<u8> {
    let head =
        format!("POST /kept/x HTTP/1.1\r\nHost: gw\r\n{more}content-length: {length}\r\n\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + length, b'b');
    request
}

async fn goes_on(client: &mut Wire<TcpStream>) {
    client.send("GET /free/x HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert_eq!(status_of(&client.message().await.unwrap()), 200);
}

fn closes(answer: &str) -> bool {
    answer.to_ascii_lowercase().contains("connection: close\r\n")
}

#[tokio::test]
async fn a_connection_goes_on_behind_a_body_that_is_answered_unread() {
    let site = Site::start().await;
    let mut client = site.client().await;
    let mut chunked =
        b"POST /kept/x HTTP/1.1\r\nHost: gw\r\ntransfer-encoding: chunked\r\n\r\n20000\r\n"
            .to_vec();
    chunked.resize(chunked.len() + 0x20000, b'b');
    chunked.extend(b"\r\n0\r\n\r\n");
    for request in [post(SHORT, ""), chunked].iter().cycle().take(20) {
        client.send(request).await;
        let answer = client.message().await.unwrap();
        assert_eq!(status_of(&answer), 403);
        assert!(!closes(&answer), "{answer}");
        goes_on(&mut client).await;
    }
}

#[tokio::test]
async fn an_answer_to_a_body_that_is_too_long_to_be_read_for_nothing_says_that_the_connection_is_closed()
 {
    let site = Site::start().await;
    let held =
        "POST /kept/x HTTP/1.1\r\nHost: gw\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    for request in [post(LONG, ""), held.into()] {
        let mut client = site.client().await;
        client.send(request).await;
        let answer = client.rest().await;
        assert_eq!(status_of(&answer), 403);
        assert!(closes(&answer), "{answer}");
    }
    // Nothing is wrong with them where they are wanted.
    let mut client = site.client().await;
    client.send("POST /free/x HTTP/1.1\r\nHost: gw\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await;
    let answer = client.message().await.unwrap();
    assert!(!closes(&answer), "{answer}");
    goes_on(&mut client).await;
}

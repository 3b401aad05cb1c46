//! The configuration: what is told of it, and the order to read it anew.

use super::*;

#[tokio::test]
async fn the_configuration_and_the_routes_are_told_to_who_has_the_token() {
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    let bearer = bearer();
    for (path, told) in [("/config_dump", port.stub.config()), ("/routes", port.stub.routes())] {
        assert_eq!(port.ask(&format!("GET {path}"), &[]).await.0, 401, "{path}");
        let asked = port.ask(&format!("GET {path}"), &[("authorization", &bearer)]).await;
        assert_eq!(asked, (200, told), "{path}");
        let posted = port.ask(&format!("POST {path}"), &[("authorization", &bearer)]).await;
        assert_eq!(posted.0, 405, "{path}");
    }
    for path in ["/live", "/ready"] {
        assert_eq!(port.ask(&format!("GET {path}"), &[]).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_get_on_is_not_healthy() {
    let port = Port::start(Some(TOKEN), Stub { trouble: Some(STUCK), ..Stub::default() }).await;
    for path in ["/healthz", "/live"] {
        assert_eq!(port.ask(&format!("GET {path}"), &[]).await.0, 503, "{path}");
    }
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    assert_eq!(port.ask("GET /healthz", &[]).await, (200, json!({ "status": "ok" })));
}

#[tokio::test]
async fn one_host_keeps_nobody_else_out() {
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    let mut held = Vec::new();
    for _ in 0..LIMITS.connections {
        held.push(TcpStream::connect(port.address).await.unwrap());
    }
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(port.address).await.unwrap();
    other.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    other.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[tokio::test]
async fn the_configuration_is_read_anew_by_order_and_what_is_wrong_with_it_is_told() {
    let bearer = bearer();
    let token = [("authorization", bearer.as_str())];
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    assert_eq!(port.order("/-/reload", &token).await, (200, json!({ "config": "abc" })));
    assert_eq!(port.order("/-/reload", &[]).await.0, 401);
    assert_eq!(port.ask("GET /-/reload", &token).await.0, 405);
    let foreign = [token[0], ("origin", "http://evil.example")];
    assert_eq!(port.order("/-/reload", &foreign).await.0, 403);
    let port = Port::start(Some(TOKEN), Stub { trouble: Some("bad"), ..Stub::default() }).await;
    let told = json!({ "error": "gateway.yaml:1:1: bad" });
    assert_eq!(port.order("/-/reload", &token).await, (422, told));
    // As `curl -X POST` sends it: nothing that a form could send says more.
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    assert_eq!(port.send("POST /-/reload", &token, "").await.0, 200);
}

#[tokio::test]
async fn payments_whose_outcome_is_not_known_are_told_with_what_they_come_to() {
    let bearer = bearer();
    let token = [("authorization", bearer.as_str())];
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    assert_eq!(port.ask("GET /payments", &[]).await.0, 401);
    let (status, told) = port.ask("GET /payments", &token).await;
    assert_eq!(status, 200);
    let usdc = Network::Testnet.usdc().contract.to_string();
    let one = json!({
        "id": "01".repeat(32), "method": "x402", "amount": "70000", "token": usdc,
        "asset": { "name": "USDC", "decimals": 7 }, "payer": null,
        "transaction": "07".repeat(32), "valid_until": 1_700_000_000,
    });
    let mut unreadable = one.clone();
    for member in ["method", "amount", "token", "asset"] {
        unreadable[member] = Value::Null;
    }
    assert_eq!(told, json!({ "unresolved": [one, unreadable], "more": false }));
    let port = Port::start(Some(TOKEN), Stub { trouble: Some("bad"), ..Stub::default() }).await;
    assert_eq!(port.ask("GET /payments", &token).await.0, 503);
}

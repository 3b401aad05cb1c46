//! What an order is, and what is none.

use super::{super::asked::MOST_BYTES, *};

/// J07: what only tells changes nothing, by whatever method it is asked.
#[tokio::test]
async fn j07_only_post_gives_orders() {
    let port = Port::start(None, Stub::default()).await;
    let json = [("content-type", "application/json")];
    for path in [format!("/channels/{OPEN}/settle"), format!("/channels/{OPEN}/close")] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let (status, _) = port.send(&format!("{method} {path}"), &json, "{}").await;
            assert_eq!(status, 405, "{method} {path}");
        }
    }
    // `close` where a channel would stand is the order to close all.
    assert_eq!(port.ask("GET /channels/close", &json).await.0, 405);
    assert_eq!(port.send("POST /channels", &json, "{}").await.0, 405);
    assert_eq!(port.stub.orders(), [""; 0]);
}

#[tokio::test]
async fn an_order_is_a_small_json_object() {
    let port = Port::start(None, Stub::default()).await;
    let close = format!("POST /channels/{OPEN}/close");
    let json = [("content-type", "application/json; charset=utf-8")];
    for body in ["", "[]", "null", "{", "{\"all\":true}", "{} {}"] {
        assert_eq!(port.send(&close, &json, body).await.0, 400, "{body}");
    }
    let large = format!("{{{}}}", " ".repeat(MOST_BYTES));
    assert_eq!(port.send(&close, &json, &large).await.0, 413);
    assert_eq!(port.stub.orders(), [""; 0]);
    assert_eq!(port.send(&close, &json, " {} ").await.0, 200);
}

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

//! The valve: what is forwarded, and what a client is told.

use bytes::Bytes;
use http::{Method, Request, StatusCode};

use crate::{
    upstream::{BODY, Script},
    world::{PRICE, World, read},
};

#[tokio::test]
async fn a_paid_request_is_served_once_with_the_exact_bytes_and_the_exact_price() {
    let world = World::start().await;
    let (agent, before) = (world.agent(), world.payee_usdc());

    let refused = agent.ask(Method::GET, "/weather?day=1").await;
    refused.assert_refused("Payment required");
    assert!(world.upstream.hits().is_empty());

    let paid = agent.pay("/weather?day=1").await;
    paid.assert_paid();
    assert_eq!(&paid.body[..], BODY);
    assert_eq!(paid.headers["cache-control"], "private");
    assert_eq!(world.payee_usdc() - before, PRICE);
    let hits = world.upstream.hits();
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].target, "/weather?day=1");
    assert!(!hits[0].headers.contains_key("payment-signature"), "{:?}", hits[0].headers);
    world.end().await;
}

#[tokio::test]
async fn b27_a_free_route_ignores_a_payment_and_does_not_forward_it() {
    let world = World::start().await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let credential = agent.sign("/weather", &Default::default()).await;

    let answer = agent.present("/health", &credential).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.settlement().is_none());
    assert!(!world.upstream.hits()[0].headers.contains_key("payment-signature"));
    assert_eq!(world.payee_usdc(), before);

    agent.present("/weather", &credential).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn e12_head_is_priced_as_get_and_the_402_has_no_body() {
    let world = World::start().await;
    let agent = world.agent();
    let refused = agent.ask(Method::HEAD, "/weather").await;
    assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED);
    assert!(refused.body.is_empty());
    assert!(refused.headers.contains_key("payment-required"));
    assert!(world.upstream.hits().is_empty());

    let paid = agent.pay_with(Method::HEAD, "/weather", Bytes::new()).await;
    paid.assert_paid();
    assert_eq!(world.upstream.hits()[0].method, Method::HEAD);
    world.end().await;
}

#[tokio::test]
async fn e13_a_preflight_is_free_and_answered_by_the_gateway() {
    let world = World::start().await;
    let agent = world.agent();
    let request = Request::options(world.url("/weather"))
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "payment-signature")
        .body(Bytes::new())
        .unwrap();
    let answer = read(agent.client.exchange(request).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let allowed = answer.headers["access-control-allow-headers"].to_str().unwrap();
    assert!(allowed.contains("PAYMENT-SIGNATURE"), "{allowed}");
    assert!(allowed.contains("Access-Control-Expose-Headers"), "{allowed}");
    assert!(world.upstream.hits().is_empty());
    world.end().await;
}

#[tokio::test]
async fn e16_what_matches_no_route_is_404_and_never_forwarded() {
    let world = World::start().await;
    let agent = world.agent();
    for path in ["/", "/other", "/weather/more"] {
        assert_eq!(agent.ask(Method::GET, path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(agent.ask(Method::POST, "/weather").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(world.upstream.hits().is_empty());
    world.end().await;
}

#[tokio::test]
async fn h05_payment_headers_of_the_upstream_do_not_reach_the_client() {
    let world = World::start().await;
    world.upstream.play(Script {
        headers: vec![
            ("payment-response", "upstream"),
            ("payment-receipt", "upstream"),
            ("www-authenticate", "Payment id=\"upstream\""),
            ("cache-control", "public, s-maxage=600"),
            ("x-own", "1"),
        ],
        ..Script::default()
    });
    let paid = world.agent().pay("/weather").await;
    paid.assert_paid();
    assert!(!paid.headers.contains_key("payment-receipt"));
    assert!(!paid.headers.contains_key("www-authenticate"));
    assert_eq!(paid.headers["x-own"], "1");
    assert_eq!(paid.headers["cache-control"], "private");
    world.end().await;
}

#[tokio::test]
async fn a_person_with_a_browser_gets_a_page_and_the_challenge_all_the_same() {
    let world = World::start().await;
    let agent = world.agent();
    let request = Request::get(world.url("/weather?q=<b>"))
        .header("accept", "text/html,application/xhtml+xml")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")
        .body(Bytes::new());
    // A `<` is no legal character of a target; an encoded one is.
    assert!(request.is_err());
    let request = Request::get(world.url("/weather?q='\"%3Cb%3E".replace('"', "%22").as_str()))
        .header("accept", "text/html,application/xhtml+xml")
        .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")
        .body(Bytes::new())
        .unwrap();
    let answer = read(agent.client.exchange(request).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
    assert!(answer.headers.contains_key("payment-required"));
    assert_eq!(answer.headers["cache-control"], "no-store");
    let page = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(page.contains("0.001 USDC"), "{page}");
    assert!(page.contains("q=&#39;%22%3Cb%3E"), "{page}");
    agent.ask(Method::GET, "/weather").await.assert_refused("Payment required");
    world.end().await;
}

#[tokio::test]
async fn h09_scripts_of_any_origin_may_pay_and_none_gets_cookies() {
    let world = World::start().await;
    let agent = world.agent();
    for origin in ["https://evil.example", "null", "https://app.example"] {
        let ask = |builder: http::request::Builder| {
            builder
                .header("origin", origin)
                .header("access-control-request-method", "GET")
                .header("cookie", "session=1")
                .body(Bytes::new())
                .unwrap()
        };
        for request in
            [ask(Request::options(world.url("/weather"))), ask(Request::get(world.url("/weather")))]
        {
            let is_preflight = request.method() == Method::OPTIONS;
            let answer = read(agent.client.exchange(request).await.unwrap()).await;
            assert_eq!(answer.headers["access-control-allow-origin"], "*", "{origin}");
            assert!(!answer.headers.contains_key("access-control-allow-credentials"), "{origin}");
            assert_eq!(answer.headers["cache-control"], "no-store");
            if !is_preflight {
                assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
                let exposed = answer.headers["access-control-expose-headers"].to_str().unwrap();
                for header in ["PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "WWW-Authenticate"] {
                    assert!(exposed.contains(header), "{exposed}");
                }
            }
        }
    }
    assert!(world.upstream.hits().is_empty());
    world.end().await;
}

/// A script learns why it is refused, whatever the reason; what the upstream answers is the upstream's to show.
#[tokio::test]
async fn h09_scripts_read_each_refusal_and_no_answer_of_the_upstream() {
    let world = World::start().await;
    let agent = world.agent();
    let long = Bytes::from(vec![b'b'; (1 << 20) + 1]);
    for (method, path, body, status) in [
        (Method::GET, "/none", Bytes::new(), 404),
        (Method::POST, "/weather", Bytes::new(), 405),
        (Method::GET, "/WEATHER", Bytes::new(), 404),
        (Method::POST, "/order", long.clone(), 413),
        (Method::POST, "/order?_method=PUT", Bytes::new(), 400),
    ] {
        let mut request = agent.request(method, path).map(|_| body);
        let answer = read(agent.client.exchange(request.clone()).await.unwrap()).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{path}");
        request.headers_mut().insert("origin", "https://app.example".parse().unwrap());
        let answer = read(agent.client.exchange(request).await.unwrap()).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "{path}");
    }
    let mut request = agent.request(Method::GET, "/health");
    request.headers_mut().insert("origin", "https://app.example".parse().unwrap());
    let free = read(agent.client.exchange(request).await.unwrap()).await;
    assert_eq!(free.status, StatusCode::OK);
    assert!(!free.headers.contains_key("access-control-allow-origin"));
    world.end().await;
}

#[tokio::test]
async fn a_grpc_call_is_told_the_price_as_a_grpc_status_and_a_paid_one_is_the_upstreams() {
    let world = World::start().await;
    let agent = world.agent();
    let call = |path: &str| {
        Request::get(world.url(path))
            .header("content-type", "application/grpc+proto")
            .body(Bytes::new())
            .unwrap()
    };
    for (path, code) in [("/weather", "9"), ("/none", "12")] {
        let told = read(agent.client.exchange(call(path)).await.unwrap()).await;
        assert_eq!(told.status, StatusCode::OK, "{told:?}");
        assert_eq!(told.headers["content-type"], "application/grpc");
        assert_eq!(told.headers["grpc-status"], code, "{told:?}");
        assert_eq!(told.headers["cache-control"], "no-store");
        assert!(told.headers.contains_key("grpc-message") && told.body.is_empty(), "{told:?}");
        assert_eq!(told.headers.contains_key("payment-required"), path == "/weather");
    }
    assert!(world.upstream.hits().is_empty());
    let free = read(agent.client.exchange(call("/health")).await.unwrap()).await;
    assert!(!free.headers.contains_key("grpc-status"));
    assert_eq!(&free.body[..], BODY);
    world.end().await;
}

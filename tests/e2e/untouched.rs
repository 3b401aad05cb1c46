//! E10, H10, H11: what was asked for is what is served, and no body is looked into or made smaller.

use std::process::Stdio;

use bytes::Bytes;
use http::{HeaderName, Method, Request, StatusCode};
use tollgate::client::{Credential, Overrides};

use crate::{
    process::Site,
    world::{Agent, Answer, Plan, World, read},
};

async fn with_headers(
    agent: &Agent,
    (method, path): (Method, &str),
    headers: &[(&str, &str)],
    credential: Option<&Credential>,
) -> Answer {
    let mut request: Request<Bytes> = agent.request(method, path);
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    read(match credential {
        Some(credential) => agent.client.present(request, credential).await.unwrap(),
        None => agent.client.exchange(request).await.unwrap(),
    })
    .await
}

#[tokio::test]
async fn e10_no_header_turns_what_was_paid_for_into_something_else() {
    const OVERRIDES: [(&str, &str); 9] = [
        ("x-http-method-override", "DELETE"),
        ("x-http-method", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x_http_method_override", "DELETE"),
        ("x-original-url", "/dear"),
        ("x-original-uri", "/dear"),
        ("x-rewrite-url", "/dear"),
        ("x_original_url", "/dear"),
        ("x-forwarded-prefix", "/dear"),
    ];
    let world = World::start().await;
    let agent = world.agent();
    let weather = (Method::GET, "/weather");
    let refused = with_headers(&agent, weather.clone(), &OVERRIDES, None).await;
    refused.assert_refused("Payment required");
    let credential = agent.sign("/weather", &Overrides::default()).await;
    let kept = ("x-own", "1");
    let headers = [&OVERRIDES[..], &[kept]].concat();
    with_headers(&agent, weather, &headers, Some(&credential)).await.assert_paid();
    let free = with_headers(&agent, (Method::GET, "/health"), &headers, None).await;
    assert_eq!(free.status, StatusCode::OK);
    let hits = world.upstream.hits();
    for (hit, target) in hits.iter().zip(["/weather", "/health"]) {
        assert_eq!((&hit.method, hit.target.as_str()), (&Method::GET, target));
        assert_eq!(hit.headers["x-own"], "1");
        for (name, _) in OVERRIDES {
            assert!(!hit.headers.contains_key(name), "{name}: {:?}", hit.headers);
        }
    }
    assert_eq!(hits.len(), 2);
    world.end().await;
}

#[tokio::test]
async fn e10_a_query_turns_no_request_into_one_of_another_route() {
    let routes = r#"
  - { match: POST /order, price: "$0.001", accept: [x402] }
  - { match: DELETE /order, price: "$1", accept: [x402] }
  - { match: POST /note, free: true }
  - { match: ANY /any, free: true }
"#;
    let world = World::with_routes(routes).await;
    let agent = world.agent();
    for target in ["/order?_method=DELETE", "/order?a=b&%5Fmethod=delete", "/note?_method=PUT"] {
        let told = agent.ask(Method::POST, target).await;
        assert_eq!(told.status, StatusCode::BAD_REQUEST, "{target}");
        assert!(!told.headers.contains_key("payment-required"), "{target}");
    }
    assert!(world.upstream.hits().is_empty());
    for target in ["/order?_method=POST", "/order?method=DELETE"] {
        agent.ask(Method::POST, target).await.assert_refused("Payment required");
    }
    for (method, target) in [
        (Method::POST, "/note?_method=post"),
        (Method::POST, "/any?_method=DELETE"),
        (Method::GET, "/any?_method=DELETE"),
    ] {
        assert_eq!(agent.ask(method, target).await.status, StatusCode::OK, "{target}");
    }
    assert_eq!(world.upstream.hits().len(), 3);
    world.end().await;
}

#[tokio::test]
async fn h10_a_challenge_is_never_compressed_and_the_upstream_may() {
    let world = World::start().await;
    let agent = world.agent();
    let accepts = [("accept-encoding", "gzip, br, zstd, deflate;q=0.5"), ("te", "gzip, trailers")];
    let weather = (Method::GET, "/weather");
    let secret = with_headers(&agent, weather.clone(), &accepts, None).await;
    secret.assert_refused("Payment required");
    for name in ["content-encoding", "transfer-encoding"] {
        assert!(!secret.headers.contains_key(name), "{secret:?}");
    }
    let credential = agent.sign("/weather", &Overrides::default()).await;
    with_headers(&agent, weather, &accepts, Some(&credential)).await.assert_paid();
    let hits = world.upstream.hits();
    assert_eq!(hits[0].headers["accept-encoding"], "gzip, br, zstd, deflate;q=0.5");
    world.end().await;
}

/// Zeros, compressed to a thousandth of their length.
async fn bomb(mebibytes: u32) -> Bytes {
    let zeros = format!("head -c {mebibytes}M /dev/zero | gzip -9");
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", &zeros]).stderr(Stdio::null());
    command.output().await.unwrap().stdout.into()
}

#[tokio::test]
async fn h11_a_body_that_unfolds_to_a_thousand_times_its_size_passes_as_it_is() {
    let site = Site::new(&Plan::default()).await;
    let process = site.run().await;
    let agent = site.agent(&process);
    agent.pay_with(Method::POST, "/order", Bytes::from_static(b"warm")).await.assert_paid();
    let body = bomb(128).await;
    assert!(body.len() > 100_000 && body.len() < 1 << 20, "{}", body.len());
    let small = process.resident_kib();
    let credential = agent.sign_for(Method::POST, "/order").await;
    let mut request = agent.request(Method::POST, "/order").map(|_| body.clone());
    request.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    let paid = read(agent.client.present(request, &credential).await.unwrap()).await;
    paid.assert_paid();
    let hits = site.upstream.hits();
    assert!(hits[1].body == body, "{} of {}", hits[1].body.len(), body.len());
    assert_eq!(hits[1].headers["content-encoding"], "gzip");
    let grown = process.resident_kib().saturating_sub(small);
    assert!(grown < 16 * 1024, "{grown} KiB");
}

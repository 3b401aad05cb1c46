//! G10: where clients know the gateway by `https`, nobody is asked for money over plain HTTP.

use std::{fs, sync::Arc};

use http::{HeaderValue, Method, StatusCode};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tollgate::client::Overrides;

use crate::world::{Agent, Answer, PRICE, Plan, World, read};

/// Asks for GET `path`, as a proxy hands it on to which a client came by `protocol`.
async fn ask(agent: &Agent, path: &str, protocol: Option<&'static str>) -> Answer {
    let mut request = agent.request(Method::GET, path);
    if let Some(protocol) = protocol {
        request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static(protocol));
    }
    read(agent.client.exchange(request).await.unwrap()).await
}

#[track_caller]
fn assert_sent_away(answer: &Answer, to: &str) {
    assert_eq!(answer.status, StatusCode::PERMANENT_REDIRECT, "{answer:?}");
    assert_eq!(answer.headers["location"], to);
    assert_eq!(answer.headers["cache-control"], "no-store");
    for header in ["payment-required", "www-authenticate", "payment-response"] {
        assert!(!answer.headers.contains_key(header), "{header}: {answer:?}");
    }
}

#[tokio::test]
async fn g10_who_came_to_a_proxy_without_tls_is_sent_away_and_not_asked_for_money() {
    let listen = "public_url: https://api.example\nlisten: 127.0.0.1:0";
    let world = World::build(Plan { listen, ..Plan::default() }).await;
    let (agent, before) = (world.agent(), world.payee_usdc());
    let there = "https://api.example/weather?day=1";
    for protocol in ["http", "HTTP"] {
        assert_sent_away(&ask(&agent, "/weather?day=1", Some(protocol)).await, there);
    }
    // Nor is a payment taken that others could read.
    let credential = agent.sign("/weather?day=1", &Overrides::default()).await;
    let with = |protocol: &'static str| {
        let mut request = agent.request(Method::GET, "/weather?day=1");
        request.headers_mut().insert("x-forwarded-proto", HeaderValue::from_static(protocol));
        request
    };
    let told = read(agent.client.present(with("http"), &credential).await.unwrap()).await;
    assert_sent_away(&told, there);
    assert!(world.upstream.hits().is_empty());
    assert_eq!(world.payee_usdc(), before);

    // What is free is served, and who came to the proxy over TLS may pay.
    assert_eq!(ask(&agent, "/health", Some("http")).await.status, StatusCode::OK);
    ask(&agent, "/weather", Some("https")).await.assert_refused("Payment required");
    ask(&agent, "/weather", None).await.assert_refused("Payment required");
    read(agent.client.present(with("https"), &credential).await.unwrap()).await.assert_paid();
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}

#[tokio::test]
async fn g10_beside_a_listener_with_tls_one_without_asks_nobody_for_money() {
    let folder = tempfile::tempdir().unwrap();
    let issued = rcgen::generate_simple_self_signed(vec!["api.example".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    fs::write(&cert, issued.cert.pem()).unwrap();
    fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    let listen = format!(
        "public_url: https://api.example\nlisteners:\n  - {{ name: plain, address: 127.0.0.1:0 }}\n  \
         - {{ name: secure, address: 127.0.0.1:0, tls: {{ cert_file: {}, key_file: {} }} }}",
        cert.display(),
        key.display()
    );
    let world = World::build(Plan { listen: &listen, ..Plan::default() }).await;
    let agent = world.agent();
    // Whatever the client says: nobody stands between.
    for protocol in [None, Some("https")] {
        let told = ask(&agent, "/weather", protocol).await;
        assert_sent_away(&told, "https://api.example/weather");
    }
    assert_eq!(ask(&agent, "/health", None).await.status, StatusCode::OK);

    let mut roots = RootCertStore::empty();
    let pem = fs::read(&cert).unwrap();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(world.gateway.addresses()[1]).await.unwrap();
    let name = ServerName::try_from("api.example").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    // A header of the client's changes nothing where TLS ends here.
    let request = "GET /weather HTTP/1.1\r\nHost: api.example\r\nX-Forwarded-Proto: http\r\n\
                   Connection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 402 "), "{answer}");
    assert!(answer.contains("\r\npayment-required: "), "{answer}");
    world.end().await;
}

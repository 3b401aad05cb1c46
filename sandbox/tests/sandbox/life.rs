//! How a sandbox starts, keeps time, is found, and stops.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tollgate_sandbox::{Clock, Error, Options, Sandbox};

use crate::support::by_hand;

async fn with_tls(certificate: Option<std::path::PathBuf>) -> Sandbox {
    let options = Options {
        tls_listen: Some(([127, 0, 0, 1], 0).into()),
        certificate,
        clock: Clock::Manual,
        ..Options::default()
    };
    Sandbox::start(options).await.unwrap()
}

/// Speaks HTTP over TLS as a client that trusts `roots`, to the host name `name`.
async fn ask_over_tls(
    sandbox: &Sandbox,
    roots: RootCertStore,
    name: &'static str,
) -> std::io::Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let address = sandbox.tls_rpc_url().unwrap().strip_prefix("https://").unwrap();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"getNetwork"}"#;
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn the_rpc_over_tls_is_trusted_by_its_certificate_and_by_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let sandbox = with_tls(Some(path.clone())).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&path).unwrap()).unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        let answer = ask_over_tls(&sandbox, roots.clone(), name).await.unwrap();
        let friendbot = format!("{}/friendbot", sandbox.tls_rpc_url().unwrap());
        assert!(answer.contains(&friendbot), "{answer}");
    }
    assert!(ask_over_tls(&sandbox, roots, "example.com").await.is_err());
    let other = with_tls(None).await;
    let mut roots = RootCertStore::empty();
    let pem = other.certificate_pem().unwrap();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    assert!(ask_over_tls(&sandbox, roots, "localhost").await.is_err());
}

#[tokio::test]
async fn the_env_lines_are_these_keys_and_the_keys_are_the_same_at_every_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let sandbox = with_tls(Some(path.clone())).await;
    let lines = sandbox.env_lines();
    let keys: Vec<_> = lines.iter().map(|(key, _)| *key).collect();
    assert_eq!(
        keys,
        [
            "STELLAR_NETWORK",
            "STELLAR_RPC_URL",
            "STELLAR_RPC_TLS_URL",
            "NODE_EXTRA_CA_CERTS",
            "USDC_CONTRACT",
            "CHANNEL_CODE",
            "STELLAR_RECIPIENT",
            "RECIPIENT_SECRET",
            "STELLAR_SECRET_KEY",
            "ZERO_XLM_SECRET_KEY",
            "SPONSOR_SECRET",
            "FRIENDBOT_URL",
            "FAUCET_URL",
        ]
    );
    assert_eq!(lines[0].1, "stellar:testnet");
    assert_eq!(lines[3].1, path.display().to_string());
    assert_eq!(lines[4].1, "CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA");
    let again = by_hand().await.env_lines();
    for (key, value) in lines {
        if let Some((_, other)) = again.iter().find(|(other, _)| *other == key) {
            assert_eq!(value == *other, !key.ends_with("_URL"), "{key}");
        }
    }
}

#[tokio::test]
async fn the_env_file_holds_the_env_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.env");
    let sandbox = by_hand().await;
    sandbox.write_env_file(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines = sandbox.env_lines().into_iter().map(|(key, value)| format!("{key}={value}"));
    assert_eq!(
        text.lines().skip(1).map(String::from).collect::<Vec<_>>(),
        lines.collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_person_is_shown_the_urls_and_the_keys() {
    let sandbox = by_hand().await;
    let shown = sandbox.to_string();
    for expected in [
        sandbox.rpc_url(),
        &sandbox.faucet_url(),
        &sandbox.usdc_contract(),
        &sandbox.accounts().payer.secret(),
        "never use one on a real network",
    ] {
        assert!(shown.contains(expected), "{expected} is not in\n{shown}");
    }
}

#[tokio::test]
async fn the_clock_closes_ledgers_and_by_hand_nobody_else_does() {
    let clock = Clock::Interval(Duration::from_millis(20));
    let ticking = Sandbox::start(Options { clock, ..Options::default() }).await.unwrap();
    let mut closed = ticking.ledger().closed();
    let first = *closed.borrow_and_update();
    for _ in 0..3 {
        closed.changed().await.unwrap();
    }
    assert!(*closed.borrow() >= first + 3);

    let by_hand = by_hand().await;
    assert_eq!(by_hand.ledger().latest().sequence, 3);
    assert_eq!(by_hand.close_ledger().await.sequence, 4);
    let later = by_hand.ledger().latest().close_time + 1_000;
    assert_eq!(by_hand.close_ledger_at(later).await.close_time, later);
    // Time does not run backwards.
    assert_eq!(by_hand.close_ledger().await.close_time, later);
}

#[tokio::test]
async fn shutdown_ends_connections_and_the_clock() {
    let clock = Clock::Interval(Duration::from_millis(20));
    let sandbox = Sandbox::start(Options { clock, ..Options::default() }).await.unwrap();
    let address = sandbox.rpc_url().strip_prefix("http://").unwrap().to_owned();
    let mut idle = TcpStream::connect(&address).await.unwrap();
    let ledger = sandbox.ledger().clone();
    sandbox.shutdown().await;
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(&address).await.is_err());
    let at_shutdown = ledger.latest().sequence;
    assert_eq!(ledger.close(0).sequence, at_shutdown + 1);
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_it() {
    let first = by_hand().await;
    let address = first.rpc_url().strip_prefix("http://").unwrap().parse().unwrap();
    let options = Options { listen: address, ..Options::default() };
    let error = Sandbox::start(options).await.unwrap_err();
    assert!(matches!(error, Error::Listen { address: taken, .. } if taken == address));
}

//! The whole way, with every part as a process of its own.

use std::path::Path;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate::{
    config::EnvFile,
    ledger::{Http, classic::ClassicAsset, rpc::Rpc, signer::Seed},
    protocol::stellar::{AccountId, Network},
};

use crate::{
    binary::{Server, tollgate},
    stub::{Reply, Stub},
};

/// `tollgate sandbox` on free ports, and its URL.
async fn sandbox(folder: &TempDir) -> (Server, String) {
    let line = ["sandbox", "--listen", "127.0.0.1:0", "--ledger", "500ms"];
    let mut sandbox = Server::start(folder.path(), &line, true);
    let told = sandbox.line("RPC ").await;
    let url = told.split_whitespace().last().unwrap().to_owned();
    (sandbox, url)
}

/// Every file of `folder` with its bytes and modes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>, u32)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(path).unwrap(),
                mode,
            )
        })
        .collect();
    files.sort();
    files
}

/// Everything on the ledger that a transaction of one of these accounts, or a gift to it, would change.
async fn holdings(url: &str, env: &EnvFile) -> String {
    let rpc = Rpc::new(Http::new(), url.parse().unwrap(), Network::Testnet);
    let account = |name: &str| env.get(name).unwrap().parse::<Seed>().unwrap().account();
    let accounts: [AccountId; 3] =
        ["RECIPIENT_SECRET", "SPONSOR_SECRET", "STELLAR_SECRET_KEY"].map(account);
    let found = rpc.accounts(&accounts).await.unwrap();
    assert_eq!(found.len(), 3);
    let usdc = ClassicAsset::usdc(Network::Testnet);
    let mut trustlines = Vec::new();
    for account in accounts {
        trustlines.push(usdc.trustline(&rpc, account).await.unwrap());
    }
    format!("{found:?}{trustlines:?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_becomes_a_gateway_that_is_paid() {
    let (elsewhere, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_sandbox, url) = sandbox(&elsewhere).await;
    let upstream = Stub::start(|_| Reply::Json(200, json!({ "sky": "clear" }))).await;
    let listen = ["--listen", "127.0.0.1:0", "--upstream", &upstream.url];
    let setup = [&["setup", "--network", "sandbox", "--rpc-url", &url][..], &listen].concat();

    let told = tollgate(folder.path(), &setup).await.ok();
    assert!(told.contains("payer got 100 USDC from the faucet"), "{told}");
    let before = files(folder.path());
    let names: Vec<_> = before.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!((names, before[0].2), (vec![".env", "gateway.yaml"], 0o600));
    let env = EnvFile::read(&folder.path().join(".env")).unwrap().unwrap();
    let held = holdings(&url, &env).await;

    // A second run finds all of it, and touches none of it.
    let told = tollgate(folder.path(), &setup).await.ok();
    assert!(told.contains("payer holds 100 USDC"), "{told}");
    assert_eq!(files(folder.path()), before);
    assert_eq!(holdings(&url, &env).await, held);

    let told = tollgate(folder.path(), &["check", "--online"]).await.ok();
    let names: Vec<_> = told.lines().skip(1).filter_map(|line| line.split(": ").nth(1)).collect();
    assert_eq!(names, ["rpc", "clock", "asset", "payee", "sponsor"], "{told}");
    let mut gateway = Server::start(folder.path(), &["--log-format", "json", "run"], false);
    let line: Value = serde_json::from_str(&gateway.line("listening").await).unwrap();
    let address = line["fields"]["address"].as_str().unwrap();
    gateway.line("payments can be settled").await;

    let price = format!("http://{address}/weather");
    let asked = Request::get(&price).body(Bytes::new()).unwrap();
    let unpaid = Http::new().exchange(asked).await.unwrap();
    assert_eq!(unpaid.status(), 402);
    let challenge = unpaid.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.starts_with("Payment "), "{challenge}");
    assert!(unpaid.headers().contains_key("payment-required"), "{unpaid:?}");

    let paid = tollgate(folder.path(), &["pay", "-i", &price, "--max", "0.001"]).await;
    assert!(paid.stderr.contains("tollgate: paid, transaction "), "{paid:?}");
    let answer = paid.ok();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("{\"sky\":\"clear\"}"), "{answer}");
    assert_eq!(upstream.asked("GET /weather").len(), 1);
    assert_ne!(holdings(&url, &env).await, held, "money moved");
}

//! `tollgate pay` as people run it.

use std::process::{Command, Output};

use bytes::Bytes;
use http::{Response, StatusCode};
use tollgate_sandbox::Sandbox;

use super::{
    accepted, challenge,
    charge::{self, request, sponsored},
    push::while_ledgers_close,
    sandbox, settled, shop,
    stub::Stub,
};

async fn pay(sandbox: &Sandbox, line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command
        .arg("pay")
        .args(line)
        .env("STELLAR_NETWORK", "stellar:testnet")
        .env("STELLAR_RPC_URL", sandbox.rpc_url())
        .env("STELLAR_SECRET_KEY", sandbox.accounts().payer.secret());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_pays_and_says_what_it_paid() {
    let sandbox = sandbox().await;
    let shop = shop(vec![accepted(&sandbox)]).await;
    let url = shop.get().uri().to_string();
    let output = pay(&sandbox, &[&url, "--max", "0.001"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"the thing");
    let recipient = sandbox.accounts().recipient.address();
    let ledger = sandbox.ledger().latest().sequence + 10;
    assert_eq!(
        lines(&output),
        [
            format!(
                "tollgate: asked 0.001 USDC for \"A thing\", to {recipient} on stellar:testnet, by x402"
            ),
            format!("tollgate: signed a transfer that holds until ledger {ledger}"),
            format!("tollgate: paid, transaction {}", "ab".repeat(32)),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_refuses_to_pay_more_than_it_may() {
    let sandbox = sandbox().await;
    let shop = shop(vec![accepted(&sandbox)]).await;
    let url = shop.get().uri().to_string();
    let output = pay(&sandbox, &[&url, "--max", "0.0009"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let last = lines(&output).pop().unwrap();
    assert_eq!(last, "tollgate: 0.001 USDC is asked, and at most 0.0009 USDC may be paid");
    assert_eq!(shop.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_takes_its_key_from_a_file_and_writes_the_body_to_one() {
    let sandbox = sandbox().await;
    let accepts = vec![accepted(&sandbox)];
    let shop = Stub::start(move |asked| {
        Some(match asked.payment() {
            None => challenge(&accepts),
            Some(_) => settled().map(|_| Bytes::from_static(b"\x00\xff\r\n\n")),
        })
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let (key, body) = (folder.path().join("key"), folder.path().join("body"));
    std::fs::write(&key, format!("{}\n", sandbox.accounts().zero_xlm_payer.secret())).unwrap();
    let url = shop.get().uri().to_string();
    let line = ["--key-file", key.to_str().unwrap(), "-o", body.to_str().unwrap(), &url];
    let output = pay(&sandbox, &line).await;
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty());
    assert_eq!(std::fs::read(&body).unwrap(), b"\x00\xff\r\n\n");
    let output = pay(&sandbox, &["-i", &url]).await;
    let head = b"HTTP/1.1 200 OK\r\n";
    assert_eq!(&output.stdout[..head.len()], head);
    assert!(output.stdout.ends_with(b"\r\n\r\n\x00\xff\r\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_pays_a_charge_in_each_mode_and_shows_no_credential() {
    let sandbox = sandbox().await;
    let recipient = sandbox.accounts().recipient.address();
    let asked = |how: &str| {
        format!(
            "tollgate: asked 0.001 USDC for \"A thing\", to {recipient} on stellar:testnet, by {how}"
        )
    };
    for (request, line, how) in [
        (sponsored(&sandbox), vec![], "charge, with its fee paid"),
        (request(&sandbox), vec!["--method", "charge"], "charge"),
        (request(&sandbox), vec!["--method", "charge", "--mode", "push"], "charge"),
    ] {
        let shop = charge::shop(&charge::challenge(&request)).await;
        let url = shop.get().uri().to_string();
        let line = [&[&*url][..], &line].concat();
        let output = while_ledgers_close(&sandbox, pay(&sandbox, &line)).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"the thing");
        let said = lines(&output);
        assert_eq!(said[0], asked(how));
        assert_eq!(
            *said.last().unwrap(),
            format!("tollgate: paid, transaction {}", "cd".repeat(32))
        );
        let credential = shop.asked()[1].headers["authorization"].to_str().unwrap().to_owned();
        let token = credential.strip_prefix("Payment ").unwrap();
        assert!(!said.join("").contains(token));
        match (request.fee_payer, line.len()) {
            (true, _) => {
                assert!(said[1].starts_with("tollgate: signed a transfer that holds until ledger "))
            }
            (false, 3) => {
                assert!(said[1].starts_with("tollgate: signed a transaction that holds until 2"))
            }
            _ => {
                let payload = shop.asked()[1].charge().unwrap().payload.unwrap();
                let hash = payload["hash"].as_str().unwrap();
                assert!(said[1].starts_with("tollgate: signed a transaction that holds until 2"));
                let submitted =
                    format!("tollgate: submitted transaction {hash}, and wait until it has landed");
                assert_eq!(said[2], submitted);
                assert!(!said.join("").contains(payload["sourceSignature"].as_str().unwrap()));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_why_it_does_not_pay_the_way_it_was_told() {
    let sandbox = sandbox().await;
    let shop = charge::shop(&charge::challenge(&sponsored(&sandbox))).await;
    let url = shop.get().uri().to_string();
    let output = pay(&sandbox, &[&url, "--method", "charge", "--mode", "push"]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = "tollgate: none of the ways to pay can be used: the server pays its fee and sends the transaction itself, so it cannot be pushed";
    assert_eq!(lines(&output), [said]);
    let output = pay(&sandbox, &[&url, "--method", "x402"]).await;
    let said = "tollgate: none of the ways to pay can be used: it is by charge, not by x402";
    assert_eq!(lines(&output), [said]);
    assert_eq!(shop.asked().len(), 2);
    for line in [["--method", "cash"], ["--mode", "shove"]] {
        let output = pay(&sandbox, &[&[&*url][..], &line].concat()).await;
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_fails_when_the_answer_does() {
    let sandbox = sandbox().await;
    let missing = Stub::start(|_| {
        let mut response = Response::new(Bytes::from_static(b"nothing here"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        Some(response)
    })
    .await;
    let output = pay(&sandbox, &[&missing.get().uri().to_string()]).await;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"nothing here");
    assert_eq!(lines(&output), ["tollgate: the answer is 404 Not Found"]);
    let output = pay(&sandbox, &["http://127.0.0.1:1/"]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = lines(&output).join("\n");
    assert!(said.starts_with("tollgate: no answer from `http://127.0.0.1:1/`"), "{said}");
    let secret = sandbox.accounts().payer.secret();
    assert!(!said.contains(&secret));
}

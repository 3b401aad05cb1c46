//! What an operator does to a gateway that runs: edits its file, stops it, loses its disk.

use http::{Method, StatusCode};
use tollgate::client::Overrides;
use tollgate_sandbox::Method as Rpc;

use crate::{
    process::Site,
    world::{Agent, PRICE, Plan, until, yaml},
};

fn priced(price: &str) -> String {
    format!(
        r#"  - {{ name: weather, match: GET /weather, price: "{price}", accept: [x402], timeout: 5s }}"#
    )
}

async fn asked(agent: &Agent) -> i128 {
    agent.offer("/weather").await.requirements.amount.units()
}

async fn until_asked(agent: &Agent, amount: i128) {
    for _ in 0..600 {
        if asked(agent).await == amount {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the price never became {amount}");
}

#[tokio::test]
async fn j01_a_changed_file_is_picked_up_and_a_bad_one_keeps_the_last_good() {
    let site = Site::new(&Plan { routes: &priced("$0.001"), ..Plan::default() }).await;
    let process = site.run().await;
    let agent = site.agent(&process);
    let with = |routes: &str| yaml(&site.upstream, &Plan { routes, ..Plan::default() });
    assert_eq!(asked(&agent).await, 10_000);
    let quoted = agent.sign("/weather", &Overrides::default()).await;

    site.write(&with(&priced("$0.002")));
    until_asked(&agent, 20_000).await;

    // Each of these is wrong in its own way; none changes anything.
    let bad = [
        with(&priced("$0.00000001")),
        with(&priced("$0.003").replace("accept", "acept")),
        with("  - { match: GET /weather }"),
        "version: 1\nroutes: [".to_owned(),
        String::new(),
    ];
    for (n, text) in bad.iter().enumerate() {
        site.write(text);
        let refusals = || process.log().matches("the last good one serves on").count();
        until("the bad file is told of", || refusals() == n + 1).await;
        assert_eq!(asked(&agent).await, 20_000, "{text}");
    }
    assert!(process.log().contains("did you mean `accept`?"), "{}", process.log());

    site.write(&with(&priced("$0.004")));
    until_asked(&agent, 40_000).await;
    // Who signed at the first price is served at it.
    agent.present("/weather", &quoted).await.assert_paid();
    process.terminate().await;
    assert!(process.ended().await.success());
}

#[tokio::test]
async fn j11_sigterm_lets_a_settlement_finish_and_exits_with_0() {
    let site = Site::new(&Plan::default()).await;
    let process = site.run().await;
    let (agent, before) = (site.agent(&process), site.payee_usdc());
    let credential = agent.sign_for(Method::POST, "/order").await;
    let sent = site.sandbox.calls(Rpc::SendTransaction);
    let presented = agent.presenting(Method::POST, "/order", &credential);
    until("it is settling", || site.sandbox.calls(Rpc::SendTransaction) > sent).await;
    process.terminate().await;
    presented.await.unwrap().assert_paid();
    assert_eq!(process.ended().await.code(), Some(0));
    assert_eq!(site.payee_usdc() - before, PRICE);

    let next = site.run().await;
    let again = site.agent(&next).present_with(Method::POST, "/order", &credential).await;
    again.assert_refused("duplicate_settlement");
}

#[tokio::test]
async fn i12_a_disk_that_fails_costs_nobody_money_and_free_routes_do_not_notice() {
    let site = Site::new(&Plan::default()).await;
    let process = site.run().await;
    let (agent, before) = (site.agent(&process), site.payee_usdc());
    let credential = agent.sign_for(Method::POST, "/order").await;
    let sent = site.sandbox.calls(Rpc::SendTransaction);
    process.break_disk().await;

    let answer = agent.present_with(Method::POST, "/order", &credential).await;
    answer.assert_fault("payments-unavailable");
    assert_eq!(site.sandbox.calls(Rpc::SendTransaction), sent, "nothing is sent unrecorded");
    assert!(site.upstream.hits().is_empty());
    assert_eq!(site.payee_usdc(), before);
    // Nobody is asked for money that could not be recorded.
    agent.ask(Method::GET, "/weather").await.assert_fault("payments-unavailable");
    assert_eq!(agent.ask(Method::GET, "/health").await.status, StatusCode::OK);

    process.terminate().await;
    assert!(process.ended().await.success());
    let next = site.run().await;
    let agent = site.agent(&next);
    agent.present_with(Method::POST, "/order", &credential).await.assert_paid();
    assert_eq!(site.payee_usdc() - before, PRICE);
}

#[tokio::test]
async fn i12_a_settlement_that_cannot_be_recorded_is_pending_and_delivered_by_the_next_process() {
    for (method, path) in [(Method::GET, "/weather"), (Method::POST, "/order")] {
        let site = Site::new(&Plan::default()).await;
        let mut process = site.run().await;
        let (agent, before) = (site.agent(&process), site.payee_usdc());
        let credential = agent.sign_for(method.clone(), path).await;
        let sent = site.sandbox.calls(Rpc::SendTransaction);
        let presented = agent.presenting(method.clone(), path, &credential);
        until("it is settling", || site.sandbox.calls(Rpc::SendTransaction) > sent).await;
        process.break_disk().await;
        let hash = presented.await.unwrap().assert_pending();
        assert_eq!(site.payee_usdc() - before, PRICE, "the money has moved");
        process.kill().await;

        let next = site.run().await;
        let found = site.agent(&next).present_with(method, path, &credential).await;
        found.assert_paid();
        assert_eq!(found.settlement().unwrap().transaction, hash);
        assert_eq!(site.payee_usdc() - before, PRICE, "charged once");
    }
}

#[tokio::test]
async fn k14_a_second_gateway_on_the_same_store_does_not_start() {
    let site = Site::new(&Plan::default()).await;
    let process = site.run().await;
    let second = tokio::process::Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["run", "--config"])
        .arg(site.config())
        .env_clear()
        .envs(site.sandbox.env_lines())
        .output()
        .await
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains("is in use by another process"), "{told}");
    site.agent(&process).pay("/weather").await.assert_paid();
}

#[tokio::test]
async fn an_idle_gateway_is_small() {
    let site = Site::new(&Plan::default()).await;
    let process = site.run().await;
    let kib = process.own_kib();
    println!("idle: {kib} KiB of its own");
    assert!(kib < 8 * 1024, "{kib} KiB");
}

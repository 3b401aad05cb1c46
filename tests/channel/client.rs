//! Our own client pays the gateway: many requests at a time, and from the command line.

use std::{process::Output, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::{process::Command, task::JoinSet};
use tollgate::{
    client::channel::{Event, Limits, Paid, Payer, Purse, contract::look_up},
    protocol::{
        commitment::CommitmentSeed,
        money::Amount,
        stellar::{ContractId, Network},
    },
};
use tollgate_sandbox::Method as Call;

use crate::{
    upstream::{BODY, Script},
    world::{PRICE, Plan, WAITING, World},
};

/// A payer with a purse of `channel` in memory, as the ledger has that channel.
async fn payer(world: &World, channel: ContractId, key: u8) -> Payer {
    let client = world.client(&world.sandbox.accounts().payer);
    let standing = look_up(client.rpc(), channel).await.unwrap();
    let seed = CommitmentSeed::from_bytes(&[key; 32]);
    let terms = standing.terms(Network::Testnet, channel);
    let purse = Purse::in_memory(terms, seed, Limits::default(), Amount::ZERO);
    Payer::new(Arc::new(purse), Duration::from_secs(10))
}

fn get(world: &World) -> Request<Bytes> {
    Request::get(format!("{}/weather", world.url())).body(Bytes::new()).unwrap()
}

/// Sends so many requests, `width` at a time, none of which may be refused.
async fn pay(world: &World, payer: &Payer, times: usize, width: usize) {
    let mut sending = JoinSet::new();
    for _ in 0..width {
        let (payer, request) = (payer.clone(), get(world));
        sending.spawn(async move {
            for _ in 0..times / width {
                let told = |event: Event<'_>| {
                    assert!(!matches!(event, Event::Refused), "a correct client is not refused");
                };
                let paid = payer.send(request.clone(), told).await.unwrap();
                assert_eq!(paid.response.status(), StatusCode::OK);
                assert!(paid.payment.unwrap().receipt.is_some());
            }
        });
    }
    while let Some(done) = sending.join_next().await {
        done.unwrap();
    }
}

fn payer_usdc(world: &World) -> i128 {
    world.sandbox.usdc_balance(&world.sandbox.accounts().payer.address()).unwrap()
}

/// The full form, ten thousand, is asked for by `VOUCHERS=10000`.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "a longer run is asked for by the environment")]
async fn every_request_of_many_at_a_time_is_served_once_and_paid_to_the_unit() {
    let times = std::env::var("VOUCHERS").map_or(1_000, |times| times.parse().unwrap());
    let price = i128::try_from(times).unwrap() * PRICE;
    // Nothing is collected before the end.
    let channel = ", close: { at_claimable: \"$50\" }";
    let world = World::build(Plan { channel, ..Plan::default() }).await;
    let before = (payer_usdc(&world), world.payee_usdc());
    let channel = world.payer_with(1, 2 * price).await.channel;
    let payer = payer(&world, channel, 1).await;
    pay(&world, &payer, 8, 1).await;
    let calls = |call| world.sandbox.calls(call);
    let quiet = [Call::SimulateTransaction, Call::SendTransaction].map(calls);
    let read = calls(Call::GetLedgerEntries);
    pay(&world, &payer, times - 8, 8).await;
    assert_eq!([Call::SimulateTransaction, Call::SendTransaction].map(calls), quiet);
    // The channel is looked at as time goes by, and not for a request.
    let looks = usize::try_from(calls(Call::GetLedgerEntries) - read).unwrap();
    assert!(looks < times / 10, "{looks} looks at the ledger");
    assert_eq!(world.hits(), times);
    assert_eq!(payer.purse().signed().units(), price);

    let closed = payer.close(get(&world), |_| {}).await.unwrap();
    assert_eq!(closed.response.status(), StatusCode::OK);
    let receipt = closed.payment.unwrap().receipt.unwrap();
    assert_eq!((receipt.spent.units(), receipt.reference.len()), (price, 64));
    assert_eq!(world.hits(), times, "a close is no request");
    assert_eq!((payer_usdc(&world), world.payee_usdc()), (before.0 - price, before.1 + price));
    let gone = payer.send(get(&world), |_| {}).await;
    assert!(!matches!(gone, Ok(Paid { response, .. }) if response.status() == StatusCode::OK));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_upstream_did_not_deliver_is_not_paid_for() {
    let world = World::start().await;
    let channel = world.payer_with(1, 1_000 * PRICE).await.channel;
    let payer = payer(&world, channel, 1).await;
    pay(&world, &payer, 4, 2).await;
    world.upstream.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
    for _ in 0..3 {
        let Paid { response, payment } = payer.send(get(&world), |_| {}).await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert!(payment.unwrap().receipt.is_none());
    }
    world.upstream.play(Script::default());
    pay(&world, &payer, 16, 4).await;
    assert_eq!(world.hits(), 23);
    let before = world.payee_usdc();
    let closed = payer.close(get(&world), |_| {}).await.unwrap();
    assert_eq!(closed.payment.unwrap().receipt.unwrap().spent.units(), 20 * PRICE);
    assert!(world.payee_usdc() - before >= 20 * PRICE);
    assert!(world.payee_usdc() - before < 21 * PRICE, "no more than the change of one request");
    world.end().await;
}

/// The command line, as a payer has it.
async fn command(world: &World, line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command
        .args(line)
        .env("STELLAR_NETWORK", "stellar:testnet")
        .env("STELLAR_RPC_URL", world.sandbox.rpc_url())
        .env("STELLAR_SECRET_KEY", world.sandbox.accounts().payer.secret())
        .env("COMMITMENT_SECRET", "03".repeat(32))
        .kill_on_drop(true);
    command.output().await.unwrap()
}

async fn said(world: &World, line: &[&str]) -> String {
    let output = command(world, line).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_lives_and_ends_by_commands_alone() {
    let world = World::start().await;
    let before = (payer_usdc(&world), world.payee_usdc());
    let (to, waiting) = (world.sandbox.accounts().recipient.address(), WAITING.to_string());
    let open = ["channel", "open", "--deposit", "0.02", "--to", &to];
    let channel =
        said(&world, &[&open[..], &["--refund-waiting-ledgers", &waiting]].concat()).await;
    let channel = channel.trim_end();
    said(&world, &["channel", "top-up", channel, "--amount", "0.98"]).await;

    let folder = tempfile::tempdir().unwrap();
    let (state, url) = (folder.path().join("state.json"), format!("{}/weather", world.url()));
    let pay = ["pay", &url, "--method", "channel", "--channel", channel];
    let pay = [&pay[..], &["--state", state.to_str().unwrap()]].concat();
    let body = std::str::from_utf8(BODY).unwrap();
    assert_eq!(said(&world, &pay).await, body);
    let many = [&pay[..], &["--repeat", "40", "--parallel", "4"]].concat();
    assert_eq!(said(&world, &many).await, body.repeat(40));
    let closing = command(&world, &[&pay[..], &["--close"]].concat()).await;
    assert!(closing.status.success(), "{closing:?}");
    let told: serde_json::Value = serde_json::from_slice(&closing.stdout).unwrap();
    assert_eq!(told["closed"], true);
    let last = String::from_utf8(closing.stderr).unwrap().lines().last().unwrap().to_owned();
    let hash = told["txHash"].as_str().unwrap();
    assert_eq!(last, format!("tollgate: closed, transaction {hash}"));

    assert_eq!(world.hits(), 41);
    let paid = 41 * PRICE;
    assert_eq!((payer_usdc(&world), world.payee_usdc()), (before.0 - paid, before.1 + paid));
    let shown = said(&world, &["channel", "show", channel]).await;
    assert!(shown.contains("\nbalance: 0 USDC\nwithdrawn: 0.041 USDC\n"), "{shown}");
    assert!(shown.contains("\nclose: effective since ledger "), "{shown}");
    world.end().await;
}

//! What the operator's systems are told: events by signed webhooks, none lost and none made up.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::sleep;
use tollgate_sandbox::{Fault, Times};

use crate::{
    hook::{Hook, taken},
    process::Site,
    server::{Server, Settings},
    upstream::Script,
    world::{Plan, World, still, until},
};

/// Listens, and tells `hook` of `events`.
fn telling(hook: &Hook, events: &str) -> String {
    format!("listen: 127.0.0.1:0\n{}", hook.line(events))
}

#[tokio::test]
async fn a_payment_that_settled_is_told_once_with_what_it_was() {
    let hook = Hook::start().await;
    let listen = telling(&hook, "");
    let world = World::build(Plan { listen: &listen, ..Plan::default() }).await;
    world.agent().pay("/weather").await.assert_paid();
    let told = hook.taken("payment.settled", 1).await;
    let accounts = world.sandbox.accounts();
    let data = &told[0]["data"];
    let transaction = data["transaction"].as_str().unwrap();
    assert_eq!(transaction.len(), 64);
    let expected = json!({
        "route": "weather",
        "method": "x402",
        "network": "stellar:testnet",
        "asset": data["asset"],
        "amount": "10000",
        "payer": accounts.payer.address(),
        "transaction": transaction,
    });
    assert_eq!(*data, expected);
    assert!(data["asset"].as_str().unwrap().starts_with('C'));
    world.end().await;
    assert_eq!(hook.heard().len(), 1, "{:?}", hook.heard());
}

#[tokio::test]
async fn a_kill_between_payment_and_telling_loses_no_event() {
    let hook = Hook::start().await;
    hook.answer(503);
    let listen = telling(&hook, "[payment.settled]");
    let site = Site::new(&Plan { listen: &listen, ..Plan::default() }).await;
    let mut process = site.run().await;
    site.agent(&process).pay("/weather").await.assert_paid();
    let heard = hook.until(|heard| !heard.is_empty()).await;
    process.kill().await;
    hook.answer(200);
    let process = site.run().await;
    let told = hook.taken("payment.settled", 1).await;
    assert_eq!(told[0]["id"], heard[0].id.as_str());
    assert_eq!(told[0], heard[0].event);
    // It is told no more, and the next one is.
    site.agent(&process).pay("/weather").await.assert_paid();
    let told = hook.taken("payment.settled", 2).await;
    assert_ne!(told[0]["data"]["transaction"], told[1]["data"]["transaction"]);
    let taken: Vec<_> = hook.heard().into_iter().filter(|heard| heard.status == 200).collect();
    assert_eq!(taken.len(), 2, "{taken:?}");
    // What is secret in a webhook is in no log.
    let log = process.log();
    assert!(!log.contains("hook-url-key") && !log.contains("whsec_"), "{log}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_event_is_told_again() {
    let (hook, elsewhere) = (Hook::start().await, Hook::start().await);
    hook.redirect(&format!("http://{}/hooks?key=hook-url-key", elsewhere.address));
    let listen = telling(&hook, "[payment.settled]");
    let world = World::build(Plan { listen: &listen, ..Plan::default() }).await;
    world.agent().pay("/weather").await.assert_paid();
    hook.until(|heard| heard.len() >= 2).await;
    hook.answer(200);
    hook.taken("payment.settled", 1).await;
    assert_eq!(elsewhere.heard().len(), 0);
    let heard = hook.heard();
    assert!(heard.iter().all(|one| one.id == heard[0].id), "{heard:?}");
    assert_eq!(taken(&heard, "payment.settled").len(), 1);
    world.end().await;
}

#[tokio::test]
async fn what_was_paid_and_not_delivered_is_told_once_after_a_while() {
    let hook = Hook::start().await;
    let listen = telling(&hook, "[payment.undelivered]");
    let world = World::build(Plan { listen: &listen, clock: still(), ..Plan::default() }).await;
    let agent = world.agent();
    let fails = || Script { status: StatusCode::BAD_GATEWAY, ..Script::default() };
    let present = async |credential| agent.present_with(Method::POST, "/order", credential).await;
    // One that comes again in time is nothing to tell, nor is one that cost nobody anything.
    world.upstream.play(fails());
    let in_time = agent.sign_for(Method::POST, "/order").await;
    assert_eq!(present(&in_time).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(agent.pay("/weather").await.status, StatusCode::BAD_GATEWAY);
    world.upstream.play(Script::default());
    present(&in_time).await.assert_paid();
    world.upstream.play(fails());
    let late = agent.sign_for(Method::POST, "/order").await;
    let answer = present(&late).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    world.pass(Duration::from_secs(30)).await;
    let told = hook.taken("payment.undelivered", 1).await;
    let paid = answer.settlement().expect("a receipt").transaction;
    let data = &told[0]["data"];
    assert_eq!((&data["route"], &data["transaction"]), (&json!("order"), &json!(paid)));
    // It may come all the same.
    world.upstream.play(Script::default());
    present(&late).await.assert_paid();
    world.end().await;
    assert_eq!(hook.heard().len(), 1, "{:?}", hook.heard());
}

#[tokio::test]
async fn a_kill_between_payment_and_delivery_is_told_by_the_next_process() {
    let hook = Hook::start().await;
    let listen = telling(&hook, "[payment.undelivered]");
    let site = Site::new(&Plan { listen: &listen, ..Plan::default() }).await;
    let mut process = site.run().await;
    let agent = site.agent(&process);
    site.upstream.play(Script { delay: Duration::from_secs(4), ..Script::default() });
    let credential = agent.sign_for(Method::POST, "/order").await;
    let presented = agent.presenting(Method::POST, "/order", &credential);
    // It settles before it is forwarded.
    until("it is forwarded", || !site.upstream.hits().is_empty()).await;
    process.kill().await;
    presented.abort();
    let _process = site.run().await;
    let told = hook.taken("payment.undelivered", 1).await;
    assert_eq!(told[0]["data"]["route"], "order");
}

#[tokio::test]
async fn two_gateways_on_one_redis_tell_what_either_has_taken() {
    let server = Server::redis(Settings::default()).await;
    let hook = Hook::start().await;
    hook.answer(500);
    let listen = telling(&hook, "[payment.settled]");
    let store =
        format!("redis: {{ url: \"{}\", durability: redis-single, timeout: 10s }}", server.url());
    let world = World::build(Plan { listen: &listen, store: &store, ..Plan::default() }).await;
    let (other, there) = world.another().await;
    for _ in 0..2 {
        world.agent().pay("/weather").await.assert_paid();
        there.pay("/weather").await.assert_paid();
    }
    hook.until(|heard| !heard.is_empty()).await;
    // Whichever tells ends, the one that is left tells what waits.
    other.stop().await;
    hook.answer(200);
    let told = hook.taken("payment.settled", 4).await;
    assert_eq!(told.len(), 4);
    world.end().await;
}

#[tokio::test]
async fn what_a_killed_gateway_has_not_told_is_told_by_another() {
    let server = Server::valkey(Settings::default()).await;
    let hook = Hook::start().await;
    hook.answer(500);
    let listen = telling(&hook, "[payment.settled]");
    let store =
        format!("redis: {{ url: \"{}\", durability: redis-single, timeout: 10s }}", server.url());
    let site = Site::new(&Plan { listen: &listen, store: &store, ..Plan::default() }).await;
    let mut process = site.run().await;
    let other = site.run().await;
    for _ in 0..2 {
        site.agent(&process).pay("/weather").await.assert_paid();
    }
    hook.until(|heard| !heard.is_empty()).await;
    process.kill().await;
    hook.answer(200);
    // Where it was the one that told, its lease has to end.
    let told = hook.taken("payment.settled", 2).await;
    assert_ne!(told[0]["data"]["transaction"], told[1]["data"]["transaction"]);
    drop(other);
}

#[tokio::test]
async fn a_store_that_is_away_is_told_once_out_of_memory() {
    let mut server = Server::redis(Settings::default()).await;
    let hook = Hook::start().await;
    let listen = telling(&hook, "[store.unavailable]");
    let store =
        format!("redis: {{ url: \"{}\", durability: redis-single, timeout: 1s }}", server.url());
    let world = World::build(Plan { listen: &listen, store: &store, ..Plan::default() }).await;
    // It was there when it was looked at.
    sleep(LOOKED_AT).await;
    server.kill9().await;
    let told = hook.taken("store.unavailable", 1).await;
    assert!(told[0]["data"]["reason"].is_string(), "{told:?}");
    server.restart().await;
    world.end().await;
    assert_eq!(hook.heard().len(), 1);
}

#[tokio::test]
async fn who_cannot_settle_is_told_of() {
    let hook = Hook::start().await;
    let listen = telling(&hook, "[facilitator.unavailable]");
    let world = World::build(Plan { listen: &listen, ..Plan::default() }).await;
    sleep(LOOKED_AT).await;
    world.sandbox.faults().arm(None, Times::Always, Fault::Drop);
    let told = hook.taken("facilitator.unavailable", 1).await;
    let reason = told[0]["data"]["reason"].as_str().unwrap();
    assert!(reason.contains("stellar.rpc_url"), "{reason}");
    world.sandbox.faults().clear();
    world.end().await;
    assert_eq!(hook.heard().len(), 1);
}

#[tokio::test]
async fn a_sponsor_that_has_little_is_told_of() {
    let hook = Hook::start().await;
    let listen = telling(&hook, "[sponsor.low]");
    // What it has, 10,000 XLM, is enough once and not twice.
    let stellar = "  lanes: 60\n  max_fee_stroops: 1000000000";
    let plan = Plan { listen: &listen, stellar, ..Plan::default() };
    let world = World::build(plan).await;
    let told = hook.taken("sponsor.low", 1).await;
    let data = &told[0]["data"];
    assert_eq!(data["sponsor"], world.sandbox.accounts().sponsor.address());
    let stroops = |key: &str| data[key].as_str().unwrap().parse::<i64>().unwrap();
    assert!(stroops("balance_stroops") < 2 * stroops("needed_stroops"), "{data}");
    world.end().await;
    assert_eq!(hook.heard().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_no_payment_no_other_receiver_and_no_stop() {
    let (hook, other) = (Hook::start().await, Hook::start().await);
    hook.hang();
    let (events, unpaid) = ("[payment.settled]", "[payment.undelivered]");
    let listen =
        format!("listen: 127.0.0.1:0\nwebhooks: [{}, {}]", hook.entry(events), other.entry(events));
    let world = World::build(Plan { listen: &listen, ..Plan::default() }).await;
    world.agent().pay("/weather").await.assert_paid();
    hook.until(|heard| !heard.is_empty()).await;
    world.agent().pay("/weather").await.assert_paid();
    assert_eq!(other.taken("payment.settled", 2).await.len(), 2);
    // What it has not answered is told by the next process; nothing is told twice to who has taken it.
    hook.answer(200);
    let world = world.restart().await;
    assert_eq!(hook.taken("payment.settled", 2).await.len(), 2);
    // A reload takes who is told of what, at once.
    let listen = format!("listen: 127.0.0.1:0\n{}", hook.line(unpaid));
    world.reload(&Plan { listen: &listen, ..Plan::default() });
    world.agent().pay("/weather").await.assert_paid();
    world.reload(&Plan { listen: &telling(&hook, events), ..Plan::default() });
    let paid = world.agent().pay("/weather").await.assert_paid();
    let told = hook.until(|heard| taken(heard, "payment.settled").len() >= 3).await;
    let told = taken(&told, "payment.settled");
    assert!(told.values().any(|event| event["data"]["transaction"] == paid.as_str()), "{told:?}");
    world.end().await;
    assert_eq!((told.len(), other.heard().len()), (3, 2));
}

#[tokio::test]
async fn an_event_that_is_refused_holds_up_no_other() {
    let hook = Hook::start().await;
    hook.answer(400);
    let listen = telling(&hook, "[payment.settled]");
    let world = World::build(Plan { listen: &listen, ..Plan::default() }).await;
    world.agent().pay("/weather").await.assert_paid();
    // Twice, so that it waits two seconds for the third.
    let refused = hook.until(|heard| heard.len() >= 2).await[0].id.clone();
    hook.answer(200);
    world.agent().pay("/weather").await.assert_paid();
    hook.taken("payment.settled", 2).await;
    let heard = hook.heard();
    let taken: Vec<_> = heard.iter().filter(|heard| heard.status == 200).collect();
    assert!(taken.iter().any(|heard| heard.id == refused), "{heard:?}");
    world.end().await;
}

/// A moment in which everything was looked at once.
const LOOKED_AT: Duration = Duration::from_secs(4);

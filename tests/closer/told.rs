//! What the operator's systems are told of channels.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::time::{sleep, timeout};
use tollgate::{
    events::{self, Kind, Secret, Webhook},
    store::Store,
};
use tollgate_sandbox::{Method, Moment};

use super::world::{World, on_each_store};

fn webhook() -> Webhook {
    Webhook {
        url: "http://hooks.example/".parse().unwrap(),
        secret: Secret::read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
        kinds: Kind::ALL.to_vec(),
    }
}

/// What waits to be told, by its name.
async fn told(store: &Store) -> BTreeMap<String, Value> {
    let page = store.waiting(webhook().receiver(), None).await.unwrap();
    let read = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap();
    let events = page.notices.iter().map(|(_, notice)| read(&notice.body));
    events.map(|event| (event["id"].as_str().unwrap().to_owned(), event)).collect()
}

/// Waits until an event of a type is told, and returns the data of all such.
async fn until_told(store: &Store, kind: &str) -> Vec<Value> {
    let look = async {
        loop {
            let events = told(store).await.into_values().filter(|event| event["type"] == kind);
            let data: Vec<_> = events.map(|event| event["data"].clone()).collect();
            if !data.is_empty() {
                return data;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), look).await.unwrap_or_else(|_| panic!("no {kind}"))
}

on_each_store! {
    a_payer_that_closes_and_what_is_collected_then_are_told_once,
    what_a_crash_left_unrecorded_is_told_all_the_same,
}

async fn a_payer_that_closes_and_what_is_collected_then_are_told_once(world: World) {
    events::subscribe(&world.store, &[webhook()]);
    let channel = world.owing_channel(30).await;
    let it = world.closer();
    it.know(&channel).await;
    it.closer.settle(channel.id).await.unwrap();
    let collected = until_told(&world.store, "channel.collected").await;
    let id = channel.id.to_string();
    assert_eq!(collected.len(), 1);
    let data = &collected[0];
    assert_eq!((&data["channel"], &data["amount"]), (&Value::from(id.as_str()), &"30".into()));
    assert_eq!((&data["withdrawn"], &data["closed"]), (&Value::from("30"), &false.into()));
    world.pay(&channel, 50, 20).await;
    world.sandbox.close_start(&channel.contract, &channel.payer).await.unwrap();
    let transaction = world.until_closed(&channel).await.unwrap();
    let closing = until_told(&world.store, "channel.closing").await;
    assert_eq!(closing.len(), 1);
    assert_eq!(closing[0]["channel"], id.as_str());
    assert_eq!(closing[0]["payer"], channel.payer.address());
    assert_eq!(closing[0]["unsettled"], "20");
    let ledgers = |key: &str| closing[0][key].as_u64().unwrap();
    assert!(ledgers("effective_at_ledger") > ledgers("ledger"), "{closing:?}");
    let collected = until_told(&world.store, "channel.collected").await;
    let last = collected.iter().find(|data| data["closed"] == true).unwrap();
    assert_eq!(collected.len(), 2);
    assert_eq!(last["transaction"], transaction.to_string());
    assert_eq!((&last["amount"], &last["withdrawn"]), (&Value::from("20"), &"50".into()));
    assert_eq!(told(&world.store).await.len(), 3);
}

async fn what_a_crash_left_unrecorded_is_told_all_the_same(world: World) {
    events::subscribe(&world.store, &[webhook()]);
    let channel = world.owing_channel(30).await;
    let it = world.closer();
    it.know(&channel).await;
    let sent = world.sandbox.faults().hold(Method::SendTransaction, Moment::AfterEffect);
    world.sandbox.close_start(&channel.contract, &channel.payer).await.unwrap();
    sent.arrived().await;
    it.crash().await;
    sent.release();
    // It was told before anything was recorded.
    assert_eq!(until_told(&world.store, "channel.closing").await.len(), 1);
    assert_eq!(told(&world.store).await.len(), 1);
    let _it = world.closer();
    let transaction = world.until_closed(&channel).await.unwrap();
    let collected = until_told(&world.store, "channel.collected").await;
    assert_eq!(collected[0]["asset"], world.sandbox.usdc_contract());
    assert_eq!(collected[0]["transaction"], transaction.to_string());
    assert_eq!(told(&world.store).await.len(), 2);
}

/// Where nobody is told, nothing is stored.
#[tokio::test]
async fn where_nobody_subscribes_nothing_is_told() {
    let (world, channel, it) = World::watched(30).await;
    it.closer.settle(channel.id).await.unwrap();
    assert!(told(&world.store).await.is_empty());
}

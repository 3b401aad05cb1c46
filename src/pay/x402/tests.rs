use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::{
    ledger::{Http, remote, rpc::Rpc},
    pay::Redelivery,
    protocol::stellar::Network,
    store::Claiming,
};

const VECTOR_A: &str = include_str!("../../protocol/transfer/vector_a.txt");

/// A payment that is claimed and settled in `store`.
async fn settled(store: &Store) -> Verified {
    let transfer = Transfer::parse(VECTOR_A.trim()).unwrap();
    let expected = Expected {
        network: Network::Testnet,
        asset: transfer.movement().asset,
        payee: transfer.movement().payee,
        amount: transfer.movement().amount,
    };
    let payment = Payment {
        transfer,
        expected,
        max_timeout_seconds: 60,
        min_remaining: 1,
        declares_fee: true,
    };
    let payment = Presented { payment, payload: Value::Null, requirements: Value::Null };
    let claim = Claim {
        key: ClaimKey([1; 32]),
        alias: None,
        binding: Binding([2; 32]),
        now: 0,
        keep_until: 1_000,
        redelivery: Redelivery { attempts: 3, within: Duration::from_secs(1_000) },
    };
    let Claiming::Fresh(mut ticket) = store.claim(claim).await.unwrap() else { panic!("used") };
    let settled = store::Settled { transaction: None, receipt: Bytes::new(), at: 0 };
    store.settled(&mut ticket, settled.clone()).await.unwrap();
    Verified { ticket, payment, settled: Some(settled), route: "weather".into() }
}

fn method(store: Store) -> X402 {
    let (network, clock) = (Network::Testnet, Clock::fixed(0));
    let nowhere = http::Uri::from_static("http://127.0.0.1:1");
    let settings = remote::Settings {
        network,
        url: nowhere.clone(),
        api_key: None::<SecretString>,
        api_key_name: None,
        timeout: Duration::from_secs(1),
    };
    let (http, stop) = (Http::new(), CancellationToken::new());
    stop.cancel();
    let rpc = Rpc::new(http.clone(), nowhere, network);
    let tasks = TaskTracker::new();
    let remote = remote::Facilitator::start(settings, http, rpc, clock.clone(), &tasks, stop);
    let facilitator = Arc::new(Facilitator::Remote(remote));
    let settings = Settings {
        max_timeout_seconds: 60,
        public_url: "http://gw".into(),
        remembers_pushes: false,
    };
    X402::new(settings, facilitator, store, quote::Key::new([0; 32]), clock)
}

#[tokio::test]
async fn a_delivery_that_is_perhaps_recorded_is_served_since_its_payment_could_not_come_again() {
    let store = Store::in_memory().await.unwrap();
    let verified = settled(&store).await;
    let method = method(store.clone());
    store.close().await.unwrap();
    assert_eq!(method.deliver(verified, StatusCode::OK).await, Ok(()));
}

#[tokio::test]
async fn a_delivery_that_is_surely_not_recorded_is_not_served() {
    let store = Store::in_memory().await.unwrap();
    let other = Store::in_memory().await.unwrap();
    let verified = settled(&other).await;
    // No ticket of this store: it refuses, and has recorded nothing.
    let denied = method(store).deliver(verified, StatusCode::OK).await.unwrap_err();
    assert_eq!(denied.kind, crate::pay::FaultKind::Pending { transaction: None });
}

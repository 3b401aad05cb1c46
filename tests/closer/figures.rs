//! What an operator's monitoring is told.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tollgate::{closer::Settings, protocol::stellar::Network, telemetry::metrics::Metrics};
use tollgate_sandbox::{Fault, Method, Times};

use super::world::{Running, WAITING_LEDGERS, World, amount, settings};

/// Waits until all channels were looked at anew, and a line is told.
async fn until_told(it: &Running, metrics: &Metrics, line: &str) {
    let told = async {
        while !metrics.text().lines().any(|told| told == line) {
            it.closer.reconfigure(it.settings);
            sleep(Duration::from_millis(50)).await;
        }
    };
    let told = timeout(Duration::from_secs(20), told).await;
    assert!(told.is_ok(), "no `{line}` in\n{}", metrics.text());
}

fn value(metrics: &Metrics, name: &str) -> i64 {
    let text = metrics.text();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_channels_owe_and_what_collecting_costs_is_told() {
    let world = World::start().await;
    let (one, other) = (world.open().await, world.open_waiting(900).await);
    let it = world.closer();
    let metrics = Metrics::default();
    it.closer.expose(&metrics);
    let budget = value(&metrics, "gateway_collector_fee_budget_left_stroops");
    world.pay(&one, 30, 25).await;
    world.pay(&other, 40, 40).await;
    let _flight = world.reserve(&one, 50, 7).await;
    until_told(&it, &metrics, "gateway_channels{state=\"open\"} 2").await;
    until_told(&it, &metrics, "gateway_channel_unsettled_base_units{asset=\"unknown\"} 65").await;
    for channel in [&one, &other] {
        it.know(channel).await;
    }
    let asset = Network::Testnet.usdc().contract;
    let of = |name: &str, value| {
        format!("gateway_channel_{name}_base_units{{asset=\"{asset}\"}} {value}")
    };
    for (name, value) in [("authorised", 90), ("spent", 72), ("withdrawn", 0), ("unsettled", 65)] {
        until_told(&it, &metrics, &of(name, value)).await;
    }
    until_told(&it, &metrics, "gateway_channel_unsettled_base_units{asset=\"unknown\"} 0").await;

    world.sandbox.faults().arm(Method::SendTransaction, Times::Next(1), Fault::DropAnswer);
    it.closer.settle(one.id).await.unwrap();
    it.closer.close(other.id).await.unwrap();
    for (name, value) in [("authorised", 50), ("spent", 32), ("withdrawn", 30), ("unsettled", 0)] {
        until_told(&it, &metrics, &of(name, value)).await;
    }
    until_told(&it, &metrics, "gateway_channels{state=\"closed\"} 1").await;
    for kind in ["settle", "close"] {
        let sent = format!("gateway_settlements_sent_total{{kind=\"{kind}\"}}");
        let landed = format!("gateway_settlements_total{{kind=\"{kind}\",outcome=\"landed\"}}");
        assert_eq!((value(&metrics, &sent), value(&metrics, &landed)), (1, 1));
    }
    let fees = value(&metrics, "gateway_collector_fees_stroops_total");
    assert!(fees > 0);
    until_told(
        &it,
        &metrics,
        &format!("gateway_collector_fee_budget_left_stroops{{}} {}", budget - fees),
    )
    .await;
    assert!(value(&metrics, "gateway_collector_balance_stroops") > 0);
}

#[tokio::test]
async fn how_long_there_is_to_collect_is_told_while_it_matters() {
    let world = World::start().await;
    let channel = world.open().await;
    // Not collected by itself.
    let it = world.closer_with(Settings { min_value: amount(31), ..settings() }, world.collector());
    it.know(&channel).await;
    let metrics = Metrics::default();
    it.closer.expose(&metrics);
    world.pay(&channel, 30, 30).await;
    let deadline = "gateway_channel_refund_deadline_seconds{}";
    until_told(&it, &metrics, "gateway_channels{state=\"open\"} 1").await;
    assert!(!metrics.text().contains(deadline));
    world.sandbox.close_start(&channel.contract, &channel.payer).await.unwrap();
    until_told(&it, &metrics, "gateway_channels{state=\"closing\"} 1").await;
    let seconds = value(&metrics, deadline);
    assert!(seconds > 0 && seconds <= i64::from(WAITING_LEDGERS) * 5, "{seconds}");
    it.closer.close(channel.id).await.unwrap();
    until_told(&it, &metrics, "gateway_channels{state=\"closed\"} 1").await;
    assert!(!metrics.text().contains(deadline));
}

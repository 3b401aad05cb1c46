//! Transactions that fail, vanish or come late, an RPC that loses answers, and commitments that the ledger does not honour.

use std::time::Duration;

use tollgate::{
    closer::{CloseError, Settings},
    ledger::{Budget, classic::ClassicAsset, collector},
    protocol::stellar::{Network, TxHash},
    store::channel::{Collection, Phase},
    telemetry::Clock,
};
use tollgate_sandbox::{DevAccount, Fault, Method, Times};

use super::world::{DEPOSIT, World, amount, settings};

#[tokio::test]
async fn a_settlement_that_fails_on_the_ledger_is_made_again() {
    let (world, channel) = World::owing(30).await;
    world.sandbox.faults().fail_transactions(1, |_| true);
    let it = world.closer();
    let failed = it.closer.settle(channel.id).await;
    assert!(matches!(failed, Err(CloseError::Failed(_))), "{failed:?}");
    assert!(world.account(&channel).await.collection().is_none());
    assert_eq!(world.balance(&world.payee()), 0);
    assert_eq!(it.closer.settle(channel.id).await.unwrap().withdrawn, amount(30));
    assert_eq!(world.balance(&world.payee()), 30);
}

#[tokio::test]
async fn a_settlement_that_the_network_loses_is_made_again_once_it_cannot_land() {
    let (world, channel) = World::owing(30).await;
    let before = world.sequence().await;
    world.sandbox.faults().lose_transactions(1, |_| true);
    let at_once = Settings { at_claimable: amount(1), ..settings() };
    let it = world.closer_with(at_once, world.collector());
    it.closer.nudge(channel.id);
    world.until(&channel, |account| account.collection().is_some()).await;
    world.pass(Duration::from_secs(120)).await;
    world.until_withdrawn(&channel, 30).await;
    assert_eq!(world.sequence().await, before + 1);
    assert_eq!(world.withdrawals(&channel).await, 1);
}

#[tokio::test]
async fn a_settlement_that_comes_late_is_waited_for() {
    let (world, channel) = World::owing(30).await;
    let latest = world.rpc.latest_ledger().await.unwrap().sequence;
    world.sandbox.faults().delay_transactions(1, latest + 20, |_| true);
    let before = world.sequence().await;
    let it = world.closer();
    assert_eq!(it.closer.settle(channel.id).await.unwrap().withdrawn, amount(30));
    assert!(world.rpc.latest_ledger().await.unwrap().sequence >= latest + 20);
    assert_eq!(world.sequence().await, before + 1);
}

#[tokio::test]
async fn lost_answers_do_no_harm() {
    let (world, channel) = World::owing(30).await;
    let before = world.sequence().await;
    world.sandbox.faults().arm(Method::SendTransaction, Times::Next(1), Fault::DropAnswer);
    world.sandbox.faults().arm(Method::GetTransaction, Times::Next(3), Fault::Drop);
    let at_once = Settings { at_claimable: amount(1), ..settings() };
    let _it = world.closer_with(at_once, world.collector());
    world.until_withdrawn(&channel, 30).await;
    assert_eq!(world.sequence().await, before + 1);
    assert_eq!(world.balance(&world.payee()), 30);
}

#[tokio::test]
async fn a_sequence_number_that_somebody_else_used_is_replaced() {
    let world = World::start().await;
    let (channel, other) = (world.open().await, world.open().await);
    world.pay(&channel, 30, 30).await;
    world.pay(&other, 20, 20).await;
    let (it, elsewhere) = (world.closer(), world.closer());
    let before = world.sequence().await;
    // The same key at another gateway is faster by two seconds, and ledgers close five times a second.
    let late = Fault::Delay(Duration::from_secs(2));
    world.sandbox.faults().arm(Method::SendTransaction, Times::Next(1), late);
    let (one, two) = tokio::join!(it.closer.settle(channel.id), async {
        world.until(&channel, |account| account.collection().is_some()).await;
        while world.sandbox.calls(Method::SendTransaction) == 0 {
            tokio::task::yield_now().await;
        }
        elsewhere.closer.settle(other.id).await
    });
    assert_eq!(one.unwrap().withdrawn, amount(30));
    assert_eq!(two.unwrap().withdrawn, amount(20));
    assert_eq!(world.balance(&world.payee()), 50);
    assert_eq!(world.sequence().await, before + 2);
    assert!(world.sandbox.calls(Method::SendTransaction) >= 3, "one was made anew");
}

#[tokio::test]
async fn what_no_history_tells_of_is_told_by_the_channel() {
    let world = World::start().await;
    let (landed, lost) = (world.open().await, world.open().await);
    let it = world.closer();
    world.pay(&landed, 30, 30).await;
    it.closer.settle(landed.id).await.unwrap();
    world.pay(&lost, 20, 20).await;
    it.crash().await;
    // Of a time that the RPC does not remember.
    for (channel, amount_of, byte) in [(&landed, 30, 1), (&lost, 20, 2)] {
        let forgotten = Collection {
            closes: false,
            amount: amount(amount_of),
            transaction: TxHash([byte; 32]),
            valid_until: 1_000,
            since_ledger: 0,
        };
        world.store.collect(channel.id, forgotten).await.unwrap().unwrap();
    }
    let at_once = Settings { at_claimable: amount(1), ..settings() };
    let it = world.closer_with(at_once, world.collector());
    it.know(&landed).await;
    it.know(&lost).await;
    world.until_withdrawn(&lost, 20).await;
    world.until_withdrawn(&landed, 30).await;
    assert_eq!(world.balance(&world.payee()), 50);
    assert_eq!(world.withdrawals(&landed).await, 1);
}

#[tokio::test]
async fn a_payee_without_lumens_is_told_of_and_its_channel_goes_on() {
    let world = World::start().await;
    let payee = DevAccount::from_label("a payee without lumens");
    let channel = world.open_to(&payee).await;
    world.pay(&channel, 30, 30).await;
    let key = collector::Settings {
        signer: payee.secret().parse().unwrap(),
        max_fee_stroops: collector::MAX_FEE_STROOPS,
        budget: collector::BUDGET,
    };
    let collector = collector::Collector::new(key, world.rpc.clone(), world.clock.clone(), None);
    let it = world.closer_with(settings(), collector);
    let refused = it.closer.close(channel.id).await;
    assert!(
        matches!(refused, Err(CloseError::Refused(collector::Error::NoAccount(_)))),
        "{refused:?}"
    );
    assert_eq!(world.account(&channel).await.phase(), Phase::Open);
    world.sandbox.create_account(&payee, 20_000_000).await.unwrap();
    let usdc = ClassicAsset::usdc(Network::Testnet);
    let seed = payee.secret().parse().unwrap();
    usdc.open_trustline(&world.rpc, &Clock::system(), &seed).await.unwrap();
    assert!(it.closer.close(channel.id).await.unwrap().closed);
    assert_eq!(world.balance(&payee.address()), 30);
}

#[tokio::test]
async fn c08_a_commitment_above_the_deposit_does_not_keep_the_good_one_from_being_collected() {
    let (world, channel) = World::owing(90).await;
    let it = world.closer();
    // Taken on the word of a view that showed a top-up which was none, and so are others after it.
    world.pay(&channel, 101, 11).await;
    world.pay(&channel, 105, 4).await;
    assert_eq!(world.account(&channel).await.delivered(), amount(105));
    assert_eq!(it.closer.settle(channel.id).await.unwrap().withdrawn, amount(90));
    assert_eq!(world.balance(&world.payee()), 90);
    assert_eq!(world.account(&channel).await.phase(), Phase::Open);
    let refused = it.closer.settle(channel.id).await;
    assert!(
        matches!(refused, Err(CloseError::Refused(collector::Error::WouldFail(_)))),
        "{refused:?}"
    );
    // With the money there, what was refused is collected.
    world.sandbox.top_up(&channel.contract, &channel.payer, 5).await.unwrap();
    assert_eq!(it.closer.settle(channel.id).await.unwrap().withdrawn, amount(105));
    assert_eq!(world.balance(&world.payee()), 105);
}

#[tokio::test]
async fn c08_a_channel_is_not_closed_with_less_than_was_delivered() {
    let (world, channel) = World::owing(90).await;
    let it = world.closer();
    world.pay(&channel, 101, 11).await;
    assert!(world.store.begin_closing(channel.id).await.unwrap());
    it.closer.nudge(channel.id);
    world.until_withdrawn(&channel, 90).await;
    assert_eq!(world.account(&channel).await.phase(), Phase::Closing);
    assert_eq!(world.balance(&channel.id.to_string()), DEPOSIT - 90);
    world.sandbox.top_up(&channel.contract, &channel.payer, 1).await.unwrap();
    assert!(it.closer.close(channel.id).await.unwrap().closed);
    assert_eq!(world.balance(&world.payee()), 101);
}

#[tokio::test]
async fn a_spent_budget_leaves_the_money_and_the_channel_as_they_are() {
    let (world, channel) = World::owing(30).await;
    let budget = Budget { stroops: 10, ..collector::BUDGET };
    let poor = world.closer_with(settings(), world.collector_with(5_000_000, budget));
    for refused in [poor.closer.close(channel.id).await, poor.closer.settle(channel.id).await] {
        assert!(
            matches!(refused, Err(CloseError::Refused(collector::Error::OverBudget))),
            "{refused:?}"
        );
    }
    assert_eq!(world.account(&channel).await.phase(), Phase::Open);
    poor.crash().await;
    let it = world.closer();
    assert_eq!(it.closer.settle(channel.id).await.unwrap().withdrawn, amount(30));
}

#[tokio::test]
async fn an_unused_channel_that_cannot_be_closed_goes_on_paying() {
    let world = World::start().await;
    let channel = world.open().await;
    let idle = Settings {
        min_value: amount(10),
        unsettled_for: Duration::from_secs(1_000_000),
        idle_for: Duration::from_secs(60),
        ..settings()
    };
    let budget = Budget { stroops: 10, ..collector::BUDGET };
    let poor = world.closer_with(idle, world.collector_with(5_000_000, budget));
    poor.know(&channel).await;
    world.pay(&channel, 30, 30).await;
    world.pass(Duration::from_secs(61)).await;
    for _ in 0..20 {
        poor.closer.nudge(channel.id);
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(world.account(&channel).await.phase(), Phase::Open);
    }
    world.pay(&channel, 40, 5).await;
    poor.crash().await;
    world.pass(Duration::from_secs(61)).await;
    let it = world.closer_with(idle, world.collector());
    it.know(&channel).await;
    it.closer.nudge(channel.id);
    assert!(world.until_closed(&channel).await.is_some());
}

#[tokio::test]
async fn a_fee_above_the_ceiling_is_not_paid() {
    let (world, channel) = World::owing(30).await;
    let it = world.closer_with(settings(), world.collector_with(200, collector::BUDGET));
    let refused = it.closer.close(channel.id).await;
    let Err(CloseError::Refused(collector::Error::TooDear { needed, most: 200 })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(world.account(&channel).await.phase(), Phase::Open);
    it.crash().await;
    let it = world.closer_with(settings(), world.collector_with(needed, collector::BUDGET));
    assert!(it.closer.close(channel.id).await.unwrap().closed);
}

#[tokio::test]
async fn the_key_of_somebody_else_collects_nothing() {
    let (world, channel) = World::owing(30).await;
    let stranger: &DevAccount = &world.sandbox.accounts().sponsor;
    let key = collector::Settings {
        signer: stranger.secret().parse().unwrap(),
        max_fee_stroops: collector::MAX_FEE_STROOPS,
        budget: collector::BUDGET,
    };
    let key = collector::Collector::new(key, world.rpc.clone(), world.clock.clone(), None);
    let it = world.closer_with(settings(), key);
    let refused = it.closer.close(channel.id).await;
    assert!(
        matches!(refused, Err(CloseError::Refused(collector::Error::WouldFail(_)))),
        "{refused:?}"
    );
    it.know(&channel).await;
    let refused = it.closer.close(channel.id).await;
    assert!(matches!(refused, Err(CloseError::OtherPayee { .. })), "{refused:?}");
    assert_eq!(world.account(&channel).await.phase(), Phase::Open);
}

//! What a channel pays, to whom, and when.

use stellar_xdr::{AlphaNum4, AssetCode4, ChangeTrustAsset, ChangeTrustOp, OperationBody, ScVal};
use tollgate_sandbox::{Funds, OpenChannel, USDC_ISSUER};

use super::kit::{WAITING_LEDGERS, address, channel, channel_of, land};
use crate::support::{by_hand, next};

/// What the dev payer has before it opens anything.
const PAYER: i128 = 10_000_000_000;

#[tokio::test]
async fn a_deposit_and_a_top_up_move_from_the_payer_into_the_channel() {
    let it = channel(100).await;
    assert_eq!(it.holdings(), [100, PAYER - 100, 0]);
    it.sandbox.top_up(&it.id, it.payer(), 7).await.unwrap();
    assert_eq!(it.holdings(), [107, PAYER - 107, 0]);
    it.succeed(it.payer(), "top_up", vec![0_i128.into()]).await;
    assert_eq!(it.holdings(), [107, PAYER - 107, 0]);
}

#[tokio::test]
async fn channels_of_one_payer_are_apart() {
    let it = channel(100).await;
    let (payee, token) = (it.payee().address(), it.sandbox.usdc_contract());
    let empty = OpenChannel {
        payer: it.payer(),
        payee: &payee,
        token: &token,
        commitment_key: [1; 32],
        deposit: 0,
        refund_waiting_ledgers: 1,
    };
    let other = it.sandbox.open_channel(&empty).await.unwrap();
    assert_ne!(other, it.id);
    assert_eq!(it.sandbox.usdc_balance(&other.to_string()), None);
    assert_eq!(it.holdings(), [100, PAYER - 100, 0]);
}

#[tokio::test]
async fn the_getters_tell_what_it_was_opened_with() {
    let it = channel(100).await;
    assert_eq!(it.get("token", vec![]).await, it.token());
    assert_eq!(it.get("from", vec![]).await, address(it.payer()));
    assert_eq!(it.get("to", vec![]).await, address(it.payee()));
    assert_eq!(it.get("refund_waiting_period", vec![]).await, ScVal::U32(WAITING_LEDGERS));
}

#[tokio::test]
async fn a_settlement_pays_what_is_new_and_a_close_refunds_the_rest() {
    let it = channel(100).await;
    let standing = async || {
        [it.amount("balance").await, it.amount("deposited").await, it.amount("withdrawn").await]
    };
    assert_eq!(standing().await, [100, 100, 0]);

    it.succeed(it.payee(), "settle", it.committed(30)).await;
    assert_eq!(it.holdings(), [70, PAYER - 100, 30]);
    assert_eq!(standing().await, [70, 100, 30]);

    for total in [30, 29, 0] {
        it.succeed(it.payee(), "settle", it.committed(total)).await;
        assert_eq!(it.holdings(), [70, PAYER - 100, 30], "after {total} again");
    }

    it.succeed(it.payee(), "close", it.committed(45)).await;
    assert_eq!(it.holdings(), [0, PAYER - 100 + 55, 45]);
    assert_eq!(standing().await, [0, 45, 45]);
}

#[tokio::test]
async fn a_closed_channel_takes_no_close_by_its_payer_and_gives_back_what_comes_in_late() {
    let it = channel(100).await;
    it.succeed(it.payee(), "close", it.committed(45)).await;
    assert_eq!(it.refused(it.payer(), "close_start", vec![]).await, "Error(Contract, #4)");

    it.succeed(it.payer(), "refund", vec![]).await;
    assert_eq!(it.holdings(), [0, PAYER - 45, 45]);
    it.succeed(it.payer(), "top_up", vec![9_i128.into()]).await;
    it.succeed(it.payer(), "refund", vec![]).await;
    assert_eq!(it.holdings(), [0, PAYER - 45, 45]);
}

#[tokio::test]
async fn a_payer_gets_all_back_after_the_waiting_period_and_not_a_ledger_before() {
    let it = channel(100).await;
    assert_eq!(it.refused(it.payer(), "refund", vec![]).await, "Error(Contract, #2)");
    it.succeed(it.payer(), "close_start", vec![]).await;
    assert_eq!(it.refused(it.payer(), "refund", vec![]).await, "Error(Contract, #3)");

    it.sandbox.skip_ledgers(WAITING_LEDGERS - 1).await;
    assert_eq!(it.refused(it.payer(), "refund", vec![]).await, "Error(Contract, #3)");
    assert_eq!(it.holdings(), [100, PAYER - 100, 0]);
    it.sandbox.close_ledger().await;
    it.succeed(it.payer(), "refund", vec![]).await;
    assert_eq!(it.holdings(), [0, PAYER, 0]);
}

#[tokio::test]
async fn a_close_started_again_waits_again_until_it_is_effective() {
    let it = channel(100).await;
    it.sandbox.close_start(&it.id, it.payer()).await.unwrap();
    it.sandbox.skip_ledgers(WAITING_LEDGERS - 2).await;
    // Applied in the last ledger before the first close is effective.
    it.succeed(it.payer(), "close_start", vec![]).await;
    it.sandbox.skip_ledgers(WAITING_LEDGERS - 1).await;
    assert_eq!(it.refused(it.payer(), "refund", vec![]).await, "Error(Contract, #3)");
    it.sandbox.close_ledger().await;
    assert_eq!(it.refused(it.payer(), "close_start", vec![]).await, "Error(Contract, #4)");
    it.sandbox.refund(&it.id, it.payer()).await.unwrap();
    assert_eq!(it.holdings(), [0, PAYER, 0]);
}

#[tokio::test]
async fn a_payee_can_cash_in_every_state_until_the_channel_is_drained() {
    let it = channel(100).await;
    it.succeed(it.payer(), "close_start", vec![]).await;
    it.succeed(it.payee(), "settle", it.committed(10)).await;
    assert_eq!(it.holdings(), [90, PAYER - 100, 10]);
    it.sandbox.skip_ledgers(WAITING_LEDGERS).await;
    it.succeed(it.payee(), "settle", it.committed(20)).await;
    assert_eq!(it.holdings(), [80, PAYER - 100, 20]);
    it.succeed(it.payee(), "close", it.committed(25)).await;
    assert_eq!(it.holdings(), [0, PAYER - 25, 25]);
}

#[tokio::test]
async fn a_close_by_the_payee_ends_the_payers_waiting() {
    let it = channel(100).await;
    it.succeed(it.payer(), "close_start", vec![]).await;
    it.succeed(it.payee(), "close", it.committed(0)).await;
    assert_eq!(it.holdings(), [0, PAYER, 0]);
    assert_eq!(it.refused(it.payer(), "close_start", vec![]).await, "Error(Contract, #4)");
}

#[tokio::test]
async fn a_close_holds_when_its_payer_cannot_be_paid_and_the_rest_is_refunded_later() {
    let sandbox = by_hand().await;
    let funds = Funds { usdc_units: 100, spare_stroops: 100_000_000 };
    let payer = sandbox.new_payers(1, funds).await.unwrap().remove(0);
    let it = channel_of(sandbox, payer, 100).await;
    let change_trust = async |limit| {
        let body = OperationBody::ChangeTrust(ChangeTrustOp { line: usdc(), limit });
        let tx = next(&it.sandbox, it.payer(), body).await;
        assert_eq!(land(&it.sandbox, it.payer(), tx).await["status"], "SUCCESS");
    };
    change_trust(0).await;

    it.succeed(it.payee(), "close", it.committed(45)).await;
    assert_eq!(it.sandbox.usdc_balance(&it.id.to_string()), Some(55));
    assert_eq!(it.sandbox.usdc_balance(&it.payee().address()), Some(45));
    assert_eq!(it.sandbox.usdc_balance(&it.payer().address()), None);

    change_trust(i64::MAX).await;
    it.succeed(it.payer(), "refund", vec![]).await;
    assert_eq!(it.sandbox.usdc_balance(&it.payer().address()), Some(55));
    assert_eq!(it.sandbox.usdc_balance(&it.id.to_string()), Some(0));
}

fn usdc() -> ChangeTrustAsset {
    ChangeTrustAsset::CreditAlphanum4(AlphaNum4 {
        asset_code: AssetCode4(*b"USDC"),
        issuer: USDC_ISSUER.parse().unwrap(),
    })
}

//! A channel's life.

use tollgate_sandbox::{OpenChannel, UNITS};

use crate::support::by_hand;

#[tokio::test]
async fn a_deposit_moves_from_the_payer_into_the_channel() {
    let sandbox = by_hand().await;
    let accounts = sandbox.accounts();
    let (payee, token) = (accounts.recipient.address(), sandbox.usdc_contract());
    let wanted = OpenChannel {
        payer: &accounts.payer,
        payee: &payee,
        token: &token,
        commitment_key: [1; 32],
        deposit: 100,
        refund_waiting_ledgers: 3,
    };
    let channel = sandbox.open_channel(&wanted).await.unwrap();
    let other = sandbox.open_channel(&wanted).await.unwrap();
    assert_ne!(channel, other);
    sandbox.top_up(&channel, &accounts.payer, 7).await.unwrap();
    assert_eq!(sandbox.usdc_balance(&channel.to_string()), Some(107));
    assert_eq!(sandbox.usdc_balance(&other.to_string()), Some(100));
    let before = i128::from(1000 * UNITS);
    assert_eq!(sandbox.usdc_balance(&accounts.payer.address()), Some(before - 207));
    sandbox.close_start(&channel, &accounts.payer).await.unwrap();
    assert!(sandbox.refund(&channel, &accounts.payer).await.is_err());
    for _ in 0..3 {
        sandbox.close_ledger().await;
    }
    sandbox.refund(&channel, &accounts.payer).await.unwrap();
    assert_eq!(sandbox.usdc_balance(&channel.to_string()), Some(0));
}

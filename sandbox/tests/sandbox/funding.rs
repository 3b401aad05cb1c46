//! Who holds what at the start, and how more comes about: friendbot, faucet, payers in bulk.

use http::StatusCode;
use serde_json::json;
use stellar_xdr::{
    AlphaNum4, AssetCode4, ChangeTrustAsset, ChangeTrustOp, OperationBody, TransactionMeta,
};
use tokio::task::JoinSet;
use tollgate_sandbox::{Clock, DevAccount, FundError, Funds, Options, Sandbox, UNITS, USDC_ISSUER};

use crate::support::{account, by_hand, from_base64, get, next, request, send, sign, transaction};

#[tokio::test]
async fn the_network_starts_with_the_accounts_that_the_env_file_promises() {
    let sandbox = by_hand().await;
    let accounts = sandbox.accounts();
    for (of, stroops, usdc) in [
        (&accounts.recipient, 100 * UNITS, 0),
        (&accounts.payer, 100 * UNITS, 1_000 * UNITS),
        (&accounts.zero_xlm_payer, 15_000_000, 100 * UNITS),
        (&accounts.sponsor, 10_000 * UNITS, 0),
    ] {
        assert_eq!(sandbox.xlm_balance(&of.address()), Some(stroops));
        assert_eq!(sandbox.usdc_balance(&of.address()), Some(usdc.into()));
    }
    // Two reserves of half a lumen for an account and one for its trustline: nothing is left to pay a fee with.
    let zero = account(&sandbox, &accounts.zero_xlm_payer).await.unwrap();
    assert_eq!((zero.balance, zero.num_sub_entries), (3 * 5_000_000, 1));
}

#[tokio::test]
async fn balances_of_nobody_are_none() {
    let sandbox = by_hand().await;
    let nobody = DevAccount::from_label("nobody").address();
    for address in [nobody.as_str(), "not an address", &sandbox.usdc_contract()] {
        assert_eq!(sandbox.xlm_balance(address), None);
        assert_eq!(sandbox.usdc_balance(address), None);
    }
}

#[tokio::test]
async fn friendbot_creates_an_account_once() {
    let sandbox = by_hand().await;
    let new = DevAccount::from_label("new");
    let url = format!("{}?addr={}", sandbox.friendbot_url(), new.address());
    let (status, body) = get(&url).await;
    assert_eq!((status, &body["successful"]), (StatusCode::OK, &json!(true)));
    assert_eq!(transaction(&sandbox, &body).await["status"], "SUCCESS");
    assert!(matches!(
        from_base64(body["result_meta_xdr"].as_str().unwrap()),
        TransactionMeta::V4(_)
    ));
    assert_eq!(sandbox.xlm_balance(&new.address()), Some(10_000 * UNITS));

    let (status, body) = get(&url).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["detail"].as_str().unwrap().contains("createAccountAlreadyExist"));
}

#[tokio::test]
async fn friendbot_reads_a_form_and_refuses_what_is_not_an_account() {
    let sandbox = by_hand().await;
    let new = DevAccount::from_label("new");
    let form = format!("addr={}", new.address());
    let (status, _) = request("POST", &sandbox.friendbot_url(), form).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    for query in ["", "?addr=", "?addr=GABC", &format!("?addr={}", sandbox.usdc_contract())] {
        let (status, body) = get(&format!("{}{query}", sandbox.friendbot_url())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body["extras"]["invalid_field"], "addr");
    }
}

#[tokio::test]
async fn the_faucet_says_what_is_missing_and_pays_when_it_is_there() {
    let sandbox = by_hand().await;
    let new = DevAccount::from_label("new");
    let faucet = |amount: &str| {
        let url = format!("{}?addr={}{amount}", sandbox.faucet_url(), new.address());
        async move { get(&url).await }
    };
    let (status, body) = faucet("&amount=10").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["detail"].as_str().unwrap().contains(&sandbox.friendbot_url()));

    sandbox.create_account(&new, 10 * UNITS).await.unwrap();
    let (status, body) = faucet("&amount=10").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let missing = format!("changeTrust for USDC:{USDC_ISSUER}");
    assert!(body["detail"].as_str().unwrap().contains(&missing));

    trust_usdc(&sandbox, &new).await;
    assert_eq!(faucet("&amount=2.5").await.0, StatusCode::OK);
    assert_eq!(faucet("").await.0, StatusCode::OK);
    assert_eq!(sandbox.usdc_balance(&new.address()), Some(125_000_000));
    for amount in ["&amount=0", "&amount=-1", "&amount=0.00000001", "&amount=ten"] {
        let (status, body) = faucet(amount).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body["extras"]["invalid_field"], "amount");
    }
}

#[tokio::test]
async fn many_ask_friendbot_at_once_and_all_are_served() {
    let clock = Clock::Interval(std::time::Duration::from_millis(50));
    let sandbox = Sandbox::start(Options { clock, ..Options::default() }).await.unwrap();
    let mut asking = JoinSet::new();
    for number in 0..40 {
        let address = DevAccount::from_label(&format!("asking {number}")).address();
        let url = format!("{}?addr={address}", sandbox.friendbot_url());
        asking.spawn(async move { get(&url).await.0 });
    }
    assert_eq!(asking.join_all().await, vec![StatusCode::OK; 40]);
}

#[tokio::test]
async fn sixty_four_payers_are_funded_in_four_ledgers() {
    let sandbox = by_hand().await;
    let before = sandbox.ledger().latest().sequence;
    let funds = Funds { usdc_units: 10 * UNITS, spare_stroops: 0 };
    let payers = sandbox.new_payers(64, funds).await.unwrap();
    assert_eq!(sandbox.ledger().latest().sequence - before, 4);
    assert_eq!(payers.len(), 64);
    for payer in &payers {
        assert_eq!(sandbox.usdc_balance(&payer.address()), Some(i128::from(10 * UNITS)));
        assert_eq!(sandbox.xlm_balance(&payer.address()), Some(15_000_000));
    }
    let more = sandbox.new_payers(1, Funds { spare_stroops: 7, ..funds }).await.unwrap();
    assert!(payers.iter().all(|payer| payer.address() != more[0].address()));
    assert_eq!(sandbox.xlm_balance(&more[0].address()), Some(15_000_007));
}

#[tokio::test]
async fn what_cannot_be_paid_out_in_process_is_an_error_with_its_reason() {
    let sandbox = by_hand().await;
    let new = DevAccount::from_label("new");
    assert!(matches!(sandbox.send_usdc(&new, 1).await, Err(FundError::NoAccount)));
    sandbox.create_account(&new, 10 * UNITS).await.unwrap();
    assert!(matches!(sandbox.send_usdc(&new, 1).await, Err(FundError::NoTrustline)));
    assert!(matches!(sandbox.create_account(&new, 1).await, Err(FundError::AccountExists)));
    let payer = sandbox.accounts().payer.clone();
    sandbox.send_usdc(&payer, 1).await.unwrap();
    assert_eq!(sandbox.usdc_balance(&payer.address()), Some(10_000_000_001));
}

async fn trust_usdc(sandbox: &Sandbox, account: &DevAccount) {
    let issuer = stellar_strkey::ed25519::PublicKey::from_string(USDC_ISSUER).unwrap();
    let issuer = stellar_xdr::AccountId(stellar_xdr::PublicKey::PublicKeyTypeEd25519(
        stellar_xdr::Uint256(issuer.0),
    ));
    let line = AlphaNum4 { asset_code: AssetCode4(*b"USDC"), issuer };
    let body = OperationBody::ChangeTrust(ChangeTrustOp {
        line: ChangeTrustAsset::CreditAlphanum4(line),
        limit: i64::MAX,
    });
    let sent = send(sandbox, &sign(sandbox, next(sandbox, account, body).await, account)).await;
    sandbox.close_ledger().await;
    assert_eq!(transaction(sandbox, &sent).await["status"], "SUCCESS");
}

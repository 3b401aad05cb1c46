//! The gateway's own facilitator: what it takes, what it signs, what it pays.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use stellar_xdr as xdr;
use tollgate::{
    ledger::{
        Http,
        facilitator::{Payment, Presented, VerifyError},
        own::Prepared,
        rpc::{Lookup, Rpc},
    },
    protocol::stellar::{Address, Network},
    telemetry::Clock,
};
use tollgate_sandbox::{Funds, Method, UNITS};

use super::support::{World, payment_with, seed, settle, settled, trouble, until_ready};

const TICK: Duration = Duration::from_millis(500);

fn reason(error: VerifyError) -> String {
    match error {
        VerifyError::Invalid(invalid) => invalid.reason.into_owned(),
        VerifyError::Failed(failure) => panic!("failed: {failure:?}"),
    }
}

fn bump(prepared: &Prepared) -> &xdr::FeeBumpTransaction {
    match prepared.envelope() {
        xdr::TransactionEnvelope::TxFeeBump(envelope) => &envelope.tx,
        _ => panic!("no fee bump"),
    }
}

/// The payment again, after `change` of the unsigned part of its transaction.
fn declared(presented: &Presented, change: impl FnOnce(&mut xdr::Transaction)) -> Payment {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use xdr::ReadXdr as _;
    let text = presented.payload["payload"]["transaction"].as_str().unwrap();
    let bytes = STANDARD.decode(text).unwrap();
    let mut envelope = xdr::TransactionEnvelope::from_xdr(bytes, xdr::Limits::none()).unwrap();
    let xdr::TransactionEnvelope::Tx(inner) = &mut envelope else { unreachable!() };
    change(&mut inner.tx);
    let Payment { expected, max_timeout_seconds, .. } = presented.payment.clone();
    payment_with(expected, envelope, max_timeout_seconds).payment
}

#[tokio::test]
async fn a_payment_settles_once_and_the_balances_say_so() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(2).await;
    let payer = world.sandbox.accounts().zero_xlm_payer.clone();
    let before = (world.sandbox.usdc_balance(&payer.address()).unwrap(), world.payee_units());
    let lumens = world.sandbox.xlm_balance(&payer.address());
    let payment = world.payment(&payer).await;

    facilitator.verify(&payment).await.unwrap();
    let settled = settled(settle(&facilitator, &payment).await);
    assert_eq!(settled.payer, Address::Account(seed(&payer).account()));
    let after = (world.sandbox.usdc_balance(&payer.address()).unwrap(), world.payee_units());
    assert_eq!(after, (before.0 - 10_000, before.1 + 10_000));
    assert_eq!(world.sandbox.xlm_balance(&payer.address()), lumens, "the payer pays no fee");
    let Lookup::Applied(transaction) = world.rpc.transaction(settled.transaction).await.unwrap()
    else {
        panic!("the hash is not the transaction's")
    };
    assert!(transaction.success && transaction.fee_charged <= 200_000);

    // A01: the ledger takes the authorization once.
    for _ in 0..2 {
        let again = facilitator.prepare(&payment).await.unwrap_err();
        assert_eq!(reason(again), "invalid_exact_stellar_payload_simulation_failed");
    }
    let again = facilitator.verify(&payment).await.unwrap_err();
    assert_eq!(reason(again), "invalid_exact_stellar_payload_simulation_failed");
    assert_eq!(world.payee_units(), after.1);
}

#[tokio::test]
async fn sixty_four_payers_settle_within_six_ledgers() {
    let world = World::start(Duration::from_secs(1)).await;
    let facilitator = world.ready(32).await;
    let funds = Funds { usdc_units: UNITS, spare_stroops: 0 };
    let payers = world.sandbox.new_payers(64, funds).await.unwrap();
    let payments = join_all(payers.iter().map(|payer| world.payment(payer))).await;
    let (before, first) = (world.payee_units(), world.sandbox.ledger().latest().sequence);

    let outcomes = join_all(payments.iter().map(|payment| async {
        facilitator.verify(payment).await.unwrap();
        settled(settle(&facilitator, payment).await)
    }))
    .await;

    let ledgers = world.sandbox.ledger().latest().sequence - first;
    let hashes: HashSet<_> = outcomes.iter().map(|settled| settled.transaction).collect();
    assert_eq!(hashes.len(), 64);
    assert_eq!(world.payee_units(), before + 64 * 10_000);
    assert!(ledgers <= 6, "{ledgers} ledgers");
}

#[tokio::test]
async fn b15_a_client_cannot_make_us_pay_more_than_our_own_reckoning() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let honest = world.presented(&world.payer()).await;
    // The drain of the reference facilitator: it adds the client's resource fee to its own.
    let drain = declared(&honest, |tx| {
        let xdr::TransactionExt::V1(data) = &mut tx.ext else { unreachable!() };
        data.resource_fee = 100_000_000;
    });
    for refused in [facilitator.verify(&drain).await, facilitator.prepare(&drain).await.map(drop)] {
        let reason = reason(refused.unwrap_err());
        assert_eq!(reason, "invalid_exact_stellar_payload_fee_exceeds_maximum");
    }
    let rich = declared(&honest, |tx| tx.fee = 100_000_000);
    let refused = facilitator.verify(&rich).await.unwrap_err();
    assert_eq!(reason(refused), "invalid_exact_stellar_payload_fee_exceeds_maximum");
    let poor = declared(&honest, |tx| tx.fee = 100);
    let refused = facilitator.verify(&poor).await.unwrap_err();
    assert_eq!(reason(refused), "invalid_exact_stellar_payload_fee_below_minimum");

    // What the client declares within bounds changes nothing of what we sign.
    let fees: Vec<i64> = {
        let lavish = declared(&honest, |tx| {
            tx.fee = 200_000;
            let xdr::TransactionExt::V1(data) = &mut tx.ext else { unreachable!() };
            data.resource_fee = 199_000;
            data.resources.instructions = 90_000_000;
        });
        let mut fees = Vec::new();
        for payment in [&honest.payment, &lavish] {
            let prepared = facilitator.prepare(payment).await.unwrap();
            let bump = bump(&prepared);
            let xdr::FeeBumpTransactionInnerTx::Tx(inner) = &bump.inner_tx;
            let xdr::TransactionExt::V1(data) = &inner.tx.ext else { unreachable!() };
            assert!(bump.fee <= 200_000 && data.resource_fee < bump.fee);
            assert_eq!(inner.tx.operations.as_slice(), [payment.transfer.operation()]);
            assert_eq!(inner.tx.memo, xdr::Memo::None);
            fees.push(bump.fee);
        }
        fees
    };
    assert_eq!(fees[0], fees[1]);
    settled(settle(&facilitator, &honest.payment).await);
}

#[tokio::test]
async fn a_fee_above_the_ceiling_is_refused_before_anything_is_signed() {
    let world = World::start(TICK).await;
    let settings = tollgate::ledger::own::Settings { max_fee_stroops: 9_000, ..world.settings(1) };
    let facilitator = world.facilitator(settings);
    until_ready(&facilitator).await;
    let cheap = world.presented(&world.payer()).await;
    let payment = declared(&cheap, |tx| {
        tx.fee = 9_000;
        tx.ext = xdr::TransactionExt::V0;
    });
    let sent = world.sandbox.calls(Method::SendTransaction);
    let refused = facilitator.prepare(&payment).await.unwrap_err();
    assert!(reason(refused).starts_with("invalid_exact_stellar_payload_fee_"));
    assert_eq!(world.sandbox.calls(Method::SendTransaction), sent);
}

#[tokio::test]
async fn a_payer_without_the_money_is_refused() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let payer = world.sandbox.accounts().zero_xlm_payer.clone();
    let held = world.sandbox.usdc_balance(&payer.address()).unwrap();
    let too_much = world.payment_of(&payer, held + 1, 60).await;
    let refused = facilitator.verify(&too_much).await.unwrap_err();
    assert_eq!(reason(refused), "invalid_exact_stellar_payload_simulation_failed");
    let all = world.payment_of(&payer, held, 60).await;
    settled(settle(&facilitator, &all).await);
    assert_eq!(world.sandbox.usdc_balance(&payer.address()), Some(0));
}

#[tokio::test]
async fn a16_a_payment_for_another_network_is_refused_before_the_ledger_is_asked() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let mut payment = world.payment(&world.payer()).await;
    let asked = world.sandbox.calls(Method::SimulateTransaction);
    payment.expected.network = Network::Pubnet;
    assert_eq!(reason(facilitator.verify(&payment).await.unwrap_err()), "network_mismatch");
    assert_eq!(world.sandbox.calls(Method::SimulateTransaction), asked);
    payment.expected.network = Network::Testnet;
    facilitator.verify(&payment).await.unwrap();
}

#[tokio::test]
async fn b08_neither_a_sponsor_nor_a_lane_pays_or_lends_its_name() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let by_sponsor = world.payment(&world.sandbox.accounts().sponsor).await;
    let payer = "invalid_exact_stellar_payload_facilitator_is_payer";
    assert_eq!(reason(facilitator.verify(&by_sponsor).await.unwrap_err()), payer);
    let presented = world.presented(&world.payer()).await;
    let lane = {
        let prepared = facilitator.prepare(&presented.payment).await.unwrap();
        let xdr::FeeBumpTransactionInnerTx::Tx(inner) = &bump(&prepared).inner_tx;
        inner.tx.source_account.clone()
    };
    let sponsor = seed(&world.sandbox.accounts().sponsor).account().to_muxed();
    for ours in [lane, sponsor] {
        let named = declared(&presented, |tx| tx.source_account = ours);
        let source = "invalid_exact_stellar_payload_unsafe_tx_or_op_source";
        assert_eq!(reason(facilitator.prepare(&named).await.unwrap_err()), source);
    }
    let stranger = seed(&world.sandbox.accounts().recipient).account().to_muxed();
    let named = declared(&presented, |tx| tx.source_account = stranger);
    settled(settle(&facilitator, &named).await);
}

#[tokio::test]
async fn an_authorization_must_live_as_long_as_the_route_needs() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let mut payment = world.payment(&world.payer()).await;
    payment.min_remaining = 15;
    let refused = facilitator.verify(&payment).await.unwrap_err();
    assert_eq!(reason(refused), "invalid_exact_stellar_payload_auth_already_expired");
    payment.min_remaining = 2;
    facilitator.verify(&payment).await.unwrap();
}

#[tokio::test]
async fn b16_the_fee_budget_bounds_each_payer_and_all_of_them() {
    let world = World::start(TICK).await;
    let mut settings = world.settings(2);
    let fee = {
        let facilitator = world.ready(1).await;
        let payment = world.payment(&world.payer()).await;
        u64::try_from(bump(&facilitator.prepare(&payment).await.unwrap()).fee).unwrap()
    };
    settings.budget.per_payer = fee + fee / 4;
    settings.budget.stroops = 2 * fee + fee / 4;
    let facilitator = world.facilitator(settings);
    until_ready(&facilitator).await;
    let funds = Funds { usdc_units: UNITS, spare_stroops: 0 };
    let payers = world.sandbox.new_payers(3, funds).await.unwrap();
    let mut held = Vec::new();
    for payer in &payers[..2] {
        held.push(facilitator.prepare(&world.payment(payer).await).await.unwrap());
    }
    for payer in [&payers[0], &payers[2]] {
        // A lane is needed before the budget is asked, and both are held.
        held.pop();
        let payment = world.payment(payer).await;
        if payer.address() == payers[0].address() {
            match facilitator.prepare(&payment).await.unwrap_err() {
                VerifyError::Failed(failure) => {
                    assert!(failure.detail.contains("payer"), "{}", failure.detail);
                }
                VerifyError::Invalid(invalid) => panic!("{invalid:?}"),
            }
        } else {
            // What was set aside for a transaction that was never sent is free again.
            facilitator.prepare(&payment).await.unwrap();
        }
    }
}

#[tokio::test]
async fn d10_an_rpc_that_lags_or_is_of_another_network_takes_no_payments() {
    let world = World::start(TICK).await;
    let now = Clock::system().now();
    let lagging =
        world.facilitator_at(world.settings(1), world.rpc.clone(), Clock::fixed(now + 600));
    assert!(trouble(&lagging, "lags").await.contains("stellar.rpc_url"));
    let url = world.sandbox.rpc_url().parse().unwrap();
    let pubnet = Rpc::new(Http::new(), url, Network::Pubnet);
    let foreign = world.facilitator_at(world.settings(1), pubnet, Clock::system());
    trouble(&foreign, "does not serve stellar:pubnet").await;
    let payment = world.payment(&world.payer()).await;
    for facilitator in [lagging, foreign] {
        let refused = facilitator.verify(&payment).await.unwrap_err();
        assert!(matches!(refused, VerifyError::Failed(_)), "{refused:?}");
    }
    world.ready(1).await.verify(&payment).await.unwrap();
}

#[tokio::test]
async fn d19_a_sponsor_without_funds_says_what_it_needs() {
    let world = World::start(TICK).await;
    let funds = Funds { usdc_units: UNITS, spare_stroops: 50_000_000 };
    let poor = world.sandbox.new_payers(1, funds).await.unwrap().remove(0);
    let mut settings = world.settings(8);
    settings.sponsors = vec![seed(&poor)];
    let facilitator = world.facilitator(settings);
    let told = trouble(&facilitator, &poor.address()).await;
    assert!(told.contains("XLM"), "{told}");
    // The same funds are enough for fewer lanes.
    let mut settings = world.settings(1);
    settings.sponsors = vec![seed(&poor)];
    until_ready(&world.facilitator(settings)).await;
}

#[tokio::test]
async fn lanes_are_created_once_and_found_again_after_a_restart() {
    let world = World::start(TICK).await;
    let (one, two) = (world.facilitator(world.settings(8)), world.facilitator(world.settings(8)));
    until_ready(&one).await;
    until_ready(&two).await;
    let sponsor = world.sandbox.accounts().sponsor.address();
    let balance = world.sandbox.xlm_balance(&sponsor).unwrap();
    let three = world.ready(8).await;
    assert_eq!(world.sandbox.xlm_balance(&sponsor), Some(balance), "no second creation");
    // All three use the same lanes, and step on each other's sequence numbers without harm.
    let funds = Funds { usdc_units: UNITS, spare_stroops: 0 };
    let payers = world.sandbox.new_payers(12, funds).await.unwrap();
    let before = world.payee_units();
    let facilitators = [&one, &two, &three];
    join_all(payers.iter().zip(facilitators.iter().cycle()).map(|(payer, facilitator)| {
        let world = &world;
        async move {
            let payment = world.payment(payer).await;
            settled(settle(facilitator, &payment).await);
        }
    }))
    .await;
    assert_eq!(world.payee_units(), before + 12 * 10_000);
}

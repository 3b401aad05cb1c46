//! One transfer presented in several forms at once, and a ledger that answers late or of the past.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use stellar_xdr as xdr;
use tollgate::{
    client::{Credential, Overrides},
    protocol::{stellar::Address, transfer::Pulled},
};
use tollgate_sandbox::{Clock as Ledgers, Fault, Method as Rpc, Times};

use super::{
    forge::{Forge, unsigned},
    shop::{Form, customers, open, plan},
};
use crate::{
    forge::Spent,
    world::{Agent, PRICE, Plan, World, still},
};

#[tokio::test]
async fn one_authorization_on_both_rails_and_in_each_form_at_once_is_one_delivery() {
    // What is signed for a charge lives as long as that may, which x402 has to allow: else nobody is paid where it is first.
    let x402 = ", max_timeout_seconds: 600";
    let world = World::build(Plan { ledgers: Ledgers::default(), x402, ..plan() }).await;
    let [(agent, seed), (_, carrier)] = customers(&world).await;
    for _ in 0..3 {
        let sponsored = agent.sign_charge("/weather", &Overrides::default()).await;
        let text = sponsored.payload()["transaction"].as_str().unwrap();
        let network = tollgate::protocol::stellar::Network::Testnet;
        let Ok(Pulled::Unsigned(transfer)) = Pulled::parse(text, network) else { panic!() };
        // The same authorization, paid for by x402, by another challenge, and in a transaction of a friend's.
        let x402 = agent.sign("/plain", &Overrides::default()).await;
        let mut payload = x402.payload().clone();
        payload["payload"]["transaction"] =
            rewrapped(payload["payload"]["transaction"].as_str().unwrap(), &transfer.operation());
        let x402 = Credential::x402(payload);
        let again = agent.charge_offer_of(Method::GET, "/sibling").await;
        let payload = sponsored.payload().clone();
        let source = again.source(Address::Account(seed.account()));
        let again = Credential::charge(again.credential(&payload, Some(source)));
        let own = Forge::of(agent.clone(), carrier.clone(), Form::Own, &Overrides::default()).await;
        let mut tx = own.tx.clone();
        tx.operations = vec![transfer.operation()].try_into().unwrap();
        tx.source_account = carrier.account().to_muxed();
        let found = agent.client.rpc().accounts(&[carrier.account()]).await.unwrap();
        tx.seq_num = xdr::SequenceNumber(found[0].seq_num.0 + 1);
        let simulated = agent.client.rpc();
        let simulated = simulated
            .simulate(&unsigned(tx.clone()), tollgate::ledger::rpc::AuthMode::Enforce)
            .await
            .unwrap();
        let tollgate::ledger::rpc::Simulation::Success(simulated) = simulated else { panic!() };
        tx.ext = xdr::TransactionExt::V1(simulated.data.clone());
        tx.fee = 1_000_000;
        let whole = own.offer.pull(&own.envelope(tx), Address::Account(seed.account())).unwrap();

        let (payee, hits) = (world.payee_usdc(), world.upstream.hits().len());
        let ways =
            [("/weather", &sponsored), ("/plain", &x402), ("/sibling", &again), ("/own", &whole)];
        let presented = ways.iter().flat_map(|way| [way; 5]);
        let answers =
            join_all(presented.map(|(path, credential)| agent.present(path, credential))).await;
        let paid = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
        assert_eq!(paid, 1, "{answers:?}");
        assert!(
            answers.iter().all(|answer| [200, 402, 409].contains(&answer.status.as_u16())),
            "{answers:?}"
        );
        assert_eq!(world.payee_usdc() - payee, PRICE);
        assert_eq!(world.upstream.hits().len(), hits + 1);
        for (path, credential) in ways {
            let later = agent.present(path, credential).await;
            later.assert_refused("duplicate_settlement");
        }
    }
    world.end().await;
}

/// An x402 transaction with `operation` instead of its own.
fn rewrapped(base64: &str, operation: &xdr::Operation) -> serde_json::Value {
    use xdr::{ReadXdr as _, WriteXdr as _};
    let envelope = xdr::TransactionEnvelope::from_xdr_base64(base64, xdr::Limits::none()).unwrap();
    let xdr::TransactionEnvelope::Tx(envelope) = envelope else { panic!("{envelope:?}") };
    let operations = vec![operation.clone()].try_into().unwrap();
    let tx = xdr::Transaction { operations, ..envelope.tx };
    unsigned(tx).to_xdr_base64(xdr::Limits::none()).unwrap().into()
}

#[tokio::test]
async fn one_landed_transfer_for_many_challenges_at_once_is_one_delivery() {
    let world = open().await;
    let [(agent, seed)] = customers(&world).await;
    let paths = ["/own", "/other", "/both"];
    let ask = paths.iter().cycle().take(12);
    let offers = join_all(ask.map(|path| agent.charge_offer_of(Method::GET, path))).await;
    let pushed = Form::Pushed.payment_of(&agent, &offers[0]).await;
    let hash = pushed.pushed().unwrap();
    let hits = world.upstream.hits().len();
    let presented = offers.iter().zip(paths.iter().cycle()).map(|(offer, path)| {
        let (agent, credential) = (agent.clone(), offer.push(hash, &seed));
        async move { agent.present(path, &credential).await }
    });
    let answers = join_all(presented).await;
    let paid = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(paid, 1, "{answers:?}");
    assert_eq!(world.upstream.hits().len(), hits + 1);
    world.end().await;
}

#[tokio::test]
async fn d10_an_rpc_that_lags_takes_no_charges_and_free_routes_do_not_notice() {
    let world = World::build(Plan { clock: still(), ..plan() }).await;
    let customers: [_; 2] = customers(&world).await;
    let mut payments = Vec::new();
    for (form, (agent, _)) in Form::PULLED.into_iter().zip(customers) {
        let credential = form.payment(&agent).await;
        payments.push((form, agent, credential));
    }
    let spent = Spent::of(&world);
    world.clock.advance(Duration::from_secs(120));
    for (form, agent, credential) in &payments {
        // Each way has its own watch; until that has looked, what is presented is judged by the ledger's time or not at all.
        loop {
            let asked = agent.ask(Method::GET, form.path()).await;
            if asked.status == StatusCode::SERVICE_UNAVAILABLE {
                asked.assert_fault("payments-unavailable");
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let answer = agent.present(form.path(), credential).await;
        answer.assert_fault("payments-unavailable");
        assert_eq!(Spent::of(&world), spent, "{form:?}");
    }
    let anybody = &payments[0].1;
    assert_eq!(anybody.ask(Method::GET, "/health").await.status, StatusCode::OK);
    world.pass(Duration::ZERO).await;
    world.until_ready().await;
    for (form, agent, credential) in &payments {
        while agent.ask(Method::GET, form.path()).await.status != StatusCode::PAYMENT_REQUIRED {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        agent.present(form.path(), credential).await.assert_charge_paid();
    }
    world.end().await;
}

#[tokio::test]
async fn d10_stale_reads_cost_nobody_money() {
    let world = open().await;
    let agent = world.agent();
    let payee = world.payee_usdc();
    let mut paid = 0;
    for form in Form::ALL {
        for method in [
            Rpc::GetTransaction,
            Rpc::SimulateTransaction,
            Rpc::GetLatestLedger,
            Rpc::GetLedgerEntries,
        ] {
            let credential = form.payment(&agent).await;
            world.sandbox.faults().arm(method, Times::Next(2), Fault::Stale { ledgers: 2 });
            let first = agent.present(form.path(), &credential).await;
            world.sandbox.faults().clear();
            if first.status != StatusCode::OK {
                assert_eq!(first.status, StatusCode::SERVICE_UNAVAILABLE, "{form:?}, {method:?}");
                let second = served_at_last(&agent, form, &credential).await;
                assert_eq!(second, StatusCode::OK, "{form:?}, {method:?}");
            }
            paid += 1;
            assert_eq!(world.payee_usdc() - payee, paid * PRICE, "{form:?}, {method:?}");
            assert_eq!(world.upstream.hits().len(), usize::try_from(paid).unwrap());
        }
    }
    world.end().await;
}

/// Presents the same payment again as a client does that was told to come later.
async fn served_at_last(agent: &Agent, form: Form, credential: &Credential) -> StatusCode {
    for _ in 0..5 {
        let answer = agent.present(form.path(), credential).await;
        if answer.status != StatusCode::SERVICE_UNAVAILABLE {
            return answer.status;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    StatusCode::SERVICE_UNAVAILABLE
}

#[tokio::test]
async fn of_two_payments_that_a_client_makes_in_a_row_the_second_waits_for_the_first() {
    let world = open().await;
    let [(agent, seed)] = customers(&world).await;
    let first = Form::Own.payment(&agent).await;
    let Ok(xdr::TransactionEnvelope::Tx(envelope)) = ({
        use xdr::ReadXdr as _;
        let text = first.payload()["transaction"].as_str().unwrap();
        xdr::TransactionEnvelope::from_xdr_base64(text, xdr::Limits::none())
    }) else {
        panic!("no transaction")
    };
    let sequence = Some(envelope.tx.seq_num.0 + 1);
    let next = Overrides { sequence, ..Overrides::default() };
    let second = Forge::of(agent.clone(), seed, Form::Own, &next).await.honest();
    let spent = Spent::of(&world);
    agent.present("/own", &second).await.assert_fault("payments-unavailable");
    assert_eq!(Spent::of(&world), spent);
    agent.present("/own", &first).await.assert_charge_paid();
    agent.present("/own", &second).await.assert_charge_paid();
    // What comes before the next one can never land.
    let late = Overrides { sequence: Some(envelope.tx.seq_num.0), ..Overrides::default() };
    let late = agent.sign_charge("/other", &late).await;
    let spent = Spent::of(&world);
    let refused = agent.present("/other", &late).await;
    assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED, "{refused:?}");
    assert_eq!(Spent::of(&world), spent);
    world.end().await;
}

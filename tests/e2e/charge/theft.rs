//! Group A and B: what is on the ledger for all to see buys nothing more, on either rail, for a stranger or its payer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use stellar_xdr as xdr;
use tollgate::{
    client::{ChargeOffer, Credential, Overrides, charge::seal},
    ledger::{rpc::AuthMode, rpc::Simulation, signer::Seed},
    protocol::stellar::{Address, Network, TxHash},
};
use tollgate_sandbox::{Fault, Method as Rpc, Moment, Times};

use super::{
    forge::{Forge, unsigned},
    shop::{Form, customers, plan},
};
use crate::{
    forge::{Spent, set_argument},
    upstream::Script,
    world::{Agent, PRICE, Plan, World, still, until},
};

/// The transaction that a credential of either rail carries.
fn envelope_of(credential: &Credential) -> xdr::TransactionEnvelope {
    use xdr::ReadXdr as _;
    let payload = credential.payload();
    let text = payload.pointer("/payload/transaction").or_else(|| payload.pointer("/transaction"));
    let text = text.unwrap().as_str().unwrap();
    xdr::TransactionEnvelope::from_xdr_base64(text, xdr::Limits::none()).unwrap()
}

/// The operation of a sponsored payment of either rail, with its payer's authorization.
fn operation_of(credential: &Credential) -> xdr::Operation {
    match envelope_of(credential) {
        xdr::TransactionEnvelope::Tx(envelope) => envelope.tx.operations[0].clone(),
        other => panic!("{other:?}"),
    }
}

/// A transaction of `seed`'s that carries `operation`, with what the RPC says that it takes.
async fn carrying(agent: &Agent, seed: &Seed, operation: xdr::Operation) -> xdr::Transaction {
    let account = agent.client.rpc().accounts(&[seed.account()]).await.unwrap().remove(0);
    let mut tx = xdr::Transaction {
        source_account: seed.account().to_muxed(),
        fee: 1_000_000,
        seq_num: xdr::SequenceNumber(account.seq_num.0 + 1),
        cond: xdr::Preconditions::Time(xdr::TimeBounds {
            min_time: xdr::TimePoint(0),
            max_time: xdr::TimePoint(tollgate::telemetry::Clock::system().now() + 200),
        }),
        memo: xdr::Memo::None,
        operations: vec![operation].try_into().unwrap(),
        ext: xdr::TransactionExt::V0,
    };
    let simulated = agent.client.rpc().simulate(&unsigned(tx.clone()), AuthMode::Enforce).await;
    let Simulation::Success(simulated) = simulated.unwrap() else { panic!("it would fail") };
    tx.ext = xdr::TransactionExt::V1(simulated.data.clone());
    tx
}

/// Each way to present the transaction of `credential`, or its authorization, for a challenge of the thief's own.
async fn stolen(agent: &Agent, thief: &Seed, credential: &Credential) -> Vec<Credential> {
    let (envelope, operation) = (envelope_of(credential), operation_of(credential));
    let mut ways = Vec::new();
    for path in ["/both", "/own"] {
        let offer = agent.charge_offer_of(Method::POST, path).await;
        for source in [agent.client.account(), thief.account()] {
            ways.push(offer.pull(&envelope, Address::Account(source)).unwrap());
        }
    }
    let own = agent.sign_for(Method::POST, "/both").await;
    let mut payload = own.payload().clone();
    payload["payload"]["transaction"] = {
        use xdr::WriteXdr as _;
        let mut tx = match envelope_of(&own) {
            xdr::TransactionEnvelope::Tx(envelope) => envelope.tx,
            other => panic!("{other:?}"),
        };
        tx.operations = vec![operation].try_into().unwrap();
        unsigned(tx).to_xdr_base64(xdr::Limits::none()).unwrap().into()
    };
    ways.push(Credential::x402(payload));
    ways
}

#[tokio::test]
async fn a_stranger_who_saw_a_payment_of_either_rail_gets_nothing_for_it_on_any() {
    let world = World::build(Plan { ledgers: tollgate_sandbox::Clock::default(), ..plan() }).await;
    let [(agent, seed), (robber, thief)] = customers(&world).await;
    for by_x402 in [true, false] {
        let credential = match by_x402 {
            true => agent.sign_for(Method::POST, "/both").await,
            false => {
                let offer = agent.charge_offer_of(Method::POST, "/both").await;
                agent.client.sign_charge(&offer, &Overrides::default()).await.unwrap()
            }
        };
        // Made before it lands, and after.
        let early = stolen(&robber, &thief, &credential).await;
        let before = robber.charge_offer_of(Method::GET, "/own").await;
        let hits = world.upstream.hits().len();
        let payee = world.payee_usdc();
        // Paid, and not delivered yet: there is something to steal.
        world.upstream.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
        let failed = agent.present_with(Method::POST, "/both", &credential).await;
        assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
        world.upstream.play(Script::default());
        until("it is settled", || world.payee_usdc() == payee + PRICE).await;

        let spent = Spent::of(&world);
        let late = stolen(&robber, &thief, &credential).await;
        for stolen in early.iter().chain(&late) {
            for path in ["/both", "/own"] {
                let taken = robber.present_with(Method::POST, path, stolen).await;
                assert_eq!(taken.status, StatusCode::PAYMENT_REQUIRED, "{taken:?}");
            }
        }
        assert_eq!(Spent::of(&world), spent);
        assert_eq!(world.upstream.hits().len(), hits + 1);
        // The payer gets what it has paid for, and then its hash buys nothing, for itself or others.
        let served = agent.present_with(Method::POST, "/both", &credential).await;
        let hash: TxHash = match by_x402 {
            true => served.assert_paid(),
            false => served.assert_charge_paid(),
        }
        .parse()
        .unwrap();
        for (by, of) in [(&seed, &seed), (&thief, &thief), (&thief, &seed)] {
            let message = format!("{}:{hash}", before.challenge.id);
            let payload = serde_json::json!({
                "type": "signedHash",
                "hash": hash.to_string(),
                "sourceSignature": hex::encode(by.sign_message(message.as_bytes())),
            });
            let source = before.source(Address::Account(of.account()));
            let pushed = Credential::charge(before.credential(&payload, Some(source)));
            let refused = robber.present("/own", &pushed).await;
            assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED, "{refused:?}");
        }
        assert_eq!(world.upstream.hits().len(), hits + 2);
        assert_eq!(world.payee_usdc(), payee + PRICE);
    }
    world.end().await;
}

#[tokio::test]
async fn a_transaction_that_its_payer_has_in_flight_or_landed_is_not_a_strangers_to_pull() {
    let world = World::build(Plan { ledgers: tollgate_sandbox::Clock::Manual, ..plan() }).await;
    let [(agent, seed), (robber, _)] = world.while_ledgers_close(customers(&world)).await;
    let forge = Forge::of(agent.clone(), seed.clone(), Form::Own, &Overrides::default()).await;
    let envelope = forge.envelope(forge.tx.clone());
    let own = robber.charge_offer_of(Method::GET, "/own").await;
    let stolen = own.pull(&envelope, Address::Account(seed.account())).unwrap();
    // In flight: the network knows it, and says so.
    world.sandbox.ledger().submit(envelope.clone());
    let in_flight = robber.present("/own", &stolen).await;
    assert_ne!(in_flight.status, StatusCode::OK, "{in_flight:?}");
    assert!(in_flight.receipt().is_none());
    assert!(world.upstream.hits().is_empty());
    // Landed.
    world.sandbox.close_ledger().await;
    let landed = robber.present("/own", &stolen).await;
    assert_ne!(landed.status, StatusCode::OK, "{landed:?}");
    assert!(world.upstream.hits().is_empty());
    // Neither has burned it for its payer.
    let hash = agent.client.hash(&envelope).unwrap();
    let pushed = forge.offer.push(hash, &seed);
    agent.present("/own", &pushed).await.assert_charge_paid();
    assert_eq!(world.upstream.hits().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn one_transfer_settled_by_x402_or_sponsored_is_not_pushed_for_another_delivery() {
    let world = World::build(Plan { ledgers: tollgate_sandbox::Clock::default(), ..plan() }).await;
    let [(agent, seed), (_, carrier)] = customers(&world).await;
    for by_x402 in [true, false] {
        let before = agent.charge_offer_of(Method::GET, "/own").await;
        let credential = match by_x402 {
            true => agent.sign_for(Method::GET, "/plain").await,
            false => Form::Sponsored.payment(&agent).await,
        };
        // The payer carries its own authorization to the ledger, in a transaction of its own or a friend's, and says
        // both: that it pays here, and that it has paid there.
        let other = carrying(&agent, &carrier, operation_of(&credential)).await;
        let landed = seal(other, &[&carrier], Network::Testnet).unwrap();
        let hash = agent.client.land(&landed).await.unwrap();
        let payee = world.payee_usdc();
        let pushed = before.push(hash, &seed);
        agent.present("/own", &pushed).await.assert_charge_paid();
        let hits = world.upstream.hits().len();
        let path = if by_x402 { "/plain" } else { "/weather" };
        let refused = agent.present(path, &credential).await;
        assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED, "{refused:?}");
        refused.assert_refused(&refused.reason());
        let pulled = before.pull(&landed, Address::Account(seed.account())).unwrap();
        let again = agent.present("/own", &pulled).await;
        assert!([402, 409].contains(&again.status.as_u16()), "{again:?}");
        assert_eq!(world.upstream.hits().len(), hits);
        assert_eq!(world.payee_usdc(), payee);
    }
    world.end().await;
}

/// Presents a sponsored POST /order whose outcome stays unknown, and gives back the credential.
async fn unknown(world: &World, agent: &Agent, is_lossy: &Arc<AtomicBool>) -> Credential {
    let offer = agent.charge_offer_of(Method::POST, "/order").await;
    let credential = agent.client.sign_charge(&offer, &Overrides::default()).await.unwrap();
    let lost = is_lossy.clone();
    // The gateway's own, which are all bumped.
    world.sandbox.faults().lose_transactions(u32::MAX, move |envelope| {
        lost.load(Ordering::Relaxed) && matches!(envelope, xdr::TransactionEnvelope::TxFeeBump(_))
    });
    until_unknown(world, agent, "/order", &credential).await;
    credential
}

/// Presents `credential` for POST `path`, and lets the ledger fall silent once its transaction was sent.
async fn until_unknown(world: &World, agent: &Agent, path: &'static str, credential: &Credential) {
    let faults = world.sandbox.faults();
    let sending = faults.hold(Rpc::SendTransaction, Moment::AfterEffect);
    let presented = agent.presenting(Method::POST, path, credential);
    sending.arrived().await;
    faults.arm(Rpc::GetTransaction, Times::Always, Fault::Drop);
    let calls = world.sandbox.calls(Rpc::GetTransaction);
    sending.release();
    until("it is looked for", || world.sandbox.calls(Rpc::GetTransaction) > calls).await;
    world.clock.advance(Duration::from_secs(21));
    presented.await.unwrap().assert_pending();
}

#[tokio::test]
async fn a_payer_that_spends_its_nonce_elsewhere_while_the_outcome_is_unknown_pays_once_or_gets_nothing()
 {
    for pays in [true, false] {
        let world = World::build(Plan { clock: still(), ..plan() }).await;
        let [(agent, seed), (_, carrier)] = customers(&world).await;
        let payee = world.payee_usdc();
        let before: ChargeOffer = agent.charge_offer_of(Method::GET, "/own").await;
        let is_lossy = Arc::new(AtomicBool::new(true));
        let credential = unknown(&world, &agent, &is_lossy).await;
        // The very transfer, or the same nonce for a transfer to the payer's friend.
        let mut operation = operation_of(&credential);
        if !pays {
            let xdr::OperationBody::InvokeHostFunction(op) = &mut operation.body else { panic!() };
            let xdr::HostFunction::InvokeContract(call) = &mut op.host_function else { panic!() };
            let friend = Address::Account(carrier.account()).to_xdr();
            set_argument(call, 1, xdr::ScVal::Address(friend));
            let mut entry = op.auth[0].clone();
            entry.root_invocation.function =
                xdr::SorobanAuthorizedFunction::ContractFn(call.clone());
            super::forge::sign(&mut entry, &seed);
            op.auth = vec![entry].try_into().unwrap();
        }
        world.sandbox.faults().clear();
        is_lossy.store(false, Ordering::Relaxed);
        let tx = carrying(&agent, &carrier, operation).await;
        let landed = seal(tx, &[&carrier], Network::Testnet).unwrap();
        let hash = agent.client.land(&landed).await.unwrap();
        // The transaction of ours can never land any more.
        world.pass(Duration::from_secs(301)).await;
        world.until_ready().await;
        let found = agent.present_with(Method::POST, "/order", &credential).await;
        let expected = if pays {
            assert_eq!(found.assert_charge_paid(), hash.to_string());
            1
        } else {
            found.assert_refused("duplicate_settlement");
            0
        };
        let again = agent.present_with(Method::POST, "/order", &credential).await;
        again.assert_refused("duplicate_settlement");
        // Nor is it pushed for another delivery, whatever it moved.
        let pushed = agent.present("/own", &before.push(hash, &seed)).await;
        assert_eq!(pushed.status, StatusCode::PAYMENT_REQUIRED, "{pushed:?}");
        assert_eq!(world.upstream.hits().len(), expected);
        assert_eq!(world.payee_usdc() - payee, PRICE * i128::try_from(expected).unwrap());
        // Its twin: an honest payment is served.
        let honest = Form::Sponsored.payment(&agent).await;
        agent.present("/weather", &honest).await.assert_charge_paid();
        world.end().await;
    }
}

#[tokio::test]
async fn a_gateway_that_was_down_past_the_life_of_a_credential_knows_what_became_of_it() {
    for form in Form::PULLED {
        for lands in [true, false] {
            let world = World::build(Plan { clock: still(), ..plan() }).await;
            let [(agent, _)] = customers(&world).await;
            let payee = world.payee_usdc();
            let path = if form == Form::Sponsored { "/order" } else { "/own" };
            let offer = agent.charge_offer_of(Method::POST, path).await;
            let credential = form.payment_of(&agent, &offer).await;
            if !lands {
                world.sandbox.faults().lose_transactions(u32::MAX, |_| true);
            }
            until_unknown(&world, &agent, path, &credential).await;
            if lands {
                until("it lands", || world.payee_usdc() > payee).await;
            }

            let world = world.restart_after(Duration::from_secs(6 * 3_600)).await;
            let agent = Agent { base: world.url(""), ..agent };
            let found = agent.present_with(Method::POST, path, &credential).await;
            if lands {
                found.assert_charge_paid();
                let again = agent.present_with(Method::POST, path, &credential).await;
                again.assert_refused("duplicate_settlement");
            } else {
                found.assert_refused(&found.reason());
            }
            assert_eq!(world.upstream.hits().len(), usize::from(lands), "{form:?}");
            assert_eq!(world.payee_usdc() - payee, if lands { PRICE } else { 0 });
            world.end().await;
        }
    }
}

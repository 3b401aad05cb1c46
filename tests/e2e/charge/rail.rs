//! Two rails on one route: who is told of which; and payers that are contracts.

use http::{HeaderValue, Method};
use tollgate::{
    client::Overrides,
    ledger::signer::Seed,
    protocol::stellar::{Address, ContractId, Network},
};
use tollgate_sandbox::ContractPayer;

use super::{
    forge::{Forge, sign},
    shop::{Form, open, refused},
};
use crate::{
    forge::case,
    world::{Agent, Answer, PRICE},
};

#[tokio::test]
async fn a_client_that_speaks_mpp_is_told_of_charges_alone_and_others_of_both_rails() {
    let world = open().await;
    let agent = world.agent();
    let x402 = |answer: &Answer| answer.headers.contains_key("payment-required");
    let spoken =
        ["stellar/charge", "stellar/*, tempo/charge;q=0.1", "tempo/charge", "*/*", "", ";;"];
    for value in spoken {
        let told = [("accept-payment", HeaderValue::from_static(value))];
        let both = agent.send(Method::GET, "/both", &told, b"").await;
        both.assert_refused("Payment required");
        assert!(!x402(&both), "{value}: {both:?}");
        assert_eq!(both.charges().len(), 1, "{value}");
        // A route without an MPP method has nothing else to tell.
        let plain = agent.send(Method::GET, "/plain", &told, b"").await;
        plain.assert_refused("Payment required");
        assert!(x402(&plain) && plain.charges().is_empty(), "{value}: {plain:?}");
    }
    let both = agent.ask(Method::GET, "/both").await;
    both.assert_refused("Payment required");
    assert!(x402(&both));
    assert_eq!(both.charges().len(), 1);
    // Refused by either rail, the same are told again.
    let used = agent.sign_charge("/both", &Overrides::default()).await;
    agent.present("/both", &used).await.assert_charge_paid();
    let again = refused(&world, "/both", &used, "duplicate_settlement").await;
    assert!(x402(&again));
    let told = [
        ("accept-payment", HeaderValue::from_static("stellar/charge")),
        ("authorization", used.header().clone()),
    ];
    let again = agent.send(Method::GET, "/both", &told, b"").await;
    again.assert_refused("duplicate_settlement");
    assert!(!x402(&again));
    assert_eq!(again.charges().len(), 1);
    world.end().await;
}

/// Pays for the contract.
fn for_contract(payer: &ContractPayer) -> Overrides {
    let contract = ContractId(payer.contract_id().0.0);
    Overrides { payer: Some(Address::Contract(contract)), ..Overrides::default() }
}

#[tokio::test]
async fn b10_a_contract_pays_a_sponsored_charge_once_and_by_its_own_key_only() {
    let world = open().await;
    let units = i64::try_from(PRICE * 10).unwrap();
    let payer = world.sandbox.new_contract_payer(units).await.unwrap();
    let poor = world.sandbox.new_contract_payer(1).await.unwrap();
    let agent: Agent = world.agent_of(payer.signer());
    let own: Seed = payer.signer().secret().parse().unwrap();
    let thief: Seed = world.sandbox.accounts().payer.secret().parse().unwrap();
    let payee = world.payee_usdc();
    let overrides = for_contract(&payer);
    let forge = Forge::of(agent.clone(), own.clone(), Form::Sponsored, &overrides).await;
    let mut by_thief = forge.entry();
    sign(&mut by_thief, &thief);
    let mut for_pubnet = forge.entry();
    own.sign_authorization(&mut for_pubnet, Network::Pubnet).unwrap();
    let mut other_nonce = forge.entry();
    crate::forge::credentials_of(&mut other_nonce).nonce ^= 1;
    let mut unsigned = forge.entry();
    crate::forge::credentials_of(&mut unsigned).signature = stellar_xdr::ScVal::Void;
    let stellar_xdr::TransactionExt::V1(resources) = forge.tx.ext.clone() else { panic!() };
    let overrides = Overrides { resources: Some(resources), ..for_contract(&poor) };
    let poor = world.agent_of(poor.signer()).sign_charge("/weather", &overrides).await;
    let failed = "simulation_failed";
    let cases = vec![
        case("by another key", failed, forge.with_auth(vec![by_thief])),
        case("for another network", failed, forge.with_auth(vec![for_pubnet])),
        case("of another nonce", failed, forge.with_auth(vec![other_nonce])),
        case("without the money", failed, poor),
        case("none", "missing_payer_signature", forge.with_auth(vec![unsigned])),
    ];
    let (offer, honest) = (forge.offer.clone(), forge.honest());
    forge.refused_then_served(&world, cases).await;
    refused(&world, "/weather", &honest, "duplicate_settlement").await;
    assert_eq!(world.payee_usdc() - payee, PRICE);
    assert_eq!(world.sandbox.usdc_balance(&payer.address()), Some(PRICE * 9));
    // A contract has no key of its own to sign a hash with.
    let before = agent.charge_offer_of(Method::GET, "/own").await;
    let hash = tollgate::protocol::stellar::TxHash([7; 32]);
    let mut pushed = before.push(hash, &own).as_charge().unwrap().clone();
    pushed.source = Some(offer.source(Address::Contract(ContractId(payer.contract_id().0.0))));
    let pushed = tollgate::client::Credential::charge(pushed);
    refused(&world, "/own", &pushed, "source_mismatch").await;
    world.end().await;
}

//! Payers that are contracts: what they sign is theirs to judge, and what they pay is a payment like any other.

use http::Method;
use stellar_xdr as xdr;
use tollgate::{
    client::Overrides,
    ledger::signer::Seed,
    protocol::{
        stellar::{Address, ContractId, Network},
        transfer,
    },
};
use tollgate_sandbox::ContractPayer;

use crate::{
    forge::{Forge, account_of, case, credentials_of},
    world::{Agent, PRICE, World},
};

/// A contract with the price of ten requests.
async fn rich(world: &World) -> ContractPayer {
    world.sandbox.new_contract_payer(i64::try_from(PRICE * 10).unwrap()).await.unwrap()
}

/// Pays for the contract.
fn for_contract(payer: &ContractPayer) -> Overrides {
    let contract = ContractId(payer.contract_id().0.0);
    let payer = Some(Address::Contract(contract));
    Overrides { payer, max_time: Some(0), ..Overrides::default() }
}

#[tokio::test]
async fn a_contract_pays_once_before_and_after_the_answer() {
    let world = World::start().await;
    let payer = rich(&world).await;
    let agent = world.agent_of(payer.signer());
    let payee = world.payee_usdc();
    let mut paid = 0;
    for (method, path) in [(Method::GET, "/weather"), (Method::POST, "/order")] {
        let offer = agent.offer_of(method.clone(), path).await;
        let credential = agent.client.sign_x402(&offer, &for_contract(&payer)).await.unwrap();
        let answer = agent.present_with(method.clone(), path, &credential).await;
        answer.assert_paid();
        let settlement = answer.settlement().unwrap();
        assert_eq!(settlement.payer.as_deref(), Some(payer.address().as_str()));
        paid += PRICE;
        assert_eq!(world.payee_usdc() - payee, paid);
        assert_eq!(world.sandbox.usdc_balance(&payer.address()), Some(PRICE * 10 - paid));
        let copy = agent.present_with(method, path, &credential).await;
        copy.assert_refused("duplicate_settlement");
        assert_eq!(world.payee_usdc() - payee, paid, "charged once");
    }
    assert_eq!(world.upstream.hits().len(), 2);
    world.end().await;
}

#[tokio::test]
async fn what_a_contract_does_not_take_for_its_signature_does_not_pay() {
    let world = World::start().await;
    let payer = rich(&world).await;
    let own: Seed = payer.signer().secret().parse().unwrap();
    let agent: Agent = world.agent_of(payer.signer());
    let honest = agent.sign("/weather", &for_contract(&payer)).await;
    let thief: Seed = world.sandbox.accounts().payer.secret().parse().unwrap();

    let forge = Forge::around(honest, own.clone());
    let signed = |seed: &Seed, network| {
        let mut entry = forge.entry();
        seed.sign_authorization(&mut entry, network).unwrap();
        forge.with_auth(vec![entry])
    };
    let with = |change: &dyn Fn(&mut xdr::SorobanAddressCredentials)| {
        let mut entry = forge.entry();
        change(credentials_of(&mut entry));
        forge.with_auth(vec![entry])
    };
    let with_signature = |signature: xdr::ScVal| with(&|of| of.signature = signature.clone());
    let of_account = transfer::account_signature(account_of(&payer.signer().secret()), [7; 64]);
    let other_nonce = with(&|of| of.nonce ^= 1);
    let refused = "invalid_exact_stellar_payload_simulation_failed";
    let missing = "invalid_exact_stellar_payload_missing_payer_signature";
    let cases = vec![
        case("by another key", refused, signed(&thief, Network::Testnet)),
        case("for another network", refused, signed(&own, Network::Pubnet)),
        case("of another nonce", refused, other_nonce),
        case("an account's", refused, with_signature(of_account)),
        case("of no contract's kind", refused, with_signature(xdr::ScVal::Bool(true))),
        case("none", missing, with_signature(xdr::ScVal::Void)),
    ];
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn a_contract_without_the_money_does_not_pay() {
    let world = World::start().await;
    let (payer, poor) = (rich(&world).await, world.sandbox.new_contract_payer(1).await.unwrap());
    let agent = world.agent_of(payer.signer());
    let honest = agent.sign("/weather", &for_contract(&payer)).await;
    // The resources of another payment, since the RPC simulates none that fails.
    let forge = Forge::around(honest, payer.signer().secret().parse().unwrap());
    let xdr::TransactionExt::V1(resources) = forge.transaction().ext else { panic!("resources") };
    let overrides = Overrides { resources: Some(resources), ..for_contract(&poor) };
    let unpayable = world.agent_of(poor.signer()).sign("/weather", &overrides).await;
    let refused = "invalid_exact_stellar_payload_simulation_failed";
    forge.refused_then_served(world, vec![case("poor", refused, unpayable)]).await;
}

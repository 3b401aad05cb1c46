//! Group B: what a payment's transaction may contain.

use tollgate::{
    client::{Credential, Overrides},
    ledger::signer::Seed,
    protocol::{money::Amount, stellar::Network},
};

use crate::world::World;

fn units(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

/// Each of these is refused with its reason, nothing is forwarded, and no fee is spent; then the honest twin is served.
async fn refused_then_twin(cases: Vec<(&str, Overrides)>) {
    let world = World::start().await;
    let agent = world.agent();
    let sponsor = world.sponsor_xlm();
    for (reason, overrides) in cases {
        let credential = agent.sign("/weather", &overrides).await;
        agent.present("/weather", &credential).await.assert_refused(reason);
    }
    assert!(world.upstream.hits().is_empty());
    assert_eq!(world.sponsor_xlm(), sponsor, "no fee was spent");
    agent.pay("/weather").await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn b04_only_the_exact_amount_pays() {
    let wrong = |amount| Overrides { amount: Some(units(amount)), ..Overrides::default() };
    let reason = "invalid_exact_stellar_payload_wrong_amount";
    refused_then_twin(vec![(reason, wrong(9_999)), (reason, wrong(10_001)), (reason, wrong(0))])
        .await;
}

#[tokio::test]
async fn b05_only_the_payee_can_be_paid() {
    let world = World::start().await;
    let agent = world.agent();
    let sponsor = world.sandbox.accounts().sponsor.address().parse().unwrap();
    let overrides = Overrides { payee: Some(sponsor), ..Overrides::default() };
    // The sponsor has no trustline, so the reference RPC would not even simulate it: declare the resources by hand.
    let honest = agent.sign("/weather", &Overrides::default()).await;
    let overrides = Overrides { resources: Some(resources_of(&honest)), ..overrides };
    let credential = agent.sign("/weather", &overrides).await;
    let answer = agent.present("/weather", &credential).await;
    answer.assert_refused("invalid_exact_stellar_payload_wrong_recipient");
    agent.present("/weather", &honest).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn b10_a_signature_by_another_key_is_refused() {
    let world = World::start().await;
    let agent = world.agent();
    let honest = agent.sign("/weather", &Overrides::default()).await;
    let thief: Seed = world.sandbox.accounts().zero_xlm_payer.secret().parse().unwrap();
    let overrides = Overrides {
        payer: Some(world.sandbox.accounts().payer.address().parse().unwrap()),
        seed: Some(thief),
        resources: Some(resources_of(&honest)),
        ..Overrides::default()
    };
    let credential = agent.sign("/weather", &overrides).await;
    let answer = agent.present("/weather", &credential).await;
    answer.assert_refused("invalid_exact_stellar_payload_missing_payer_signature");
    agent.present("/weather", &honest).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn b13_an_authorization_that_lives_too_long_is_refused() {
    let world = World::start().await;
    let agent = world.agent();
    let honest = agent.sign("/weather", &Overrides::default()).await;
    let overrides = Overrides {
        expiration_ledger: Some(u32::MAX),
        resources: Some(resources_of(&honest)),
        ..Overrides::default()
    };
    let credential = agent.sign("/weather", &overrides).await;
    let answer = agent.present("/weather", &credential).await;
    answer.assert_refused("invalid_exact_stellar_signature_expiration_too_far");
    agent.present("/weather", &honest).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn b15_the_fee_drain_is_refused_or_costs_no_more_than_the_ceiling() {
    let world = World::start().await;
    let agent = world.agent();
    let before = world.sponsor_xlm();
    for overrides in [
        Overrides { resource_fee: Some(100_000_000), ..Overrides::default() },
        Overrides { fee: Some(100_000_000), ..Overrides::default() },
    ] {
        let credential = agent.sign("/weather", &overrides).await;
        let answer = agent.present("/weather", &credential).await;
        answer.assert_refused("invalid_exact_stellar_payload_fee_exceeds_maximum");
    }
    assert_eq!(world.sponsor_xlm(), before);
    agent.pay("/weather").await.assert_paid();
    let spent = before - world.sponsor_xlm();
    assert!((1..=200_000).contains(&spent), "{spent} stroops");
    world.end().await;
}

#[tokio::test]
async fn a16_a_signature_for_another_network_is_refused() {
    let world = World::start().await;
    let agent = world.agent();
    let honest = agent.sign("/weather", &Overrides::default()).await;
    let overrides = Overrides {
        network: Some(Network::Pubnet),
        resources: Some(resources_of(&honest)),
        ..Overrides::default()
    };
    let credential = agent.sign("/weather", &overrides).await;
    let answer = agent.present("/weather", &credential).await;
    answer.assert_refused("invalid_exact_stellar_payload_missing_payer_signature");
    agent.present("/weather", &honest).await.assert_paid();
    world.end().await;
}

fn resources_of(credential: &Credential) -> stellar_xdr::SorobanTransactionData {
    use stellar_xdr::{Limits, ReadXdr as _, TransactionEnvelope, TransactionExt};
    let base64 = credential.payload().pointer("/payload/transaction").unwrap().as_str().unwrap();
    match TransactionEnvelope::from_xdr_base64(base64, Limits::none()).unwrap() {
        TransactionEnvelope::Tx(envelope) => match envelope.tx.ext {
            TransactionExt::V1(data) => data,
            TransactionExt::V0 => panic!("no resources"),
        },
        other => panic!("{other:?}"),
    }
}

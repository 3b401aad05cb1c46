//! Group B: what a payer must have signed, for how long.

use stellar_xdr as xdr;
use tollgate::{
    ledger::signer::Seed,
    protocol::{money::Amount, stellar::Network, transfer},
};
use tollgate_sandbox::{Clock, Method};

use crate::{
    forge::{Forge, Spent, account_of, address_of, case, credentials_of, invocation, set_argument},
    world::{Plan, World, until},
};

#[tokio::test]
async fn b10_only_the_payers_own_signature_pays() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let thief: Seed = world.sandbox.accounts().zero_xlm_payer.secret().parse().unwrap();
    let payer = account_of(&world.sandbox.accounts().payer.secret());
    let entry = forge.entry();
    let with_signature = |signature: xdr::ScVal| {
        let mut entry = entry.clone();
        credentials_of(&mut entry).signature = signature;
        forge.with_auth(vec![entry])
    };
    let mut by_thief = entry.clone();
    thief.sign_authorization(&mut by_thief, Network::Testnet).unwrap();
    let mut of_source = entry.clone();
    of_source.credentials = xdr::SorobanCredentials::SourceAccount;
    let missing = "invalid_exact_stellar_payload_missing_payer_signature";
    let cases = vec![
        case("none", "invalid_exact_stellar_payload_no_auth_entries", forge.with_auth(vec![])),
        case(
            "two",
            "invalid_exact_stellar_payload_malformed",
            forge.with_auth(vec![entry.clone(), entry.clone()]),
        ),
        case(
            "of the source",
            "invalid_exact_stellar_payload_unsupported_credential_type",
            forge.with_auth(vec![of_source]),
        ),
        case("not signed", missing, with_signature(xdr::ScVal::Void)),
        case("zeros", missing, with_signature(transfer::account_signature(payer, [0; 64]))),
        case("by another key", missing, forge.with_auth(vec![by_thief])),
    ];
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b11_an_authorization_of_more_than_the_transfer_does_not_pay() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let payer = address_of(&world.sandbox.accounts().payer.secret());
    let thief = address_of(&world.sandbox.accounts().zero_xlm_payer.secret());
    let usdc = Network::Testnet.usdc().contract;
    let call =
        |units| transfer::transfer_call(usdc, payer, thief, Amount::from_units(units).unwrap());
    let drain = forge.authorized(|entry| {
        let nested = transfer::authorization(call(1), payer, 0, 0).root_invocation;
        entry.root_invocation.sub_invocations = vec![nested].try_into().unwrap();
    });
    let other = forge.authorized(|entry| {
        entry.root_invocation = transfer::authorization(call(10_000), payer, 0, 0).root_invocation;
    });
    let cases = vec![
        case("a nested call", "invalid_exact_stellar_payload_has_subinvocations", drain),
        case("another call", "invalid_exact_stellar_payload_missing_payer_auth", other),
    ];
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b13_an_authorization_lives_neither_too_short_nor_too_long() {
    let world = World::build(Plan { ledgers: Clock::Manual, ..Plan::default() }).await;
    let agent = world.agent();
    let living = |forge: &Forge, expires: u32| {
        forge.authorized(|entry| credentials_of(entry).signature_expiration_ledger = expires)
    };
    // A route that waits 5 seconds for its upstream needs one ledger for that and two to settle in; the offer allows 60 seconds at five a ledger,
    // and two ledgers more for a payer whose node was ahead.
    for lives in [3, 14] {
        let forge = Forge::new(&world).await;
        let credential = living(&forge, world.ledger() + lives);
        let sent = world.sandbox.calls(Method::SendTransaction);
        let presented = agent.presenting(http::Method::GET, "/weather", &credential);
        until("it is sent", || world.sandbox.calls(Method::SendTransaction) > sent).await;
        world.while_ledgers_close(presented).await.unwrap().assert_paid();
    }
    let forge = Forge::new(&world).await;
    let current = world.ledger();
    let over = "invalid_exact_stellar_payload_auth_already_expired";
    let far = "invalid_exact_stellar_signature_expiration_too_far";
    let cases = [
        (0, over),
        (current - 1, over),
        (current, over),
        (current + 2, over),
        (current + 15, far),
        (u32::MAX, far),
    ];
    let spent = Spent::of(&world);
    for (expires, reason) in cases {
        agent.present("/weather", &living(&forge, expires)).await.assert_refused(reason);
    }
    assert_eq!(Spent::of(&world), spent);
    world.end().await;
}

#[tokio::test]
async fn a16_a_signature_for_another_network_does_not_pay() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let mut entry = forge.entry();
    let payer: Seed = world.sandbox.accounts().payer.secret().parse().unwrap();
    payer.sign_authorization(&mut entry, Network::Pubnet).unwrap();
    let reason = "invalid_exact_stellar_payload_missing_payer_signature";
    let cases = vec![case("pubnet", reason, forge.with_auth(vec![entry]))];
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn what_is_called_must_be_what_was_signed() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    // The operation says one thing, the payer's signature another: the oldest trick.
    let missing = "invalid_exact_stellar_payload_missing_payer_auth";
    let thief = address_of(&world.sandbox.accounts().zero_xlm_payer.secret());
    let altered = forge.changed(|envelope| {
        invocation(envelope, |op| {
            if let xdr::HostFunction::InvokeContract(call) = &mut op.host_function {
                set_argument(call, 1, xdr::ScVal::Address(thief.to_xdr()));
            }
        });
    });
    forge.refused_then_served(world, vec![case("payee", missing, altered)]).await;
}

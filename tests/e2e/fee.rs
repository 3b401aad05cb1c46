//! Group B: what a client declares that it did not sign, and what that may cost us.

use stellar_xdr as xdr;
use tollgate::ledger::signer::Seed;

use crate::{
    forge::{Forge, account_of, case, served},
    world::World,
};

#[tokio::test]
async fn b15_a_client_that_declares_great_fees_is_refused() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let data = |change: &dyn Fn(&mut xdr::SorobanTransactionData)| {
        forge.changed(|envelope| match &mut envelope.tx.ext {
            xdr::TransactionExt::V1(data) => change(data),
            xdr::TransactionExt::V0 => unreachable!(),
        })
    };
    let above = "invalid_exact_stellar_payload_fee_exceeds_maximum";
    let entry = xdr::LedgerKey::Account(xdr::LedgerKeyAccount {
        account_id: account_of(&world.sandbox.accounts().payer.secret()).to_xdr(),
    });
    let cases = vec![
        // The fee drain: the reference facilitator adds the client's resource fee to the fee that it has capped.
        case("the fee drain", above, data(&|data| data.resource_fee = 100_000_000)),
        case(
            "a negative fee",
            "invalid_exact_stellar_payload_malformed",
            data(&|data| {
                data.resource_fee = -1;
            }),
        ),
        case("10 XLM", above, forge.changed(|envelope| envelope.tx.fee = 100_000_000)),
        case(
            "a fee too low to be honest",
            "invalid_exact_stellar_payload_fee_below_minimum",
            forge.changed(|envelope| envelope.tx.fee = 100),
        ),
        case(
            "a bloated footprint",
            "invalid_exact_stellar_payload_malformed",
            data(&|data| {
                data.resources.footprint.read_write = vec![entry.clone(); 100].try_into().unwrap();
            }),
        ),
    ];
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b15_what_a_client_declares_within_bounds_costs_the_sponsor_nothing_more() {
    let world = World::start().await;
    let agent = world.agent();
    let mut costs = Vec::new();
    for lavish in [false, true] {
        let forge = Forge::new(&world).await;
        let credential = forge.changed(|envelope| {
            if lavish {
                envelope.tx.fee = 200_000;
                envelope.tx.memo = xdr::Memo::Hash(xdr::Hash([7; 32]));
                if let xdr::TransactionExt::V1(data) = &mut envelope.tx.ext {
                    data.resource_fee = 199_000;
                    data.resources.instructions = 90_000_000;
                    data.resources.write_bytes = 100_000;
                }
            }
        });
        let before = world.sponsor_xlm();
        served(&world, &agent, &credential).await;
        costs.push(before - world.sponsor_xlm());
    }
    assert!((1..=50_000).contains(&costs[0]), "{costs:?} stroops");
    // The rent of a nonce's entry differs a little with how long it lives.
    assert!((costs[1] - costs[0]).abs() < 1_000, "{costs:?} stroops");
    world.end().await;
}

#[tokio::test]
async fn b23_only_a_bare_transaction_without_signatures_pays() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let payer: Seed = world.sandbox.accounts().payer.secret().parse().unwrap();
    let signature = payer.sign(&[7; 32]);
    let inner = |signatures: Vec<xdr::DecoratedSignature>| xdr::TransactionV1Envelope {
        tx: forge.transaction(),
        signatures: signatures.try_into().unwrap(),
    };
    let bump = |source: &Seed| {
        forge.sealed(&xdr::TransactionEnvelope::TxFeeBump(xdr::FeeBumpTransactionEnvelope {
            tx: xdr::FeeBumpTransaction {
                fee_source: source.account().to_muxed(),
                fee: 200_000,
                inner_tx: xdr::FeeBumpTransactionInnerTx::Tx(inner(vec![signature.clone()])),
                ext: xdr::FeeBumpTransactionExt::V0,
            },
            signatures: vec![signature.clone()].try_into().unwrap(),
        }))
    };
    let sponsor: Seed = world.sandbox.accounts().sponsor.secret().parse().unwrap();
    let signed = forge.sealed(&xdr::TransactionEnvelope::Tx(inner(vec![signature.clone()])));
    let malformed = "invalid_exact_stellar_payload_malformed";
    let cases = vec![
        case("bumped by the sponsor", malformed, bump(&sponsor)),
        case("bumped by the payer", malformed, bump(&payer)),
        case("signed", "invalid_exact_stellar_payload_has_envelope_signatures", signed),
    ];
    forge.refused_then_served(world, cases).await;
}

#[tokio::test]
async fn b24_the_clients_own_time_bounds_must_include_now() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let now = tollgate::telemetry::Clock::system().now();
    let bounded = |min, max| {
        forge.changed(|envelope| {
            envelope.tx.cond = xdr::Preconditions::Time(xdr::TimeBounds {
                min_time: xdr::TimePoint(min),
                max_time: xdr::TimePoint(max),
            });
        })
    };
    let malformed = "invalid_exact_stellar_payload_malformed";
    let cases = vec![
        case("over", malformed, bounded(0, now - 1)),
        case("not begun", malformed, bounded(now + 600, now + 900)),
        case("never", malformed, bounded(now + 600, now - 600)),
    ];
    let without_end = Forge::new(&world).await;
    let agent = world.agent();
    let credential = without_end.changed(|envelope| envelope.tx.cond = xdr::Preconditions::None);
    served(&world, &agent, &credential).await;
    forge.refused_then_served(world, cases).await;
}

//! Group B: how long a charge may live, what it may declare, and who may wrap it.

use http::Method;
use stellar_xdr as xdr;
use tollgate::{
    client::{Overrides, charge::bump},
    ledger::signer::Seed,
    protocol::stellar::Network,
};

use super::{
    forge::Forge,
    shop::{Form, customers, open, plan},
};
use crate::{
    forge::{Spent, account_of, case, credentials_of},
    world::{PRICE, Plan, World, still},
};

#[tokio::test]
async fn b13_the_authorization_of_a_charge_lives_as_long_as_its_challenge_at_most() {
    let ledgers = tollgate_sandbox::Clock::Manual;
    let world = World::build(Plan { clock: still(), ledgers, ..plan() }).await;
    let agent = world.agent();
    // A route that waits 5 seconds for its upstream needs one ledger for that and two to settle in; a challenge of 300
    // seconds leaves 60, and two more for a payer whose node was ahead.
    for lives in [3, 62] {
        let expiration_ledger = Some(world.ledger() + lives);
        let overrides = Overrides { expiration_ledger, ..Overrides::default() };
        let credential = agent.sign_charge("/weather", &overrides).await;
        let sent = world.sandbox.calls(tollgate_sandbox::Method::SendTransaction);
        let presented = agent.presenting(Method::GET, "/weather", &credential);
        let is_sent = || world.sandbox.calls(tollgate_sandbox::Method::SendTransaction) > sent;
        crate::world::until("it is sent", is_sent).await;
        world.while_ledgers_close(presented).await.unwrap().assert_charge_paid();
    }
    let forge = Forge::new(&world, Form::Sponsored).await;
    let current = world.ledger();
    let (over, far) = ("auth_already_expired", "signature_expiration_too_far");
    let cases = [
        (0, over),
        (current - 1, over),
        (current, over),
        (current + 2, over),
        (current + 63, "expiration_too_far"),
        (u32::MAX, far),
    ];
    let spent = Spent::of(&world);
    for (expires, reason) in cases {
        let living = forge.authorized(|entry| {
            credentials_of(entry).signature_expiration_ledger = expires;
        });
        let answer = agent.present("/weather", &living).await;
        assert!(answer.reason().ends_with(reason), "{expires}: {answer:?}");
        answer.assert_refused(&answer.reason());
    }
    assert_eq!(Spent::of(&world), spent);
    world.end().await;
}

#[tokio::test]
async fn b15_b16_a_client_that_declares_great_fees_is_refused_or_pays_them_itself() {
    let world = open().await;
    let forge = Forge::new(&world, Form::Sponsored).await;
    let data = |change: &dyn Fn(&mut xdr::SorobanTransactionData)| {
        forge.changed(|tx| match &mut tx.ext {
            xdr::TransactionExt::V1(data) => change(data),
            xdr::TransactionExt::V0 => unreachable!(),
        })
    };
    let above = "fee_exceeds_maximum";
    let entry = xdr::LedgerKey::Account(xdr::LedgerKeyAccount {
        account_id: account_of(&world.sandbox.accounts().payer.secret()).to_xdr(),
    });
    let cases = vec![
        case("the fee drain", above, data(&|data| data.resource_fee = 100_000_000)),
        case("a negative fee", "malformed", data(&|data| data.resource_fee = -1)),
        case("10 XLM", above, forge.changed(|tx| tx.fee = 100_000_000)),
        case(
            "a bloated footprint",
            "malformed",
            data(&|data| {
                data.resources.footprint.read_write = vec![entry.clone(); 100].try_into().unwrap();
            }),
        ),
    ];
    forge.refused_then_served(&world, cases).await;

    // What is declared within bounds costs the sponsor nothing more.
    let mut costs = Vec::new();
    for lavish in [false, true] {
        let forge = Forge::new(&world, Form::Sponsored).await;
        let credential = forge.changed(|tx| {
            if lavish {
                tx.fee = 200_000;
                tx.memo = xdr::Memo::Hash(xdr::Hash([7; 32]));
                if let xdr::TransactionExt::V1(data) = &mut tx.ext {
                    data.resource_fee = 199_000;
                    data.resources.instructions = 90_000_000;
                }
            }
        });
        let before = world.sponsor_xlm();
        forge.agent.present("/weather", &credential).await.assert_charge_paid();
        costs.push(before - world.sponsor_xlm());
    }
    assert!((1..=50_000).contains(&costs[0]), "{costs:?} stroops");
    assert!((costs[1] - costs[0]).abs() < 1_000, "{costs:?} stroops");

    // A payer's own transaction may bid what its payer likes: the sponsor has no part in it. What the network would
    // refuse for its fee never gets so far.
    let sponsor = world.sponsor_xlm();
    let forge = Forge::new(&world, Form::Own).await;
    let xdr::TransactionExt::V1(resources) = &forge.tx.ext else { panic!("no resources") };
    let least = u32::try_from(resources.resource_fee).unwrap() + 100;
    let below = forge.changed(|tx| tx.fee = least - 1);
    let stingy = forge.changed(|tx| match &mut tx.ext {
        xdr::TransactionExt::V1(data) => data.resource_fee /= 2,
        xdr::TransactionExt::V0 => unreachable!(),
    });
    let reason = "fee_below_minimum";
    let cases = vec![case("below", reason, below), case("stingy", reason, stingy)];
    forge.refused_then_served(&world, cases).await;
    let forge = Forge::new(&world, Form::Own).await;
    let lavish = forge.changed(|tx| tx.fee = 50_000_000);
    forge.agent.present("/own", &lavish).await.assert_charge_paid();
    assert_eq!(world.sponsor_xlm(), sponsor);
    world.end().await;
}

#[tokio::test]
async fn b16_a_payer_that_cannot_pay_the_fee_of_its_own_transaction_reaches_no_upstream() {
    let routes = r#"  - { match: GET /own, accept: { mpp.charge: { price: "$0.001", sponsored: false } }, settle: after, timeout: 5s }"#;
    let world = World::build(Plan { routes, ..plan() }).await;
    let [(rich, _)] = customers(&world).await;
    let poor = world.payers(1).await.remove(0);
    let spent = Spent::of(&world);
    // It has the money for the price, and no lumens above its reserve.
    let unfunded = poor.sign_charge("/own", &Overrides::default()).await;
    poor.present("/own", &unfunded).await.assert_refused("insufficient_lumens");
    assert_eq!(Spent::of(&world), spent);
    let honest = rich.sign_charge("/own", &Overrides::default()).await;
    rich.present("/own", &honest).await.assert_charge_paid();
    world.end().await;
}

#[tokio::test]
async fn b23_a_fee_bump_pays_once_and_never_from_our_purse() {
    let world = open().await;
    let [(agent, seed), (_, thief)] = customers(&world).await;
    // Around the authorization of a sponsored charge there is nothing to bump: the sponsor's is the only one.
    let plain = Overrides::default();
    let sponsored = Forge::of(agent.clone(), seed.clone(), Form::Sponsored, &plain).await;
    let bumped = sponsored.with(&sponsored.bumped(&thief));
    let xdr::TransactionEnvelope::Tx(signed) = sponsored.envelope(sponsored.tx.clone()) else {
        panic!("no envelope")
    };
    let signature = seed.sign(&[7; 32]);
    let signed =
        xdr::TransactionV1Envelope { signatures: vec![signature].try_into().unwrap(), ..signed };
    let signed = sponsored.with(&xdr::TransactionEnvelope::Tx(signed));
    let cases = vec![
        case("bumped", "malformed", bumped),
        case("signed", "has_envelope_signatures", signed),
    ];
    sponsored.refused_then_served(&world, cases).await;

    let forge = Forge::of(agent.clone(), seed, Form::Own, &plain).await;
    let inner = forge.envelope(forge.tx.clone());
    let by = |payer: &Seed, signer: &Seed, fee| {
        let mut envelope = bump(&inner, payer, fee, Network::Testnet).unwrap();
        if let xdr::TransactionEnvelope::TxFeeBump(bump) = &mut envelope {
            let hash = bump.tx.hash(Network::Testnet.id()).unwrap();
            bump.signatures = vec![signer.sign(&hash)].try_into().unwrap();
        }
        forge.with(&envelope)
    };
    let sponsor: Seed = world.sandbox.accounts().sponsor.secret().parse().unwrap();
    let before = Spent::of(&world);
    // Anybody can bump a transaction that is on its way, so what is bumped proves nothing; whose purse it is does not matter.
    for (what, credential) in [
        ("our purse", by(&sponsor, &sponsor, 1_000_000)),
        ("our purse, by a thief", by(&sponsor, &thief, 1_000_000)),
        ("a stranger's purse", by(&thief, &thief, 1_000_000)),
        ("its own purse", by(&forge.seed, &forge.seed, 1_000_000)),
    ] {
        let answer = agent.present("/own", &credential).await;
        assert_eq!(answer.reason(), "malformed", "{what}: {answer:?}");
        answer.assert_refused("malformed");
        assert_eq!(Spent::of(&world), before, "{what}");
    }
    // What landed bumped is found by either hash, and is one payment.
    let (payee, sponsor) = (world.payee_usdc(), world.sponsor_xlm());
    let outer = bump(&inner, &thief, 1_000_000, Network::Testnet).unwrap();
    let outer = agent.client.land(&outer).await.unwrap();
    let other = agent.charge_offer_of(Method::GET, "/own").await;
    agent.present("/own", &forge.offer.push(outer, &forge.seed)).await.assert_charge_paid();
    let inner = agent.client.hash(&inner).unwrap();
    for hash in [inner, outer] {
        for offer in [&forge.offer, &other] {
            let again = agent.present("/own", &offer.push(hash, &forge.seed)).await;
            assert_eq!(again.status, 402, "{again:?}");
            assert!(again.receipt().is_none());
        }
    }
    let pulled = agent.present("/own", &forge.honest()).await;
    assert!([402, 409].contains(&pulled.status.as_u16()), "{pulled:?}");
    assert_eq!(world.upstream.hits().len(), 2);
    assert_eq!(world.payee_usdc() - payee, PRICE);
    assert_eq!(world.sponsor_xlm(), sponsor);
    world.end().await;
}

#[tokio::test]
async fn b24_a_charge_lands_within_its_time_bounds_and_never_after_its_challenge() {
    let world = World::build(Plan { clock: still(), ..plan() }).await;
    for form in Form::PULLED {
        let forge = Forge::new(&world, form).await;
        let now = world.clock.now();
        let bounded = |min, max| {
            forge.changed(|tx| {
                tx.cond = xdr::Preconditions::Time(xdr::TimeBounds {
                    min_time: xdr::TimePoint(min),
                    max_time: xdr::TimePoint(max),
                });
            })
        };
        let mut cases = vec![
            case("over", "malformed", bounded(0, now - 1)),
            case("over at once", "malformed", bounded(0, now)),
            case("not begun", "malformed", bounded(now + 600, now + 900)),
            case("never", "malformed", bounded(now + 600, now - 600)),
        ];
        if form == Form::Own {
            // The gateway could not say when it is lost.
            let late = "signature_expiration_too_far";
            cases[2].1 = late;
            cases.extend([
                case("without end", late, bounded(0, 0)),
                case(
                    "without bounds",
                    late,
                    forge.changed(|tx| tx.cond = xdr::Preconditions::None),
                ),
                case("after its challenge", late, bounded(0, now + 301)),
            ]);
        }
        for cond in [
            xdr::PreconditionsV2 { min_seq_ledger_gap: 1, ..no_conditions() },
            xdr::PreconditionsV2 {
                ledger_bounds: Some(xdr::LedgerBounds { min_ledger: 0, max_ledger: 9 }),
                ..no_conditions()
            },
        ] {
            let bound = forge.changed(|tx| tx.cond = xdr::Preconditions::V2(cond));
            cases.push(case("other conditions", "malformed", bound));
        }
        forge.refused_then_served(&world, cases).await;
    }
    world.end().await;
}

fn no_conditions() -> xdr::PreconditionsV2 {
    xdr::PreconditionsV2 {
        time_bounds: None,
        ledger_bounds: None,
        min_seq_num: None,
        min_seq_age: xdr::Duration(0),
        min_seq_ledger_gap: 0,
        extra_signers: xdr::VecM::default(),
    }
}

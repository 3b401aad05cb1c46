//! Attacks on charges that a careful reader found: who else could be paid for by a transaction that others can see, and
//! who could be made to pay twice.

mod entry;
mod late;
mod outage;

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use stellar_xdr as xdr;
use tokio::time::timeout;
use tollgate::{
    client::{
        ChargeOffer, Credential, Overrides,
        charge::{bump, seal},
    },
    ledger::signer::Seed,
    protocol::stellar::{Address, Network, TxHash},
};
use tollgate_sandbox::{Clock as Ledgers, DevAccount, Funds, ledger::Submission};

use crate::{
    forge::Spent,
    upstream::Script,
    world::{Agent, Answer, PRICE, Plan, World},
};

/// A world without a sponsor: its payers send their own transactions, and nothing but charges is taken.
fn unsponsored() -> Plan<'static> {
    Plan { routes: ROUTES, payments: OWN, sponsored: false, ..Plan::default() }
}

/// As [`unsponsored`], where ledgers close by hand: what was sent stays on its way until then.
async fn by_hand() -> World {
    World::build(Plan { ledgers: Ledgers::Manual, ..unsponsored() }).await
}

/// The payer of the world, its agent and its key.
fn payer(world: &World) -> (Agent, Seed) {
    let account = &world.sandbox.accounts().payer;
    (world.agent_of(account), key(account))
}

fn key(account: &DevAccount) -> Seed {
    account.secret().parse().unwrap()
}

/// Somebody with lumens, and with as much USDC as `units`.
async fn somebody(world: &World, units: i128) -> DevAccount {
    let funds = Funds { usdc_units: i64::try_from(units).unwrap(), spare_stroops: 1_000_000_000 };
    let made = world.while_ledgers_close(world.sandbox.new_payers(1, funds)).await;
    made.unwrap().remove(0)
}

/// The transaction by which `agent` pays what POST /order costs, signed and not sent; and the challenge that it is for.
async fn order(agent: &Agent) -> (ChargeOffer, xdr::TransactionEnvelope) {
    let offer = agent.charge_offer_of(Method::POST, "/order").await;
    let made = agent.client.transaction(&offer, &Overrides::default()).await.unwrap();
    (offer, made.envelope)
}

fn pull(offer: &ChargeOffer, envelope: &xdr::TransactionEnvelope, payer: &Seed) -> Credential {
    offer.pull(envelope, Address::Account(payer.account())).unwrap()
}

async fn present(agent: &Agent, credential: &Credential) -> Answer {
    agent.present_with(Method::POST, "/order", credential).await
}

/// What must come soon, for what would else be waited for without an end.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = timeout(Duration::from_secs(20), work).await;
    done.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Puts a transaction on its way without the gateway.
fn send(world: &World, envelope: &xdr::TransactionEnvelope) {
    let sent = world.sandbox.ledger().submit(envelope.clone());
    assert!(matches!(sent, Submission::Pending { .. }), "{sent:?}");
}

/// `envelope` with a fee that is high enough to replace one that waits, paid by `by`.
fn bumped(envelope: &xdr::TransactionEnvelope, by: &Seed) -> xdr::TransactionEnvelope {
    let xdr::TransactionEnvelope::Tx(inner) = envelope else { panic!("{envelope:?}") };
    bump(envelope, by, i64::from(inner.tx.fee) * 12, Network::Testnet).unwrap()
}

/// `envelope` after `change` of its transaction, signed by each of `by`.
fn changed(
    envelope: &xdr::TransactionEnvelope,
    by: &[&Seed],
    change: impl FnOnce(&mut xdr::Transaction),
) -> xdr::TransactionEnvelope {
    let xdr::TransactionEnvelope::Tx(inner) = envelope else { panic!("{envelope:?}") };
    let mut tx = inner.tx.clone();
    change(&mut tx);
    seal(tx, by, Network::Testnet).unwrap()
}

impl Answer {
    /// Asserts that the payment is being used: come again with it, and pay no other.
    #[track_caller]
    fn assert_in_use(&self, reason: &str) {
        assert_eq!(self.status, StatusCode::CONFLICT, "{self:?}");
        assert_eq!(self.json()["type"], "https://paymentauth.org/problems/payment-in-use");
        assert_eq!(self.reason(), reason, "{self:?}");
        let wait: u64 = self.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(wait >= 1, "{self:?}");
        for header in ["payment-required", "www-authenticate", "payment-receipt"] {
            assert!(!self.headers.contains_key(header), "{header}: {self:?}");
        }
    }
}

#[tokio::test]
async fn a_fee_bump_around_what_is_on_its_way_pays_for_no_stranger() {
    let world = by_hand().await;
    let thief = key(&somebody(&world, 0).await);
    let (agent, victim) = payer(&world);
    let before = world.payee_usdc();
    let (mine, envelope) = order(&agent).await;
    send(&world, &envelope);

    let theirs = agent.charge_offer_of(Method::POST, "/order").await;
    let stolen = pull(&theirs, &bumped(&envelope, &thief), &victim);
    let plain = pull(&theirs, &envelope, &victim);
    let hash = agent.client.hash(&envelope).unwrap();
    let spent = Spent::of(&world);
    let refused = soon("nothing is sent", present(&agent, &stolen)).await;
    refused.assert_refused("malformed");
    assert_eq!(Spent::of(&world), spent);
    present(&agent, &plain).await.assert_in_use("transaction_sent_already");
    // It has landed, and is there for all to see.
    world.sandbox.close_ledger().await;
    assert_eq!(world.payee_usdc() - before, PRICE);
    present(&agent, &stolen).await.assert_refused("malformed");
    present(&agent, &plain).await.assert_in_use("transaction_sent_already");
    present(&agent, &theirs.push(hash, &thief)).await.assert_refused("source_mismatch");
    assert!(world.upstream.hits().is_empty());

    let transaction = present(&agent, &mine.push(hash, &victim)).await.assert_charge_paid();
    assert_eq!(transaction, hash.to_string());
    for stolen in [&stolen, &plain] {
        assert_eq!(present(&agent, stolen).await.status, StatusCode::PAYMENT_REQUIRED);
    }
    assert_eq!(world.upstream.hits().len(), 1);
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}

#[tokio::test]
async fn a_payer_may_bump_its_own_fee_and_is_served_once_by_either_hash() {
    let world = by_hand().await;
    let friend = key(&somebody(&world, 0).await);
    let (agent, own) = payer(&world);
    let before = world.payee_usdc();
    for inner_first in [true, false] {
        let (offer, envelope) = order(&agent).await;
        let outer = bumped(&envelope, &friend);
        let mut hashes: [TxHash; 2] =
            [&envelope, &outer].map(|envelope| agent.client.hash(envelope).unwrap());
        send(&world, &outer);
        world.sandbox.close_ledger().await;
        if !inner_first {
            hashes.reverse();
        }
        present(&agent, &offer.push(hashes[0], &own)).await.assert_charge_paid();
        let other = present(&agent, &offer.push(hashes[1], &own)).await;
        other.assert_refused("duplicate_settlement");
    }
    assert_eq!(world.upstream.hits().len(), 2);
    assert_eq!(world.payee_usdc() - before, 2 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn variants_of_one_sequence_number_buy_one_delivery_and_have_one_try_at_a_time() {
    let world = World::build(unsponsored()).await;
    let (agent, own) = payer(&world);
    let before = world.payee_usdc();
    let mut variants = Vec::new();
    for memo in 0..20 {
        let offer = agent.charge_offer_of(Method::GET, "/weather").await;
        let made = agent.client.transaction(&offer, &Overrides::default()).await.unwrap();
        let variant = changed(&made.envelope, &[&own], |tx| tx.memo = xdr::Memo::Id(memo));
        variants.push(pull(&offer, &variant, &own));
    }
    // The first one finds a bad upstream, which costs nobody anything, and leaves its number to the others.
    world.upstream.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
    let failed = agent.present("/weather", &variants[0]).await;
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    world.upstream.play(Script::default());
    assert_eq!((world.upstream.hits().len(), world.payee_usdc()), (1, before));

    let presented = variants.iter().map(|variant| agent.present("/weather", variant));
    let answers = join_all(presented).await;
    let served = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(served, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        let status = answer.status;
        assert!([402, 409].contains(&status.as_u16()), "{answer:?}");
    }
    assert_eq!(world.upstream.hits().len(), 2, "one try at a time");
    assert_eq!(world.payee_usdc() - before, PRICE);
    for variant in &variants {
        let again = agent.present("/weather", variant).await;
        assert_eq!(again.status, StatusCode::PAYMENT_REQUIRED, "{again:?}");
    }
    assert_eq!(world.upstream.hits().len(), 2);

    let next = agent.sign_charge("/weather", &Overrides::default()).await;
    agent.present("/weather", &next).await.assert_charge_paid();
    assert_eq!(world.payee_usdc() - before, 2 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn a_transaction_that_was_sent_before_it_was_presented_is_proven_by_its_hash() {
    let plan =
        Plan { routes: BOTH, payments: SPONSORED, ledgers: Ledgers::Manual, ..Plan::default() };
    let world = World::build(plan).await;
    let (agent, own) = payer(&world);
    let before = world.payee_usdc();
    let mut paid = 0;
    for path in ["/order", "/sponsored"] {
        let offer = agent.charge_offer_of(Method::POST, path).await;
        assert_eq!(offer.request.fee_payer, path == "/sponsored");
        let own_fee = Overrides { sponsored: Some(false), ..Overrides::default() };
        let made = agent.client.transaction(&offer, &own_fee).await.unwrap();
        send(&world, &made.envelope);
        let pulled = pull(&offer, &made.envelope, &own);
        let presented = |credential| agent.present_with(Method::POST, path, credential);
        presented(&pulled).await.assert_in_use("transaction_sent_already");
        world.sandbox.close_ledger().await;
        presented(&pulled).await.assert_in_use("transaction_sent_already");
        assert_eq!(world.upstream.hits().len(), paid, "{path}");

        let hash = agent.client.hash(&made.envelope).unwrap();
        let pushed = offer.push(hash, &own);
        assert_eq!(presented(&pushed).await.assert_charge_paid(), hash.to_string());
        paid += 1;
        for used in [&pulled, &pushed] {
            presented(used).await.assert_refused("duplicate_settlement");
        }
        assert_eq!(world.upstream.hits().len(), paid, "{path}");
        assert_eq!(world.payee_usdc() - before, PRICE * i128::try_from(paid).unwrap());
    }
    world.end().await;
}

#[tokio::test]
async fn what_the_network_would_not_take_is_refused_before_the_upstream_works() {
    let world = World::build(unsponsored()).await;
    let (agent, own) = payer(&world);
    let offer = agent.charge_offer_of(Method::GET, "/weather").await;
    let made = agent.client.transaction(&offer, &Overrides::default()).await.unwrap();
    let xdr::TransactionEnvelope::Tx(honest) = &made.envelope else { panic!("{made:?}") };
    let xdr::TransactionExt::V1(data) = &honest.tx.ext else { panic!("{made:?}") };
    let resource_fee = u32::try_from(data.resource_fee).unwrap();
    let with = |by: &[&Seed], change: &dyn Fn(&mut xdr::Transaction)| {
        pull(&offer, &changed(&made.envelope, by, change), &own)
    };
    let fee = |fee: u32| with(&[&own], &|tx| tx.fee = fee);
    let sequence = |by: i64| with(&[&own], &|tx| tx.seq_num.0 += by);
    let resources = with(&[&own], &|tx| {
        let xdr::TransactionExt::V1(data) = &mut tx.ext else { unreachable!() };
        data.resource_fee /= 2;
    });
    let stranger = Seed::from_bytes(&[9; 32]);
    // It has the money, and not the lumens to send it.
    let poor = world.payers(1).await.remove(0);
    let unpayable = {
        let offer = poor.charge_offer_of(Method::GET, "/weather").await;
        poor.client.sign_charge(&offer, &Overrides::default()).await.unwrap()
    };
    let cases = [
        ("no signature", "missing_payer_signature", with(&[], &|_| {})),
        ("another's", "missing_payer_signature", with(&[&stranger], &|_| {})),
        ("one too many", "missing_payer_signature", with(&[&own, &stranger], &|_| {})),
        ("its own twice", "missing_payer_signature", with(&[&own, &own], &|_| {})),
        ("too low a bid", "fee_below_minimum", fee(resource_fee + 99)),
        ("no fee at all", "fee_below_minimum", fee(0)),
        ("less than its resources", "fee_below_minimum", fee(resource_fee - 1)),
        ("half of its resources", "fee_below_minimum", resources),
        ("a number that was used", "wrong_sequence", sequence(-1)),
        ("too few lumens", "insufficient_lumens", unpayable),
    ];
    let (spent, before) = (Spent::of(&world), world.payee_usdc());
    for (what, reason, credential) in cases {
        for _ in 0..2 {
            let answer = agent.present("/weather", &credential).await;
            assert_eq!(answer.reason(), reason, "{what}: {answer:?}");
            answer.assert_refused(reason);
            assert_eq!(Spent::of(&world), spent, "{what}");
        }
    }
    // The least that the network takes.
    agent.present("/weather", &fee(resource_fee + 100)).await.assert_charge_paid();
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}

const OWN: &str = ", mpp: { charge: { sponsored: false } }";
const SPONSORED: &str = ", mpp: { charge: { sponsored: true } }";

const ROUTES: &str = r#"
  - { name: weather, match: GET /weather, price: "$0.001", accept: [mpp.charge], timeout: 5s }
  - { name: order, match: POST /order, price: "$0.001", accept: [mpp.charge], timeout: 5s }
  - { name: health, match: GET /health, free: true }
"#;
const BOTH: &str = r#"
  - { name: order, match: POST /order, accept: { mpp.charge: { price: "$0.001", sponsored: false } }, timeout: 5s }
  - { name: sponsored, match: POST /sponsored, price: "$0.001", accept: [mpp.charge], timeout: 5s }
"#;

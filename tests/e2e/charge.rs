//! MPP charge, in each way that it can be paid, alone on a route and beside x402.

mod binding;
mod fault;
mod limit;
mod load;
mod push;
mod race;
mod rail;
mod replay;
mod theft;
mod transfer;

mod forge;
mod shop;

use http::{Method, StatusCode};
use tollgate::{
    client::{self, Mode, Overrides},
    protocol::stellar::TxHash,
};
use tollgate_sandbox::DevAccount;

use crate::world::{Agent, PRICE, Plan, World};

/// A world whose routes take charges; `/own` and the like leave the fee to the payer.
async fn start() -> World {
    World::build(Plan { routes: ROUTES, payments: MPP, ..Plan::default() }).await
}

/// What a payment must have done: one delivery, one price, and a receipt that names a transaction of the ledger.
struct Till {
    payee: i128,
    hits: usize,
    sponsor: i64,
}

impl Till {
    fn open(world: &World) -> Self {
        Self {
            payee: world.payee_usdc(),
            hits: world.upstream.hits().len(),
            sponsor: world.sponsor_xlm(),
        }
    }

    /// Asserts that exactly one more payment was taken, by `transaction`.
    async fn assert_one_more(&mut self, world: &World, agent: &Agent, transaction: &str) {
        self.payee += PRICE;
        self.hits += 1;
        assert_eq!(world.payee_usdc(), self.payee);
        assert_eq!(world.upstream.hits().len(), self.hits);
        let hash: TxHash = transaction.parse().unwrap();
        let found = agent.client.rpc().transaction(hash).await.unwrap();
        let tollgate::ledger::rpc::Lookup::Applied(applied) = found else { panic!("{found:?}") };
        assert!(applied.success);
    }
}

fn payer(world: &World) -> (&DevAccount, Agent) {
    let payer = &world.sandbox.accounts().payer;
    (payer, world.agent_of(payer))
}

#[tokio::test]
async fn a_sponsored_charge_pays_once_before_and_after_the_answer() {
    let world = start().await;
    let (payer, agent) = payer(&world);
    let lumens = world.sandbox.xlm_balance(&payer.address());
    let mut till = Till::open(&world);
    for (method, path) in [(Method::GET, "/weather"), (Method::POST, "/order")] {
        let offer = agent.charge_offer_of(method.clone(), path).await;
        assert!(offer.request.fee_payer);
        let credential = agent.client.sign_charge(&offer, &Overrides::default()).await.unwrap();
        let answer = agent.present_with(method, path, &credential).await;
        let transaction = answer.assert_charge_paid();
        assert_eq!(answer.receipt().unwrap().extra["challengeId"], offer.challenge.id.as_str());
        till.assert_one_more(&world, &agent, &transaction).await;
    }
    assert_eq!(world.sandbox.xlm_balance(&payer.address()), lumens, "the payer pays no fee");
    assert!(world.sponsor_xlm() < till.sponsor);
    world.end().await;
}

#[tokio::test]
async fn an_unsponsored_charge_pays_by_the_payers_own_transaction() {
    let world = start().await;
    let (payer, agent) = payer(&world);
    let mut till = Till::open(&world);
    for (method, path) in [(Method::GET, "/own"), (Method::POST, "/own")] {
        let lumens = world.sandbox.xlm_balance(&payer.address());
        let offer = agent.charge_offer_of(method.clone(), path).await;
        assert!(!offer.request.fee_payer);
        let made = agent.client.transaction(&offer, &Overrides::default()).await.unwrap();
        let credential = offer.pull(&made.envelope, made.payer).unwrap();
        let answer = agent.present_with(method, path, &credential).await;
        let transaction = answer.assert_charge_paid();
        let own = agent.client.hash(&made.envelope).unwrap();
        assert_eq!(transaction, own.to_string(), "sent as it was signed");
        till.assert_one_more(&world, &agent, &transaction).await;
        assert!(world.sandbox.xlm_balance(&payer.address()) < lumens, "the payer pays the fee");
    }
    assert_eq!(world.sponsor_xlm(), till.sponsor);
    world.end().await;
}

#[tokio::test]
async fn a_pushed_charge_pays_by_a_transaction_on_the_ledger() {
    let world = start().await;
    let (_, agent) = payer(&world);
    let mut till = Till::open(&world);
    for (method, path) in [(Method::GET, "/own"), (Method::POST, "/own")] {
        let offer = agent.charge_offer_of(method.clone(), path).await;
        let credential = agent.client.push_charge(&offer, &Overrides::default()).await.unwrap();
        assert_eq!(world.payee_usdc(), till.payee + PRICE, "it has landed");
        assert_eq!(world.upstream.hits().len(), till.hits);
        let answer = agent.present_with(method, path, &credential).await;
        let transaction = answer.assert_charge_paid();
        assert_eq!(Some(transaction.parse().unwrap()), credential.pushed());
        till.assert_one_more(&world, &agent, &transaction).await;
    }
    assert_eq!(world.sponsor_xlm(), till.sponsor);
    world.end().await;
}

#[tokio::test]
async fn a_route_with_two_rails_is_paid_by_either() {
    let world = start().await;
    let (_, agent) = payer(&world);
    let mut till = Till::open(&world);
    let unpaid = agent.ask(Method::GET, "/both").await;
    assert_eq!(unpaid.status, StatusCode::PAYMENT_REQUIRED);
    assert!(unpaid.headers.contains_key("payment-required"));
    assert_eq!(unpaid.charges().len(), 1);

    let by_x402 = agent.paying_by(client::Method::X402, Mode::Pull);
    let transaction = by_x402.pay("/both").await.assert_paid();
    till.assert_one_more(&world, &agent, &transaction).await;
    let by_charge = agent.paying_by(client::Method::Charge, Mode::Pull);
    let transaction = by_charge.pay("/both").await.assert_charge_paid();
    till.assert_one_more(&world, &agent, &transaction).await;
    // Who names no rail pays by the one that is named first.
    let answer = agent.pay("/both").await;
    let transaction = answer.assert_paid();
    till.assert_one_more(&world, &agent, &transaction).await;
    world.end().await;
}

#[tokio::test]
async fn the_client_pays_an_unsponsored_charge_either_way_by_itself() {
    let world = start().await;
    let (_, agent) = payer(&world);
    let mut till = Till::open(&world);
    for mode in [Mode::Pull, Mode::Push] {
        let agent = agent.paying_by(client::Method::Charge, mode);
        let transaction = agent.pay("/own").await.assert_charge_paid();
        till.assert_one_more(&world, &agent, &transaction).await;
    }
    // What is pushed buys one delivery.
    let pushed = agent.push_charge("/own", &Overrides::default()).await;
    let transaction = agent.present("/own", &pushed).await.assert_charge_paid();
    till.assert_one_more(&world, &agent, &transaction).await;
    agent.present("/own", &pushed).await.assert_refused("duplicate_settlement");
    world.end().await;
}

#[tokio::test]
async fn an_echo_that_changes_the_challenge_is_refused() {
    let world = start().await;
    let (_, agent) = payer(&world);
    let mut till = Till::open(&world);
    let honest = agent.sign_charge("/weather", &Overrides::default()).await;
    let forged = agent.forge_charge("/weather", |says| says.challenge.realm.push('x')).await;
    agent.present("/weather", &forged).await.assert_refused("invalid_challenge");
    let transaction = agent.present("/weather", &honest).await.assert_charge_paid();
    till.assert_one_more(&world, &agent, &transaction).await;
    world.end().await;
}

#[tokio::test]
async fn the_upstreams_own_authorization_passes_beside_a_payment() {
    let world = start().await;
    let (_, agent) = payer(&world);
    let credential = agent.sign_charge("/weather", &Overrides::default()).await;
    let mut request = agent.request(Method::GET, "/weather");
    request.headers_mut().insert("authorization", "Bearer mine".parse().unwrap());
    let answer = agent.client.present(request, &credential).await.unwrap();
    crate::world::read(answer).await.assert_charge_paid();
    let hits = world.upstream.hits();
    assert_eq!(hits[0].headers["authorization"], "Bearer mine");
    world.end().await;
}

/// Members of `payments:`.
pub const MPP: &str = ", mpp: { realm: api.example.com, charge: { sponsored: true } }";

const ROUTES: &str = r#"
  - { name: weather, match: GET /weather, price: "$0.001", accept: [mpp.charge], timeout: 5s }
  - { name: order, match: POST /order, price: "$0.001", accept: [mpp.charge], timeout: 5s }
  - { name: both, match: GET /both, price: "$0.001", accept: [x402, mpp.charge], timeout: 5s }
  - { name: own, match: ANY /own, accept: { mpp.charge: { price: "$0.001", sponsored: false } }, settle: before, timeout: 5s }
"#;

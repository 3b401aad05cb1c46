//! A remote facilitator that does not settle, or does not say so: a payment whose outcome is unknown is never asked for
//! twice and never charged twice.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tollgate::client::Overrides;
use tollgate_sandbox::{Fault, Method as Rpc, Times};

use crate::{
    agent::SECRET,
    asked::Asked,
    binary::until,
    middleman::{
        Reply::{self, Cut, Json, Text},
        Way,
    },
    world::{PRICE, Through, assert_on_the_ledger},
};

const TICK: Duration = Duration::from_millis(500);
const LONG_LIFE: u32 = 600;

const GET: Asked = (Method::GET, "/weather");
const POST: Asked = (Method::POST, "/echo");
const HASH: &str = "7d3e7704ab26fb0a373e1af0eb223b4af9a313ed5b2bc5bcfdefaee1a67a79fe";

#[tokio::test]
async fn npm_a_settlement_whose_answer_is_lost_after_the_head_is_found_on_the_ledger() {
    // Forwarded, its head dropped, and forwarded again when the payment turns out to be good.
    lost_and_found(GET, 1, 2).await;
}

#[tokio::test]
async fn npm_a_settlement_whose_answer_is_lost_before_forwarding_is_found_on_the_ledger() {
    lost_and_found(POST, 0, 1).await;
}

/// The facilitator settles and the answer says nothing of it; the upstream is hit `lost` times, and `found` times in all
/// once the payment is found.
async fn lost_and_found(what: Asked, lost: usize, found: usize) {
    let through = Through::start(TICK, LONG_LIFE).await;
    let agent = through.world.agent();
    for reply in unknown() {
        let named = format!("{reply:?}");
        let (before, hits) = (through.world.payee_usdc(), through.hits().len());
        let settled = through.middleman.asked("/settle");
        let credential = agent.sign(what.clone(), &Overrides::default()).await;
        through.middleman.set("/settle", Way::Behind(reply));
        let answer = agent.present(what.clone(), &credential).await;
        answer.assert_fault("settlement-pending");
        through.assert_nothing_of_the_upstream(&answer);
        through.assert_free_works().await;
        assert_eq!(through.world.payee_usdc() - before, PRICE, "{named}");
        assert_eq!(through.hits().len() - hits, lost, "{named}");

        let paid = agent.present(what.clone(), &credential).await;
        assert_on_the_ledger(&through.world.network.sandbox, &paid.assert_paid());
        assert_eq!(through.world.payee_usdc() - before, PRICE, "{named}: charged once");
        assert_eq!(through.hits().len() - hits, found, "{named}");
        assert_eq!(through.middleman.asked("/settle"), settled + 1, "{named}: settled once");
        agent.present(what.clone(), &credential).await.assert_refused("duplicate_settlement");
    }
    through.end().await;
}

/// Answers that say nothing certain.
fn unknown() -> Vec<Reply> {
    let settled = |transaction: &str, network: &str| {
        let (success, payer) = (true, None::<&str>);
        json!({ "success": success, "transaction": transaction, "network": network, "payer": payer })
    };
    vec![
        Json(500, json!({ "error": SECRET })),
        Json(502, json!({})),
        Text(200, "<html>hunter2</html>"),
        Json(200, json!({})),
        Json(200, settled("", "stellar:testnet")),
        Json(200, settled(HASH, "stellar:pubnet")),
        Cut,
    ]
}

#[tokio::test]
async fn npm_a_settlement_that_never_happened_stays_pending_until_it_cannot_happen_any_more() {
    let through = Through::start(TICK, LONG_LIFE).await;
    let agent = through.world.agent();
    for (what, reply) in
        [(GET, Cut), (POST, Json(500, json!({ "error": SECRET }))), (POST, Text(200, "hunter2"))]
    {
        let latest = through.world.network.sandbox.ledger().latest().sequence;
        let overrides = Overrides { expiration_ledger: Some(latest + 8), ..Overrides::default() };
        let credential = agent.sign(what.clone(), &overrides).await;
        through.middleman.set("/settle", Way::Instead(reply));
        let answer = agent.present(what.clone(), &credential).await;
        answer.assert_fault("settlement-pending");
        through.assert_nothing_of_the_upstream(&answer);
        through.middleman.set("/settle", Way::Pass);

        let settled = through.middleman.asked("/settle");
        let last = until("the payment has expired", async || {
            let answer = agent.present(what.clone(), &credential).await;
            if answer.status != StatusCode::SERVICE_UNAVAILABLE {
                return Some(answer);
            }
            answer.assert_fault("settlement-pending");
            None
        })
        .await;
        last.assert_refused("duplicate_settlement");
        let now = through.world.network.sandbox.ledger().latest().sequence;
        assert!(now > latest + 8, "refused at {now}, before it had expired");
        assert_eq!(through.middleman.asked("/settle"), settled, "it is not settled anew");
        assert_eq!(through.world.payee_usdc(), 0);
    }
    agent.pay(GET).await.assert_paid();
    assert_eq!(through.world.payee_usdc(), PRICE);
    through.end().await;
}

#[tokio::test]
async fn npm_a_settlement_that_failed_with_status_200_is_told_and_the_next_payment_is_served() {
    let through = Through::start(TICK, LONG_LIFE).await;
    let agent = through.world.agent();
    let no = json!({ "success": false, "errorReason": "insufficient_funds", "errorMessage": SECRET,
        "transaction": "", "network": "stellar:testnet" });
    for (what, hits) in [(GET, 1), (POST, 0)] {
        let (before, reached) = (through.world.payee_usdc(), through.hits().len());
        let credential = agent.sign(what.clone(), &Overrides::default()).await;
        through.middleman.set("/settle", Way::Instead(Json(200, no.clone())));
        let answer = agent.present(what.clone(), &credential).await;
        answer.assert_refused("insufficient_funds");
        through.assert_nothing_of_the_upstream(&answer);
        assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET), "{answer:?}");
        let settlement = answer.settlement().expect("a receipt of the failure");
        assert!(!settlement.success);
        assert_eq!(settlement.error_reason.as_deref(), Some("insufficient_funds"));
        assert_eq!((&*settlement.transaction, &*settlement.network), ("", "stellar:testnet"));
        assert_eq!(through.hits().len() - reached, hits);

        through.middleman.set("/settle", Way::Pass);
        agent.present(what.clone(), &credential).await.assert_refused("duplicate_settlement");
        assert_eq!(through.world.payee_usdc(), before);
        agent.pay(what).await.assert_paid();
        assert_eq!(through.world.payee_usdc() - before, PRICE);
    }
    through.end().await;
}

/// No fault between us: the reference facilitator itself cannot send its transaction.
#[tokio::test]
async fn npm_a_settlement_that_the_reference_facilitator_could_not_send_is_told() {
    let through = Through::start(TICK, LONG_LIFE).await;
    let (agent, sandbox) = (through.world.agent(), &through.world.network.sandbox);
    sandbox.faults().arm(Rpc::SendTransaction, Times::Next(1), Fault::TryAgainLater);
    let answer = agent.pay(GET).await;
    answer.assert_refused("settle_exact_stellar_transaction_submission_failed");
    assert!(!answer.settlement().expect("a receipt of the failure").success);
    through.assert_nothing_of_the_upstream(&answer);
    assert_eq!(through.world.payee_usdc(), 0);
    agent.pay(GET).await.assert_paid();
    assert_eq!(through.world.payee_usdc(), PRICE);
    through.end().await;
}

/// A key that is refused is refused before anything happens: the payment stays good.
#[tokio::test]
async fn npm_a_settlement_that_was_refused_at_the_door_can_be_presented_again() {
    let through = Through::start(TICK, LONG_LIFE).await;
    let agent = through.world.agent();
    for (what, status, hits) in [(GET, 401, 1), (GET, 429, 1), (POST, 401, 0)] {
        let (before, reached) = (through.world.payee_usdc(), through.hits().len());
        let credential = agent.sign(what.clone(), &Overrides::default()).await;
        through.middleman.set("/settle", Way::Instead(Json(status, json!({ "error": SECRET }))));
        let answer = agent.present(what.clone(), &credential).await;
        answer.assert_fault("payments-unavailable");
        through.assert_nothing_of_the_upstream(&answer);
        assert_eq!(through.hits().len() - reached, hits);
        assert_eq!(through.world.payee_usdc(), before);

        through.middleman.set("/settle", Way::Pass);
        agent.present(what, &credential).await.assert_paid();
        assert_eq!(through.world.payee_usdc() - before, PRICE);
        assert_eq!(through.hits().len() - reached, hits + 1);
    }
    through.end().await;
}

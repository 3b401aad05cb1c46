//! A remote facilitator that does not verify, or not well: what the client is told, and what becomes of its payment.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tollgate::client::Overrides;
use tollgate_sandbox::{Funds, Method as Rpc};

use crate::{
    agent::SECRET,
    asked::Asked,
    middleman::{
        Reply::{self, Cut, Json, Silence, Text},
        Way,
    },
    world::{PRICE, Through},
};

/// Fast ledgers and payments that live for many of them: these tests wait for nothing else.
const TICK: Duration = Duration::from_millis(500);
const LONG_LIFE: u32 = 600;

const GET: Asked = (Method::GET, "/weather");
const POST: Asked = (Method::POST, "/echo");

/// One payment, presented through every fault in turn, is neither used up nor charged by any of them.
#[tokio::test]
async fn npm_a_payment_outlives_every_fault_of_verifying() {
    let through = Through::start(TICK, LONG_LIFE).await;
    let agent = through.world.agent();
    for (what, hits) in [(GET, 1), (POST, 2)] {
        let before = through.world.payee_usdc();
        let credential = agent.sign(what.clone(), &Overrides::default()).await;
        for reply in faults() {
            let named = format!("{what:?} {reply:?}");
            let asked = through.middleman.asked("/verify");
            through.middleman.set("/verify", Way::Instead(reply));
            let answer = agent.present(what.clone(), &credential).await;
            answer.assert_fault("payments-unavailable");
            assert_eq!(through.middleman.asked("/verify"), asked + 1, "{named}");
            assert_eq!(through.hits().len(), hits - 1, "{named}");
            through.assert_free_works().await;
            // A verdict in between, so that the breaker stays out of this.
            through.middleman.set("/verify", Way::Instead(no("insufficient_funds")));
            agent.present(what.clone(), &credential).await.assert_refused("insufficient_funds");
        }
        assert_eq!(through.world.payee_usdc(), before);
        assert_eq!(through.hits().len(), hits - 1);

        through.middleman.set("/verify", Way::Pass);
        agent.present(what.clone(), &credential).await.assert_paid();
        assert_eq!(through.world.payee_usdc() - before, PRICE);
        assert_eq!(through.hits().len(), hits);
    }
    through.end().await;
}

/// What is neither a yes nor a no.
fn faults() -> Vec<Reply> {
    let stranger = "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG";
    vec![
        Json(500, json!({ "error": SECRET })),
        Json(401, json!({ "error": "Unauthorized" })),
        Json(429, json!({ "error": SECRET })),
        Json(500, json!({ "isValid": true })),
        Text(200, "<html>hunter2</html>"),
        Text(200, ""),
        Json(200, json!({})),
        Json(200, json!([true])),
        Json(200, json!({ "isValid": "true" })),
        Json(200, json!({ "isValid": true, "payer": stranger })),
        Cut,
        // Longer than the second that the gateway waits.
        Silence,
    ]
}

fn no(reason: &str) -> Reply {
    Json(200, json!({ "isValid": false, "invalidReason": reason, "invalidMessage": SECRET }))
}

#[tokio::test]
async fn npm_a_payment_that_is_not_valid_is_refused_with_the_reason_and_a_fresh_challenge() {
    let through = Through::start(TICK, LONG_LIFE).await;
    let agent = through.world.agent();
    let credential = agent.sign(GET, &Overrides::default()).await;
    let told = |verdict: Value| Way::Instead(Json(200, verdict));
    for (way, reason) in [
        (Way::Instead(no("insufficient_funds")), "insufficient_funds"),
        (told(json!({ "isValid": false })), "unexpected_verify_error"),
        (
            told(json!({ "isValid": false, "invalidReason": "see <b>hunter2</b>" })),
            "unexpected_verify_error",
        ),
        (
            Way::Instead(Json(
                400,
                json!({ "isValid": false, "invalidReason": "invalid_payload" }),
            )),
            "invalid_payload",
        ),
    ] {
        through.middleman.set("/verify", way);
        let answer = agent.present(GET, &credential).await;
        answer.assert_refused(reason);
        assert!(answer.settlement().is_none());
        assert!(!String::from_utf8_lossy(&answer.body).contains(SECRET), "{answer:?}");
        assert!(through.hits().is_empty());
    }
    through.middleman.set("/verify", Way::Pass);
    agent.present(GET, &credential).await.assert_paid();
    through.end().await;
}

/// No fault at all: the reference facilitator itself says no.
#[tokio::test]
async fn npm_a_payer_whose_money_is_gone_is_refused_by_the_reference_facilitator() {
    let through = Through::start(TICK, LONG_LIFE).await;
    let sandbox = &through.world.network.sandbox;
    // Enough for one.
    let funds = Funds { usdc_units: i64::try_from(PRICE).unwrap(), spare_stroops: 0 };
    let payer = sandbox.new_payers(1, funds).await.unwrap().remove(0);
    let agent = through.world.agent_of(&payer);
    let first = agent.sign(GET, &Overrides::default()).await;
    let second = agent.sign(GET, &Overrides::default()).await;
    agent.present(GET, &first).await.assert_paid();
    let sent = sandbox.calls(Rpc::SendTransaction);
    let answer = agent.present(GET, &second).await;
    answer.assert_refused("invalid_exact_stellar_payload_simulation_failed");
    assert_eq!(sandbox.calls(Rpc::SendTransaction), sent);
    assert_eq!(through.hits().len(), 1);
    assert_eq!(through.world.payee_usdc(), PRICE);
    through.end().await;
}

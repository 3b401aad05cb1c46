//! The reference packages at the other end: `@x402/express` before our facilitator, `@x402/core`'s facilitator behind our
//! client. Unmodified, over real sockets.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;
use tollgate::ledger::{
    Http,
    facilitator::{Outcome, VerifyError},
};
use tollgate_sandbox::Method;

use super::{npm::json_lines, remote::Remote, server::Server, service::Service, support::World};

const TICK: Duration = Duration::from_secs(1);
const KEY: &str = "a key of the tests";

#[tokio::test]
async fn npm_express_2_9_is_paid_through_our_facilitator() {
    let world = World::start(TICK).await;
    let accounts = world.sandbox.accounts().clone();
    let service = Service::start(world.ready(2).await, Some(KEY)).await;
    for package in ["x402-2.9", "x402-2.27"] {
        let before = world.payee_units();
        let mut shop = world.node("x402-2.9", "express-server.mjs");
        shop.env("FACILITATOR_URL", &service.url).env("FACILITATOR_KEY", KEY);
        shop.env("PAY_TO", accounts.recipient.address());
        let shop = Server::start(shop).await;
        let mut client = world.node(package, "client.mjs");
        client.arg(format!("{}/weather", shop.url));
        client.env("CLIENT_SECRET", accounts.zero_xlm_payer.secret());
        let paid = json_lines(client).await.pop().unwrap();
        assert_eq!(paid["status"], 200, "{paid}");
        assert_eq!(paid["paymentResponse"]["success"], true, "{paid}");
        assert_eq!(paid["paymentResponse"]["payer"], accounts.zero_xlm_payer.address());
        assert_eq!(world.payee_units(), before + 10_000);
    }
    // With another key there is no kind, and nothing for sale.
    let mut shop = world.node("x402-2.9", "express-server.mjs");
    shop.env("FACILITATOR_URL", &service.url).env("FACILITATOR_KEY", "another key");
    shop.env("PAY_TO", accounts.recipient.address());
    let shop = Server::start(shop).await;
    let request = Request::get(format!("{}/weather", shop.url)).body(Bytes::new()).unwrap();
    // It answers 500, or is gone: it does not survive the error when it comes before the first request.
    if let Ok((status, _)) = Http::new().send(request, TICK * 10, 1 << 20).await {
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}

#[tokio::test]
async fn npm_core_2_9_facilitator_settles_for_our_client() {
    let world = World::start(TICK).await;
    let accounts = world.sandbox.accounts().clone();
    let mut facilitator = world.node("x402-2.9", "facilitator-server.mjs");
    facilitator.env("FACILITATOR_SECRET", accounts.sponsor.secret()).env("BEARER", KEY);
    let server = Server::start(facilitator).await;
    let remote = Remote::start(&server.url, Some(KEY), world.sandbox.rpc_url());
    remote.until_ready().await;

    let payment = world.presented(&accounts.zero_xlm_payer).await;
    remote.facilitator.verify(&payment).await.unwrap();
    let sent = remote.facilitator.prepare(&payment.payment).await.unwrap();
    let outcome = remote.facilitator.submit(&payment).await;
    let Outcome::Settled(settled) = outcome else { panic!("{outcome:?}") };
    assert_eq!(world.payee_units(), 10_000);
    // Had the answer been lost, the ledger would have told.
    let found = remote.facilitator.resolve(&payment.payment, &sent).await;
    assert_eq!(found, Outcome::Settled(settled));

    // What is no payment has the facilitator's reason, or ours.
    let again = remote.facilitator.verify(&payment).await;
    let Err(VerifyError::Invalid(invalid)) = again else { panic!("{again:?}") };
    assert_eq!(invalid.reason, "invalid_exact_stellar_payload_simulation_failed");
    let mut dear = world.presented(&accounts.zero_xlm_payer).await;
    dear.requirements["amount"] = json!("20000");
    let refused = remote.facilitator.submit(&dear).await;
    let reason = "invalid_exact_stellar_payload_wrong_amount".into();
    assert_eq!(refused, Outcome::Rejected { reason, transaction: None });

    let stranger = Remote::start(&server.url, Some("another key"), world.sandbox.rpc_url());
    assert!(stranger.trouble("refuses the key").await.contains(&server.url));
    let sends = world.sandbox.calls(Method::SendTransaction);
    let denied = stranger.facilitator.submit(&dear).await;
    assert!(matches!(denied, Outcome::Unsent(_)), "{denied:?}");
    assert_eq!(world.sandbox.calls(Method::SendTransaction), sends);
}

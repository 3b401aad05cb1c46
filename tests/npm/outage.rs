//! A remote facilitator that is there and takes our key, that does not, or that is away for a while.

use std::time::Duration;

use http::Method;
use tollgate::client::Overrides;

use crate::{
    asked::Asked,
    upstream::Script,
    world::{KEY, PATIENCE, PRICE, Plan, Through, assert_on_the_ledger},
};

const TICK: Duration = Duration::from_secs(1);
const GET: Asked = (Method::GET, "/weather");
const POST: Asked = (Method::POST, "/echo");

#[tokio::test]
async fn npm_clients_and_ours_pay_through_the_reference_facilitator() {
    let through = Through::start(TICK, 60).await;
    let sandbox = &through.world.network.sandbox;
    for what in [GET, POST] {
        let transaction = through.world.agent().pay(what).await.assert_paid();
        assert_on_the_ledger(sandbox, &transaction);
    }
    assert_eq!(through.world.payee_usdc(), 2 * PRICE);
    let hits = through.hits();
    assert_eq!(hits.iter().map(|hit| &hit.method).collect::<Vec<_>>(), [Method::GET, Method::POST]);
    assert!(hits.iter().all(|hit| !hit.headers.contains_key("payment-signature")), "{hits:?}");
    assert!(hits.iter().all(|hit| hit.body.is_empty()), "{hits:?}");

    let payer = sandbox.accounts().zero_xlm_payer.clone();
    let paid = through.world.npm_pays("x402-2.9", &payer, &[&through.world.url("/weather")]).await;
    assert_eq!(paid["status"], 200, "{paid}");
    assert_eq!(paid["paymentResponse"]["success"], true, "{paid}");
    assert_eq!(paid["paymentResponse"]["payer"], payer.address());
    assert_on_the_ledger(sandbox, paid["paymentResponse"]["transaction"].as_str().unwrap());
    assert_eq!(through.world.payee_usdc(), 3 * PRICE);
    assert_eq!(through.hits().len(), 3);
    for endpoint in ["/verify", "/settle"] {
        assert_eq!(through.middleman.asked(endpoint), 3, "{endpoint}");
    }
    through.end().await;
}

#[tokio::test]
async fn npm_a_wrong_key_is_named_with_the_url_and_priced_routes_wait() {
    let wrong = |plan| Plan { key: "sesame".to_owned(), ..plan };
    let through = Through::with(TICK, wrong).await;
    let told = through.world.trouble().await;
    assert!(told.contains(&through.middleman.url) && told.contains("OZ_API_KEY"), "{told}");
    assert!(!told.contains("sesame"), "{told}");
    through.world.agent().ask(Method::GET, "/weather").await.assert_fault("payments-unavailable");
    through.world.agent().ask(Method::POST, "/echo").await.assert_fault("payments-unavailable");
    // The npm client is asked for no money, so it signs nothing.
    let payer = through.world.network.sandbox.accounts().payer.clone();
    let told = through.world.npm_pays("x402-2.9", &payer, &[&through.world.url("/weather")]).await;
    assert_eq!((told["status"].as_u64(), told["paymentResponse"].is_null()), (Some(503), true));
    through.assert_free_works().await;
    assert!(through.hits().is_empty());
    assert_eq!((through.middleman.asked("/verify"), through.middleman.asked("/settle")), (0, 0));
    through.end().await;
}

#[tokio::test]
async fn npm_a_facilitator_that_is_down_at_start_is_used_once_it_is_up() {
    let mut through = Through::behind(TICK, |_| {}, |plan| plan).await;
    let agent = through.world.agent();
    let told = through.world.trouble().await;
    assert!(told.contains(&through.middleman.url) && told.contains("OZ_API_KEY"), "{told}");
    assert!(!told.contains(KEY), "{told}");
    agent.ask(Method::GET, "/weather").await.assert_fault("payments-unavailable");
    agent.ask(Method::POST, "/echo").await.assert_fault("payments-unavailable");
    through.assert_free_works().await;
    assert!(through.hits().is_empty());

    through.middleman.up();
    through.world.gateway.ready(PATIENCE).await.unwrap();
    agent.pay(GET).await.assert_paid();
    assert_eq!(through.world.payee_usdc(), PRICE);
    through.end().await;
}

#[tokio::test]
async fn npm_a_facilitator_that_goes_down_before_verifying_costs_nothing() {
    let mut through = Through::start(TICK, 300).await;
    let agent = through.world.agent();
    for (what, hits) in [(GET, 1), (POST, 2)] {
        let before = through.world.payee_usdc();
        let credential = agent.sign(what.clone(), &Overrides::default()).await;
        through.middleman.down().await;
        agent.present(what.clone(), &credential).await.assert_fault("payments-unavailable");
        assert_eq!(through.hits().len(), hits - 1);
        through.assert_free_works().await;

        through.middleman.up();
        agent.present(what, &credential).await.assert_paid();
        assert_eq!(through.world.payee_usdc() - before, PRICE);
        assert_eq!(through.hits().len(), hits);
    }
    through.end().await;
}

#[tokio::test]
async fn npm_a_facilitator_that_goes_down_before_settling_costs_nothing() {
    let mut through = Through::start(TICK, 300).await;
    let agent = through.world.agent();
    let credential = agent.sign(GET, &Overrides::default()).await;
    // Between the two it is the upstream's turn, which takes its time.
    through.upstream.play(Script { delay: Duration::from_secs(1), ..Script::default() });
    let answer = {
        let presented = agent.present(GET, &credential);
        let down = async {
            while through.upstream.hits().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            through.middleman.down().await;
        };
        tokio::join!(presented, down).0
    };
    answer.assert_fault("payments-unavailable");
    through.assert_nothing_of_the_upstream(&answer);
    assert_eq!(through.middleman.asked("/settle"), 0);
    assert_eq!(through.world.payee_usdc(), 0);

    through.middleman.up();
    through.upstream.play(Script::default());
    agent.present(GET, &credential).await.assert_paid();
    assert_eq!(through.world.payee_usdc(), PRICE);
    assert_eq!(through.hits().len(), 2);
    through.end().await;
}

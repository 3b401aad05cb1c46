//! The command as an operator runs it: what it says when it cannot take payments, and that it takes them.

use std::time::Duration;

use http::StatusCode;

use crate::{
    binary::{Tollgate, until},
    npm::OverTls,
    upstream::{BODY, Upstream},
    world::{PRICE, Plan, facilitator, get, npm_pays, payee_usdc},
};

const TICK: Duration = Duration::from_secs(1);

#[tokio::test]
async fn npm_the_log_of_tollgate_run_names_the_url_and_the_key_that_is_refused() {
    let network = OverTls::start(TICK).await;
    let upstream = Upstream::start().await;
    let facilitator = facilitator(&network).await;
    let right = Plan::remote(&facilitator.url, upstream.address);
    let wrong = Plan { key: "sesame".to_owned(), ..right.clone() };

    let folder = tempfile::tempdir().unwrap();
    let config = wrong.write(&folder);
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let mut tollgate = Tollgate::start(&arguments, wrong.env(&network.sandbox)).await;
    let line = tollgate.logged("payments cannot be taken").await;
    assert_eq!(line["level"], "WARN");
    let reason = line["fields"]["reason"].as_str().unwrap();
    assert!(reason.contains(&facilitator.url) && reason.contains("OZ_API_KEY"), "{reason}");
    assert!(!line.to_string().contains("sesame"), "{line}");
    let (status, body) = get(&tollgate.url("/weather")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!body.windows(6).any(|window| window == b"sesame"));
    assert_eq!(get(&tollgate.url("/health")).await, (StatusCode::OK, BODY.into()));
    drop(tollgate);

    let folder = tempfile::tempdir().unwrap();
    let config = right.write(&folder);
    let arguments = ["run", "--config", config.to_str().unwrap()];
    let tollgate = Tollgate::start(&arguments, right.env(&network.sandbox)).await;
    let url = tollgate.url("/weather");
    until("payments are taken", async || {
        (get(&url).await.0 == StatusCode::PAYMENT_REQUIRED).then_some(())
    })
    .await;
    let payer = network.sandbox.accounts().payer.clone();
    let paid = npm_pays(&network, "x402-2.9", &payer, &[&url]).await;
    assert_eq!(paid["status"], 200, "{paid}");
    assert_eq!(payee_usdc(&network.sandbox), PRICE);
    network.sandbox.shutdown().await;
}

//! Cases A20 and A21: a payment that its client has named is told of again, and its name is its own.

use http::{Method, StatusCode};
use serde_json::json;
use tollgate::client::Credential;

use crate::{
    forge::Spent,
    upstream::Script,
    world::{Agent, PRICE, World},
};

/// A payment for `path` that has a name.
async fn named(agent: &Agent, method: Method, path: &str, id: &str) -> Credential {
    let honest = agent.sign_for(method, path).await;
    let mut payload = honest.payload().clone();
    payload["extensions"]["payment-identifier"]["info"] = json!({ "required": false, "id": id });
    Credential::x402(payload)
}

#[tokio::test]
async fn a20_a_named_payment_that_comes_again_is_told_its_outcome_and_not_its_answer() {
    let world = World::start().await;
    let (agent, payee) = (world.agent(), world.payee_usdc());
    for (n, (method, path)) in
        [(Method::GET, "/weather"), (Method::POST, "/order")].into_iter().enumerate()
    {
        let credential = named(&agent, method.clone(), path, ID).await;
        let created = Script { status: StatusCode::CREATED, ..Script::default() };
        world.upstream.play(created);
        let first = agent.present_with(method.clone(), path, &credential).await;
        assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
        assert!(!first.body.is_empty());
        world.upstream.play(Script::default());
        let spent = Spent::of(&world);
        for _ in 0..3 {
            let again = agent.present_with(method.clone(), path, &credential).await;
            assert_eq!(again.status, StatusCode::CREATED, "{again:?}");
            assert_eq!(again.settlement().unwrap(), first.settlement().unwrap());
            assert!(again.body.is_empty(), "{again:?}");
            assert_eq!(again.headers["cache-control"], "private");
        }
        assert_eq!(Spent::of(&world), spent);
        assert_eq!(world.upstream.hits().len(), 2 * n + 1);
        assert_eq!(world.payee_usdc() - payee, PRICE * i128::try_from(2 * n + 1).unwrap());
        // Its twin without a name is refused.
        let nameless = agent.sign_for(method.clone(), path).await;
        agent.present_with(method.clone(), path, &nameless).await.assert_paid();
        let again = agent.present_with(method, path, &nameless).await;
        again.assert_refused("duplicate_settlement");
    }
    world.end().await;
}

#[tokio::test]
async fn a21_a_name_that_another_payment_has_is_409_and_nothing_is_charged() {
    let world = World::start().await;
    let agent = world.agent();
    let first = named(&agent, Method::GET, "/weather", ID).await;
    let second = named(&agent, Method::GET, "/weather", ID).await;
    agent.present("/weather", &first).await.assert_paid();
    let spent = Spent::of(&world);
    let refused = agent.present("/weather", &second).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{refused:?}");
    let problem = "https://paymentauth.org/problems/payment-identifier-conflict";
    assert_eq!(refused.json()["type"], problem);
    // The same payment under another name, or none, is the same payment.
    for id in [Some("pay_another_0123456789"), None] {
        let mut payload = first.payload().clone();
        match id {
            Some(id) => payload["extensions"]["payment-identifier"]["info"]["id"] = id.into(),
            None => drop(payload.as_object_mut().unwrap().remove("extensions")),
        }
        let renamed = agent.present("/weather", &Credential::x402(payload)).await;
        assert!([402, 409].contains(&renamed.status.as_u16()), "{renamed:?}");
    }
    // Nor does the name tell anything of one request for another.
    let elsewhere = agent.present("/weather?other=1", &first).await;
    assert_eq!(elsewhere.status, StatusCode::CONFLICT, "{elsewhere:?}");
    assert_eq!(Spent::of(&world), spent);
    // Its twins: another name, and the same name of another payer.
    let other = named(&agent, Method::GET, "/weather", "pay_0123456789abcdeg").await;
    agent.present("/weather", &other).await.assert_paid();
    let neighbour = world.payers(1).await.remove(0);
    let theirs = named(&neighbour, Method::GET, "/weather", ID).await;
    neighbour.present("/weather", &theirs).await.assert_paid();
    world.end().await;
}

const ID: &str = "pay_0123456789abcdef";

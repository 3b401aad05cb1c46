//! What a challenge costs: nothing that lasts.

use futures_util::future::join_all;
use http::Method;

use crate::{
    forge::Spent,
    world::{World, until},
};

#[tokio::test]
async fn i08_a_thousand_challenges_write_nothing_to_the_store_and_ask_nothing_of_the_ledger() {
    let world = World::start().await;
    let agent = world.agent();
    let store = || std::fs::read(world.store_path()).unwrap();
    let modified = || std::fs::metadata(world.store_path()).unwrap().modified().unwrap();
    let (content, at, spent) = (store(), modified(), Spent::of(&world));
    let simulated = || world.sandbox.calls(tollgate_sandbox::Method::SimulateTransaction);
    let asked = simulated();
    for _ in 0..10 {
        let answers = join_all((0..100).map(|_| agent.ask(Method::GET, "/weather"))).await;
        answers.iter().for_each(|answer| answer.assert_refused("Payment required"));
    }
    assert!(store() == content && modified() == at, "the store was written");
    assert_eq!(Spent::of(&world), spent);
    assert_eq!(simulated(), asked);

    // Its twin: a payment is written down.
    agent.pay("/weather").await.assert_paid();
    until("the payment is written", || store() != content).await;
    assert!(modified() > at);
    world.end().await;
}

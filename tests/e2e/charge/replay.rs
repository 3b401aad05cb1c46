//! Group A: the same charge again, and a challenge paid twice.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use tollgate::client::Overrides;
use tollgate_sandbox::Method as Rpc;

use super::shop::{Form, customers, open, plan, refused};
use crate::{
    forge::Spent,
    upstream::Script,
    world::{PRICE, Plan, World, still, until},
};

#[tokio::test]
async fn a01_a_charge_buys_one_answer_in_each_way_of_paying() {
    let world = open().await;
    let before = world.payee_usdc();
    for form in Form::ALL {
        let credential = form.payment(&world.agent()).await;
        world.agent().present(form.path(), &credential).await.assert_charge_paid();
        refused(&world, form.path(), &credential, "duplicate_settlement").await;
    }
    assert_eq!(world.upstream.hits().len(), 3);
    assert_eq!(world.payee_usdc() - before, 3 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn a02_fifty_copies_of_a_charge_at_once_buy_one_answer() {
    let world = open().await;
    let (agent, payee) = (world.agent(), world.payee_usdc());
    for (n, form) in Form::ALL.into_iter().enumerate() {
        let credential = form.payment(&agent).await;
        let spent = (world.upstream.hits().len(), world.sandbox.calls(Rpc::SendTransaction));
        let copies = (0..50).map(|_| agent.present(form.path(), &credential));
        let answers = join_all(copies).await;
        let (paid, others): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == StatusCode::OK);
        assert_eq!(paid.len(), 1, "{form:?}");
        for other in others {
            assert!([402, 409].contains(&other.status.as_u16()), "{form:?}: {other:?}");
            assert_eq!(other.reason(), "duplicate_settlement", "{other:?}");
        }
        assert_eq!(world.upstream.hits().len(), spent.0 + 1);
        let sent = u64::from(form != Form::Pushed);
        assert_eq!(world.sandbox.calls(Rpc::SendTransaction), spent.1 + sent, "{form:?}");
        assert_eq!(world.payee_usdc() - payee, PRICE * i128::try_from(n + 1).unwrap());
    }
    world.end().await;
}

#[tokio::test]
async fn a_challenge_is_paid_once_and_a_second_payment_of_it_is_not_charged() {
    let world = open().await;
    let [(one, _), (two, _)] = customers(&world).await;
    for form in Form::PULLED {
        // In turn.
        let offer = one.charge_offer_of(Method::GET, form.path()).await;
        let first = form.payment_of(&one, &offer).await;
        let second = form.payment_of(&two, &offer).await;
        one.present(form.path(), &first).await.assert_charge_paid();
        refused(&world, form.path(), &second, "invalid_challenge").await;
        // At once.
        let offer = one.charge_offer_of(Method::GET, form.path()).await;
        let first = form.payment_of(&one, &offer).await;
        let second = form.payment_of(&two, &offer).await;
        let (payee, hits) = (world.payee_usdc(), world.upstream.hits().len());
        let answers = join_all([&first, &second].map(|paid| one.present(form.path(), paid))).await;
        let paid = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
        assert_eq!(paid, 1, "{form:?}: {answers:?}");
        assert!(answers.iter().any(|answer| [402, 409].contains(&answer.status.as_u16())));
        assert_eq!(world.payee_usdc() - payee, PRICE);
        assert_eq!(world.upstream.hits().len(), hits + 1);
        // Its twin: who was refused pays for a challenge of its own.
        let fresh = form.payment(&two).await;
        two.present(form.path(), &fresh).await.assert_charge_paid();
    }
    world.end().await;
}

#[tokio::test]
async fn a13_a_charge_is_honoured_until_its_challenge_ends() {
    let world = World::build(Plan { clock: still(), ..plan() }).await;
    let agent = world.agent();
    for form in Form::ALL {
        for (seconds, reason) in [(250, None), (301, Some("payment_expired"))] {
            let offer = agent.charge_offer_of(Method::GET, form.path()).await;
            // Its authorization lives on, so that the challenge alone decides.
            let overrides =
                Overrides { expiration_ledger: Some(world.ledger() + 11), ..Overrides::default() };
            let credential = match form {
                Form::Pushed => agent.client.push_charge(&offer, &overrides).await.unwrap(),
                _ => agent.client.sign_charge(&offer, &overrides).await.unwrap(),
            };
            let late = if form == Form::Pushed { 24 * 3_600 } else { 0 };
            world.pass(Duration::from_secs(seconds + late)).await;
            world.until_ready().await;
            match reason {
                Some(reason) => {
                    refused(&world, form.path(), &credential, reason).await;
                }
                None => {
                    agent.present(form.path(), &credential).await.assert_charge_paid();
                }
            }
        }
    }
    world.end().await;
}

#[tokio::test]
async fn a13_what_landed_after_its_challenge_had_ended_does_not_pay() {
    let world = World::build(Plan { clock: still(), ..plan() }).await;
    let agent = world.agent();
    let offer = agent.charge_offer_of(Method::GET, "/own").await;
    let late = Overrides { max_time: Some(world.clock.now() + 3_600), ..Overrides::default() };
    world.pass(Duration::from_secs(301)).await;
    world.until_ready().await;
    let pushed = agent.client.push_charge(&offer, &late).await.unwrap();
    refused(&world, "/own", &pushed, "payment_expired").await;
    let honest = Form::Pushed.payment(&agent).await;
    agent.present("/own", &honest).await.assert_charge_paid();
    world.end().await;
}

#[tokio::test]
async fn a26_a_charge_stays_used_after_a_restart_and_when_its_record_is_long_gone() {
    let world = World::build(Plan { clock: still(), ..plan() }).await;
    let mut used = Vec::new();
    for form in Form::ALL {
        let agent = world.agent();
        let credential = form.payment(&agent).await;
        agent.present(form.path(), &credential).await.assert_charge_paid();
        used.push((form, credential));
    }
    let payee = world.payee_usdc();
    let world = world.restart().await;
    // At last records are forgotten, some with each that is written; what is not remembered has ended for long.
    for (seconds, reason) in [
        (0, "duplicate_settlement"),
        (301, "duplicate_settlement"),
        (24 * 3_600, "duplicate_settlement"),
        (48 * 3_600, ""),
    ] {
        world.pass(Duration::from_secs(seconds)).await;
        world.until_ready().await;
        // Another payment comes between, so that the store has an occasion to forget what is due.
        let agent = world.agent();
        let other = Form::Sponsored.payment(&agent).await;
        agent.present("/weather", &other).await.assert_charge_paid();
        let spent = Spent::of(&world);
        for (form, credential) in &used {
            let answer = agent.present(form.path(), credential).await;
            let is_right = match reason {
                "" => ["duplicate_settlement", "payment_expired"].contains(&&*answer.reason()),
                reason => answer.reason() == reason,
            };
            assert!(is_right, "{form:?} after {seconds} s: {answer:?}");
            answer.assert_refused(&answer.reason());
            assert_eq!(Spent::of(&world), spent);
        }
    }
    assert_eq!(world.upstream.hits().len(), 7);
    assert_eq!(world.payee_usdc() - payee, 4 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn a_client_that_aborts_before_the_head_again_and_again_makes_the_upstream_work_once_a_price()
{
    let world = open().await;
    let (agent, payee) = (world.agent(), world.payee_usdc());
    let slow = Script { delay: Duration::from_millis(300), ..Script::default() };
    world.upstream.play(slow);
    // The same payment, over and over.
    let credential = Form::Sponsored.payment(&agent).await;
    for _ in 0..8 {
        let presented = agent.presenting(Method::GET, "/weather", &credential);
        until("it is forwarded", || !world.upstream.hits().is_empty()).await;
        presented.abort();
    }
    // It was taken to its end all the same, and so it is used.
    until("it is settled", || world.payee_usdc() > payee).await;
    assert_eq!(world.upstream.hits().len(), 1);
    let hits = |count: usize| world.upstream.hits().len() >= count;
    // Other payments: each is charged.
    for n in 2..6 {
        let credential = Form::Sponsored.payment(&agent).await;
        let presented = agent.presenting(Method::GET, "/weather", &credential);
        until("it is forwarded", || hits(n)).await;
        presented.abort();
    }
    until("all are settled", || world.payee_usdc() - payee == 5 * PRICE).await;
    world.upstream.play(Script::default());
    let spent = Spent::of(&world);
    let again = agent.present("/weather", &credential).await;
    again.assert_refused("duplicate_settlement");
    assert_eq!(Spent::of(&world), spent);
    let honest = Form::Sponsored.payment(&agent).await;
    agent.present("/weather", &honest).await.assert_charge_paid();
    assert_eq!(world.upstream.hits().len(), 6);
    assert_eq!(world.payee_usdc() - payee, 6 * PRICE);
    world.end().await;
}

//! Case K01: the gateway is killed (`kill -9`) in every state that a payment can be in, and another one takes over.
//!
//! Ledger, upstream and clients outlive every gateway, and are the judges; what the store holds is looked at while no
//! gateway runs. They must agree of every payment: charged once and delivered (once more at most, where the kill fell
//! between the upstream's answer and its record), or not charged and refused; and the upstream is never reached unpaid.
//!
//! CI runs a short form. A thousand kills are a command:
//! `TOLLGATE_KILLS=1000 cargo test -p tollgate --test crash -- --nocapture`

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test ends where it finds something else than it expects"
)]

mod judge;
mod load;
mod purchase;
mod scenario;
mod series;
mod site;
mod upstream;

#[path = "../support/process.rs"]
mod process;

use self::{purchase::Rail, scenario::Scenario, series::Series};

#[tokio::test]
async fn k01_x402_payments_survive_a_kill_in_every_state() {
    kill_in_every_state(Rail::X402).await;
}

#[tokio::test]
async fn k01_sponsored_charges_survive_a_kill_in_every_state() {
    kill_in_every_state(Rail::Sponsored).await;
}

#[tokio::test]
async fn k01_charges_that_their_payers_pay_for_survive_a_kill_in_every_state() {
    kill_in_every_state(Rail::Relayed).await;
}

#[tokio::test]
async fn k01_pushed_charges_survive_a_kill_in_every_state() {
    kill_in_every_state(Rail::Pushed).await;
}

#[tokio::test]
async fn k01_payments_of_every_kind_survive_kills_at_any_moment() {
    load::kill_at_any_moment((kills() / SERIES).max(10)).await;
}

/// Kills gateways with payments of `rail` in every state, once in the short form.
async fn kill_in_every_state(rail: Rail) {
    let kills = kills() / SERIES;
    let mut series = Series::start().await;
    for round in 0_usize.. {
        for (index, scenario) in Scenario::all(rail).into_iter().enumerate() {
            // By turns, so that each happens in the short form too.
            let scenario = match (round + index) % 3 {
                0 => Scenario { falls_twice: true, ..scenario },
                1 => scenario,
                _ => scenario.without_clients(),
            };
            println!("{} kills; now {scenario:?}", series.kills());
            series.play(scenario).await;
        }
        if series.kills() >= kills {
            break;
        }
    }
    series.finish().await;
}

/// How many gateways are killed in all, at least.
fn kills() -> usize {
    std::env::var("TOLLGATE_KILLS").map_or(0, |kills| kills.parse().unwrap())
}

/// How many tests share the kills.
const SERIES: usize = 5;

//! Many requests over one channel: each is one round trip, none costs a ledger call, and the money is exact to the unit.
//!
//! CI runs a short form. Ten thousand are a command:
//! `TOLLGATE_VOUCHERS=10000 cargo test -p tollgate --test channel ten_thousand -- --nocapture`

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "how many and how fast is asked and told by who runs it"
)]

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Instant,
};

use futures_util::future::join_all;
use http::StatusCode;
use tollgate::{
    protocol::{
        commitment::CommitmentSeed,
        mpp::{self, channel::Action},
    },
    store::channel::Phase,
};
use tollgate_sandbox::{Funds, Method as Call, OpenChannel};

use crate::{
    payer::{Payer, due},
    world::{PRICE, Plan, WAITING, World},
};

#[tokio::test]
async fn ten_thousand_commitments_of_one_channel_buy_as_many_answers() {
    let count = vouchers();
    // Nothing is collected on the way, or the ledger would be asked for that.
    let channel = r#", close: { at_claimable: "$50" }"#;
    let world = World::build(Plan { channel, ..Plan::default() }).await;
    let deposit = i128::try_from(count).unwrap() * PRICE + CHANGE;
    let funds = Funds { usdc_units: deposit.try_into().unwrap(), spare_stroops: 10_000_000 };
    let account = world.sandbox.new_payers(1, funds).await.unwrap().remove(0);
    let seed = CommitmentSeed::from_bytes(&[5; 32]);
    let wanted = OpenChannel {
        payer: &account,
        payee: &world.sandbox.accounts().recipient.address(),
        token: &world.sandbox.usdc_contract(),
        commitment_key: seed.key().to_bytes(),
        deposit,
        refund_waiting_ledgers: WAITING,
    };
    let payer = world.open(&wanted, seed).await;
    let before = world.payee_usdc();

    let first = payer.challenge(&path(0)).await;
    let (asked, begun) = (calls(&world), Instant::now());
    let signed = Arc::new(Mutex::new(0));
    // One after another, and then some at a time.
    let half = count / 2;
    let mut last = pay(payer.clone(), signed.clone(), first, (0..half).collect()).await;
    let mut lanes = Vec::new();
    for lane in 0..LANES {
        let (next, numbers) =
            (payer.challenge(&path(0)).await, (half..count).skip(lane).step_by(LANES).collect());
        lanes.push(tokio::spawn(pay(payer.clone(), signed.clone(), next, numbers)));
    }
    for lane in join_all(lanes).await {
        last = lane.unwrap();
    }
    let (took, asked) = (begun.elapsed(), calls(&world) - asked);
    println!("{count} requests in {took:?}, {asked} calls of the RPC meanwhile");
    assert!(asked <= A_SECOND * (took.as_secs() + 2), "{asked} calls in {took:?}");

    let targets: HashSet<String> =
        world.upstream.hits().into_iter().map(|hit| hit.target).collect();
    assert_eq!((world.hits(), targets.len()), (count, count));
    let total = i128::try_from(count).unwrap() * PRICE;
    let close = payer.commit_for(Action::Close, &last, total + 1);
    let closed = payer.present(&path(0), &close).await;
    assert_eq!(closed.status, StatusCode::OK, "{closed:?}");
    assert_eq!(world.payee_usdc() - before, total);
    assert_eq!(world.sandbox.usdc_balance(&account.address()), Some(CHANGE));
    assert_eq!(world.hits(), count);
    let account = world.end_and_read(payer.channel).await.unwrap();
    let standing = account.standing();
    assert_eq!((standing.authorised.units(), standing.spent.units()), (total, total));
    assert!(matches!(account.phase(), Phase::Closed { transaction: Some(_) }), "{account:?}");
}

/// Pays for all of `numbers`, each in one round trip, by the challenge that the answer before has brought.
async fn pay(
    payer: Payer,
    signed: Arc<Mutex<i128>>,
    mut next: mpp::Challenge,
    numbers: Vec<usize>,
) -> mpp::Challenge {
    for number in numbers {
        let amount = {
            let mut signed = signed.lock().unwrap();
            *signed = due(&next).max(*signed + PRICE);
            *signed
        };
        let answer = payer.present(&path(number), &payer.commit(&next, amount)).await;
        let (authorised, spent) = answer.assert_channel_paid();
        assert!(authorised >= amount && spent <= authorised, "{answer:?}");
        next = answer.next().unwrap();
    }
    next
}

fn path(number: usize) -> String {
    format!("/weather?{number}")
}

fn calls(world: &World) -> u64 {
    Call::ALL.into_iter().map(|call| world.sandbox.calls(call)).sum()
}

fn vouchers() -> usize {
    std::env::var("TOLLGATE_VOUCHERS").map_or(1_000, |count| count.parse().unwrap())
}

/// How many requests are in flight at a time.
const LANES: usize = 8;
/// What the channel holds beyond the price of all, in base units.
const CHANGE: i128 = 12_345;
/// Calls of the RPC in a second at most, whatever is paid: channels and the ledger's health are watched.
const A_SECOND: u64 = 10;

//! A process that is killed.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use futures_util::future::join_all;
use tollgate::store::{Claim, Claiming, Store, TakenBy, TakenState};

use super::{Folder, claim, fresh, key, settle_and_deliver, settled, submitting};

/// Case K01.
#[test]
fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    let folder = Folder::new();
    for round in 0..5 {
        // A number that was not acknowledged may be delivered all the same, so each round has numbers of its own.
        let first = round * 100_000;
        let enough = first + 40 * (round + 1);
        let mut next = first;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::the_child_that_is_killed", "--nocapture"])
            .env(CHILD_FILE, folder.file())
            .env(CHILD_FIRST, first.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledgements = |line: std::io::Result<String>| {
            line.unwrap().split_once("acknowledged ").map(|(_, n)| n.parse::<u32>().unwrap())
        };
        for n in lines.by_ref().filter_map(acknowledgements) {
            next = n + 1;
            if next >= enough {
                break;
            }
        }
        child.kill().unwrap();
        // What it had said before it was killed, it had said.
        next = lines.filter_map(acknowledgements).last().map_or(next, |n| n + 1);
        child.wait().unwrap();
        assert!(next >= enough, "the child ended by itself at {next}");
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let store = Store::open(folder.file()).await.unwrap();
            for n in (0..=round)
                .flat_map(|round| round * 100_000..round * 100_000 + 40)
                .chain(first..next)
            {
                let found = store.claim(with_alias(n, n)).await.unwrap();
                let told = status(n);
                assert!(
                    matches!(&found, Claiming::Delivered { status, .. } if *status == told),
                    "{n}: {found:?}"
                );
                assert_eq!(taken(&store, n).await, Some(TakenState::Delivered), "{n}");
            }
            // What was under way has its alias, or else has come to nothing.
            for n in next..next + 16 {
                let taken = taken(&store, n).await;
                let found = store.claim(with_alias(n, n)).await.unwrap();
                let agrees = match &found {
                    Claiming::Fresh(_) => taken.is_none(),
                    Claiming::Pending(found) => taken == Some(TakenState::Pending(found.clone())),
                    Claiming::Redeliver(..) => taken == Some(TakenState::Settled),
                    Claiming::Delivered { .. } => taken == Some(TakenState::Delivered),
                    _ => false,
                };
                assert!(agrees, "{n}: {found:?}, and its alias is {taken:?}");
            }
            store.close().await.unwrap();
        });
    }
}

/// Not a test of its own: what `a_killed_process_has_lost_nothing_that_it_acknowledged` starts and kills.
#[tokio::test]
async fn the_child_that_is_killed() {
    let (Some(file), Some(first)) = (std::env::var_os(CHILD_FILE), std::env::var_os(CHILD_FIRST))
    else {
        return;
    };
    let store = Store::open(file).await.unwrap();
    // Eight at a time, acknowledged in order.
    for group in (first.into_string().unwrap().parse::<u32>().unwrap()..).step_by(8) {
        let paid = join_all((group..group + 8).map(async |n| {
            let mut ticket = fresh(&store, with_alias(n, n)).await;
            store.submitting(&mut ticket, submitting(1)).await.unwrap();
            settle_and_deliver(&store, ticket, settled(1), status(n)).await;
            n
        }));
        for n in paid.await {
            writeln!(std::io::stdout(), "acknowledged {n}").unwrap();
        }
    }
}

/// The payment `n`, with the alias of the payment `of`.
fn with_alias(n: u32, of: u32) -> Claim {
    Claim { alias: Some(key(of)), ..claim(n) }
}

fn status(n: u32) -> u16 {
    200 + u16::try_from(n % 100).unwrap()
}

/// What another payment is told of the alias of `n`.
async fn taken(store: &Store, n: u32) -> Option<TakenState> {
    match store.claim(with_alias(u32::MAX, n)).await.unwrap() {
        Claiming::Fresh(_) => None,
        Claiming::AliasTaken(TakenBy { key: by, state }) if by == key(n) => Some(state),
        other => panic!("the alias of {n}: {other:?}"),
    }
}

const CHILD_FILE: &str = "TOLLGATE_TEST_STORE_FILE";
const CHILD_FIRST: &str = "TOLLGATE_TEST_STORE_FIRST";

//! What an operator can do to a journal and to a replica: it costs sales, and never a mark.

use futures_util::future::join_all;
use tollgate::{protocol::stellar::ContractId, store::channel::Standing};

use super::replicas::{Pair, attached, follow, follower, pay_soon, promote, refusal};
use crate::shared::{amount, commitment, pay};

/// A gateway goes on with what it has open. Who starts without it is another member, and the one that is gone must be
/// dismissed once another server has taken over.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_deleted_under_way_is_missed_when_another_server_takes_over() {
    let mut pair = Pair::start().await;
    let store = pair.gateway("a").await;
    pay_soon(&store, 1).await;
    std::fs::remove_file(pair.journals.path().join("a")).unwrap();
    pay_soon(&store, 2).await;
    pair.fail_over().await;
    let stands = pay_soon(&store, 3).await;
    assert_eq!(stands, Standing { authorised: amount(3), spent: amount(3) });
    drop(store);
    let store = pair.gateway("a").await;
    pay_soon(&store, 4).await;
    pair.fail_over().await;
    let gone = loop {
        let members = store.members().await.unwrap_or_default();
        if let Some(gone) = members.iter().find(|member| !member.is_reconciled)
            && members.iter().any(|member| member.is_reconciled)
        {
            break gone.id;
        }
        tokio::task::yield_now().await;
    };
    let refused = refusal(&store, 5).await;
    assert!(refused.contains(&gone.to_string()), "{refused}");
    assert!(store.dismiss(gone).await.unwrap());
    let stands = pay_soon(&store, 6).await;
    assert_eq!(stands, Standing { authorised: amount(6), spent: amount(5) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_syncs_seldom_is_waited_for_and_takes_over_once_it_syncs_always() {
    let mut pair = Pair::start().await;
    let _: () = pair.replica.ask("CONFIG SET appendfsync everysec").await;
    let store = pair.gateway("a").await;
    pay_soon(&store, 1).await;
    let said = pay_soon(&store, 2).await;
    promote(&pair.replica).await;
    std::mem::swap(&mut pair.primary, &mut pair.replica);
    follow(&pair.replica, pair.primary.address()).await;
    pair.lead_to_primary();
    attached(&pair.primary, 1).await;
    let refused = loop {
        let refused = refusal(&store, 3).await;
        if refused.contains("appendfsync") {
            break refused;
        }
    };
    assert!(refused.contains("set `appendfsync always`"), "{refused}");
    let _: () = pair.primary.ask("CONFIG SET appendfsync always").await;
    let stands = pay_soon(&store, 4).await;
    assert_eq!(stands.spent, said.spent.checked_add(amount(1)).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_take_over_from_each_other_again_and_again_keep_all_marks() {
    let mut pair = Pair::start().await;
    let (one, two) = (pair.gateway("a").await, pair.gateway("b").await);
    let mut spent = 0;
    for round in 0..4 {
        for store in [&one, &two] {
            spent += 1;
            let stands = pay_soon(store, 10 * round + spent).await;
            assert_eq!(stands.spent, amount(spent), "{round}");
        }
        pair.fail_over().await;
    }
}

/// One more may take over than must be there: it is waited for as long as it is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_more_than_there_must_be_costs_no_payment() {
    let pair = Pair::start().await;
    let mut more = follower(pair.primary.address()).await;
    attached(&pair.primary, 2).await;
    let store = pair.gateway("a").await;
    pay_soon(&store, 1).await;
    for units in 2..60 {
        pay(&store, units, 1).await;
    }
    more.kill9().await;
    let stands = pay_soon(&store, 60).await;
    assert_eq!(stands.authorised, amount(60));
}

/// More accounts than are raised at once, all of them lost.
#[tokio::test(flavor = "multi_thread")]
async fn every_account_of_a_store_that_was_emptied_is_raised() {
    const COUNT: u16 = 400;
    let pair = Pair::start().await;
    let store = pair.gateway("a").await;
    pay_soon(&store, 1).await;
    join_all((0..COUNT).map(async |number| {
        let mut id = [0x33; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let reserved = store.reserve(ContractId(id), commitment(5, 3)).await.unwrap().unwrap();
        store.keep(reserved, 200).await.unwrap();
    }))
    .await;
    let _: () = pair.primary.ask("FLUSHALL").await;
    pay_soon(&store, 2).await;
    let (mut accounts, mut next) = (Vec::new(), None);
    loop {
        let page = store.accounts(next).await.unwrap();
        accounts.extend(page.accounts);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(accounts.len(), usize::from(COUNT) + 1);
    let spent = accounts.iter().map(|listed| listed.summary.standing().spent.units());
    assert_eq!(spent.sum::<i128>(), 3 * i128::from(COUNT) + 2);
}

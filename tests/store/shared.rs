//! Channels on a store that several gateways share: whatever they do at once, an amount is used once.

use futures_util::future::join_all;
use tollgate::{
    protocol::{money::Amount, stellar::ContractId},
    store::{
        Binding, Redelivery, Reservation, Store,
        channel::{
            ChallengeDigest, Held, Listed, Page, Reserve, Reserving, Standing, Token, Unfit,
        },
    },
};

use super::{NOW, stores, support::Server};

pub(crate) const CHANNEL: ContractId = ContractId([7; 32]);

pub(crate) fn amount(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

/// A commitment of `units` for a price of `price`, with a challenge of its own.
pub(crate) fn commitment(units: i128, price: i128) -> Reserve {
    let mut challenge = [0; 16];
    challenge.copy_from_slice(&units.to_be_bytes());
    Reserve {
        commitment: Held { amount: amount(units), signature: [7; 64] },
        challenge: ChallengeDigest(challenge),
        base: Amount::ZERO,
        binding: Binding([0; 32]),
        price: amount(price),
        deposited: amount(i128::MAX),
        withdrawn: Amount::ZERO,
        at_least: Amount::ZERO,
        most_unsettled: amount(i128::MAX),
        expired: false,
        token: Token::draw(),
        now: NOW,
        lease_until: NOW + 60,
        redelivery: Redelivery { attempts: 3, within: std::time::Duration::from_secs(600) },
    }
}

pub(crate) async fn reserve(store: &Store, ask: Reserve) -> Result<Reservation, Reserving> {
    store.reserve(CHANNEL, ask).await.unwrap()
}

/// Pays `price` with a commitment of `units`.
pub(crate) async fn pay(store: &Store, units: i128, price: i128) -> Standing {
    let reservation = reserve(store, commitment(units, price)).await.unwrap();
    store.keep(reservation, 200).await.unwrap()
}

pub(crate) async fn standing(store: &Store) -> Standing {
    store.account(CHANNEL).await.unwrap().unwrap().standing()
}

on_every_store! {
    k08_amounts_are_exact_to_the_last_unit,
    a_reservation_is_kept_or_given_back,
    c17_commitments_in_any_order_are_each_used_once,
    accounts_are_listed_in_order,
    an_account_is_forgotten_once_its_channel_has_ended,
}

/// Case K08.
async fn k08_amounts_are_exact_to_the_last_unit(store: Store) {
    const BIG: i128 = 1 << 53;
    for units in [BIG, BIG + 1, BIG + 2, i128::from(u64::MAX) + 1, i128::MAX - 1, i128::MAX] {
        assert_eq!(pay(&store, units, 1).await.authorised, amount(units));
        let again = reserve(&store, commitment(units, 1)).await;
        assert!(matches!(again, Err(Reserving::Bought { .. })), "{units}: {again:?}");
    }
    assert_eq!(
        standing(&store).await,
        Standing { authorised: amount(i128::MAX), spent: amount(6) }
    );
    // One unit more than there is, and the same price that fits.
    let credit = i128::MAX - 6;
    for units in [BIG + 3, BIG + 4] {
        let reserved = reserve(&store, commitment(units, credit)).await;
        let over = reserve(&store, commitment(units + 10, 1)).await;
        assert!(reserved.is_ok(), "{reserved:?}");
        assert!(matches!(over, Err(Reserving::Refused(Unfit::OverDeposit | Unfit::Short { .. }))));
        store.give_back(reserved.unwrap(), true).await.unwrap();
    }
}

async fn a_reservation_is_kept_or_given_back(store: Store) {
    let reservation = reserve(&store, commitment(100, 60)).await.unwrap();
    let short = reserve(&store, commitment(90, 60)).await;
    assert_eq!(short.unwrap_err(), Reserving::Refused(Unfit::Short { needed: amount(120) }));
    store.give_back(reservation, true).await.unwrap();
    drop(reserve(&store, commitment(90, 60)).await.unwrap());
    // What was dropped is given back before what comes after it.
    let kept = store.keep(reserve(&store, commitment(95, 60)).await.unwrap(), 200).await.unwrap();
    assert_eq!(kept, Standing { authorised: amount(100), spent: amount(60) });
    let again = reserve(&store, commitment(90, 40)).await.unwrap();
    assert_eq!(again.standing().spent, amount(100));
}

/// Case C17.
async fn c17_commitments_in_any_order_are_each_used_once(store: Store) {
    race(&[store]).await;
}

/// Fifty commitments, each brought four times, by `gateways` in turn.
async fn race(gateways: &[Store]) {
    let tries = (0..200).map(|n| {
        let units = n * 37 % 50 + 1;
        let store = &gateways[usize::try_from(n / 3).unwrap() % gateways.len()];
        async move {
            match reserve(store, commitment(units, 1)).await {
                Ok(reservation) => {
                    store.keep(reservation, 200).await.unwrap();
                    Some(units)
                }
                Err(Reserving::InFlight | Reserving::Bought { .. }) => None,
                // One that came before those that it needs.
                Err(Reserving::Refused(Unfit::Short { .. })) => None,
                Err(other) => panic!("{units}: {other:?}"),
            }
        }
    });
    let mut served: Vec<_> = join_all(tries).await.into_iter().flatten().collect();
    let count = served.len();
    served.sort_unstable();
    served.dedup();
    assert_eq!(served.len(), count, "an amount was served twice");
    let Standing { authorised, spent } = standing(&gateways[0]).await;
    assert_eq!(spent, amount(i128::try_from(count).unwrap()));
    assert!(spent <= authorised && authorised == amount(50));
}

/// Case C17, on three gateways.
#[tokio::test(flavor = "multi_thread")]
async fn a03_c17_of_gateways_that_share_a_redis_one_serves_an_amount() {
    let server = stores::server().await;
    let gateways =
        [stores::on(&server).await, stores::on(&server).await, stores::on(&server).await];
    race(&gateways).await;
    // All see the same.
    for gateway in &gateways {
        assert_eq!(standing(gateway).await, standing(&gateways[0]).await);
    }
}

async fn accounts_are_listed_in_order(store: Store) {
    assert!(store.account(CHANNEL).await.unwrap().is_none());
    assert_eq!(store.accounts(None).await.unwrap(), Page::default());
    let channels = (0..300_u16).map(|n| {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&(n.wrapping_mul(211)).to_be_bytes());
        ContractId(id)
    });
    let mut channels: Vec<_> = channels.collect();
    join_all(channels.iter().map(async |channel| {
        let reserved = store.reserve(*channel, commitment(5, 5)).await.unwrap().unwrap();
        store.keep(reserved, 200).await.unwrap();
    }))
    .await;
    channels.sort_unstable();
    let first = store.accounts(None).await.unwrap();
    assert_eq!(
        (first.accounts.len(), first.next),
        (256, first.accounts.last().map(|it| it.channel))
    );
    let rest = store.accounts(first.next).await.unwrap();
    assert_eq!(rest.next, None);
    let listed = first.accounts.iter().chain(&rest.accounts);
    assert_eq!(listed.map(|listed| listed.channel).collect::<Vec<_>>(), channels);
    for Listed { channel, summary } in &first.accounts {
        assert_eq!(*summary, store.account(*channel).await.unwrap().unwrap().summary());
        assert_eq!((summary.standing().spent, summary.at_risk()), (amount(5), amount(5)));
    }
}

async fn an_account_is_forgotten_once_its_channel_has_ended(store: Store) {
    const NEXT: ContractId = ContractId([9; 32]);
    for channel in [CHANNEL, NEXT] {
        let reserved = store.reserve(channel, commitment(5, 5)).await.unwrap().unwrap();
        store.keep(reserved, 200).await.unwrap();
    }
    let used_at = store.account(CHANNEL).await.unwrap().unwrap().used_at();
    assert!(!store.forget(CHANNEL, used_at).await.unwrap(), "it is open");
    store.channel_ended(CHANNEL).await.unwrap();
    assert!(!store.forget(CHANNEL, used_at - 1).await.unwrap(), "it was used since");
    assert!(store.account(CHANNEL).await.unwrap().is_some());
    assert!(store.forget(CHANNEL, used_at).await.unwrap());
    let listed = store.accounts(None).await.unwrap();
    assert_eq!(listed.accounts.iter().map(|it| it.channel).collect::<Vec<_>>(), [NEXT]);
    assert!(!store.forget(ContractId([8; 32]), used_at).await.unwrap(), "there is none");
    // Who is late is refused while it is remembered, and finds nothing later.
    let late = store.reserve(CHANNEL, commitment(9, 1)).await.unwrap();
    assert!(matches!(late, Err(Reserving::Ended(_)) | Ok(_)), "{late:?}");
}

/// Two gateways on `server`.
pub(crate) async fn two(server: &Server) -> [Store; 2] {
    [stores::on(server).await, stores::on(server).await]
}

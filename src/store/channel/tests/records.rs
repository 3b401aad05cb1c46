//! Accounts as bytes.

use proptest::prelude::*;

use super::super::{delta, record, *};
use crate::{protocol::stellar::ContractId, store::Error};

const CHANNEL: ContractId = ContractId([3; 32]);

fn amounts() -> impl Strategy<Value = Amount> {
    prop_oneof![0..1_000_i128, Just(i128::MAX), Just((1 << 53) + 1), 0..i128::MAX]
        .prop_map(|units| Amount::from_units(units).unwrap())
}

fn uses() -> impl Strategy<Value = Use> {
    let claims = (any::<[u8; 32]>(), any::<u8>(), any::<u8>(), any::<u64>()).prop_map(
        |(binding, attempts, most, until)| Claimed {
            binding: Binding(binding),
            attempts,
            most,
            until,
        },
    );
    let reserved = {
        let claims = claims.clone();
        move || {
            (any::<[u8; 16]>(), any::<u64>(), amounts(), claims.clone()).prop_map(
                |(token, lease_until, price, claim)| Reserved {
                    token: Token(token),
                    lease_until,
                    price,
                    claim,
                },
            )
        }
    };
    let states = prop_oneof![
        (any::<u16>(), any::<[u8; 16]>())
            .prop_map(|(status, binding)| UseState::Told { status, binding }),
        (any::<u16>(), reserved())
            .prop_map(|(status, reserved)| UseState::Kept { status, reserved }),
        reserved().prop_map(UseState::InFlight),
        claims.prop_map(UseState::Returned),
    ];
    (amounts(), any::<[u8; 16]>(), states).prop_map(|(amount, challenge, state)| Use {
        amount,
        challenge: ChallengeDigest(challenge),
        state,
    })
}

fn accounts() -> impl Strategy<Value = Account> {
    let hashes = || any::<[u8; 32]>().prop_map(TxHash);
    let phases = prop_oneof![
        Just(Phase::Open),
        Just(Phase::Closing),
        prop::option::of(hashes()).prop_map(|transaction| Phase::Closed { transaction }),
    ];
    let collections = (any::<bool>(), amounts(), hashes(), any::<u64>(), any::<u32>()).prop_map(
        |(closes, amount, transaction, valid_until, since_ledger)| Collection {
            closes,
            amount,
            transaction,
            valid_until,
            since_ledger,
        },
    );
    let held = || {
        (amounts(), any::<u8>()).prop_map(|(amount, fill)| Held { amount, signature: [fill; 64] })
    };
    let lists = (
        prop::collection::vec(held(), 0..=MOST_HELD),
        prop::collection::vec(uses(), 0..=WINDOW + MOST_IN_FLIGHT + MOST_UNTOLD),
    );
    let times = (prop::option::of(1..u64::MAX), any::<u64>(), any::<u64>());
    let figures = (amounts(), amounts(), amounts(), amounts());
    let deposits = (amounts(), prop::option::of(held()));
    (figures, phases, prop::option::of(collections), times, lists, deposits).prop_map(
        |(figures, phase, collection, times, (held, uses), (deposited, sure))| {
            let (unsettled_since, used_at, steps) = times;
            let (authorised, spent, withdrawn, floor) = figures;
            Account {
                authorised,
                spent,
                withdrawn,
                floor,
                deposited,
                sure,
                uses,
                held,
                phase,
                collection,
                unsettled_since,
                used_at,
                steps,
            }
        },
    )
}

/// As accounts have their lists: by amount, one of each.
fn in_order(mut account: Account) -> Account {
    account.held.sort_by_key(|held| held.amount);
    account.held.dedup_by_key(|held| held.amount);
    account.uses.sort_by_key(|used| used.amount);
    account.uses.dedup_by_key(|used| used.amount);
    account
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_has_become_of_an_account_is_read_as_it_was_written(
        before in accounts().prop_map(in_order),
        other in accounts().prop_map(in_order),
        shares in any::<bool>(),
    ) {
        let mut after = other;
        if shares {
            // Most of it is as it was.
            after.uses.extend(before.uses.iter().cloned());
            after.held.extend(before.held.iter().copied());
            after = in_order(after);
        }
        prop_assert_eq!(delta::delta(&before, &before), None);
        if let Some(bytes) = delta::delta(&before, &after) {
            prop_assert_eq!(delta::apply(before.clone(), &bytes), Some(after));
            let another = Account { steps: before.steps ^ 1, ..before.clone() };
            prop_assert_eq!(delta::apply(another, &bytes), None);
            prop_assert_eq!(delta::apply(before, &bytes[..bytes.len() - 1]), None);
        } else {
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn any_bytes_at_all_become_of_an_account_or_do_not(
        before in accounts().prop_map(in_order),
        mut bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        bytes.splice(0..0, before.steps.to_be_bytes());
        let _: Option<Account> = delta::apply(before, &bytes);
    }

    /// Case K08 too: no amount is rounded.
    #[test]
    fn k08_an_account_is_read_as_it_was_written(account in accounts()) {
        let bytes = record::encode(CHANNEL, &account);
        prop_assert_eq!(record::decode(CHANNEL, &bytes).unwrap(), account);
    }

    #[test]
    fn k16_a_bit_that_flipped_is_found(account in accounts(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = record::encode(CHANNEL, &account);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let is_format = at == 0;
        let found = record::decode(CHANNEL, &bytes).unwrap_err();
        let is_unknown = matches!(found, Error::UnknownFormat { .. });
        let is_corrupt = matches!(found, Error::Corrupt { .. });
        prop_assert_eq!((is_unknown, is_corrupt), (is_format, !is_format));
    }

    #[test]
    fn the_account_of_another_channel_or_a_part_of_one_does_not_read(
        account in accounts(),
        part in any::<prop::sample::Index>(),
    ) {
        let bytes = record::encode(CHANNEL, &account);
        prop_assert!(record::decode(ContractId([4; 32]), &bytes).is_err());
        prop_assert!(record::decode(CHANNEL, &bytes[..part.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_at_all_are_read_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 0..600),
        has_sum in any::<bool>(),
    ) {
        if has_sum {
            // As if somebody had written the checksum too.
            bytes.insert(0, 2);
            bytes.extend(crate::store::bytes::checksum(&CHANNEL.0, &bytes));
        }
        drop(record::decode(CHANNEL, &bytes));
    }
}

//! Nothing is made and nothing is lost: random deeds of a few people, and the sums that must stay.

use ed25519_dalek::SigningKey;
use stellar_xdr::{
    Asset, BumpSequenceOp, LedgerEntryData, Operation, OperationBody, SequenceNumber,
};

use super::kit::*;
use crate::ledger::network::TOTAL_COINS;
use crate::ledger::{Submission, TransactionStatus};

/// Lumens in accounts and in the fee pool.
fn lumens(world: &World) -> i64 {
    let snapshot = world.ledger.snapshot();
    let held = snapshot.entries.values().map(|stored| match &stored.entry.data {
        LedgerEntryData::Account(account) => account.balance,
        _ => 0,
    });
    held.sum::<i64>() + snapshot.ledger().header.fee_pool
}

/// USDC in trustlines.
fn usdc_held(world: &World) -> i64 {
    let snapshot = world.ledger.snapshot();
    let held = snapshot.entries.values().map(|stored| match &stored.entry.data {
        LedgerEntryData::Trustline(line) => line.balance,
        _ => 0,
    });
    held.sum()
}

/// SplitMix64: the same deeds for the same seed.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn amount(&mut self) -> i64 {
        let largest = [10, 1000 * 1000, 700 * XLM, 3000 * XLM][self.throw(4) as usize];
        1 + self.throw(largest as u64) as i64
    }

    fn person<'a>(&mut self, people: &'a [SigningKey]) -> &'a SigningKey {
        &people[self.throw(people.len() as u64) as usize]
    }
}

fn deed(dice: &mut Dice, people: &[SigningKey]) -> Operation {
    let stranger = key(100 + dice.throw(20) as u8);
    let other = id(dice.person(people));
    match dice.throw(8) {
        0 | 1 => pay(&other, Asset::Native, dice.amount()),
        2 | 3 => pay(&other, usdc(), dice.amount()),
        4 => create(&id(&stranger), dice.amount()),
        5 => pay(&id(&stranger), Asset::Native, dice.amount()),
        6 => trust(dice.amount()),
        _ => {
            let bump_to = SequenceNumber(dice.amount());
            operation(OperationBody::BumpSequence(BumpSequenceOp { bump_to }))
        }
    }
}

#[test]
fn lumens_and_usdc_are_conserved_whatever_happens() {
    let mut succeeded = 0;
    let mut failed = 0;
    let mut merged = 0;
    for seed in 0..4 {
        let mut dice = Dice(seed);
        let people: Vec<_> = (1..=6).map(key).collect();
        let world = World::with_usdc(&people.iter().collect::<Vec<_>>());
        let minted = usdc_held(&world);
        assert_eq!(minted, 6 * 1000 * XLM);
        for _ in 0..12 {
            for person in &people {
                if dice.throw(4) == 0 {
                    continue;
                }
                let contract = dice.throw(4) == 0;
                let tx = if contract {
                    let to = dice.person(&people);
                    // The most that always simulates; what it finds later may be less.
                    let tx = world.tx(person, vec![transfer(person, to, 1)]);
                    let envelope = world.sign(tx.clone(), &[]);
                    let options = crate::ledger::SimulateOptions::default();
                    if world.ledger.simulate(&envelope, options).is_err() {
                        continue;
                    }
                    world.prepare(tx)
                } else {
                    let deeds = (0..=dice.throw(3)).map(|_| deed(&mut dice, &people)).collect();
                    world.tx(person, deeds)
                };
                let mut envelope = world.sign(tx, &[person]);
                if dice.throw(3) == 0 {
                    let fee = 200_000 + dice.amount() % 1000;
                    envelope = world.bump(envelope, dice.person(&people), fee);
                }
                let answer = world.ledger.submit(envelope);
                assert!(!matches!(answer, Submission::Duplicate { .. }));
            }
            let stranger = key(100 + dice.throw(20) as u8);
            let into = id(dice.person(&people));
            let merge = operation(OperationBody::AccountMerge(into.into()));
            // Most strangers do not exist, and this is refused; of those who do, nothing may be lost.
            let answer =
                world.ledger.submit(world.sign(world.tx(&stranger, vec![merge]), &[&stranger]));
            merged += usize::from(matches!(answer, Submission::Pending { .. }));
            world.close();
            for record in world.ledger.transactions_in(world.ledger.latest().sequence) {
                match record.status {
                    TransactionStatus::Success => succeeded += 1,
                    TransactionStatus::Failed => failed += 1,
                }
            }
            assert_eq!(lumens(&world), TOTAL_COINS, "seed {seed}");
            assert_eq!(usdc_held(&world), minted, "seed {seed}");
        }
    }
    assert!(
        succeeded > 50 && failed > 20 && merged > 0,
        "{succeeded} succeeded, {failed} failed, {merged} merged"
    );
}

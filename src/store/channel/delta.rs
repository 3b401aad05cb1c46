//! What became of an account as bytes: its head, and of its lists what came and what went.
//!
//! A change is a few hundred bytes where an account is some thousands. What it must be of is checked: changes are read in
//! the order in which they were made, from the account that the first was made of. Knows no checksum.

use std::cmp::Ordering;

use super::{
    Account, Held, Use,
    record::{
        amount, list, put_amount, put_count, put_head, put_held, put_use, read_head, read_held,
        read_use,
    },
};
use crate::{protocol::money::Amount, store::bytes::Reader};

/// Writes what has become of `before`; `None` if nothing has.
pub(in crate::store) fn delta(before: &Account, after: &Account) -> Option<Vec<u8>> {
    if before == after {
        return None;
    }
    let mut out = Vec::with_capacity(ROOM);
    out.extend(before.steps.to_be_bytes());
    put_head(&mut out, after);
    let (gone, new) = compare(&before.held, &after.held, |held| held.amount);
    put_changes(&mut out, after.held.len(), &gone, &new, put_held);
    let (gone, new) = compare(&before.uses, &after.uses, |used| used.amount);
    put_changes(&mut out, after.uses.len(), &gone, &new, put_use);
    Some(out)
}

/// What [`delta`] wrote of `before` has become of it; `None` if it was written of another account, or does not read.
pub(in crate::store) fn apply(before: Account, delta: &[u8]) -> Option<Account> {
    let mut reader = Reader::new(delta);
    let reader = &mut reader;
    if reader.u64()? != before.steps {
        return None;
    }
    let head = read_head(reader)?;
    let held = read_changes(reader, before.held, |held: &Held| held.amount, read_held)?;
    let uses = read_changes(reader, before.uses, |used: &Use| used.amount, read_use)?;
    reader.is_done().then_some(Account { held, uses, ..head })
}

/// The amounts of what is gone from a rising list, and what is new in it or was changed.
fn compare<'a, T: PartialEq>(
    before: &'a [T],
    after: &'a [T],
    amount: impl Fn(&T) -> Amount,
) -> (Vec<Amount>, Vec<&'a T>) {
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return (gone, new),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(item)) => amount(old).cmp(&amount(item)),
        };
        let old = before.next_if(|_| order != Ordering::Greater);
        let item = after.next_if(|_| order != Ordering::Less);
        match (old, item) {
            (Some(old), None) => gone.push(amount(old)),
            (Some(old), Some(item)) if old == item => {}
            (_, item) => new.extend(item),
        }
    }
}

fn put_changes<T>(
    out: &mut Vec<u8>,
    length: usize,
    gone: &[Amount],
    new: &[&T],
    put: impl Fn(&mut Vec<u8>, &T),
) {
    put_count(out, gone.len());
    for amount in gone {
        put_amount(out, *amount);
    }
    put_count(out, new.len());
    for item in new {
        put(out, item);
    }
    put_count(out, length);
}

fn read_changes<T>(
    reader: &mut Reader<'_>,
    mut items: Vec<T>,
    amount_of: impl Fn(&T) -> Amount,
    read: impl FnMut(&mut Reader<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    for gone in list(reader, amount)? {
        let at = items.binary_search_by_key(&gone, &amount_of).ok()?;
        items.remove(at);
    }
    for item in list(reader, read)? {
        match items.binary_search_by_key(&amount_of(&item), &amount_of) {
            Ok(at) => *items.get_mut(at)? = item,
            Err(at) => items.insert(at, item),
        }
    }
    (items.len() == usize::from(reader.u16()?)).then_some(items)
}

/// What most changes take, in bytes.
const ROOM: usize = 640;

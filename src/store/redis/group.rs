//! Transactions that share records, carried out one after another and stored in one step.

use std::collections::HashMap;

use super::{
    envelope::{Entry, Fate, Key, Revision},
    link::{Listing, Swap, pending_index},
    record::Record,
    transaction::{Draft, Facts, Transaction, View},
};
use crate::{
    protocol::stellar::ContractId,
    store::{ClaimKey, Error, channel::Account},
};

/// Transactions in the order in which they came, and how far they are.
#[derive(Default)]
pub(super) struct Group {
    transactions: Vec<Box<dyn Transaction>>,
    /// What was found, where it is not as it was believed.
    found: View,
    /// What was taken for known and is not there.
    absent: Vec<Key>,
    sent: Option<Sent>,
    is_in_doubt: bool,
}

/// What was sent, and is sent again as it is while it is not known whether it was carried out.
struct Sent {
    swap: Swap,
    revision: Revision,
    /// In the order of the swap's records.
    records: Vec<Place>,
}

struct Place {
    key: Key,
    /// As it was expected.
    before: Option<Entry>,
    /// As it is once this is carried out, if it changes.
    after: Option<Entry>,
}

/// Sorts transactions into groups: two that name the same record are in one.
pub(super) fn grouped(transactions: Vec<Box<dyn Transaction>>) -> Vec<Group> {
    let mut groups: Vec<Option<Group>> = Vec::new();
    let mut places: HashMap<Key, usize> = HashMap::new();
    for transaction in transactions {
        let keys = transaction.keys().to_vec();
        let mut own: Vec<_> = keys.iter().filter_map(|key| places.get(key).copied()).collect();
        own.sort_unstable();
        own.dedup();
        let mut group = Group::default();
        for place in own {
            let other = groups.get_mut(place).and_then(Option::take);
            group.transactions.extend(other.into_iter().flat_map(|group| group.transactions));
        }
        group.transactions.push(transaction);
        let place = groups.len();
        for key in group.transactions.iter().flat_map(|transaction| transaction.keys()) {
            places.insert(*key, place);
        }
        groups.push(Some(group));
    }
    groups.into_iter().flatten().collect()
}

impl Group {
    /// Carries the transactions out on what is known, unless what was sent before is still in doubt.
    pub(super) fn plan(&mut self, cache: &View, facts: &mut Facts, prefix: &str) {
        if self.sent.is_some() {
            return;
        }
        let mut view = View::new();
        let named = self.transactions.iter().flat_map(|transaction| transaction.keys());
        let known = named.filter(|key| !self.absent.contains(key));
        view.extend(known.filter_map(|key| Some((*key, cache.get(key)?.clone()))));
        view.extend(self.found.iter().map(|(key, entry)| (*key, entry.clone())));
        let mut draft = Draft::new(&view, facts);
        for transaction in &mut self.transactions {
            transaction.plan(&mut draft);
        }
        let (read, writes, told) = draft.into_parts();
        let revision = Revision::draw();
        let mut sent = Sent { swap: Swap::default(), revision, records: Vec::new() };
        let mut is_of_claims = false;
        for key in read {
            let before = view.remove(&key);
            let write = writes.get(&key);
            let after =
                write.map(|write| Entry::next(revision, before.as_ref(), write.record.clone()));
            // A record that would not encode was never put into the draft.
            let value = after.as_ref().and_then(|entry| entry.encode(key).ok());
            let life = write.and_then(|write| write.life);
            let listing = listing(&key, before.as_ref(), after.as_ref());
            is_of_claims |= !matches!(key, Key::Account(_));
            sent.swap.push(key.name(prefix), before.as_ref(), value, life, listing);
            sent.records.push(Place { key, before, after });
        }
        for notice in &told {
            sent.swap.tell(prefix, notice);
        }
        if is_of_claims {
            sent.swap = sent.swap.with_index(pending_index(prefix));
        }
        self.sent = Some(sent);
    }

    /// Whether it is about an account.
    pub(super) fn is_of_accounts(&self) -> bool {
        let mut keys = self.transactions.iter().flat_map(|transaction| transaction.keys());
        keys.any(|key| matches!(key, Key::Account(_)))
    }

    /// The accounts that it has changed, as they are now that it is stored.
    pub(super) fn accounts(&self) -> impl Iterator<Item = (ContractId, &Account)> {
        let written = self.sent.iter().flat_map(|sent| &sent.records);
        let written = written.filter_map(|place| Some((place.key, place.after.as_ref()?)));
        // Where what was sent had been carried out before, what was found is all that is known.
        let found = self.found.iter().filter(|_| self.sent.is_none());
        let found = found.map(|(key, entry)| (*key, entry));
        written.chain(found).filter_map(|(key, entry)| match (key, &entry.record) {
            (Key::Account(channel), Ok(Record::Account(account))) => Some((channel, &**account)),
            _ => None,
        })
    }

    /// How much more, or less, its accounts have spent once it is stored, in base units.
    pub(super) fn spent(&self) -> impl Iterator<Item = (ContractId, i128)> {
        let spent = |entry: &Entry| match &entry.record {
            Ok(Record::Account(account)) => Some(account.standing().spent.units()),
            _ => None,
        };
        let written = self.sent.iter().flat_map(|sent| &sent.records);
        written.filter_map(move |place| {
            let Key::Account(channel) = place.key else { return None };
            let after = place.after.as_ref().and_then(spent)?;
            let before = place.before.as_ref().and_then(spent).unwrap_or(0);
            Some((channel, after.saturating_sub(before)))
        })
    }

    /// What one round of `groups` sends.
    pub(super) fn round(groups: &[Self]) -> Vec<&Swap> {
        let sent = groups.iter().filter_map(|group| group.sent.as_ref());
        sent.map(|sent| &sent.swap).collect()
    }

    /// The answer to what was sent is lost.
    pub(super) const fn doubt(&mut self) {
        self.is_in_doubt = true;
    }

    pub(super) const fn is_in_doubt(&self) -> bool {
        self.is_in_doubt
    }

    /// Learns that something else is stored than was expected: `true` if that is because what was sent had been carried
    /// out before its answer was lost.
    ///
    /// # Errors
    /// Nobody can tell.
    pub(super) fn changed(&mut self, values: Vec<Option<Vec<u8>>>) -> Result<bool, Error> {
        let Some(sent) = self.sent.take() else { return Ok(false) };
        let found: Vec<_> = sent
            .records
            .iter()
            .zip(values)
            .map(|(place, value)| value.map(|bytes| Entry::decode(place.key, &bytes)))
            .collect();
        if self.is_in_doubt {
            match sent.fate(&found) {
                Fate::Applied => {
                    let current = sent.records.iter().zip(found);
                    self.found =
                        current.filter_map(|(place, entry)| Some((place.key, entry?))).collect();
                    return Ok(true);
                }
                Fate::NotApplied => self.is_in_doubt = false,
                Fate::Unknown => {
                    return Err(Error::Unavailable {
                        reason: "too many have written since".into(),
                    });
                }
            }
        }
        for (place, entry) in sent.records.into_iter().zip(found) {
            match entry {
                Some(entry) => drop(self.found.insert(place.key, entry)),
                None => {
                    self.found.remove(&place.key);
                    self.absent.push(place.key);
                }
            }
        }
        Ok(false)
    }

    /// Those that must be carried out another time, now that this failed.
    pub(super) fn later(&self) -> Vec<Box<dyn Transaction>> {
        self.transactions.iter().filter_map(|transaction| transaction.later()).collect()
    }

    /// Tells the callers, and returns the records as they are now.
    pub(super) fn finish(self, stored: Result<(), Error>) -> Vec<(Key, Entry)> {
        for transaction in self.transactions {
            transaction.finish(stored.clone());
        }
        match self.sent {
            Some(sent) => sent
                .records
                .into_iter()
                .filter_map(|place| Some((place.key, place.after.or(place.before)?)))
                .collect(),
            None => self.found.into_iter().collect(),
        }
    }
}

impl Sent {
    /// What became of it, now that `found` is stored.
    fn fate(&self, found: &[Option<Entry>]) -> Fate {
        let fates = self.records.iter().zip(found).filter(|(place, _)| place.after.is_some()).map(
            |(place, found)| {
                let expected = place.before.as_ref().and_then(Entry::revision);
                match found {
                    Some(found) => found.fate(self.revision, expected),
                    None if expected.is_none() => Fate::NotApplied,
                    None => Fate::Unknown,
                }
            },
        );
        // All of it was carried out or nothing, so one record that knows is enough.
        let mut fate = None;
        for one in fates {
            match one {
                Fate::Unknown => drop(fate.get_or_insert(one)),
                known => return known,
            }
        }
        // It would have changed nothing.
        fate.unwrap_or(Fate::NotApplied)
    }
}

/// The index of pending claims follows their records.
fn listing<'a>(key: &'a Key, before: Option<&Entry>, after: Option<&Entry>) -> Listing<'a> {
    let Key::Claim(ClaimKey(member)) = key else { return Listing::Same };
    let is_pending = |entry: Option<&Entry>| {
        entry.is_some_and(
            |entry| matches!(&entry.record, Ok(Record::Claim(claimed)) if claimed.is_pending()),
        )
    };
    match (is_pending(before), is_pending(after)) {
        _ if after.is_none() => Listing::Same,
        (false, true) => Listing::In(member),
        (true, false) => Listing::Out(member),
        _ => Listing::Same,
    }
}

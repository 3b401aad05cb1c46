//! The verbs of channels: one record an account, and all steps of one that wait together in one write of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    Redis,
    envelope::Key,
    lists::{List, PAGE},
    shards::Shards,
    slots::{CHANNELS, slot_of},
    transaction::{Draft, Told},
    wish::Wish,
};
use crate::{
    protocol::stellar::ContractId,
    store::{
        Error,
        channel::{Account, Page, Phase, Step, Stepped, Token},
    },
};

/// A reservation that is asked for or held; given back when dropped.
pub(in crate::store) struct Flight {
    channel: ContractId,
    token: Token,
    /// Where to give it back; `None` once somebody ended it.
    shards: Option<Weak<Shards>>,
}

impl Flight {
    pub(in crate::store) const fn channel(&self) -> ContractId {
        self.channel
    }

    /// Leaves it to the caller to end.
    pub(in crate::store) fn forget(mut self) {
        self.shards = None;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(shards) = self.shards.take().and_then(|shards| shards.upgrade()) {
            // One that cannot be given back now is when its lease ends.
            let (channel, token) = (self.channel, self.token);
            let verb = move |draft: &mut Draft<'_>| {
                drop(step(draft, channel, &Step::GiveBack { token, tried: true }));
            };
            let key = Key::Account(channel);
            shards.tell(key.slot(), Box::new(Told { keys: vec![key], verb, is_kept: true }));
        }
    }
}

impl Redis {
    pub(in crate::store) fn flight(&self, channel: ContractId, token: Token) -> Flight {
        Flight { channel, token, shards: Some(Arc::downgrade(&self.0)) }
    }

    pub(in crate::store) async fn step_channel(
        &self,
        channel: ContractId,
        asked: Step,
    ) -> Result<Stepped, Error> {
        let mut is_listed = self.0.enlisted.has(channel);
        loop {
            let asked = asked.clone();
            let verb = move |draft: &mut Draft<'_>| step_listed(draft, channel, &asked, is_listed);
            if let Some(stepped) = self.0.transact(vec![Key::Account(channel)], verb).await? {
                return Ok(stepped);
            }
            self.0.enlist(vec![channel]).await?;
            is_listed = true;
        }
    }

    pub(in crate::store) async fn account(
        &self,
        channel: ContractId,
    ) -> Result<Option<Account>, Error> {
        let verb = move |draft: &mut Draft<'_>| Ok(draft.account(channel)?.cloned());
        self.0.transact(vec![Key::Account(channel)], verb).await
    }

    pub(in crate::store) async fn accounts(
        &self,
        after: Option<ContractId>,
    ) -> Result<Page, Error> {
        let mut page = Page { next: after, ..Page::default() };
        while page.accounts.len() < PAGE {
            let count = PAGE.saturating_sub(page.accounts.len());
            let after = page.next;
            let wish = |reply| Wish::List(List::Channels { after, count, reply });
            let channels = self.0.ask(slot_of(CHANNELS), wish).await?;
            let is_last = channels.len() < count;
            page.next = channels.last().copied();
            let found = self.read(channels).await?;
            page.accounts.extend(found.accounts);
            page.unreadable.extend(found.unreadable);
            if is_last {
                page.next = None;
                break;
            }
        }
        if let Some(gate) = self.0.gate() {
            let has_ended = |phase| matches!(phase, Phase::Closed { .. });
            let ended = page.accounts.iter().filter(|listed| has_ended(listed.summary.phase()));
            gate.forget(ended.map(|listed| listed.channel).collect());
        }
        Ok(page)
    }

    /// The accounts of `channels`, each where it is, in the order of their channels.
    async fn read(&self, channels: Vec<ContractId>) -> Result<Page, Error> {
        let table = self.0.table();
        let mut places: BTreeMap<_, (u16, Vec<ContractId>)> = BTreeMap::new();
        for channel in channels {
            let slot = Key::Account(channel).slot();
            let place = places.entry(table.place(slot)).or_insert_with(|| (slot, Vec::new()));
            place.1.push(channel);
        }
        let mut page = Page::default();
        for (slot, channels) in places.into_values() {
            let away = channels.clone();
            let wish = |reply| Wish::List(List::Accounts { channels, reply });
            match self.0.ask(slot, wish).await {
                Ok(found) => {
                    page.accounts.extend(found.accounts);
                    page.unreadable.extend(found.unreadable);
                }
                // Those of the other primaries are none the worse for it.
                Err(Error::Unavailable { .. } | Error::Unreachable { .. }) if table.count() > 1 => {
                    page.unreadable.extend(away);
                }
                Err(error) => return Err(error),
            }
        }
        page.accounts.sort_unstable_by_key(|listed| listed.channel);
        page.unreadable.sort_unstable();
        Ok(page)
    }

    pub(in crate::store) async fn forget(
        &self,
        channel: ContractId,
        used_by: u64,
    ) -> Result<bool, Error> {
        let verb = move |draft: &mut Draft<'_>| {
            let account = draft.account(channel)?.filter(|account| account.is_over(used_by));
            let over = account.cloned();
            let is_over = over.is_some();
            if let Some(account) = over {
                draft.end_account(channel, account, UNLISTED);
            }
            Ok(is_over)
        };
        let is_over = self.0.transact(vec![Key::Account(channel)], verb).await?;
        if is_over {
            // Whoever makes an account anew lists it anew, and that is not before this one ends.
            self.0.enlisted.remove(channel);
            let wish = |reply| Wish::List(List::Unlist { channel, reply });
            self.0.ask(slot_of(CHANNELS), wish).await?;
        }
        Ok(is_over)
    }
}

/// Carries out a step on an account. `None` if that would change it and its channel has yet to be listed: one that nobody
/// finds is never collected, and what lists it may be elsewhere and behind.
fn step_listed(
    draft: &mut Draft<'_>,
    channel: ContractId,
    asked: &Step,
    is_listed: bool,
) -> Result<Option<Stepped>, Error> {
    if is_listed {
        return step(draft, channel, asked).map(Some);
    }
    let mut account = draft.account(channel)?.cloned().unwrap_or_default();
    let stepped = account.step(&asked.knowing(draft.facts.witness.of(channel)));
    Ok((!stepped.may_have_changed()).then_some(stepped))
}

/// Carries out a step on an account.
pub(super) fn step(
    draft: &mut Draft<'_>,
    channel: ContractId,
    step: &Step,
) -> Result<Stepped, Error> {
    let known = draft.facts.witness.of(channel);
    let mut account = draft.account(channel)?.cloned().unwrap_or_default();
    // What this process has seen stored, the server must have.
    let stepped = account.step(&step.knowing(known));
    if stepped.may_have_changed() {
        draft.put_account(channel, account);
    }
    Ok(stepped)
}

/// How long an account that is over stays after that was said, unlisted.
const UNLISTED: Duration = Duration::from_secs(3_600);

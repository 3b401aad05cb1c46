//! The verbs of channels: one record an account, and all steps of one that wait together in one write of it.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{
    Redis,
    actor::{Queued, Wish},
    envelope::Key,
    lists::List,
    transaction::{Draft, Told},
};
use crate::{
    protocol::stellar::ContractId,
    store::{
        Error,
        channel::{Account, Page, Step, Stepped, Token},
    },
};

/// A reservation that is asked for or held; given back when dropped.
pub(in crate::store) struct Flight {
    channel: ContractId,
    token: Token,
    /// Where to give it back; `None` once somebody ended it.
    queue: Option<mpsc::WeakUnboundedSender<Queued>>,
}

impl Flight {
    pub(in crate::store) const fn channel(&self) -> ContractId {
        self.channel
    }

    /// Leaves it to the caller to end.
    pub(in crate::store) fn forget(mut self) {
        self.queue = None;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take().and_then(|queue| queue.upgrade()) {
            // One that cannot be given back now is when its lease ends.
            let (channel, token) = (self.channel, self.token);
            let verb = move |draft: &mut Draft<'_>| {
                drop(step(draft, channel, &Step::GiveBack { token, tried: true }));
            };
            let told = Told { keys: vec![Key::Account(channel)], verb, is_kept: true };
            drop(queue.send(Queued { wish: Wish::Carry(Box::new(told)), room: None }));
        }
    }
}

impl Redis {
    pub(in crate::store) fn flight(&self, channel: ContractId, token: Token) -> Flight {
        Flight { channel, token, queue: Some(self.queue.downgrade()) }
    }

    pub(in crate::store) async fn step_channel(
        &self,
        channel: ContractId,
        asked: Step,
    ) -> Result<Stepped, Error> {
        let verb = move |draft: &mut Draft<'_>| step(draft, channel, &asked);
        self.transact(vec![Key::Account(channel)], verb).await
    }

    pub(in crate::store) async fn account(
        &self,
        channel: ContractId,
    ) -> Result<Option<Account>, Error> {
        let verb = move |draft: &mut Draft<'_>| Ok(draft.account(channel)?.cloned());
        self.transact(vec![Key::Account(channel)], verb).await
    }

    pub(in crate::store) async fn accounts(
        &self,
        after: Option<ContractId>,
    ) -> Result<Page, Error> {
        self.ask(|reply| Wish::List(List::Accounts { after, reply })).await
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
        let is_over = self.transact(vec![Key::Account(channel)], verb).await?;
        if is_over {
            // Whoever makes an account anew lists it anew, and that is not before this one ends.
            self.ask(|reply| Wish::List(List::Unlist { channel, reply })).await?;
        }
        Ok(is_over)
    }
}

/// Carries out a step on an account.
pub(super) fn step(
    draft: &mut Draft<'_>,
    channel: ContractId,
    step: &Step,
) -> Result<Stepped, Error> {
    let known = draft.facts.witness.get(&channel).copied().unwrap_or_default();
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

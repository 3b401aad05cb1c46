//! The writer's share in channels: accounts in memory, each change of them in the batch's commit.

use tokio::sync::mpsc;
use tracing::error;

use super::{
    Embedded, Queued, Wish,
    log::{self, Before},
    tables::{Changes, Fault, Logging, PAGE},
    writer::{Batch, Writer},
};
use crate::{
    protocol::stellar::ContractId,
    store::{
        Error,
        channel::{self, Account, Listed, Page, Step, Stepped, Token},
        file::stopping,
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
            // A queue that is closed belongs to a store that gives everything back when it opens again.
            let wish = Wish::Dropped(self.channel, self.token);
            drop(queue.send(Queued { wish, room: None }));
        }
    }
}

impl Embedded {
    pub(in crate::store) fn flight(&self, channel: ContractId, token: Token) -> Flight {
        Flight { channel, token, queue: Some(self.queue.downgrade()) }
    }

    pub(in crate::store) async fn step_channel(
        &self,
        channel: ContractId,
        step: Step,
    ) -> Result<Stepped, Error> {
        self.ask(|reply| Wish::Channel(channel, step, reply)).await
    }

    pub(in crate::store) async fn account(
        &self,
        channel: ContractId,
    ) -> Result<Option<Account>, Error> {
        self.ask(|reply| Wish::Account(channel, reply)).await
    }

    pub(in crate::store) async fn accounts(
        &self,
        after: Option<ContractId>,
    ) -> Result<Page, Error> {
        self.ask(|reply| Wish::Accounts { after, reply }).await
    }

    pub(in crate::store) async fn forget(
        &self,
        channel: ContractId,
        used_by: u64,
    ) -> Result<bool, Error> {
        self.ask(|reply| Wish::Forget { channel, used_by, reply }).await
    }
}

impl Writer {
    /// Carries out what the process before this one left in the log, and gives back what was reserved when it ended: nobody
    /// holds that any more.
    ///
    /// # Errors
    /// For a log that does not read too: it is what was acknowledged.
    pub(super) fn take_over(&mut self) -> Result<(), Error> {
        let disk = |fault| match fault {
            Fault::Wish(error) => error,
            Fault::Disk(error) => stopping(error),
        };
        self.carry_out_log().map_err(disk)?;
        self.give_back_orphans().map_err(stopping)
    }

    fn carry_out_log(&self) -> Result<(), Fault> {
        let view = self.tables.view()?;
        let accounts = log::read(&self.tables, &view)?;
        drop(view);
        if accounts.is_empty() {
            return Ok(());
        }
        let encode = |(channel, account)| (channel, channel::record::encode(channel, &account));
        let accounts = accounts.into_iter().map(encode).collect();
        let changes = Changes { accounts, log: Logging::Clear, ..Changes::default() };
        Ok(self.tables.commit(&changes, 0, |_| true)?)
    }

    fn give_back_orphans(&self) -> Result<(), redb::Error> {
        let mut after = None;
        loop {
            let view = self.tables.view()?;
            let page = view.channels(after)?;
            let mut changes = Changes::default();
            for channel in &page {
                // One that does not read fails whoever asks for it.
                let Ok(Some(mut account)) = view.account(*channel) else { continue };
                if account.give_back_all() {
                    changes.accounts.push((*channel, channel::record::encode(*channel, &account)));
                }
            }
            drop(view);
            if !changes.is_empty() {
                self.tables.commit(&changes, 0, |_| true)?;
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.last().copied();
        }
    }

    pub(super) fn step_channel(
        &mut self,
        channel: ContractId,
        step: &Step,
        batch: &mut Batch,
    ) -> Result<Stepped, Fault> {
        let before = self.account(channel, batch)?;
        batch.channels.entry(channel).or_insert_with(|| before.cloned());
        let stepped = match self.accounts.get_mut(&channel) {
            Some(account) => account.step(step),
            None => {
                let mut account = Account::default();
                let stepped = account.step(step);
                if stepped.may_have_changed() {
                    self.make_room(batch);
                    self.accounts.insert(channel, account);
                }
                stepped
            }
        };
        Ok(stepped)
    }

    pub(super) fn dropped(
        &mut self,
        channel: ContractId,
        token: Token,
        batch: &mut Batch,
    ) -> Result<(), redb::Error> {
        let step = Step::GiveBack { token, tried: true };
        match self.step_channel(channel, &step, batch) {
            Ok(_) | Err(Fault::Wish(_)) => Ok(()),
            Err(Fault::Disk(error)) => Err(error),
        }
    }

    /// Has room in memory for one more account.
    fn make_room(&mut self, batch: &Batch) {
        if self.accounts.len() >= MOST_ACCOUNTS {
            // All but what this batch is about to store, and what is in the log, is in the file as it is here.
            let log = &self.log;
            self.accounts
                .retain(|channel, _| batch.channels.contains_key(channel) || log.has(*channel));
        }
    }

    /// The account of `channel`, from memory if it was asked for before.
    pub(super) fn account(
        &mut self,
        channel: ContractId,
        batch: &Batch,
    ) -> Result<Option<&Account>, Fault> {
        if !self.accounts.contains_key(&channel)
            && let Some(account) = batch.view.account(channel)?
        {
            self.make_room(batch);
            self.accounts.insert(channel, account);
        }
        Ok(self.accounts.get(&channel))
    }

    /// Drops an account that is over, once the batch is stored and unless it changes it.
    pub(super) fn forget(
        &mut self,
        channel: ContractId,
        used_by: u64,
        batch: &mut Batch,
    ) -> Result<bool, Fault> {
        let account = self.account(channel, batch)?;
        let is_over = account.is_some_and(|account| account.is_over(used_by));
        if !is_over || batch.channels.contains_key(&channel) {
            return Ok(false);
        }
        batch.changes.forgotten.push(channel);
        Ok(true)
    }

    /// Puts into `changes` what has become of the accounts that were as `before`, and drops those that are forgotten and did
    /// not change; `is_last` is for a store that is about to be closed.
    pub(super) fn store_accounts(&mut self, before: &Before, is_last: bool, changes: &mut Changes) {
        let accounts = &self.accounts;
        changes.forgotten.retain(|channel| {
            let before = before.get(channel);
            before.is_none_or(|before| before.as_ref() == accounts.get(channel))
        });
        for channel in &changes.forgotten {
            self.accounts.remove(channel);
            self.log.forget(*channel);
        }
        self.log.write(before, &self.accounts, is_last, changes);
    }

    pub(super) fn list(&self, after: Option<ContractId>, batch: &Batch) -> Result<Page, Fault> {
        // One that does not read fails whoever asks for it, and hides none of the others.
        let mut page = Page { next: after, ..Page::default() };
        loop {
            let after = page.next;
            let mut channels: Vec<_> = batch.view.channels(after)?;
            // Those that this batch is about to store for the first time.
            channels.extend(batch.channels.keys().filter(|channel| Some(**channel) > after));
            channels.sort_unstable();
            channels.dedup();
            channels.truncate(PAGE);
            for channel in &channels {
                page.next = Some(*channel);
                match self.summary(*channel, batch) {
                    Ok(Some(summary)) => page.accounts.push(Listed { channel: *channel, summary }),
                    Ok(None) => {}
                    Err(Fault::Wish(error)) => {
                        error!(%error, "an account is left out of a list");
                        page.unreadable.push(*channel);
                    }
                    Err(disk) => return Err(disk),
                }
                if page.accounts.len() >= PAGE {
                    return Ok(page);
                }
            }
            if channels.len() < PAGE {
                page.next = None;
                return Ok(page);
            }
        }
    }

    /// Of an account that nobody asked for none is made in memory: there may be many more than fit.
    fn summary(
        &self,
        channel: ContractId,
        batch: &Batch,
    ) -> Result<Option<channel::Summary>, Fault> {
        if let Some(account) = self.accounts.get(&channel) {
            return Ok(Some(account.summary()));
        }
        Ok(batch.view.account(channel)?.map(|account| account.summary()))
    }
}

/// Accounts in memory at once, of some kilobytes each; those that are in use are read again when they are let go of.
const MOST_ACCOUNTS: usize = 10_000;

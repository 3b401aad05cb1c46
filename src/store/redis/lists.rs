//! Pages of what is stored, and what is not to be on them any more.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;
use tracing::error;

use super::{
    envelope::Key,
    link::{Broken, Link, channel_index, pending_index},
    outbox,
    promise::Epoch,
    record::Record,
    transaction::Reply,
};
use crate::{
    protocol::stellar::ContractId,
    store::{
        ClaimKey, Error, Pending,
        channel::{self, Listed},
        claim::State,
    },
};

/// What is asked for.
pub(super) enum List {
    Pending {
        after: Option<ClaimKey>,
        reply: Reply<Vec<Pending>>,
    },
    /// At most so many of the channels that are listed, in order.
    Channels {
        after: Option<ContractId>,
        count: usize,
        reply: Reply<Vec<ContractId>>,
    },
    /// The accounts of those channels that have one.
    Accounts {
        channels: Vec<ContractId>,
        reply: Reply<channel::Page>,
    },
    /// Those who wait for it may be many.
    Enlist {
        channels: Vec<ContractId>,
        replies: Vec<Reply<()>>,
    },
    Unlist {
        channel: ContractId,
        reply: Reply<()>,
    },
    Outbox(outbox::Asked),
}

impl List {
    /// Answers, once it is done. Returns why the server did not do it, if it did not.
    ///
    /// # Errors
    /// The link is of no use any more; another may be tried.
    pub(super) async fn carry_out(
        self,
        link: &mut Link,
        prefix: &str,
        deadline: Instant,
    ) -> Result<Option<String>, (Self, Broken)> {
        let index = channel_index(prefix);
        let mut why = None;
        let mut refused = |reason: String| {
            why = Some(reason.clone());
            Error::Unavailable { reason: reason.into() }
        };
        // Who has gone does not hear.
        match self {
            Self::Pending { after, reply } => match pending(link, prefix, after, deadline).await {
                Ok(page) => drop(reply.send(page)),
                Err(broken) => return Err((Self::Pending { after, reply }, broken)),
            },
            Self::Channels { after, count, reply } => {
                let from = after.as_ref().map(|channel| channel.0.as_slice());
                match link.members(&index, from, count, deadline).await {
                    Ok(members) => {
                        let keys =
                            members.map_err(&mut refused).and_then(|found| keys(&index, found));
                        let channels = |keys: Vec<_>| keys.into_iter().map(ContractId).collect();
                        drop(reply.send(keys.map(channels)));
                    }
                    Err(broken) => return Err((Self::Channels { after, count, reply }, broken)),
                }
            }
            Self::Accounts { channels, reply } => {
                match accounts(link, prefix, &channels, deadline).await {
                    Ok(page) => drop(reply.send(page)),
                    Err(broken) => return Err((Self::Accounts { channels, reply }, broken)),
                }
            }
            Self::Enlist { channels, replies } => {
                match link.enlist(&index, &channels, deadline).await {
                    Ok(done) => {
                        let done = done.map_err(refused);
                        replies.into_iter().for_each(|reply| drop(reply.send(done.clone())));
                    }
                    Err(broken) => return Err((Self::Enlist { channels, replies }, broken)),
                }
            }
            Self::Unlist { channel, reply } => {
                match link.unlist(&index, &channel.0, deadline).await {
                    Ok(done) => drop(reply.send(done.map_err(refused))),
                    Err(broken) => return Err((Self::Unlist { channel, reply }, broken)),
                }
            }
            Self::Outbox(asked) => {
                let done = asked.carry_out(link, prefix, deadline).await;
                return done.map_err(|(asked, broken)| (Self::Outbox(asked), broken));
            }
        }
        Ok(why)
    }

    /// One of two that can be done at once, if they can.
    pub(super) fn join(&mut self, other: Self) -> Result<(), Self> {
        match (self, other) {
            (
                Self::Enlist { channels, replies },
                Self::Enlist { channels: more, replies: others },
            ) => {
                channels.extend(more);
                replies.extend(others);
                Ok(())
            }
            (_, other) => Err(other),
        }
    }

    /// The channels that will be listed.
    pub(super) fn enlists(&self) -> &[ContractId] {
        if let Self::Enlist { channels, .. } = self { channels } else { &[] }
    }

    pub(super) fn fail(self, error: Error) {
        // Who has gone does not hear.
        match self {
            Self::Pending { reply, .. } => drop(reply.send(Err(error))),
            Self::Channels { reply, .. } => drop(reply.send(Err(error))),
            Self::Accounts { reply, .. } => drop(reply.send(Err(error))),
            Self::Unlist { reply, .. } => drop(reply.send(Err(error))),
            Self::Outbox(asked) => asked.fail(error),
            Self::Enlist { replies, .. } => {
                replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
            }
        }
    }
}

/// The channels that this gateway has put into their index, on the server that has it now. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Enlisted(Arc<Mutex<On>>);

#[derive(Debug, Default)]
struct On {
    epoch: Option<Epoch>,
    channels: HashSet<ContractId>,
}

impl Enlisted {
    pub(super) fn has(&self, channel: ContractId) -> bool {
        self.on().channels.contains(&channel)
    }

    pub(super) fn add(&self, channels: &[ContractId]) {
        let mut on = self.on();
        if on.channels.len() > MOST_ENLISTED {
            on.channels.clear();
        }
        on.channels.extend(channels);
    }

    /// It is in the index no more.
    pub(super) fn remove(&self, channel: ContractId) {
        self.on().channels.remove(&channel);
    }

    /// A server in `epoch` has the index: another one may not have what the last one had.
    pub(super) fn connected(&self, epoch: Epoch) {
        let mut on = self.on();
        if on.epoch.replace(epoch) != Some(epoch) {
            on.channels.clear();
        }
    }

    fn on(&self) -> MutexGuard<'_, On> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Answer<T> = Result<Result<T, Error>, Broken>;

async fn pending(
    link: &mut Link,
    prefix: &str,
    mut after: Option<ClaimKey>,
    deadline: Instant,
) -> Answer<Vec<Pending>> {
    let index = pending_index(prefix);
    let mut page = Vec::new();
    while page.len() < PAGE {
        let from = after.as_ref().map(|key| key.0.as_slice());
        let members = match link.members(&index, from, PAGE, deadline).await? {
            Ok(members) => members,
            Err(reason) => return Ok(Err(Error::Unavailable { reason: reason.into() })),
        };
        let members = keys(&index, members).map(|keys| keys.into_iter().map(ClaimKey).collect());
        let keys: Vec<_> = match members {
            Ok(keys) => keys,
            Err(error) => return Ok(Err(error)),
        };
        let names: Vec<_> = keys.iter().copied().map(Key::Claim).collect();
        let entries = match link.read(prefix, &names, deadline).await? {
            Ok(entries) => entries,
            Err(reason) => return Ok(Err(Error::Unavailable { reason: reason.into() })),
        };
        let now = link.server_now();
        for (key, entry) in keys.iter().zip(entries) {
            after = Some(*key);
            match entry.map(|entry| entry.record) {
                Some(Ok(Record::Claim(claimed))) if !claimed.is_held(now) => {
                    if let Some(State::Submitting(submitting)) = claimed.state {
                        page.push(Pending { key: *key, submitting });
                    }
                }
                // Held, or resolved since the index was read.
                Some(Ok(_)) => {}
                None => {
                    let what = format!("{key:?} is listed as pending and is not there");
                    return Ok(Err(Error::Corrupt { what: what.into() }));
                }
                Some(Err(error)) => return Ok(Err(error)),
            }
            if page.len() >= PAGE {
                break;
            }
        }
        if keys.len() < PAGE {
            break;
        }
    }
    Ok(Ok(page))
}

async fn accounts(
    link: &mut Link,
    prefix: &str,
    channels: &[ContractId],
    deadline: Instant,
) -> Answer<channel::Page> {
    let mut page = channel::Page::default();
    let names: Vec<_> = channels.iter().copied().map(Key::Account).collect();
    let entries = match link.read(prefix, &names, deadline).await? {
        Ok(entries) => entries,
        Err(reason) => return Ok(Err(Error::Unavailable { reason: reason.into() })),
    };
    for (channel, entry) in channels.iter().zip(entries) {
        match entry.map(|entry| entry.record) {
            Some(Ok(Record::Account(account))) => {
                let summary = account.summary();
                page.accounts.push(Listed { channel: *channel, summary });
            }
            // Listed by one whose first step was not carried out, or not yet.
            None => {}
            // One that does not read fails whoever asks for it, and hides none of the others.
            Some(Ok(_)) => {
                error!(%channel, "another record stands in the place of an account");
                page.unreadable.push(*channel);
            }
            Some(Err(error)) => {
                error!(%error, "an account is left out of a list");
                page.unreadable.push(*channel);
            }
        }
    }
    Ok(Ok(page))
}

fn keys(index: &str, members: Vec<Vec<u8>>) -> Result<Vec<[u8; 32]>, Error> {
    let key = |member: Vec<u8>| {
        member.try_into().map_err(|_| Error::Corrupt {
            what: format!("`{index}` has a member that is no key").into(),
        })
    };
    members.into_iter().map(key).collect()
}

/// Channels remembered to be listed; one that is forgotten is listed again.
const MOST_ENLISTED: usize = 100_000;

/// What is listed at once.
pub(super) const PAGE: usize = 256;

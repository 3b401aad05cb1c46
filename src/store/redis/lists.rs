//! Pages of what is stored, and what is not to be on them any more.

use tokio::time::Instant;
use tracing::error;

use super::{
    Settings,
    envelope::Key,
    link::{Broken, Link, channel_index, pending_index},
    record::Record,
    transaction::Reply,
};
use crate::{
    protocol::stellar::ContractId,
    store::{
        ClaimKey, Error, Pending,
        channel::{self, Listed, Phase},
        claim::State,
    },
};

/// What is asked for.
pub(super) enum List {
    Pending { after: Option<ClaimKey>, reply: Reply<Vec<Pending>> },
    Accounts { after: Option<ContractId>, reply: Reply<channel::Page> },
    Unlist { channel: ContractId, reply: Reply<()> },
}

impl List {
    /// Reads a page and answers with it. Returns the channels on it that have ended.
    ///
    /// # Errors
    /// The link is of no use any more; another may be tried.
    pub(super) async fn carry_out(
        self,
        link: &mut Link,
        settings: &Settings,
        deadline: Instant,
    ) -> Result<Vec<ContractId>, (Self, Broken)> {
        let mut ended = Vec::new();
        // Who has gone does not hear.
        match self {
            Self::Pending { after, reply } => {
                match pending(link, &settings.prefix, after, deadline).await {
                    Ok(page) => drop(reply.send(page)),
                    Err(broken) => return Err((Self::Pending { after, reply }, broken)),
                }
            }
            Self::Accounts { after, reply } => {
                match accounts(link, &settings.prefix, after, deadline).await {
                    Ok(page) => {
                        let all = page.iter().flat_map(|page| &page.accounts);
                        let has_ended = |phase| matches!(phase, Phase::Closed { .. });
                        let over = all.filter(|listed| has_ended(listed.summary.phase()));
                        ended.extend(over.map(|listed| listed.channel));
                        drop(reply.send(page));
                    }
                    Err(broken) => return Err((Self::Accounts { after, reply }, broken)),
                }
            }
            Self::Unlist { channel, reply } => {
                let index = channel_index(&settings.prefix);
                match link.unlist(&index, &channel.0, deadline).await {
                    Ok(done) => {
                        let refused = |reason: String| Error::Unavailable { reason: reason.into() };
                        drop(reply.send(done.map_err(refused)));
                    }
                    Err(broken) => return Err((Self::Unlist { channel, reply }, broken)),
                }
            }
        }
        Ok(ended)
    }

    pub(super) fn fail(self, error: Error) {
        // Who has gone does not hear.
        match self {
            Self::Pending { reply, .. } => drop(reply.send(Err(error))),
            Self::Accounts { reply, .. } => drop(reply.send(Err(error))),
            Self::Unlist { reply, .. } => drop(reply.send(Err(error))),
        }
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
    after: Option<ContractId>,
    deadline: Instant,
) -> Answer<channel::Page> {
    let index = channel_index(prefix);
    let mut page = channel::Page { next: after, ..channel::Page::default() };
    while page.accounts.len() < PAGE {
        let from = page.next.as_ref().map(|channel| channel.0.as_slice());
        let members = match link.members(&index, from, PAGE, deadline).await? {
            Ok(members) => members,
            Err(reason) => return Ok(Err(Error::Unavailable { reason: reason.into() })),
        };
        let channels: Vec<_> = match keys(&index, members) {
            Ok(keys) => keys.into_iter().map(ContractId).collect(),
            Err(error) => return Ok(Err(error)),
        };
        let names: Vec<_> = channels.iter().copied().map(Key::Account).collect();
        let entries = match link.read(prefix, &names, deadline).await? {
            Ok(entries) => entries,
            Err(reason) => return Ok(Err(Error::Unavailable { reason: reason.into() })),
        };
        for (channel, entry) in channels.iter().zip(entries) {
            page.next = Some(*channel);
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
            if page.accounts.len() >= PAGE {
                return Ok(Ok(page));
            }
        }
        if channels.len() < PAGE {
            page.next = None;
            break;
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

/// What is listed at once.
const PAGE: usize = 256;

//! What a channel challenge asks, read for one purse.

use super::{super::offer::shown, Terms};
use crate::protocol::{
    money::Amount,
    mpp::{
        self,
        channel::{INTENT, Request, SESSION_INTENT},
        charge::METHOD,
        timestamp,
    },
};

/// A challenge that a purse can answer, once.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The challenge, to be echoed.
    pub challenge: mpp::Challenge,
    /// What it asks.
    pub request: Request,
    /// When it ends, in Unix seconds, if it tells.
    pub expires: Option<u64>,
    /// The prices of the purse's requests that were answered when this was asked for: all that was presented beyond may be
    /// spent and not counted in it.
    pub(super) since: Amount,
}

impl Offer {
    /// Reads a challenge, or why the channel of `terms` cannot answer it.
    pub(super) fn read(
        challenge: &mpp::Challenge,
        terms: &Terms,
        since: Amount,
    ) -> Result<Self, String> {
        let mpp::Challenge { method, intent, .. } = challenge;
        if method != METHOD || ![INTENT, SESSION_INTENT].contains(&&**intent) {
            let (method, intent) = (shown(method), shown(intent));
            return Err(format!("it is `{method}/{intent}`, not `{METHOD}/{INTENT}`"));
        }
        let request = Request::decode(&challenge.request)
            .map_err(|error| format!("its request cannot be read: {error}"))?;
        if request.network != terms.network {
            return Err(format!("it is on `{}`, not `{}`", request.network, terms.network));
        }
        if request.channel != terms.channel {
            return Err(format!("it is from channel {}, not {}", request.channel, terms.channel));
        }
        let expires = match challenge.expires.as_deref().map(timestamp::read) {
            Some(Err(_)) => return Err("its end is no time".to_owned()),
            Some(Ok(ms)) => Some(ms.div_euclid(1_000)),
            None => None,
        };
        Ok(Self { challenge: challenge.clone(), request, expires, since })
    }

    /// What is sold, in the server's words; may be empty.
    #[must_use]
    pub fn description(&self) -> &str {
        self.challenge.description.as_deref().unwrap_or_default()
    }
}

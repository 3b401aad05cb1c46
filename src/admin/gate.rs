//! Who may call: who has the token, or where there is none, who calls from this machine and from no web page.
//!
//! A page in the operator's browser can reach every port of the operator's machine. It cannot name the host freely unless its
//! own name was made to point here (DNS rebinding), and then the `Host` is that name; it cannot hide where it comes from,
//! and it has no token.

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority};
use secrecy::SecretString;

use super::{Answer, error};
use crate::server::bearer;

#[derive(Debug)]
pub(super) struct Gate {
    token: Token,
}

/// What callers must have, if anything. Clones share it, so that it can be changed while the port is open.
#[derive(Clone, Debug)]
pub struct Token(Arc<ArcSwapOption<SecretString>>);

impl From<Option<SecretString>> for Token {
    fn from(token: Option<SecretString>) -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee(token)))
    }
}

impl Token {
    /// Asks for another one from now on.
    pub fn change(&self, token: Option<SecretString>) {
        self.0.store(token.map(Arc::new));
    }
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Barred {
    /// The page of another site, or one that will not say.
    OtherSite,
    /// A name that is not this machine's.
    OtherHost,
    NoToken,
}

impl Gate {
    pub(super) const fn new(token: Token) -> Self {
        Self { token }
    }

    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<(), Barred> {
        if is_of_other_site(headers) {
            return Err(Barred::OtherSite);
        }
        match &*self.token.0.load() {
            Some(token) if bearer::carries(headers, token) => Ok(()),
            Some(_) => Err(Barred::NoToken),
            None if names_this_machine(headers) => Ok(()),
            None => Err(Barred::OtherHost),
        }
    }
}

impl Barred {
    pub(super) fn answer(self) -> Answer {
        match self {
            Self::OtherSite => error(StatusCode::FORBIDDEN, "not for the pages of other sites"),
            Self::OtherHost => error(
                StatusCode::FORBIDDEN,
                "call `localhost` or a loopback address, or give the port a token",
            ),
            Self::NoToken => {
                let mut answer = error(StatusCode::UNAUTHORIZED, "the token is missing or wrong");
                let bearer = HeaderValue::from_static("Bearer");
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
                answer
            }
        }
    }
}

/// Whether a browser says that it acts for a page that this port did not serve.
fn is_of_other_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let own = text("host").map(|host| format!("http://{host}"));
    let is_foreign = |origin: &str| own.as_deref() != Some(origin);
    text("origin").is_some_and(is_foreign)
        || text("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"))
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

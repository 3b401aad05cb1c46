//! Who may call a priced route without a payment, and how often anybody may ask.
//!
//! An operator's own customers pass by a key or a token that they had before there was a price ([`Keys`], [`Tokens`]); a quota
//! lets so many requests of each caller through for nothing; and whoever asks for challenges, or pays, more often than a route
//! allows is told to wait. A caller is the address that the server knows it by, its connection's or what a trusted proxy says;
//! no other header says who it is: anybody can write one. What
//! is counted is in the memory of this gateway, which is bounded: where it is full, a quota ends early and a price applies.
//!
//! Knows neither what a payment is nor what an answer looks like; the guard asks, and lets through.

mod key;
mod pace;
mod quota;
mod token;
mod turnstile;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

pub use self::{
    key::Keys,
    quota::Taken,
    token::{NotUsable, TokenKeys, Tokens, Verdict},
    turnstile::{Brings, Caller, Entry, Pass, Turnstile},
};

/// What a route says of its callers.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Whether anybody is asked to pay at all.
    pub mode: Mode,
    /// Who passes without a payment.
    pub allow: Arc<[Allow]>,
    /// What callers have for nothing.
    pub free: Option<Quota>,
    /// How often one address is answered that does not pay, and how often one whose payment does not pay.
    pub unpaid: Option<Rate>,
    /// How often one payer may pay.
    pub paid: Option<Rate>,
}

/// Whether a priced route asks for its price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// Every request goes through, no payment is taken, and what would have been charged is counted.
    Observe,
}

/// Callers that pass.
#[derive(Clone, Debug)]
pub enum Allow {
    /// Those with a key that the operator gave them.
    Keys(Keys),
    /// Those with a token of an issuer that the operator trusts.
    Tokens(Tokens),
}

/// So many a second, and as many at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub per_second: NonZeroU32,
    /// What is counted together: the route's name, or nothing for all routes that inherit it.
    pub scope: Arc<str>,
}

/// So many requests for nothing in each period, which begins with a caller's first one.
#[derive(Clone, Debug)]
pub struct Quota {
    /// How many.
    pub requests: NonZeroU32,
    /// How long the period is.
    pub per: Duration,
    /// Whose they are; without keys, each address's.
    pub keys: Option<Keys>,
    /// What is counted together, as in a [`Rate`].
    pub scope: Arc<str>,
}

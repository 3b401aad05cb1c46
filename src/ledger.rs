//! Stellar as a service: what verifies a payment, puts it on the ledger, and finds out what became of it.
//!
//! It knows transactions, keys and facilitators; it knows no route, no price and no HTTP request. What it needs of a
//! payment comes in as a [`facilitator::Payment`], or as its payer's own transaction ([`relay`]), and what it says is an
//! outcome, never a status code.

pub mod facilitator;

pub mod channels;
pub mod own;
pub mod relay;
pub mod remote;

pub mod collector;

pub mod classic;
pub mod rpc;
pub mod signer;

mod budget;
mod health;
mod http;
pub(crate) mod post;
mod search;
mod sponsor;

pub use self::budget::Budget;
pub(crate) use self::http::read_body;
pub use self::http::{Http, HttpError};

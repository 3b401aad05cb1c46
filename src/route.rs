//! Which route a request belongs to.
//!
//! A table is immutable: a reload builds a new one and swaps it whole. It knows patterns and what stands behind them,
//! and neither headers nor payments.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

use crate::pay::Terms;

/// One route of the configuration.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name: given, or else its pattern as written.
    pub name: Arc<str>,
    /// The methods and paths it takes.
    pub pattern: Pattern,
    /// What it asks.
    pub access: Access,
    /// The upstream it goes to, as an index into the configured upstreams.
    pub upstream: usize,
    /// How long the upstream may take to its first response byte.
    pub timeout: Duration,
}

/// What a route asks of a request.
#[derive(Clone, Debug)]
pub enum Access {
    /// Nothing: the operator wrote `free: true`.
    Free,
    /// A payment.
    Priced(Arc<Terms>),
    /// Never forwarded: answered with this status.
    Denied(StatusCode),
}

/// Methods and path of a route, as `match:` writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// `None` is `ANY`. A pattern for GET takes HEAD too.
    pub method: Option<http::Method>,
    /// The path in `matchit` syntax.
    pub path: String,
}

//! A thin client of the Stellar RPC: the methods that payments need, typed.

use http::Uri;

use super::Http;
use crate::protocol::stellar::Network;

/// A Stellar RPC server of one network. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Rpc {
    http: Http,
    url: Uri,
    network: Network,
}

impl Rpc {
    /// A client of the server at `url`, which must serve `network`.
    #[must_use]
    pub const fn new(http: Http, url: Uri, network: Network) -> Self {
        Self { http, url, network }
    }
}

//! A facilitator of x402 v2 elsewhere, over HTTP.
//!
//! Source: x402 v2, facilitator API.

use std::time::Duration;

use http::Uri;
use secrecy::SecretString;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Http,
    facilitator::{NotReady, Outcome, Payment, Sent, Supported, VerifyError},
    rpc::Rpc,
};
use crate::{protocol::stellar::Network, telemetry::Clock};

/// A client of a remote facilitator.
#[derive(Debug)]
pub struct Facilitator {}

/// How to reach a remote facilitator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The network of all payments.
    pub network: Network,
    /// Its base URL; `/verify`, `/settle` and `/supported` are appended.
    pub url: Uri,
    /// Sent as `Authorization: Bearer` on all three.
    pub api_key: Option<SecretString>,
    /// How the operator set the key, for messages: `OZ_API_KEY`.
    pub api_key_name: Option<String>,
    /// How long `/verify` and `/supported` may take.
    pub timeout: Duration,
}

impl Facilitator {
    /// Starts the client; it asks for the supported kinds in the background, on `tasks`, until `stop`.
    #[must_use]
    pub fn start(
        settings: Settings,
        http: Http,
        rpc: Rpc,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        todo!()
    }

    pub(super) fn supported(&self) -> Result<Supported, NotReady> {
        todo!()
    }

    pub(super) async fn verify(&self, payment: &Payment) -> Result<(), VerifyError> {
        todo!()
    }

    pub(super) async fn prepare(&self, payment: &Payment) -> Result<Sent, VerifyError> {
        todo!()
    }

    pub(super) async fn submit(&self, payment: &Payment) -> Outcome {
        todo!()
    }

    pub(super) async fn resolve(&self, payment: &Payment, sent: &Sent) -> Outcome {
        todo!()
    }
}

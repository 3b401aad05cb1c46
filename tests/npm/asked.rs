//! What these tests ask for: a method and a path in one.

use bytes::Bytes;
use http::Method;
use tollgate::client::{Credential, Overrides};

use crate::agent::{Agent, Answer};

/// A method and a path.
pub(crate) type Asked = (Method, &'static str);

impl Agent {
    /// Asks, and signs a payment for what is asked, changed as `overrides` say.
    pub(crate) async fn sign(&self, (method, path): Asked, overrides: &Overrides) -> Credential {
        let offer = self.offer_of(method, path).await;
        self.client.sign_x402(&offer, overrides).await.unwrap()
    }

    /// Sends a request with a payment, once.
    pub(crate) async fn present(&self, (method, path): Asked, credential: &Credential) -> Answer {
        self.present_with(method, path, credential).await
    }

    /// Asks and pays.
    pub(crate) async fn pay(&self, (method, path): Asked) -> Answer {
        self.pay_with(method, path, Bytes::new()).await
    }
}

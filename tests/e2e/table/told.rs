//! What a client is told, and whether that is what it has to be told.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{
    origin::{BODY, MARK},
    rail::Rail,
};

/// What a client has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The origin's 200, whole, with the receipt.
    Served,
    /// The origin's 200 with the receipt, and not all of its body.
    Cut,
    /// The origin's answer with this status, which is not charged.
    Passed(u16),
    /// A problem document of the gateway: its status, and its name where it has one.
    Problem(u16, &'static str),
    /// Nothing: it is gone.
    Nothing,
}

/// What a client has heard.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Bytes,
    /// Whether the body ended before its end.
    is_cut: bool,
}

impl Heard {
    pub(super) async fn read(response: Response<Incoming>) -> Self {
        let (head, mut body) = response.into_parts();
        let (mut whole, mut is_cut) = (BytesMut::new(), false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => whole.extend(frame.into_data().ok()),
                Err(_) => is_cut = true,
            }
        }
        Self { status: head.status, headers: head.headers, body: whole.freeze(), is_cut }
    }

    /// The name of the problem that it tells of.
    pub(super) fn problem(&self) -> String {
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        kind.trim_start_matches("https://paymentauth.org/problems/").to_owned()
    }

    /// A member of the problem document.
    pub(super) fn member(&self, name: &str) -> Option<String> {
        Some(self.json().get(name)?.as_str()?.to_owned())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Told {
    /// Checks what was heard from its status to the last byte; `is_paid` is whether the payee has the money for it.
    pub(super) fn check(self, when: &str, rail: Rail, heard: &Heard, is_paid: bool) {
        let told = format!("{when}: {heard:?}");
        let (status, has_receipt) = match self {
            Self::Nothing => panic!("{when}: nothing was to be heard"),
            Self::Served | Self::Cut => (200, true),
            Self::Passed(status) => (status, is_paid && rail.tells_with_failures()),
            // Its own receipt tells of the payment that was settled before.
            Self::Problem(status @ (502 | 504), _) => {
                (status, is_paid && rail.tells_with_failures())
            }
            Self::Problem(status, _) => (status, false),
        };
        assert_eq!(heard.status, status, "{told}");
        assert_eq!(rail.receipt(&heard.headers).is_some(), has_receipt, "the receipt, {told}");
        assert_eq!(heard.is_cut, self == Self::Cut, "the end of the body, {told}");
        match self {
            Self::Problem(status, name) => {
                assert_eq!(
                    heard.problem(),
                    if name.is_empty() { "about:blank" } else { name },
                    "{told}"
                );
                let asks = heard.headers.contains_key(rail.challenge());
                assert_eq!(asks, status == 402, "whether another payment is asked for, {told}");
                let wait = heard.headers.get("retry-after").map(|wait| wait.to_str().unwrap());
                let wait = wait.map(|wait| wait.parse::<u32>().unwrap());
                let is_waited_for = wait.is_some_and(|wait| wait >= 1);
                assert_eq!(is_waited_for, status == 503, "when to come again, {told}");
                assert_eq!(heard.headers["cache-control"], "no-store", "{told}");
                // Nothing of the origin's answer leaves unpaid.
                assert!(!heard.headers.contains_key(MARK), "{told}");
                assert!(
                    !heard.body.windows(BODY.len() / 2).any(|part| BODY.starts_with(part)),
                    "{told}"
                );
            }
            Self::Cut => {
                assert!(heard.headers.contains_key(MARK) && BODY.starts_with(&heard.body), "{told}")
            }
            Self::Served | Self::Passed(_) | Self::Nothing => {
                assert!(heard.headers.contains_key(MARK), "{told}");
                assert_eq!(heard.body, BODY, "{told}");
                assert!(!heard.headers.contains_key("retry-after"), "{told}");
            }
        }
    }
}

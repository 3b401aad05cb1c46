//! Answers of the gateway's own: RFC 9457 problem documents, one status for each kind of refusal and fault.
//!
//! This is the only place that picks a status for a payment's outcome.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::{Serialize, Serializer};

use crate::pay::{Fault, FaultKind, Refusal, RefusalKind};

/// A problem document and the headers that go with it.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    slug: Option<&'static str>,
    title: &'static str,
    detail: String,
    members: Vec<(&'static str, String)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// HTML to show instead of the document.
    page: Option<String>,
}

impl Problem {
    /// A plain problem: what the status says, with a sentence of detail.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl fmt::Display) -> Self {
        Self {
            status,
            slug: None,
            title: status.canonical_reason().unwrap_or("Problem"),
            detail: detail.to_string(),
            members: Vec::new(),
            headers: Vec::new(),
            page: None,
        }
    }

    /// A problem of payment, with its name under `https://paymentauth.org/problems/`.
    #[must_use]
    pub fn payment(status: StatusCode, slug: &'static str, detail: impl fmt::Display) -> Self {
        Self { slug: Some(slug), ..Self::new(status, detail) }
    }

    /// Names the kind of problem, for people.
    #[must_use]
    pub fn with_title(self, title: &'static str) -> Self {
        Self { title, ..self }
    }

    /// Adds a response header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a member to the document.
    #[must_use]
    pub fn with_member(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// Tells the client when it is worth trying again, in whole seconds and at least one.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)))
    }

    /// Shows `html` instead of the document; it may run no script and load nothing.
    #[must_use]
    pub fn with_page(self, html: String) -> Self {
        let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
        let page = Self { page: Some(html), ..self };
        page.with_header(header::CONTENT_SECURITY_POLICY, policy)
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The whole answer; never to be cached.
    #[must_use]
    pub fn into_response(mut self) -> Response<Full<Bytes>> {
        let (kind, body) = match self.page.take() {
            Some(html) => ("text/html; charset=utf-8", html),
            None => ("application/problem+json", self.document()),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

impl Problem {
    /// The document, its members in the order of their names.
    fn document(&self) -> String {
        let kind = match self.slug {
            Some(slug) => Cow::Owned(format!("https://paymentauth.org/problems/{slug}")),
            None => Cow::Borrowed("about:blank"),
        };
        let mut members: Vec<(&str, Member<'_>)> =
            self.members.iter().map(|(name, text)| (*name, Member::Text(text))).collect();
        members.extend([
            ("type", Member::Text(&kind)),
            ("title", Member::Text(self.title)),
            ("status", Member::Number(self.status.as_u16())),
            ("detail", Member::Text(&self.detail)),
        ]);
        members.sort_unstable_by_key(|(name, _)| *name);
        serde_json::to_string(&Document(members)).expect("texts and a number have a form")
    }
}

struct Document<'a>(Vec<(&'a str, Member<'a>)>);

#[derive(Serialize)]
#[serde(untagged)]
enum Member<'a> {
    Text(&'a str),
    Number(u16),
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, member)| (name, member)))
    }
}

/// A refusal; the guard adds the fresh challenges to a 402.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        const ASKED: StatusCode = StatusCode::PAYMENT_REQUIRED;
        let (status, slug, title) = match refusal.kind {
            RefusalKind::Unpaid => (ASKED, "payment-required", "Payment Required"),
            RefusalKind::Malformed => (ASKED, "malformed-credential", "Malformed Credential"),
            RefusalKind::NotOffered => (ASKED, "invalid-challenge", "Invalid Challenge"),
            RefusalKind::Expired => (ASKED, "payment-expired", "Payment Expired"),
            RefusalKind::InvalidPayload => (ASKED, "invalid-payload", "Invalid Payload"),
            RefusalKind::Invalid => (ASKED, "verification-failed", "Verification Failed"),
            RefusalKind::SettlementFailed => (ASKED, "settlement-failed", "Settlement Failed"),
            RefusalKind::BadSignature => (ASKED, "session/invalid-signature", "Invalid Signature"),
            RefusalKind::DeltaTooSmall => (ASKED, "session/delta-too-small", "Delta Too Small"),
            RefusalKind::InsufficientBalance => {
                (ASKED, "session/insufficient-balance", "Insufficient Balance")
            }
            RefusalKind::OverDeposit => {
                (ASKED, "session/amount-exceeds-deposit", "Amount Exceeds Deposit")
            }
            RefusalKind::ChannelRejected => (ASKED, "session/channel-rejected", "Channel Rejected"),
            RefusalKind::ChannelEnded => {
                (StatusCode::GONE, "session/channel-finalized", "Channel Finalized")
            }
            RefusalKind::Ambiguous => {
                (StatusCode::BAD_REQUEST, "ambiguous-credentials", "Ambiguous Credentials")
            }
            RefusalKind::InUse => (StatusCode::CONFLICT, "payment-in-use", "Payment In Use"),
            RefusalKind::IdentifierTaken => {
                (StatusCode::CONFLICT, "payment-identifier-conflict", "Payment Identifier Conflict")
            }
        };
        let mut problem = Self::payment(status, slug, refusal.detail)
            .with_title(title)
            .with_member("reason", refusal.reason);
        if refusal.kind == RefusalKind::InUse {
            problem = problem.with_retry_after(Duration::from_secs(1));
        }
        problem.headers.extend(refusal.header.map(|header| *header));
        problem
    }
}

/// A fault; what happened stays in the log.
impl From<&Fault> for Problem {
    fn from(fault: &Fault) -> Self {
        let problem = match fault.kind {
            FaultKind::Unavailable => Self::payment(
                StatusCode::SERVICE_UNAVAILABLE,
                "payments-unavailable",
                "payments cannot be taken at the moment; nothing was forwarded, and nothing was charged \
                 that cannot be presented again",
            ),
            FaultKind::Pending { transaction } => {
                let pending = Self::payment(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "settlement-pending",
                    "the payment was sent and its outcome is not known yet; do not pay again: \
                     send the same request with the same payment after `Retry-After`",
                );
                match transaction {
                    Some(hash) => pending.with_member("transaction", hash.to_string()),
                    None => pending,
                }
            }
        };
        problem.with_retry_after(fault.retry_after)
    }
}

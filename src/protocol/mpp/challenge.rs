//! Challenges: issued, written as a header, known again by their id.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use http::HeaderValue;
use sha2::Sha256;

use super::{CredentialHeader, Malformed, Opaque, Secrets, digest, field, timestamp};

/// One way to pay, as a 402 offers it and as a credential echoes it.
///
/// One that came from outside may hold anything: [`Challenge::verify_id`] tells whether it was issued here.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// Binds everything below but `description`.
    pub id: ChallengeId,
    /// Who asks.
    pub realm: String,
    /// The payment method: `stellar`.
    pub method: String,
    /// What is done by it: `charge`.
    pub intent: String,
    /// Base64url of the canonical JSON of what the method asks.
    pub request: String,
    /// For people; bound by nothing.
    pub description: Option<String>,
    /// The digest of the request's body, if it is bound; see [`digest`].
    pub digest: Option<String>,
    /// RFC 3339, bound as it is written; see [`timestamp`].
    pub expires: Option<String>,
    /// Where the credential goes.
    pub header: CredentialHeader,
    /// Base64url of the canonical JSON of an [`Opaque`], if the challenge is ours.
    pub opaque: Option<String>,
}

/// What a challenge is issued of.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// Who asks; written as [`harmless`] has it.
    pub realm: &'a str,
    /// The payment method.
    pub method: &'static str,
    /// What is done by it.
    pub intent: &'static str,
    /// What the method asks, as [`super::charge::Request::encode`] writes it.
    pub request: String,
    /// For people; written as [`harmless`] has it.
    pub description: Option<&'a str>,
    /// SHA-256 of the request's body, if the payment is to be bound to it.
    pub body: Option<[u8; 32]>,
    /// When it ends, in Unix milliseconds.
    pub expires_ms: u64,
    /// Where the credential goes.
    pub header: CredentialHeader,
    /// What we want back.
    pub opaque: Option<&'a Opaque>,
}

impl Challenge {
    /// Makes the challenge, its id under the current one of `secrets`.
    #[must_use]
    pub fn issue(secrets: &Secrets, parts: Parts<'_>) -> Self {
        let mut challenge = Self {
            id: ChallengeId(String::new()),
            realm: harmless(parts.realm),
            method: parts.method.to_owned(),
            intent: parts.intent.to_owned(),
            request: parts.request,
            description: parts.description.map(harmless),
            digest: parts.body.map(|hash| digest::write(&hash)),
            expires: Some(timestamp::write(parts.expires_ms)),
            header: parts.header,
            opaque: parts.opaque.map(Opaque::encode),
        };
        let tag = challenge.feed(secrets.issuing(), challenge.header).finalize().into_bytes();
        challenge.id = ChallengeId(URL_SAFE_NO_PAD.encode(tag));
        challenge
    }

    /// Checks that this challenge was issued here, under one of `secrets`, with exactly these fields but the description.
    ///
    /// A client that knows of no other header than `Authorization` drops the parameter from what it echoes. So where the
    /// route has another header `configured`, an echo without one is also read as if it had that; the value is ours.
    ///
    /// # Errors
    /// [`NotOurs`] if it was not.
    pub fn verify_id(
        &self,
        secrets: &Secrets,
        configured: CredentialHeader,
    ) -> Result<(), NotOurs> {
        // The slots are joined by `|` and not escaped, so a `|` within one could make two challenges look like one.
        if self.slots(self.header).any(|slot| slot.contains('|')) {
            return Err(NotOurs);
        }
        let tag = URL_SAFE_NO_PAD.decode(&self.id.0).map_err(|_| NotOurs)?;
        let dropped = (self.header == CredentialHeader::Authorization && configured != self.header)
            .then_some(configured);
        let mut ours = false;
        for header in std::iter::once(self.header).chain(dropped) {
            for mac in secrets.accepted() {
                // Not `||`: which of the secrets it was is nobody's business.
                ours |= self.feed(mac, header).verify_slice(&tag).is_ok();
            }
        }
        if ours { Ok(()) } else { Err(NotOurs) }
    }

    /// The value of a `WWW-Authenticate` header, as `mppx` writes it: every value quoted, in its order.
    ///
    /// What a quoted string in ASCII cannot hold comes out as `?`; [`Challenge::issue`] makes no such thing.
    #[must_use]
    pub fn to_header(&self) -> HeaderValue {
        self.write("Payment ")
    }

    /// The value of a [`super::channel::PAYMENT_NEXT`] header: as [`Challenge::to_header`], but for the scheme's name.
    #[must_use]
    pub fn to_next(&self) -> HeaderValue {
        self.write("")
    }

    /// Reads what [`Challenge::to_next`] writes: the parameters of one challenge, and of no other scheme.
    ///
    /// # Errors
    /// [`Malformed`] tells which rule it breaks.
    pub fn from_next(value: &HeaderValue) -> Result<Self, Malformed> {
        field::parse_parameters(value.as_bytes())
    }

    fn write(&self, scheme: &str) -> HeaderValue {
        let mut text = String::with_capacity(HEADER_ROOM);
        text.push_str(scheme);
        for (at, (name, value)) in self.parameters().enumerate() {
            text.push_str(if at > 0 { ", " } else { "" });
            text.push_str(name);
            text.push('=');
            quote(value, &mut text);
        }
        HeaderValue::try_from(text).expect("what is quoted is visible ASCII")
    }

    /// What it says, by the names of the wire and in their order.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("id", Some(self.id.as_str())),
            ("realm", Some(self.realm.as_str())),
            ("method", Some(self.method.as_str())),
            ("intent", Some(self.intent.as_str())),
            ("request", Some(self.request.as_str())),
            ("description", self.description.as_deref()),
            ("digest", self.digest.as_deref()),
            ("expires", self.expires.as_deref()),
            ("header", self.header.parameter()),
            ("opaque", self.opaque.as_deref()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// What the id binds, in its order: seven slots, or eight with a `header` that is not the default.
    fn slots(&self, header: CredentialHeader) -> impl Iterator<Item = &str> {
        [
            Some(self.realm.as_str()),
            Some(self.method.as_str()),
            Some(self.intent.as_str()),
            Some(self.request.as_str()),
            Some(self.expires.as_deref().unwrap_or_default()),
            Some(self.digest.as_deref().unwrap_or_default()),
            header.parameter(),
            Some(self.opaque.as_deref().unwrap_or_default()),
        ]
        .into_iter()
        .flatten()
    }

    pub(super) fn feed(&self, mut mac: Hmac<Sha256>, header: CredentialHeader) -> Hmac<Sha256> {
        for (at, slot) in self.slots(header).enumerate() {
            if at > 0 {
                mac.update(b"|");
            }
            mac.update(slot.as_bytes());
        }
        mac
    }
}

/// The id of a challenge: a MAC, so it has no equality but [`Challenge::verify_id`].
#[derive(Clone)]
pub struct ChallengeId(String);

impl ChallengeId {
    /// An id as it came; may be anything.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The challenge was not issued here, or not with these fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the challenge was not issued by this server")]
pub struct NotOurs;

/// `text` as a header, an old client and the id's slots can all carry it.
///
/// - What is not visible ASCII or a space becomes `?`, a line break or a tab a space.
/// - `|`, which separates what the id binds, becomes `/`.
/// - The space after a `payment` becomes `-`: `mppx` 0.6 looks for the next challenge at that word, quoted or not.
///
/// What it has once made harmless, it leaves as it is.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        out.push(match char {
            '\t' | '\n' | '\r' | ' ' if ends_with_scheme(&out) => '-',
            '\t' | '\n' | '\r' => ' ',
            '|' => '/',
            ' '..='~' => char,
            _ => '?',
        });
    }
    out
}

fn ends_with_scheme(text: &str) -> bool {
    let start = text.len().checked_sub("payment".len());
    start.and_then(|start| text.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case("payment"))
}

fn quote(value: &str, out: &mut String) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    out.push('"');
    // To the end of the value, whatever is found: without a way out this is done for many bytes at once.
    if value.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        out.push_str(value);
    } else {
        for char in value.chars() {
            match char {
                '\\' | '"' => out.extend(['\\', char]),
                ' '..='~' => out.push(char),
                _ => out.push('?'),
            }
        }
    }
    out.push('"');
}

/// What most challenges take as a header, in bytes.
const HEADER_ROOM: usize = 1_024;

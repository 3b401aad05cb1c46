//! Credentials: what a client sends back for a challenge, found among a request's headers, read and written.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use serde_json::{Map, Value};

use super::{
    Challenge, ChallengeId, CredentialHeader, Malformed, PAYMENT_AUTHORIZATION, decode_json,
    encode_canonical,
    field::{Element, split_list},
    take_optional_text, take_text,
};

/// A payment for a challenge. All of it is the client's word until it is checked.
///
/// Its `Debug` shows no payload: whoever has a payload may present it.
#[derive(Clone)]
pub struct Credential {
    /// The challenge, as the client echoes it.
    pub challenge: Challenge,
    /// The payment, in the shape of its method, if there is any.
    pub payload: Option<Value>,
    /// Who says to pay, such as a [`super::charge::Source`].
    pub source: Option<String>,
}

impl Credential {
    /// Reads the value of one `Authorization` or `Payment-Authorization` line, which may hold other schemes too.
    ///
    /// `None` if it holds no `Payment` credential. Of the echoed challenge only the shape is looked at: a text that is
    /// not as it should be is not ours, which [`Challenge::verify_id`] finds. So is a missing `id`, read as an empty one.
    ///
    /// # Errors
    /// [`FindError`] if it holds two, or one that cannot be read.
    pub fn parse(value: &[u8]) -> Result<Option<Self>, FindError> {
        single(tokens(value))
    }

    /// Reads what stands behind `Payment`: base64url of JSON.
    ///
    /// # Errors
    /// [`Malformed`] tells which rule it breaks.
    pub fn from_token(token: &[u8]) -> Result<Self, Malformed> {
        if token.len() > MAX_TOKEN {
            return Err(Malformed::TooLong(MAX_TOKEN));
        }
        let Value::Object(mut members) = decode_json(token)? else {
            return Err(Malformed::Member("challenge"));
        };
        let Some(Value::Object(challenge)) = members.remove("challenge") else {
            return Err(Malformed::Member("challenge"));
        };
        Ok(Self {
            challenge: read_echo(challenge)?,
            payload: members.remove("payload"),
            source: take_optional_text(&mut members, "source")?,
        })
    }

    /// The value of the header that the challenge asks for.
    #[must_use]
    pub fn encode(&self) -> HeaderValue {
        let mut members = Map::new();
        members.insert("challenge".to_owned(), write_echo(&self.challenge));
        if let Some(payload) = &self.payload {
            members.insert("payload".to_owned(), payload.clone());
        }
        if let Some(source) = &self.source {
            members.insert("source".to_owned(), source.as_str().into());
        }
        let token = URL_SAFE_NO_PAD.encode(Value::Object(members).to_string());
        HeaderValue::try_from(format!("Payment {token}")).expect("base64url is visible ASCII")
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential")
            .field("challenge", &self.challenge)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// The one `Payment` credential of a request, wherever a challenge may have asked for it.
///
/// Both headers are looked into, whichever the route has now: an old client knows `Authorization` only, and a challenge
/// may be older than the configuration.
///
/// # Errors
/// [`FindError`] if there are two, or one that cannot be read.
pub fn find(headers: &HeaderMap) -> Result<Option<Credential>, FindError> {
    single(
        HEADERS
            .iter()
            .flat_map(|name| headers.get_all(name))
            .flat_map(|line| tokens(line.as_bytes())),
    )
}

/// Takes every `Payment` credential out of `headers` and leaves the upstream's own, such as a `Bearer`, as they are.
pub fn strip(headers: &mut HeaderMap) {
    for name in HEADERS {
        let lines: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
        if lines.iter().all(|line| tokens(line.as_bytes()).next().is_none()) {
            continue;
        }
        headers.remove(&name);
        for line in lines {
            let kept: Vec<&[u8]> = split_list(line.as_bytes())
                .into_iter()
                .filter(|element| token(element).is_none())
                .collect();
            if let Ok(line) = HeaderValue::from_bytes(&kept.join(&b", "[..]))
                && !line.is_empty()
            {
                headers.append(&name, line);
            }
        }
    }
}

/// Why the headers hold no one credential.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There are two: which is meant is the client's to say.
    #[error("the request has more than one `Payment` credential")]
    Ambiguous,
    /// There is one that cannot be read.
    #[error("the credential is malformed: {0}")]
    Malformed(Malformed),
}

fn single<'a>(mut tokens: impl Iterator<Item = &'a [u8]>) -> Result<Option<Credential>, FindError> {
    match (tokens.next(), tokens.next()) {
        (None, _) => Ok(None),
        (Some(token), None) => {
            Credential::from_token(token).map(Some).map_err(FindError::Malformed)
        }
        (Some(_), Some(_)) => Err(FindError::Ambiguous),
    }
}

/// What follows the scheme's name, of each `Payment` credential in a line.
fn tokens(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    split_list(line).into_iter().filter_map(token)
}

fn token(element: &[u8]) -> Option<&[u8]> {
    match Element::read(element) {
        Element::Scheme(name, token) if name.eq_ignore_ascii_case(b"payment") => Some(token),
        _ => None,
    }
}

fn read_echo(mut echo: Map<String, Value>) -> Result<Challenge, Malformed> {
    let echo = &mut echo;
    let header = match take_optional_text(echo, "header")? {
        None => CredentialHeader::default(),
        Some(name) => CredentialHeader::from_parameter(&name).ok_or(Malformed::Member("header"))?,
    };
    let opaque = match echo.get("opaque") {
        // Clients of old echo the map that they read instead of the text that they got.
        Some(map @ Value::Object(members)) if members.values().all(Value::is_string) => {
            Some(encode_canonical(map))
        }
        _ => take_optional_text(echo, "opaque")?,
    };
    Ok(Challenge {
        id: ChallengeId::new(take_optional_text(echo, "id")?.unwrap_or_default()),
        realm: take_text(echo, "realm")?,
        method: take_text(echo, "method")?,
        intent: take_text(echo, "intent")?,
        request: take_text(echo, "request")?,
        description: take_optional_text(echo, "description")?,
        digest: take_optional_text(echo, "digest")?,
        expires: take_optional_text(echo, "expires")?,
        header,
        opaque,
    })
}

fn write_echo(challenge: &Challenge) -> Value {
    let members = challenge.parameters().map(|(name, value)| (name.to_owned(), value.into()));
    members.collect::<Map<_, _>>().into()
}

const HEADERS: [HeaderName; 2] = [AUTHORIZATION, PAYMENT_AUTHORIZATION];
/// Eight kilobytes of transaction, encoded twice, and the challenge beside it.
const MAX_TOKEN: usize = 16 * 1024;

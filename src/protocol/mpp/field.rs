//! The grammar of the two fields: challenges among those of other schemes, credentials among other credentials.
//!
//! Source: RFC 9110 § 11.

use http::HeaderValue;

use super::{Challenge, ChallengeId, CredentialHeader, Malformed, digest, timestamp};

/// Reads the values of `WWW-Authenticate`: every `Payment` challenge in order, other schemes passed over.
///
/// Each value may hold several challenges. One that is malformed does not hide the others.
#[must_use]
pub fn parse_challenges<'a>(
    values: impl IntoIterator<Item = &'a HeaderValue>,
) -> Vec<Result<Challenge, Malformed>> {
    values.into_iter().flat_map(|value| challenges_of(value.as_bytes())).collect()
}

/// Reads the parameters of one challenge, without the scheme's name before them.
pub(super) fn parse_parameters(list: &[u8]) -> Result<Challenge, Malformed> {
    let mut parameters = Parameters::default();
    for element in split_list(list).into_iter().filter(|element| !element.is_empty()) {
        match Element::read(element) {
            Element::Parameter(name, value) => parameters.add(name, value)?,
            Element::Scheme(..) | Element::Other => return Err(Malformed::Syntax),
        }
    }
    parameters.into_challenge()
}

/// Splits a list at the commas outside of quoted strings; a string that does not end takes the rest.
pub(super) fn split_list(list: &[u8]) -> Vec<&[u8]> {
    if !list.contains(&b',') {
        return vec![list.trim_ascii()];
    }
    let (mut quoted, mut escaped) = (false, false);
    list.split(|byte| {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            return false;
        }
        quoted = *byte == b'"';
        *byte == b','
    })
    .map(<[u8]>::trim_ascii)
    .collect()
}

/// An element of a list: does it open a scheme, or is it one more parameter of the scheme before it?
pub(super) enum Element<'a> {
    /// A scheme's name, and what follows it.
    Scheme(&'a [u8], &'a [u8]),
    /// A parameter's name, and what follows its `=`.
    Parameter(&'a [u8], &'a [u8]),
    /// Neither.
    Other,
}

impl<'a> Element<'a> {
    pub(super) fn read(element: &'a [u8]) -> Self {
        let end = element.iter().position(|byte| !is_token(*byte)).unwrap_or(element.len());
        let (name, rest) = element.split_at_checked(end).unwrap_or((element, b""));
        if name.is_empty() {
            return Self::Other;
        }
        match (rest, rest.trim_ascii()) {
            (_, [b'=', value @ ..]) => Self::Parameter(name, value.trim_ascii()),
            (b"" | [b' ' | b'\t', ..], after) => Self::Scheme(name, after),
            _ => Self::Other,
        }
    }
}

fn challenges_of(value: &[u8]) -> Vec<Result<Challenge, Malformed>> {
    let mut found: Vec<Result<Parameters, Malformed>> = Vec::new();
    // Whether what we read belongs to a challenge of ours.
    let mut ours = false;
    for element in split_list(value).into_iter().filter(|element| !element.is_empty()) {
        match Element::read(element) {
            Element::Scheme(name, after) => {
                ours = name.eq_ignore_ascii_case(b"payment");
                if ours {
                    found.push(Ok(Parameters::default()));
                    if !after.is_empty() {
                        add(&mut found, Element::read(after));
                    }
                }
            }
            parameter if ours => add(&mut found, parameter),
            Element::Parameter(..) | Element::Other => {}
        }
    }
    found.into_iter().map(|parameters| parameters?.into_challenge()).collect()
}

fn add(found: &mut [Result<Parameters, Malformed>], element: Element<'_>) {
    let Some(last) = found.last_mut() else { return };
    let Ok(parameters) = last else { return };
    let added = match element {
        Element::Parameter(name, value) => parameters.add(name, value),
        Element::Scheme(..) | Element::Other => Err(Malformed::Syntax),
    };
    if let Err(error) = added {
        *last = Err(error);
    }
}

#[derive(Default)]
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Malformed> {
        let name = latin1(name).to_ascii_lowercase();
        if self.0.iter().any(|(known, _)| *known == name) {
            return Err(Malformed::Repeated);
        }
        self.0.push((name, parameter_value(&latin1(value))?));
        Ok(())
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    fn require(&mut self, name: &'static str) -> Result<String, Malformed> {
        self.take(name).filter(|value| !value.is_empty()).ok_or(Malformed::Member(name))
    }

    fn into_challenge(mut self) -> Result<Challenge, Malformed> {
        let header = match self.take("header") {
            None => CredentialHeader::default(),
            Some(name) => {
                CredentialHeader::from_parameter(&name).ok_or(Malformed::Member("header"))?
            }
        };
        let challenge = Challenge {
            id: ChallengeId::new(self.require("id")?),
            realm: self.take("realm").ok_or(Malformed::Member("realm"))?,
            method: self.require("method")?,
            intent: self.require("intent")?,
            request: self.require("request")?,
            description: self.take("description"),
            digest: self.take("digest"),
            expires: self.take("expires"),
            header,
            opaque: self.take("opaque"),
        };
        if !is_method(&challenge.method) {
            return Err(Malformed::Member("method"));
        }
        if challenge.request.len() > MAX_REQUEST {
            return Err(Malformed::TooLong(MAX_REQUEST));
        }
        let is_digest = |digest: &str| digest.starts_with(digest::PREFIX);
        if !challenge.digest.as_deref().is_none_or(is_digest) {
            return Err(Malformed::Member("digest"));
        }
        let is_time = |expires: &str| timestamp::read(expires).is_ok();
        if !challenge.expires.as_deref().is_none_or(is_time) {
            return Err(Malformed::Member("expires"));
        }
        Ok(challenge)
    }
}

/// A quoted string, or bare text up to the end.
fn parameter_value(value: &str) -> Result<String, Malformed> {
    let Some(quoted) = value.strip_prefix('"') else {
        let bare = !value.is_empty() && !value.contains([' ', '\t', '"', '\\']);
        return if bare { Ok(value.to_owned()) } else { Err(Malformed::Syntax) };
    };
    // UTF-16, since that is what `mppx` escapes: half a character at a time.
    let mut units: Vec<u16> = Vec::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    loop {
        let char = match rest.next().ok_or(Malformed::Syntax)? {
            '"' => break,
            '\\' => match unicode_escape(rest.as_str()) {
                Some((unit, after)) => {
                    units.push(unit);
                    rest = after.chars();
                    continue;
                }
                None => rest.next().ok_or(Malformed::Syntax)?,
            },
            char => char,
        };
        units.extend_from_slice(char.encode_utf16(&mut [0; 2]));
    }
    if rest.next().is_some() {
        return Err(Malformed::Syntax);
    }
    String::from_utf16(&units).map_err(|_| Malformed::Syntax)
}

/// What stands behind the backslash of `\uXXXX`, which `mppx` writes since 0.8.18 for what Latin-1 has not.
fn unicode_escape(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.strip_prefix('u')?.split_at_checked(4)?;
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten().map(|unit| (unit, rest))
}

fn is_method(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
        && bytes.all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b':' | b'_' | b'-'))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// What clients since `mppx` 0.8 take.
const MAX_REQUEST: usize = 16_384;

//! The one canonical reading of a request target: what is matched and priced is what is forwarded.
//!
//! A paywall is bypassed where the gateway and the upstream read one path in two ways. So nothing is rewritten here:
//! a target that another reader could take for a different path is refused, with the reason's name, and every other one
//! goes to the upstream as the client's own bytes. Routes are matched on [`Target::path`], its percent-decoded form,
//! so that two spellings of one path (`%40` and `@`, `%c3` and `%C3`) always meet the same route.
//!
//! The price of refusing: a path segment cannot carry a slash, a backslash, a semicolon, a control character or a
//! percent sign that two hexadecimal digits follow, encoded or not; letters, digits and `-._~` must stand unencoded, as
//! every client sends them; and the path is at most 8 KiB with its query. `%3F` and `%23` are literal characters of a
//! segment: an upstream has to split a target before it decodes it, as RFC 3986 section 2.4 says.
//! The query is opaque: it plays no part in matching and is forwarded as it is.
//!
//! Knows neither `Host` nor header: those belong to the server's edge. Source: RFC 9112 section 3.2, RFC 3986.

use std::fmt;

use http::{Uri, uri::PathAndQuery};

/// A request target in origin form that has exactly one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The client's own bytes.
    raw: PathAndQuery,
    /// The path percent-decoded, where that is not the same text.
    decoded: Option<Box<str>>,
}

impl Target {
    /// Reads a request's target as an HTTP parser gives it, in origin form or in absolute form.
    ///
    /// The parser has cut a fragment off already, if there was one; what is left is what is matched *and* forwarded.
    ///
    /// # Errors
    /// The first reason why it has more than one reading, or none.
    pub fn read(uri: &Uri) -> Result<Self, Ambiguous> {
        match uri.path_and_query() {
            Some(raw) if uri.scheme().is_some() || uri.authority().is_none() => {
                Self::of(raw.clone())
            }
            _ => Err(Ambiguous::NotAPath),
        }
    }

    /// Reads a path and query as a person writes it, such as `/weather?day=1`.
    ///
    /// # Errors
    /// The first reason why it has more than one reading, or none.
    pub fn parse(text: &str) -> Result<Self, Ambiguous> {
        if text.contains('#') {
            return Err(Ambiguous::Fragment);
        }
        if !text.starts_with('/') {
            return Err(Ambiguous::NotAPath);
        }
        PathAndQuery::try_from(text).map_err(|_| Ambiguous::Illegal).and_then(Self::of)
    }

    /// The path, percent-decoded: what routes are matched on. Starts with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        self.decoded.as_deref().unwrap_or_else(|| self.raw.path())
    }

    /// Path and query exactly as the client wrote them, and as they are forwarded.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.raw.as_str()
    }

    /// The same as an HTTP client takes it.
    #[must_use]
    pub const fn path_and_query(&self) -> &PathAndQuery {
        &self.raw
    }

    fn of(raw: PathAndQuery) -> Result<Self, Ambiguous> {
        if raw.as_str().len() > LONGEST {
            return Err(Ambiguous::TooLong);
        }
        // `raw.path()` says `/` where there is no path at all, so look at the whole.
        let Some(path) = raw.as_str().strip_prefix('/').map(|_| raw.path()) else {
            return Err(Ambiguous::NotAPath);
        };
        let query_is_plain =
            raw.query().is_none_or(|query| query.bytes().all(|byte| byte.is_ascii_graphic()));
        if !query_is_plain {
            return Err(Ambiguous::Illegal);
        }
        let decoded = decode(path)?;
        segments_are_plain(decoded.as_deref().unwrap_or(path))?;
        Ok(Self { raw, decoded })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request target has more than one reading, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ambiguous {
    /// `*`, an authority, or a path without its leading slash.
    #[error("the request target is not a path that starts with `/`")]
    NotAPath,
    /// A `#`.
    #[error("the request target has a fragment")]
    Fragment,
    /// Longer than 8 KiB.
    #[error("the request target is longer than 8 KiB")]
    TooLong,
    /// Two slashes in a row.
    #[error("the path has an empty segment")]
    EmptySegment,
    /// `.` or `..`.
    #[error("the path has a `.` or `..` segment")]
    DotSegment,
    /// `%2F` or `%5C`.
    #[error("the path has an encoded slash or backslash")]
    EncodedSlash,
    /// `\`, which some read as a slash.
    #[error("the path has a backslash")]
    Backslash,
    /// `;` or `%3B`, behind which some cut a segment.
    #[error("the path has a `;`")]
    Parameter,
    /// A control character, encoded.
    #[error("the path has an encoded control character")]
    Control,
    /// A `%` without two hexadecimal digits behind it.
    #[error("the path has a `%` that two hexadecimal digits do not follow")]
    BadPercent,
    /// `%25` and two hexadecimal digits: read twice, it is another path.
    #[error("the path is percent-encoded twice")]
    DoublyEncoded,
    /// A letter, a digit or one of `-._~`, encoded.
    #[error("the path encodes a character that needs no encoding")]
    NeedlesslyEncoded,
    /// Encoded bytes that are not UTF-8, overlong forms among them.
    #[error("the path's encoded bytes are not UTF-8")]
    NotUtf8,
    /// A byte that has to be encoded and is not.
    #[error("the request target has a character that must be percent-encoded")]
    Illegal,
}

/// The path percent-decoded, or `None` if there is nothing to decode.
fn decode(path: &str) -> Result<Option<Box<str>>, Ambiguous> {
    if path.bytes().all(stands_raw) {
        return Ok(None);
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let byte = hex_pair(&mut bytes).ok_or(Ambiguous::BadPercent)?;
                may_be_encoded(byte)?;
                if byte == b'%' && hex_pair(&mut bytes.clone()).is_some() {
                    return Err(Ambiguous::DoublyEncoded);
                }
                decoded.push(byte);
            }
            b'\\' => return Err(Ambiguous::Backslash),
            b';' => return Err(Ambiguous::Parameter),
            _ if stands_raw(byte) => decoded.push(byte),
            _ => return Err(Ambiguous::Illegal),
        }
    }
    String::from_utf8(decoded)
        .map(|text| Some(text.into_boxed_str()))
        .map_err(|_| Ambiguous::NotUtf8)
}

fn segments_are_plain(decoded: &str) -> Result<(), Ambiguous> {
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "" if segments.peek().is_some() => return Err(Ambiguous::EmptySegment),
            "." | ".." => return Err(Ambiguous::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a byte may stand in a path as it is: `pchar` of RFC 3986 without `;`, the slash, and the four characters
/// that browsers leave as they are.
const fn stands_raw(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'/' | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
        )
        || matches!(byte, b'[' | b']' | b'^' | b'|')
}

fn may_be_encoded(byte: u8) -> Result<(), Ambiguous> {
    match byte {
        b'/' | b'\\' => Err(Ambiguous::EncodedSlash),
        b';' => Err(Ambiguous::Parameter),
        0..=0x1f | 0x7f => Err(Ambiguous::Control),
        _ if is_unreserved(byte) => Err(Ambiguous::NeedlesslyEncoded),
        _ => Ok(()),
    }
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The byte that the next two hexadecimal digits stand for.
fn hex_pair(bytes: &mut std::str::Bytes<'_>) -> Option<u8> {
    let mut digit =
        || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (high, low) = (digit()?, digit()?);
    Some(high << 4 | low)
}

/// Path and query together, in bytes.
const LONGEST: usize = 8192;

#[cfg(test)]
mod tests;

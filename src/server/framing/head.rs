//! One head: its first line, its fields, and what they say of the body.

use http::Uri;
use memchr::memchr;

use super::{Bounds, Refused};
use crate::protocol::target::Ambiguous;

/// A head as it comes, line by line.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// As many bytes are lines that were read.
    read: usize,
    /// As many bytes have no line feed behind the last that was read.
    searched: usize,
    /// As many bytes of the line that has begun have no control character.
    vetted: usize,
    stage: Stage,
    fields: usize,
    is_old: bool,
    length: Option<u64>,
    is_chunked: bool,
    stays: bool,
    asks_for_upgrade: bool,
}

/// A whole head.
#[derive(Debug)]
pub(super) struct Read {
    /// How many bytes it has.
    pub(super) length: usize,
    pub(super) body: Body,
    /// Whether it asks for another protocol.
    pub(super) asks_for_upgrade: bool,
}

/// How long a body is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    Counted(u64),
    Chunked,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    First,
    /// Behind an empty line, of which some clients send one after a body.
    Second,
    Fields,
}

impl Head {
    /// Reads on. The bytes are all of the head so far, from its first on.
    pub(super) fn read(&mut self, bytes: &[u8], bounds: Bounds) -> Result<Option<Read>, Refused> {
        while let Some(found) = memchr(b'\n', bytes.get(self.searched..).unwrap_or_default()) {
            let end = self.searched.saturating_add(found);
            let line = bytes.get(self.read..end).unwrap_or_default();
            self.read = end.saturating_add(1);
            (self.searched, self.vetted) = (self.read, 0);
            self.bound(self.read, bounds)?;
            let line = line.strip_suffix(b"\r").ok_or(Refused::LineEnd)?;
            match self.stage {
                Stage::First if line.is_empty() => self.stage = Stage::Second,
                Stage::First | Stage::Second => {
                    self.is_old = first_line(line)?;
                    self.stage = Stage::Fields;
                }
                Stage::Fields if line.is_empty() => return self.end().map(Some),
                Stage::Fields => {
                    self.fields = self.fields.saturating_add(1);
                    if self.fields > bounds.fields {
                        return Err(Refused::TooManyFields);
                    }
                    self.field(line)?;
                }
            }
        }
        self.searched = bytes.len();
        self.bound(bytes.len(), bounds)?;
        // What can be no line is not waited for.
        let begun = bytes.get(self.read..).unwrap_or_default();
        let begun = begun.strip_suffix(b"\r").unwrap_or(begun);
        // However it dribbles in, it is looked at once.
        if has_control(begun.get(self.vetted..).unwrap_or_default()) {
            return Err(control(begun));
        }
        self.vetted = begun.len();
        Ok(None)
    }

    fn bound(&self, length: usize, bounds: Bounds) -> Result<(), Refused> {
        match self.stage {
            _ if length <= bounds.bytes => Ok(()),
            Stage::First | Stage::Second => Err(Refused::Target(Ambiguous::TooLong)),
            Stage::Fields => Err(Refused::HeadTooLong),
        }
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Refused> {
        let end = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
        let (name, rest) = line.split_at_checked(end).ok_or(Refused::Field)?;
        let value = match rest.split_first() {
            Some((b':', value)) if !name.is_empty() => value,
            Some((b' ' | b'\t', _)) if name.is_empty() => return Err(Refused::Folded),
            _ if has_control(line) => return Err(control(line)),
            _ => return Err(Refused::Field),
        };
        if has_control(value) {
            return Err(control(value));
        }
        match name.len() {
            7 if is(name, b"upgrade") => self.asks_for_upgrade = true,
            10 if is(name, b"connection") => self.stays |= stays(value),
            14 if is_like(name, b"content-length") => {
                if name.contains(&b'_') {
                    return Err(Refused::Field);
                }
                let length = length_of(value).ok_or(Refused::Length)?;
                if self.length.replace(length).is_some() {
                    return Err(Refused::TwoLengths);
                }
            }
            17 if is_like(name, b"transfer-encoding") => {
                if name.contains(&b'_') {
                    return Err(Refused::Field);
                }
                if self.is_chunked || value.trim_ascii_start() != b"chunked" {
                    return Err(Refused::TransferCoding);
                }
                self.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<Read, Refused> {
        let body = match (self.length, self.is_chunked) {
            (Some(_), true) => return Err(Refused::LengthAndChunks),
            (None, true) if self.is_old => return Err(Refused::OldChunks),
            (None, true) => Body::Chunked,
            (length, false) => Body::Counted(length.unwrap_or(0)),
        };
        if self.is_old && self.stays && !matches!(body, Body::Counted(0)) {
            return Err(Refused::OldBody);
        }
        Ok(Read { length: self.read, body, asks_for_upgrade: self.asks_for_upgrade })
    }
}

/// Reads `METHOD target HTTP/1.1`; whether it is of HTTP/1.0.
fn first_line(line: &[u8]) -> Result<bool, Refused> {
    if has_control(line) {
        return Err(control(line));
    }
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refused::FirstLine);
    };
    let is_old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refused::Version);
        }
        _ => return Err(Refused::FirstLine),
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(Refused::FirstLine);
    }
    if matches!(method, b"CONNECT" | b"TRACE") {
        return Err(Refused::ForbiddenMethod);
    }
    check_target(target)?;
    Ok(is_old)
}

/// What hyper takes for something else than it is, or does not take at all. What is left is [`crate::protocol::target`]'s.
fn check_target(target: &[u8]) -> Result<(), Refused> {
    let scheme = |name: &[u8]| target.get(..name.len()).is_some_and(|it| is(it, name));
    let path = match target {
        [b'/', ..] => target,
        _ if scheme(b"http://") || scheme(b"https://") => match Uri::try_from(target) {
            Ok(_) => target,
            Err(_) if target.len() > LONGEST_TARGET => target,
            Err(_) => return Err(Refused::Target(Ambiguous::Illegal)),
        },
        [] => return Err(Refused::FirstLine),
        _ => return Err(Refused::Target(Ambiguous::NotAPath)),
    };
    if target.len() > LONGEST_TARGET {
        return Err(Refused::Target(Ambiguous::TooLong));
    }
    let query = memchr(b'?', path).unwrap_or(path.len());
    let (path, query) = path.split_at_checked(query).unwrap_or_default();
    let is_odd = |bytes: &[u8], odd: u8| {
        bytes.iter().fold(false, |is_odd, byte| {
            is_odd | !byte.is_ascii_graphic() | (*byte == odd) | matches!(byte, b'#' | b'<' | b'>')
        })
    };
    match is_odd(path, b'`') || is_odd(query, b'"') {
        false => Ok(()),
        true if target.contains(&b'#') => Err(Refused::Target(Ambiguous::Fragment)),
        true => Err(Refused::Target(Ambiguous::Illegal)),
    }
}

/// The value of `Content-Length`: digits and nothing else, but for the blanks before them.
fn length_of(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii_start();
    let is_plain = match digits {
        [] | [b'0', _, ..] => false,
        _ => digits.len() < 20 && digits.iter().all(u8::is_ascii_digit),
    };
    if !is_plain {
        return None;
    }
    let length: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (length <= LONGEST_BODY).then_some(length)
}

/// Whether a `Connection` of HTTP/1.0 asks for the connection to stay.
fn stays(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|option| is(option.trim_ascii(), b"keep-alive"))
}

fn is(name: &[u8], lower_case: &[u8]) -> bool {
    name.eq_ignore_ascii_case(lower_case)
}

/// Whether the name is this one, for those too who cannot tell `_` and `-` apart.
fn is_like(name: &[u8], lower_case: &[u8]) -> bool {
    name.len() == lower_case.len()
        && name
            .iter()
            .zip(lower_case)
            .all(|(one, other)| one.eq_ignore_ascii_case(other) || (*one == b'_' && *other == b'-'))
}

/// Which rule a control character breaks.
fn control(bytes: &[u8]) -> Refused {
    if bytes.contains(&b'\r') { Refused::LineEnd } else { Refused::Control }
}

/// Whether there is a control character other than a tab. Looks at all of them, as that is faster than to stop.
fn has_control(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .fold(false, |found, byte| found | ((*byte < b' ') & (*byte != b'\t')) | (*byte == 0x7f))
}

pub(super) fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// The bytes of names. Source: RFC 9110 section 5.6.2.
static TOKEN: [bool; 256] = tokens();

#[expect(
    clippy::indexing_slicing,
    reason = "computed by the compiler, which refuses a wrong index"
)]
const fn tokens() -> [bool; 256] {
    let mut is_token = [false; 256];
    let (mut byte, mut at) = (0_u8, 0_usize);
    while byte < 0x80 {
        is_token[at] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte = byte.saturating_add(1);
        at = at.saturating_add(1);
    }
    is_token
}

/// Longer than the longest path and query, with room for a scheme and a host.
const LONGEST_TARGET: usize = 10 * 1024;
/// The longest body that hyper counts.
const LONGEST_BODY: u64 = u64::MAX - 2;

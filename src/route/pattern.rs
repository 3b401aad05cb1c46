//! What `match:` says: methods and a path.
//!
//! Paths are written as OpenAPI writes them: `/v1/weather/{city}`, with a parameter for a segment or a part of one, and a
//! last `/*` for whatever follows, nothing included: `/v1/chat/*` takes `/v1/chat/` and `/v1/chat/a/b`, not `/v1/chat`.
//! Literals have to be canonical as [`crate::protocol::target`] reads them, and mean their percent-decoded text.

use std::{collections::HashSet, fmt};

use http::Method;

use crate::protocol::target::{Ambiguous, Target};

/// Methods and path of a route, as `match:` writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// `None` is `ANY`. A pattern for GET takes HEAD too.
    pub method: Option<Method>,
    /// The path as it is written.
    pub path: String,
    /// The path in pieces; never empty, and a [`Segment::Rest`] is the last.
    segments: Vec<Segment>,
}

impl Pattern {
    /// Reads `GET /v1/weather/{city}` or `ANY /internal/*`.
    ///
    /// # Errors
    /// The first thing that is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (method, path) = text.split_once(' ').ok_or(PatternError::NoMethod)?;
        Ok(Self { method: read_method(method)?, path: path.into(), segments: read_path(path)? })
    }

    /// A path that it takes, its literals percent-decoded.
    #[must_use]
    pub fn example(&self) -> String {
        let piece = |segment: &Segment| match segment {
            Segment::Literal(text) => format!("/{text}"),
            Segment::Parameter | Segment::Rest => "/x".to_owned(),
            Segment::Affixed { prefix, suffix } => format!("/{prefix}x{suffix}"),
        };
        self.segments.iter().map(piece).collect()
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_ref().map_or("ANY", Method::as_str);
        write!(f, "{method} {}", self.path)
    }
}

/// One piece of a path. Names of parameters play no part in matching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// This text, percent-decoded; empty only as the end of a path with a last slash.
    Literal(Box<str>),
    /// Any text but none.
    Parameter,
    /// Any text but none, between two literals.
    Affixed {
        /// What stands before it.
        prefix: Box<str>,
        /// What stands behind it.
        suffix: Box<str>,
    },
    /// Everything that is left, even nothing.
    Rest,
}

impl Segment {
    /// The segment in lower case.
    pub(super) fn fold(&self) -> Self {
        let fold = |text: &str| text.to_ascii_lowercase().into_boxed_str();
        match self {
            Self::Literal(text) => Self::Literal(fold(text)),
            Self::Affixed { prefix, suffix } => {
                Self::Affixed { prefix: fold(prefix), suffix: fold(suffix) }
            }
            other => other.clone(),
        }
    }
}

/// What is wrong with a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is only one word.
    #[error("expected a method and a path, such as `GET /weather`")]
    NoMethod,
    /// `get`.
    #[error("`{0}` is not upper case: methods are, such as `GET`")]
    LowerCase(String),
    /// `HEAD`.
    #[error("a route for `GET` takes `HEAD` too, at the same price: write `GET`")]
    Head,
    /// A method that the gateway does not serve.
    #[error(
        "`{0}` is not a method the gateway serves: expected GET, POST, PUT, PATCH, DELETE, OPTIONS or ANY"
    )]
    UnknownMethod(String),
    /// A path that starts otherwise.
    #[error("the path does not start with `/`")]
    NoSlash,
    /// `?` in a path.
    #[error("a path has no query: parameters behind `?` play no part in matching")]
    Query,
    /// `*` anywhere but as the last segment.
    #[error("`*` stands alone as the last segment, such as `/v1/chat/*`")]
    Star,
    /// An unmatched or a nested brace, or more than one parameter in a segment.
    #[error("`{0}` is not one parameter such as `{{city}}`, with or without text around it")]
    Braces(String),
    /// `{}`, `{*rest}`.
    #[error("`{0}` is not a parameter's name: expected letters, digits and `_`")]
    Name(String),
    /// `/{a}/{a}`.
    #[error("the parameter `{0}` stands twice in the path")]
    Twice(String),
    /// A literal that a request could not have.
    #[error("{0}: no request with such a path is let in")]
    Literal(Ambiguous),
}

fn read_method(text: &str) -> Result<Option<Method>, PatternError> {
    match text {
        "ANY" => Ok(None),
        "GET" => Ok(Some(Method::GET)),
        "POST" => Ok(Some(Method::POST)),
        "PUT" => Ok(Some(Method::PUT)),
        "PATCH" => Ok(Some(Method::PATCH)),
        "DELETE" => Ok(Some(Method::DELETE)),
        "OPTIONS" => Ok(Some(Method::OPTIONS)),
        "HEAD" => Err(PatternError::Head),
        other if other.starts_with('/') => Err(PatternError::NoMethod),
        other if other.bytes().any(|byte| byte.is_ascii_lowercase()) => {
            Err(PatternError::LowerCase(other.into()))
        }
        other => Err(PatternError::UnknownMethod(other.into())),
    }
}

fn read_path(path: &str) -> Result<Vec<Segment>, PatternError> {
    let path = path.strip_prefix('/').ok_or(PatternError::NoSlash)?;
    if path.contains('?') {
        return Err(PatternError::Query);
    }
    let (pieces, is_open) = match path.strip_suffix('*') {
        Some("") => ("", true),
        Some(pieces) => (pieces.strip_suffix('/').ok_or(PatternError::Star)?, true),
        None => (path, false),
    };
    let mut names = HashSet::new();
    let mut segments = Vec::new();
    let mut stand_in = String::new();
    // `/*` alone has no piece before its star.
    for piece in pieces.split('/').filter(|_| path != "*") {
        stand_in.push('/');
        segments.push(read_segment(piece, &mut names, &mut stand_in)?);
    }
    // What holds for a request's path as a whole (empty and dot segments, the length) holds for a pattern's.
    if is_open {
        stand_in.push_str("/x");
        segments.push(Segment::Rest);
    }
    Target::parse(&stand_in).map_err(PatternError::Literal)?;
    Ok(segments)
}

/// Reads one piece between slashes, and adds a text that it takes to `stand_in`.
fn read_segment<'a>(
    piece: &'a str,
    names: &mut HashSet<&'a str>,
    stand_in: &mut String,
) -> Result<Segment, PatternError> {
    let braces = || PatternError::Braces(piece.into());
    let Some((prefix, behind)) = piece.split_once('{') else {
        if piece.contains('}') {
            return Err(braces());
        }
        stand_in.push_str(piece);
        return read_literal(piece).map(Segment::Literal);
    };
    let (name, suffix) = behind.split_once('}').ok_or_else(braces)?;
    if [prefix, name, suffix].iter().any(|part| part.contains(['{', '}'])) {
        return Err(braces());
    }
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name.is_empty() || !is_name {
        return Err(PatternError::Name(name.into()));
    }
    if !names.insert(name) {
        return Err(PatternError::Twice(name.into()));
    }
    stand_in.extend([prefix, "x", suffix]);
    if prefix.is_empty() && suffix.is_empty() {
        return Ok(Segment::Parameter);
    }
    Ok(Segment::Affixed { prefix: read_literal(prefix)?, suffix: read_literal(suffix)? })
}

/// A literal's percent-decoded text.
fn read_literal(text: &str) -> Result<Box<str>, PatternError> {
    if text.contains('*') {
        return Err(PatternError::Star);
    }
    // Empty and dot segments are judged where the path is whole.
    let target = Target::parse(&format!("/x{text}")).map_err(PatternError::Literal)?;
    Ok(target.path().trim_start_matches('/').strip_prefix('x').unwrap_or_default().into())
}

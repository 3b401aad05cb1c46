//! What a route changes of a request on its way to the upstream: the beginning of its path, and headers.
//!
//! What is left of a path is what the client sent, byte for byte: nothing is decoded, joined or put in order again, so that
//! the upstream reads what the gateway has read and priced.

use http::{HeaderName, HeaderValue};

use super::Pattern;

/// What a route changes of a request.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// What the upstream does not see of the path.
    pub strip_prefix: Option<Prefix>,
    /// What it sees of the headers.
    pub headers: HeaderChanges,
}

/// Headers that are not the client's to say.
///
/// A name with underscores counts as the one with hyphens, since many servers cannot tell them apart.
#[derive(Clone, Debug, Default)]
pub struct HeaderChanges {
    /// Set on every request, in place of the client's.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Removed, unless they are set as well.
    pub remove: Vec<HeaderName>,
}

impl HeaderChanges {
    /// Whether nothing is changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

/// The first segments of every path that a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    text: HeaderValue,
    segments: usize,
}

impl Prefix {
    /// Reads `/api`, which has to be how the paths of `pattern` begin.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, pattern: &Pattern) -> Result<Self, PrefixError> {
        if !text.starts_with('/') || text.ends_with('/') {
            return Err(PrefixError::Form);
        }
        let rest = pattern.path.strip_prefix(text);
        if text.contains('{') || !rest.is_some_and(|rest| rest.starts_with('/')) {
            return Err(PrefixError::NotOfThePattern);
        }
        let segments = text.bytes().filter(|byte| *byte == b'/').count();
        let text = HeaderValue::from_str(text).map_err(|_| PrefixError::Form)?;
        Ok(Self { text, segments })
    }

    /// As it is written.
    #[must_use]
    pub const fn text(&self) -> &HeaderValue {
        &self.text
    }

    /// What is left of a path and query that the route takes; it begins with a slash.
    ///
    /// Segments are counted, not compared: the route has compared them, and may know one by another spelling.
    #[must_use]
    pub fn strip<'t>(&self, target: &'t str) -> Option<&'t str> {
        let path = target.split('?').next()?;
        let (start, _) = path.match_indices('/').nth(self.segments)?;
        target.get(start..)
    }
}

/// Why a prefix cannot be stripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// It is none.
    #[error("does not begin with a slash, or ends with one")]
    Form,
    /// Not every path of the route begins with it, or nothing would be left of one.
    #[error("is not how the route's paths begin")]
    NotOfThePattern,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::target::Target;

    fn prefix(text: &str, pattern: &str) -> Result<Prefix, PrefixError> {
        Prefix::parse(text, &Pattern::parse(pattern).unwrap())
    }

    #[test]
    fn a_prefix_is_whole_segments_that_every_path_of_its_route_has() {
        for (text, pattern) in
            [("/api", "GET /api/x"), ("/api", "ANY /api/*"), ("/a/b", "GET /a/b/{c}")]
        {
            assert!(prefix(text, pattern).is_ok(), "{text} {pattern}");
        }
        for text in ["", "/", "api", "/api/"] {
            assert_eq!(prefix(text, "GET /api/x"), Err(PrefixError::Form), "{text}");
        }
        for (text, pattern) in [
            ("/ap", "GET /api/x"),
            ("/api/x", "GET /api/x"),
            ("/x", "GET /api/x"),
            ("/api/{x}", "GET /api/{x}/y"),
            ("/api/*", "ANY /api/*"),
        ] {
            let refused = prefix(text, pattern);
            assert_eq!(refused, Err(PrefixError::NotOfThePattern), "{text} {pattern}");
        }
    }

    #[test]
    fn e17_what_is_left_of_a_path_is_what_the_client_sent() {
        let api = prefix("/api/paid", "ANY /api/paid/*").unwrap();
        for (target, left) in [
            ("/api/paid/", "/"),
            ("/api/paid/x", "/x"),
            ("/api/paid/x%20y/%C3%A9?z=/api/paid/../", "/x%20y/%C3%A9?z=/api/paid/../"),
            ("/api/p%61id/x", "/x"),
            ("/api/paid/api/paid/x", "/api/paid/x"),
        ] {
            assert_eq!(api.strip(target), Some(left), "{target}");
        }
        for target in ["/api/paid", "/api/paid?x=/y", "/api"] {
            assert_eq!(api.strip(target), None, "{target}");
        }
    }

    proptest! {
        #[test]
        fn e17_what_is_left_of_a_canonical_target_is_canonical(
            rest in "(/[a-z,;:@!$%20-]{1,4}){0,4}/?(\\?[a-z/=.%20]{0,6})?",
        ) {
            let target = format!("/api/paid{rest}");
            let api = prefix("/api/paid", "ANY /api/paid/*").unwrap();
            if Target::parse(&target).is_ok() && rest.starts_with('/') {
                let left = api.strip(&target);
                prop_assert_eq!(left, Some(&*rest));
                prop_assert!(Target::parse(&rest).is_ok());
            }
        }
    }
}

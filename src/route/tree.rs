//! Patterns as a tree of path segments, searched from the most specific to the least.
//!
//! Knows neither methods nor routes: at the end of a path stands a value.

use std::collections::HashMap;

use super::pattern::Segment;

/// Values by path.
#[derive(Debug)]
pub(super) struct Tree<V> {
    /// By the whole segment.
    literals: HashMap<Box<str>, Self>,
    /// Parameters with literals around them, the longest literals first.
    affixed: Vec<Affixed<V>>,
    /// A parameter that is the whole segment.
    parameter: Option<Box<Self>>,
    /// Whatever is left of the path from this segment on, even nothing.
    rest: Option<V>,
    /// The path ended with the segment before.
    end: Option<V>,
}

/// A parameter between two literals, one of which may be empty.
#[derive(Debug)]
struct Affixed<V> {
    prefix: Box<str>,
    suffix: Box<str>,
    below: Tree<V>,
}

impl<V> Tree<V> {
    /// The value of the most specific pattern that takes `path`, which starts with a slash.
    pub(super) fn find(&self, path: &str) -> Option<&V> {
        self.find_segments(path.strip_prefix('/'))
    }

    /// The place of the value at the end of `pattern`.
    ///
    /// # Errors
    /// [`Unordered`] if a segment stands in the tree which takes some of the same texts, and neither is more specific.
    pub(super) fn place(&mut self, pattern: &[Segment]) -> Result<&mut Option<V>, Unordered> {
        let Some((first, others)) = pattern.split_first() else {
            return Ok(&mut self.end);
        };
        let below = match first {
            Segment::Literal(text) => self.literals.entry(text.clone()).or_default(),
            Segment::Parameter => self.parameter.get_or_insert_default().as_mut(),
            Segment::Affixed { prefix, suffix } => self.affixed(prefix, suffix)?,
            Segment::Rest => return Ok(&mut self.rest),
        };
        below.place(others)
    }

    fn find_segments(&self, path: Option<&str>) -> Option<&V> {
        let Some(path) = path else {
            return self.end.as_ref();
        };
        let (segment, below) = match path.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (path, None),
        };
        let literal = || self.literals.get(segment)?.find_segments(below);
        let affixed = || {
            self.affixed
                .iter()
                .filter(|affixed| affixed.takes(segment))
                .find_map(|affixed| affixed.below.find_segments(below))
        };
        let parameter =
            || self.parameter.as_ref().filter(|_| !segment.is_empty())?.find_segments(below);
        literal().or_else(affixed).or_else(parameter).or(self.rest.as_ref())
    }

    fn affixed(&mut self, prefix: &str, suffix: &str) -> Result<&mut Self, Unordered> {
        let same = |known: &Affixed<V>| *known.prefix == *prefix && *known.suffix == *suffix;
        if self.affixed.iter().any(|known| known.rivals(prefix, suffix)) {
            return Err(Unordered);
        }
        let at = match self.affixed.iter().position(same) {
            Some(at) => at,
            None => {
                let length =
                    |known: &Affixed<V>| known.prefix.len().saturating_add(known.suffix.len());
                let new = Affixed {
                    prefix: prefix.into(),
                    suffix: suffix.into(),
                    below: Self::default(),
                };
                let place = self.affixed.partition_point(|known| length(known) >= length(&new));
                self.affixed.insert(place, new);
                place
            }
        };
        self.affixed.get_mut(at).map(|affixed| &mut affixed.below).ok_or(Unordered)
    }
}

impl<V> Default for Tree<V> {
    fn default() -> Self {
        Self {
            literals: HashMap::new(),
            affixed: Vec::new(),
            parameter: None,
            rest: None,
            end: None,
        }
    }
}

impl<V> Affixed<V> {
    /// Whether the segment has both literals and at least one character between them.
    fn takes(&self, segment: &str) -> bool {
        segment
            .strip_prefix(&*self.prefix)
            .and_then(|rest| rest.strip_suffix(&*self.suffix))
            .is_some_and(|parameter| !parameter.is_empty())
    }

    /// Whether some segment fits both, and neither is the narrower of the two.
    fn rivals(&self, prefix: &str, suffix: &str) -> bool {
        let fits = |long: &str, short: &str| long.starts_with(short);
        let ends = |long: &str, short: &str| long.ends_with(short);
        let overlap = (fits(prefix, &self.prefix) || fits(&self.prefix, prefix))
            && (ends(suffix, &self.suffix) || ends(&self.suffix, suffix));
        let narrower = fits(prefix, &self.prefix) && ends(suffix, &self.suffix);
        let wider = fits(&self.prefix, prefix) && ends(&self.suffix, suffix);
        overlap && !narrower && !wider
    }
}

/// Two segments take some of the same texts, and neither is more specific.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unordered;

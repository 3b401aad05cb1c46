//! Patterns as a tree of path segments, searched from the most specific to the least.
//!
//! Knows neither methods nor routes: at the end of a path stands a value.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
};

use super::pattern::Segment;

/// Values by path.
#[derive(Debug)]
pub(super) struct Tree<V> {
    /// By the whole segment.
    literals: HashMap<Box<str>, Self>,
    /// Parameters with literals around them.
    affixed: Affixes<V>,
    /// A parameter that is the whole segment.
    parameter: Option<Box<Self>>,
    /// Whatever is left of the path from this segment on, even nothing.
    rest: Option<V>,
    /// The path ended with the segment before.
    end: Option<V>,
}

/// Parameters with literals around them, in one place of a path.
#[derive(Debug)]
struct Affixes<V> {
    /// By the literal before the parameter; the longest literals behind it come first.
    by_prefix: BTreeMap<Box<str>, Suffixes<V>>,
    /// The lengths that prefixes have.
    lengths: BTreeSet<usize>,
}

type Suffixes<V> = Vec<(Box<str>, Tree<V>)>;

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
            Segment::Affixed { prefix, suffix } => self.affixed.place(prefix, suffix)?,
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
        let affixed = || self.affixed.find(segment, |tree| tree.find_segments(below));
        let parameter =
            || self.parameter.as_ref().filter(|_| !segment.is_empty())?.find_segments(below);
        literal().or_else(affixed).or_else(parameter).or(self.rest.as_ref())
    }
}

impl<V> Default for Tree<V> {
    fn default() -> Self {
        let affixed = Affixes { by_prefix: BTreeMap::new(), lengths: BTreeSet::new() };
        Self { literals: HashMap::new(), affixed, parameter: None, rest: None, end: None }
    }
}

impl<V> Affixes<V> {
    /// What `find` finds behind a parameter that takes the segment, the most specific first.
    ///
    /// Of two that take the same text, one has both the longer prefix and the longer suffix, or one of them and the
    /// other alike: [`Self::place`] sees to that.
    fn find<'t, F>(&'t self, segment: &str, find: F) -> Option<&'t V>
    where
        F: Fn(&'t Tree<V>) -> Option<&'t V>,
    {
        self.lengths.iter().rev().find_map(|length| {
            let (prefix, behind) = segment.split_at_checked(*length)?;
            let takes =
                |suffix: &str| behind.strip_suffix(suffix).is_some_and(|text| !text.is_empty());
            let suffixes = self.by_prefix.get(prefix)?.iter();
            suffixes.filter(|(suffix, _)| takes(suffix)).find_map(|(_, tree)| find(tree))
        })
    }

    /// The tree behind the parameter between `prefix` and `suffix`.
    fn place(&mut self, prefix: &str, suffix: &str) -> Result<&mut Tree<V>, Unordered> {
        if self.has_rival(prefix, suffix) {
            return Err(Unordered);
        }
        self.lengths.insert(prefix.len());
        let suffixes = self.by_prefix.entry(prefix.into()).or_default();
        let at = suffixes.iter().position(|(known, _)| **known == *suffix).unwrap_or_else(|| {
            let at = suffixes.partition_point(|(known, _)| known.len() >= suffix.len());
            suffixes.insert(at, (suffix.into(), Tree::default()));
            at
        });
        suffixes.get_mut(at).map(|(_, tree)| tree).ok_or(Unordered)
    }

    /// Whether some text fits this and one that is here, and neither is the narrower of the two.
    fn has_rival(&self, prefix: &str, suffix: &str) -> bool {
        // One with a longer prefix has to have the longer suffix too, one with a shorter prefix the shorter.
        let mut longer = self
            .by_prefix
            .range::<str, _>((Bound::Excluded(prefix), Bound::Unbounded))
            .take_while(|(known, _)| known.starts_with(prefix))
            .flat_map(|(_, suffixes)| suffixes);
        let mut shorter = self
            .lengths
            .range(..prefix.len())
            .filter_map(|length| self.by_prefix.get(prefix.get(..*length)?))
            .flatten();
        longer.any(|(known, _)| suffix.ends_with(&**known) && **known != *suffix)
            || shorter.any(|(known, _)| known.ends_with(suffix) && **known != *suffix)
    }
}

/// Two segments take some of the same texts, and neither is more specific.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unordered;

//! Which route a request belongs to.
//!
//! A table is immutable: a reload builds a new one and swaps it whole. It knows patterns and what stands behind them,
//! and neither headers nor payments.
//!
//! The most specific path wins, whatever the order in the file. Two paths are compared segment by segment from the left,
//! and at the first difference a literal (`weather`) beats a literal around a parameter (`img-{id}.png`), which beats a
//! parameter (`{city}`), which beats the rest (`*`). The winning path alone decides: if it takes other methods than the
//! request's, the answer is 405, and never a less specific route that happens to be free.

mod pattern;
mod rewrite;
mod tree;

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::{HeaderValue, Method, StatusCode};

use self::{pattern::Segment, tree::Tree};
pub use self::{
    pattern::{Pattern, PatternError},
    rewrite::{HeaderChanges, Prefix, PrefixError, Rewrite},
};
use crate::{
    callers::{self, Mode},
    pay::Terms,
    telemetry::traffic::{Counts, Traffic},
};

/// One route of the configuration.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name: given, or else its pattern as written.
    pub name: Arc<str>,
    /// The methods and paths it takes.
    pub pattern: Pattern,
    /// What it asks.
    pub access: Access,
    /// The upstream it goes to, as an index into the configured upstreams.
    pub upstream: usize,
    /// How long the upstream may take to its first response byte.
    pub timeout: Duration,
    /// The most bytes that a request's body may have; a longer one is refused.
    pub body_limit: u64,
    /// How long a connection that a request has switched to another protocol may go on, if that has an end.
    pub tunnel: Option<Duration>,
    /// What the upstream sees otherwise than it was sent, if something.
    pub rewrite: Option<Box<Rewrite>>,
    /// What goes through it.
    pub counts: Counts,
    /// Who may call without paying, and how often.
    pub callers: callers::Rules,
}

impl Route {
    /// Whether a request may be asked to pay here.
    #[must_use]
    pub fn asks_for_money(&self) -> bool {
        matches!(self.access, Access::Priced(_)) && self.callers.mode == Mode::Enforce
    }
}

/// What a route asks of a request.
#[derive(Clone, Debug)]
pub enum Access {
    /// Nothing: the operator wrote `free: true`.
    Free,
    /// A payment.
    Priced(Arc<Terms>),
    /// Never forwarded: answered with this status.
    Denied(StatusCode),
}

/// All routes, ready to be asked.
#[derive(Debug)]
pub struct Table {
    routes: Vec<Arc<Route>>,
    entries: Vec<Entry>,
    /// Paths as they are written, to an index into `entries`.
    exact: Tree<usize>,
    /// Paths in lower case and without their last slash, to everything that is written so.
    folded: Tree<Vec<usize>>,
}

impl Table {
    /// Builds the table of `routes`.
    ///
    /// # Errors
    /// Every pair of routes of which no order can say which one a request means.
    pub fn new(routes: Vec<Route>) -> Result<Self, Vec<Clash>> {
        let mut table = Self {
            routes: routes.into_iter().map(Arc::new).collect(),
            entries: Vec::new(),
            exact: Tree::default(),
            folded: Tree::default(),
        };
        let mut clashes = table.fill();
        clashes.extend(table.fold());
        if clashes.is_empty() { Ok(table) } else { Err(clashes) }
    }

    /// The route of a request with `method` for `path`, as [`crate::protocol::target::Target::path`] gives it.
    ///
    /// HEAD is looked up as GET.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Match<'_> {
        let Some((&index, entry)) = self.entry_of(path) else {
            return Match::Unmatched;
        };
        if self.looks_like_another(index, path) {
            return Match::LookAlike;
        }
        match entry.route_for(method).and_then(|route| self.routes.get(route)) {
            Some(route) => Match::Found(route),
            None => Match::WrongMethod { allow: &entry.allow },
        }
    }

    /// Has each route count in `traffic`, where it may have been known before.
    pub fn count_in(&mut self, traffic: &Traffic) {
        for route in &mut self.routes {
            let counts = traffic.of(&route.name);
            Arc::make_mut(route).counts = counts;
        }
    }

    /// Every route whose path takes `path`, whatever its method, in the order in which they were given: for people who wonder
    /// why one of them wins.
    #[must_use]
    pub fn takers(&self, path: &str) -> Vec<&Arc<Route>> {
        let takes = |route: &&Arc<Route>| {
            let mut alone = Tree::<()>::default();
            if let Ok(place) = alone.place(route.pattern.segments()) {
                *place = Some(());
            }
            alone.find(path).is_some()
        };
        self.routes.iter().filter(takes).collect()
    }

    /// The routes, in the order in which they were given.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

impl Table {
    fn entry_of(&self, path: &str) -> Option<(&usize, &Entry)> {
        let index = self.exact.find(path)?;
        Some((index, self.entries.get(*index)?))
    }

    /// Whether an upstream that reads paths carelessly could take `path` for one that another route keeps.
    ///
    /// Many do: Express knows neither case nor a last slash by default. Without this, `/WEATHER` under a free `/*` would
    /// be a free `/weather`.
    fn looks_like_another(&self, index: usize, path: &str) -> bool {
        let lower = if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(path.to_ascii_lowercase())
        } else {
            Cow::Borrowed(path)
        };
        let folded = match lower.strip_suffix('/') {
            Some(folded) if !folded.is_empty() => folded,
            _ => &lower,
        };
        self.folded.find(folded).is_some_and(|same| {
            !same.contains(&index)
                && same
                    .iter()
                    .filter_map(|entry| self.entries.get(*entry))
                    .any(|entry| entry.is_kept)
        })
    }

    /// Puts every route into `entries` and `exact`.
    fn fill(&mut self) -> Vec<Clash> {
        let mut clashes = Vec::new();
        for (second, route) in self.routes.iter().enumerate() {
            let Ok(place) = self.exact.place(route.pattern.segments()) else {
                clashes.extend(self.first_rival(second, <[Segment]>::to_vec));
                continue;
            };
            let index = *place.get_or_insert(self.entries.len());
            if index == self.entries.len() {
                self.entries.push(Entry::default());
            }
            let first = self.entries.get_mut(index).and_then(|entry| entry.add(second, route));
            clashes.extend(first.map(|first| Clash { kind: ClashKind::Equal, first, second }));
        }
        clashes
    }

    /// Puts every entry into `folded`.
    fn fold(&mut self) -> Vec<Clash> {
        let mut clashes = Vec::new();
        for (second, route) in self.routes.iter().enumerate() {
            let Some(index) = self.exact.place(route.pattern.segments()).ok().and_then(|at| *at)
            else {
                continue;
            };
            match self.folded.place(&fold(route.pattern.segments())) {
                Ok(place) => place.get_or_insert_default().push(index),
                Err(tree::Unordered) => clashes.extend(self.first_rival(second, fold)),
            }
        }
        // A kept `/a/*` does not take `/a`, but a careless upstream may: it is kept too, unless it is a route's own.
        for route in &self.routes {
            if let Some((Segment::Rest, parent @ [_, ..])) = route.pattern.segments().split_last()
                && let Ok(Some(index)) = self.exact.place(route.pattern.segments())
                && self.entries.get(*index).is_some_and(|entry| entry.is_kept)
                && let Ok(place @ None) = self.folded.place(&fold(parent))
            {
                *place = Some(vec![*index]);
            }
        }
        clashes
    }

    /// The clash of the route at `second` with the first one before it that it has no order with.
    fn first_rival(&self, second: usize, read: fn(&[Segment]) -> Vec<Segment>) -> Option<Clash> {
        let pattern = read(self.routes.get(second)?.pattern.segments());
        let first = self.routes.iter().take(second).position(|earlier| {
            let mut pair = Tree::<()>::default();
            pair.place(&read(earlier.pattern.segments())).is_ok() && pair.place(&pattern).is_err()
        })?;
        Some(Clash { kind: ClashKind::Unordered, first, second })
    }
}

/// What a path leads to.
#[derive(Debug)]
pub enum Match<'t> {
    /// This route.
    Found(&'t Arc<Route>),
    /// Routes for other methods than the request's: 405.
    WrongMethod {
        /// The methods that they are for, as the `Allow` header lists them.
        allow: &'t HeaderValue,
    },
    /// A route, but an upstream might take the path for one that is priced or denied: it differs from such a one only in
    /// its case or by a last slash. 400.
    LookAlike,
    /// Nothing: 404.
    Unmatched,
}

/// Two routes of which no order can say which one a request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clash {
    /// How they clash.
    pub kind: ClashKind,
    /// The earlier one's index in the routes as given.
    pub first: usize,
    /// The later one's.
    pub second: usize,
}

/// How two routes clash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClashKind {
    /// The same paths and the same methods.
    Equal,
    /// In the same place stand segments that take some of the same texts, such as `a{x}` and `{y}b`, and neither is the
    /// more specific.
    Unordered,
}

/// The routes of one path, by method.
#[derive(Debug)]
struct Entry {
    /// Indices into the table's routes; `None` is `ANY`.
    methods: Vec<(Option<Method>, usize)>,
    /// The methods as the `Allow` header lists them.
    allow: HeaderValue,
    /// Whether anything here is priced or denied.
    is_kept: bool,
}

impl Entry {
    /// Adds a route, or says which one has its place.
    fn add(&mut self, index: usize, route: &Route) -> Option<usize> {
        let method = &route.pattern.method;
        if let Some((_, first)) = self.methods.iter().find(|(known, _)| known == method) {
            return Some(*first);
        }
        self.is_kept |= !matches!(route.access, Access::Free);
        self.methods.push((method.clone(), index));
        let mut names: Vec<&str> =
            self.methods.iter().filter_map(|(method, _)| Some(method.as_ref()?.as_str())).collect();
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        self.allow = HeaderValue::try_from(names.join(", ")).expect("a method's name is a token");
        None
    }

    fn route_for(&self, method: &Method) -> Option<usize> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let of = |wanted: Option<&Method>| {
            self.methods.iter().find(|(known, _)| known.as_ref() == wanted).map(|(_, index)| *index)
        };
        of(Some(method)).or_else(|| of(None))
    }
}

impl Default for Entry {
    fn default() -> Self {
        Self { methods: Vec::new(), allow: HeaderValue::from_static(""), is_kept: false }
    }
}

/// A pattern in lower case, and without a last slash.
fn fold(segments: &[Segment]) -> Vec<Segment> {
    let kept = match segments {
        [kept @ .., Segment::Literal(last)] if last.is_empty() && !kept.is_empty() => kept,
        all => all,
    };
    kept.iter().map(Segment::fold).collect()
}

#[cfg(test)]
mod tests;

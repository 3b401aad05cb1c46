//! Typed reading of the node tree: each fault is noted with its place, and the reading goes on.
//!
//! `None` always means that the fault is noted already, or that an optional key is absent: readers take every key of a
//! mapping first and combine afterwards, so that one run finds everything. Knows kinds of values, not what keys mean.

use std::{borrow::Cow, cell::RefCell, collections::HashMap, io, path::Path, sync::Arc};

use super::{
    content_hash,
    diagnostic::{Diagnostic, Diagnostics, Position, nearest, one_of, quoted},
    env::Env,
    file::read_capped,
    node::{Entry, Node, Value},
    settings::{ContentHash, Contents, NamedFile},
};

/// One run over one file.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) file: Arc<str>,
    /// The folder that relative paths start from.
    pub(super) base: &'a Path,
    pub(super) env: &'a Env,
    hash: ContentHash,
    faults: RefCell<Vec<Diagnostic>>,
    warnings: RefCell<Vec<Diagnostic>>,
    files: RefCell<Vec<NamedFile>>,
}

impl<'a> Reading<'a> {
    /// `hash` is of the file's content.
    pub(super) fn new(file: &str, base: &'a Path, env: &'a Env, hash: ContentHash) -> Self {
        let (faults, warnings, files) = Default::default();
        Self { file: file.into(), base, env, hash, faults, warnings, files }
    }

    /// The whole document.
    pub(super) fn root(&'a self, node: &'a Node) -> Spot<'a> {
        Spot { reading: self, node, path: String::new() }
    }

    pub(super) fn fault_at(&self, at: Position, path: &str, what: &str, hint: &str) {
        let fault = Diagnostic::new(&self.file, Some(at), path, what, hint);
        self.faults.borrow_mut().push(fault);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// Reads the file at `path`, and notes that it was looked for, and what it held.
    ///
    /// # Errors
    /// Those of [`read_capped`].
    pub(super) fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let content = read_capped(path);
        let hash = content.as_deref().ok().map(content_hash);
        self.files.borrow_mut().push(NamedFile { path: path.to_owned(), hash });
        content
    }

    /// The files that were looked for so far, each once.
    pub(super) fn files(&self) -> Vec<NamedFile> {
        let mut files = self.files.borrow().clone();
        files.sort_by(|one, other| one.path.cmp(&other.path));
        files.dedup_by(|one, other| one.path == other.path);
        files
    }

    /// The faults and the warnings.
    pub(super) fn finish(self) -> (Diagnostics, Diagnostics) {
        let contents = Contents::of(self.hash, self.files());
        let faults = Diagnostics::new(self.faults.into_inner()).found_in(contents);
        (faults, Diagnostics::new(self.warnings.into_inner()))
    }
}

/// A value, with its place and its path: what faults are reported at.
#[derive(Clone, Debug)]
pub(super) struct Spot<'a> {
    pub(super) reading: &'a Reading<'a>,
    node: &'a Node,
    pub(super) path: String,
}

impl<'a> Spot<'a> {
    pub(super) const fn at(&self) -> Position {
        self.node.at
    }

    /// Notes a fault of this value.
    pub(super) fn fault<T>(&self, what: impl AsRef<str>, hint: impl AsRef<str>) -> Option<T> {
        self.reading.fault_at(self.node.at, &self.path, what.as_ref(), hint.as_ref());
        None
    }

    /// Notes something that works and is probably not what was meant.
    pub(super) fn warn(&self, what: impl AsRef<str>, hint: impl AsRef<str>) {
        let at = Some(self.node.at);
        let file = &self.reading.file;
        let warning = Diagnostic::new(file, at, &self.path, what.as_ref(), hint.as_ref());
        self.reading.warnings.borrow_mut().push(warning);
    }

    pub(super) const fn is_mapping(&self) -> bool {
        matches!(self.node.value, Value::Mapping(_))
    }

    /// Whether the value is a mapping with this key, which tells the forms of a value apart.
    pub(super) fn has_key(&self, key: &str) -> bool {
        match &self.node.value {
            Value::Mapping(entries) => entries.iter().any(|entry| entry.key == key),
            _ => false,
        }
    }

    /// The value of `key`, if this is a mapping that has it.
    pub(super) fn child_named(&self, key: &str) -> Option<Self> {
        match &self.node.value {
            Value::Mapping(entries) => {
                entries.iter().find(|entry| entry.key == key).map(|entry| self.child(entry))
            }
            _ => None,
        }
    }

    /// The value as a mapping of the keys in `keys`.
    pub(super) fn fields(&self, keys: &'static Keys) -> Option<Fields<'a>> {
        let entries = self.unique_entries("a mapping")?;
        for entry in entries.iter().copied() {
            let key = entry.key.as_str();
            let (what, hint) = if keys.known.contains(&key) {
                continue;
            } else if keys.later.contains(&key) {
                (
                    format!("`{key}` is not supported by this version"),
                    "remove it, or run a version that knows it".to_owned(),
                )
            } else {
                let known = keys.known.iter().chain(keys.later).copied();
                let hint = nearest(key, known).map_or_else(
                    || format!("known here: {}", one_of(keys.known.iter().copied())),
                    |meant| format!("did you mean `{meant}`?"),
                );
                (format!("unknown key {}", quoted(key)), hint)
            };
            self.reading.fault_at(entry.key_at, &self.path, &what, &hint);
        }
        Some(Fields { spot: self.clone(), keys, entries })
    }

    /// The value as a mapping whose keys are names that the operator chose.
    pub(super) fn entries(&self) -> Option<Vec<(&'a Entry, Self)>> {
        let entries = self.unique_entries("a mapping")?;
        Some(entries.into_iter().map(|entry| (entry, self.child(entry))).collect())
    }

    /// The value as a list.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        let Value::Sequence(items) = &self.node.value else {
            return self.wrong_kind("a list");
        };
        let child = |(index, node)| {
            let path = format!("{}[{index}]", self.path);
            Spot { reading: self.reading, node, path }
        };
        Some(items.iter().enumerate().map(child).collect())
    }

    /// The items of a list; `None` if it is none, which is no fault.
    pub(super) fn text_or_items(&self) -> Option<Vec<Self>> {
        matches!(self.node.value, Value::Sequence(_)).then(|| self.items()).flatten()
    }

    /// The value as text: written out, or `{ env: NAME, default: … }`.
    pub(super) fn text(&self) -> Option<Text<'a>> {
        match &self.node.value {
            Value::Scalar(scalar) if !scalar.is_nothing() => Some(Text {
                spot: self.clone(),
                text: Cow::Borrowed(&scalar.text),
                plain: scalar.plain,
                variable: None,
            }),
            Value::Mapping(_) if self.has_key("env") => self.variable(),
            _ => self.wrong_kind("text"),
        }
    }

    /// The value as text that stands in the file itself.
    pub(super) fn literal(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Scalar(scalar) if !scalar.is_nothing() => Some(&scalar.text),
            _ => self.wrong_kind("text"),
        }
    }

    fn variable(&self) -> Option<Text<'a>> {
        let fields = self.fields(&Keys { known: &["env", "default"], later: &["optional"] })?;
        let default = fields.get("default");
        let name = fields.get("env")?.literal()?;
        match self.reading.env.get(name) {
            Ok(value) => Some(Text {
                spot: self.clone(),
                text: Cow::Owned(value),
                plain: true,
                variable: Some(name),
            }),
            Err(_) if default.is_some() => {
                let default = default?;
                default.literal()?;
                default.text()
            }
            Err(reason) => self.fault(
                format!("the environment variable {} {reason}", quoted(name)),
                format!("set `{name}`, or give a default: `{{ env: {name}, default: … }}`"),
            ),
        }
    }

    pub(super) fn wrong_kind<T>(&self, expected: &str) -> Option<T> {
        let hint = if self.node.kind() == "nothing" {
            "give the key a value, or remove it".to_owned()
        } else {
            format!("write {expected} here")
        };
        self.fault(format!("expected {expected}, got {}", self.node.kind()), hint)
    }

    /// The entries of a mapping, each key once: the first one counts, and every further one is a fault.
    fn unique_entries(&self, expected: &str) -> Option<Vec<&'a Entry>> {
        let Value::Mapping(entries) = &self.node.value else {
            return self.wrong_kind(expected);
        };
        let mut first = HashMap::new();
        let mut unique = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(line) = first.get(entry.key.as_str()) {
                let what = format!("{} is given twice, first in line {line}", quoted(&entry.key));
                self.reading.fault_at(entry.key_at, &self.path, &what, "keep one of the two");
            } else {
                first.insert(entry.key.as_str(), entry.key_at.line);
                unique.push(entry);
            }
        }
        Some(unique)
    }

    fn child(&self, entry: &'a Entry) -> Self {
        let path = match self.path.as_str() {
            "" => entry.key.clone(),
            path => format!("{path}.{}", entry.key),
        };
        Self { reading: self.reading, node: &entry.value, path }
    }
}

/// The keys that a mapping may have.
#[derive(Debug)]
pub(super) struct Keys {
    /// Those that mean something.
    pub(super) known: &'static [&'static str],
    /// Those of the full format that this version does not do yet: never silently ignored.
    pub(super) later: &'static [&'static str],
}

/// A mapping with known keys.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub(super) spot: Spot<'a>,
    keys: &'static Keys,
    entries: Vec<&'a Entry>,
}

impl<'a> Fields<'a> {
    /// The value of `key`, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<Spot<'a>> {
        debug_assert!(self.keys.known.contains(&key), "`{key}` is missing from its `Keys`");
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.spot.child(entry))
    }

    /// Whether there is no key at all, known or not.
    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of `key`, which must be there.
    pub(super) fn need(&self, key: &str, hint: impl AsRef<str>) -> Option<Spot<'a>> {
        self.get(key).or_else(|| {
            // A key that is noted already may be all that is wrong: a typo of this one, or its later alternative.
            let is_in = |keys: &[&str], entry: &Entry| keys.contains(&entry.key.as_str());
            let is_typo = self.entries.iter().any(|entry| {
                !is_in(self.keys.known, entry) && nearest(&entry.key, [key]).is_some()
            });
            let mut all_later = self.entries.iter().filter(|entry| !is_in(self.keys.later, entry));
            if is_typo || (!self.entries.is_empty() && all_later.next().is_none()) {
                return None;
            }
            self.spot.fault(format!("`{key}` is missing"), hint)
        })
    }

    /// Notes a fault of the key `key` itself.
    pub(super) fn fault_key<T>(&self, key: &str, what: &str, hint: &str) -> Option<T> {
        let at = self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_at);
        let at = at.unwrap_or_else(|| self.spot.at());
        self.spot.reading.fault_at(at, &self.spot.path, what, hint);
        None
    }
}

/// A value's text, and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    pub(super) spot: Spot<'a>,
    pub(super) text: Cow<'a, str>,
    plain: bool,
    variable: Option<&'a str>,
}

impl Text<'_> {
    /// The text for a message: never a variable's value, nor what may be a password or a key in a URL.
    pub(super) fn shown(&self) -> String {
        if let Some(name) = self.variable {
            return format!("the value of {}", quoted(name));
        }
        match self.text.split_once('?') {
            _ if !self.text.contains("://") => quoted(&self.text),
            _ if self.text.contains('@') => "the URL".to_owned(),
            Some((address, _)) => quoted(&format!("{address}?…")),
            None => quoted(&self.text),
        }
    }

    /// Notes a fault: the text, and what is wrong with it.
    pub(super) fn fault<T>(&self, problem: impl AsRef<str>, hint: impl AsRef<str>) -> Option<T> {
        self.spot.fault(format!("{} {}", self.shown(), problem.as_ref()), hint)
    }

    /// Whether the text may be a keyword of YAML: it stood there without quotes, or came from the environment.
    pub(super) const fn is_plain(&self) -> bool {
        self.plain
    }
}

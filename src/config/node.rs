//! The file as a tree in which every value and key knows its place.
//!
//! A scalar keeps its source text: what is money is read from that text and never passes through a float.

use super::diagnostic::Position;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where the value begins; for a block mapping, its first key.
    pub(super) at: Position,
    /// What it is.
    pub(super) value: Value,
}

/// The three kinds of YAML.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    /// In the order of the file, what `<<` brings last; a key may still occur twice.
    Mapping(Vec<Entry>),
}

/// A scalar: its text, escapes resolved.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Whether it stood there without quotes, so that it may be `true` or nothing at all.
    pub(super) plain: bool,
}

/// One key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Position,
    pub(super) value: Node,
}

impl Node {
    /// What the value is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_nothing() => "nothing",
            Value::Scalar(_) => "text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }
}

impl Scalar {
    /// Whether it is YAML's null: a key without a value, or `~`, or `null`.
    pub(super) fn is_nothing(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

//! The file as a tree in which every value and key knows its place.
//!
//! A scalar keeps its source text: what is money is read from that text and never passes through a float.

use sha2::{Digest as _, Sha256};

use super::{diagnostic::Position, settings::ContentHash};

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

    /// Of what the value is, wherever it stands.
    pub(super) fn hash(&self) -> ContentHash {
        let mut hash = Sha256::new();
        self.feed(&mut hash);
        ContentHash(hash.finalize().into())
    }

    fn feed(&self, hash: &mut Sha256) {
        // No text of YAML holds a NUL, so each of these ends what is before it.
        match &self.value {
            Value::Scalar(Scalar { text, plain }) => {
                hash.update(if *plain { b"p" } else { b"q" });
                hash.update(text);
            }
            Value::Sequence(items) => {
                hash.update(b"[");
                items.iter().for_each(|item| item.feed(hash));
            }
            Value::Mapping(entries) => {
                hash.update(b"{");
                for entry in entries {
                    hash.update(&entry.key);
                    hash.update(b"\0");
                    entry.value.feed(hash);
                }
            }
        }
        hash.update(b"\0");
    }
}

impl Scalar {
    /// Whether it is YAML's null: a key without a value, or `~`, or `null`.
    pub(super) fn is_nothing(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

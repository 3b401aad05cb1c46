//! YAML text to a tree of nodes; the only file that calls the YAML library.
//!
//! It knows YAML 1.2 with `<<` merges and nothing of what the keys mean. It reads the library's event stream, not its
//! serde side: serde stops at its first error, and a file's faults are all reported in one run.

use std::collections::{HashMap, HashSet};

use serde_yaml::granit_parser::{self as yaml, ErrorKind, Event, ScalarStyle, StrInput};

use super::{
    diagnostic::{Position, quoted},
    node::{Entry, Node, Scalar, Value},
};

/// Why the text is no usable YAML document. There is only one: after a fault of syntax nothing can be trusted.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) at: Position,
    pub(super) what: String,
    pub(super) hint: &'static str,
}

/// Reads the one document in `text`.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut options = yaml::Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut builder = Builder {
        events: yaml::Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        copied: 0,
    };
    builder.document()
}

struct Builder<'t> {
    events: yaml::Parser<'t, StrInput<'t>>,
    /// Finished anchored nodes and how many nodes each holds.
    anchors: HashMap<usize, (Node, usize)>,
    /// Nodes that aliases have copied so far.
    copied: usize,
}

impl<'t> Builder<'t> {
    fn document(&mut self) -> Result<Node, SyntaxError> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentEnd, _) => {}
                (Event::DocumentStart(..), at) if root.is_some() => {
                    return Err(SyntaxError {
                        at,
                        what: "a second YAML document begins here".to_owned(),
                        hint: "keep one document in the file: remove the `---` between them",
                    });
                }
                (Event::DocumentStart(..), _) => {}
                (Event::StreamEnd, _) => break,
                (event, at) => root = Some(self.node(event, at)?),
            }
        }
        match root {
            Some(Node { value: Value::Scalar(scalar), .. }) if scalar.is_nothing() => None,
            root => root,
        }
        .ok_or_else(|| SyntaxError {
            at: Position::START,
            what: "the file is empty".to_owned(),
            hint: "begin with `version: 1`, then `listen`, `upstream` and `routes`",
        })
    }

    fn next(&mut self) -> Result<(Event<'t>, Position), SyntaxError> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                if event.tag().is_some() {
                    let at = span.tag_start().map_or_else(|| position(span.start), position);
                    return Err(SyntaxError {
                        at,
                        what: "a YAML tag (`!…`) has no meaning here".to_owned(),
                        hint: "remove the tag; a value that begins with `!` needs quotes",
                    });
                }
                Ok((event, position(span.start)))
            }
            Some(Err(error)) => Err(syntax_error(&error)),
            None => Ok((Event::StreamEnd, Position::START)),
        }
    }

    /// The node that begins with `event`. Recursion is bounded by the parser's nesting limits.
    fn node(&mut self, event: Event<'t>, at: Position) -> Result<Node, SyntaxError> {
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                (Value::Scalar(Scalar { text: text.into_owned(), plain }), anchor)
            }
            Event::SequenceStart(_, anchor, _) => (Value::Sequence(self.sequence()?), anchor),
            Event::MappingStart(_, anchor, _) => (Value::Mapping(self.mapping()?), anchor),
            Event::Alias(anchor) => return self.alias(anchor, at),
            other => {
                return Err(SyntaxError {
                    at,
                    what: format!("expected a value, got {other:?}"),
                    hint: QUOTES,
                });
            }
        };
        let node = Node { at, value };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), count(&node)));
        }
        Ok(node)
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Result<Node, SyntaxError> {
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(SyntaxError {
                at,
                what: "the alias refers to the value that it stands in".to_owned(),
                hint: "write the value out",
            });
        };
        self.copied = self.copied.saturating_add(*size);
        if self.copied > MAX_COPIED {
            return Err(SyntaxError {
                at,
                what: format!("aliases blow the file up to more than {MAX_COPIED} values"),
                hint: "use fewer aliases of aliases",
            });
        }
        Ok(node.clone())
    }

    fn sequence(&mut self) -> Result<Vec<Node>, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, at) => items.push(self.node(event, at)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Vec<Entry>, SyntaxError> {
        let mut entries = Vec::new();
        let mut sources = Vec::new();
        loop {
            let (key, key_at, plain) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(key, style, ..), at) => {
                    (key.into_owned(), at, style == ScalarStyle::Plain)
                }
                (_, at) => {
                    return Err(SyntaxError {
                        at,
                        what: "a key must be a single word".to_owned(),
                        hint: QUOTES,
                    });
                }
            };
            let (event, at) = self.next()?;
            let value = self.node(event, at)?;
            if plain && key == "<<" {
                sources.push(value);
            } else {
                entries.push(Entry { key, key_at, value });
            }
        }
        merge(&mut entries, sources)?;
        Ok(entries)
    }
}

/// Adds the entries of the merged mappings whose keys are not written out; the first source of a key wins.
fn merge(entries: &mut Vec<Entry>, sources: Vec<Node>) -> Result<(), SyntaxError> {
    if sources.is_empty() {
        return Ok(());
    }
    let mut present: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    for source in sources {
        let mappings = match source.value {
            Value::Sequence(items) => items,
            value => vec![Node { at: source.at, value }],
        };
        for mapping in mappings {
            let Value::Mapping(merged) = mapping.value else {
                return Err(SyntaxError {
                    at: mapping.at,
                    what: format!("`<<` merges mappings, not {}", mapping.kind()),
                    hint: "give `<<` an alias of a mapping, such as `<<: *defaults`",
                });
            };
            for entry in merged {
                if present.insert(entry.key.clone()) {
                    entries.push(entry);
                }
            }
        }
    }
    Ok(())
}

fn count(node: &Node) -> usize {
    let below: usize = match &node.value {
        Value::Scalar(_) => 0,
        Value::Sequence(items) => items.iter().map(count).sum(),
        Value::Mapping(entries) => entries.iter().map(|entry| count(&entry.value)).sum(),
    };
    below.saturating_add(1)
}

fn position(marker: yaml::Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col().saturating_add(1) }
}

fn syntax_error(error: &yaml::ScanError) -> SyntaxError {
    let (what, hint) = match error.kind() {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => {
            ("a tab where YAML allows only spaces".to_owned(), "indent with spaces")
        }
        ErrorKind::UnknownAnchor => (
            "the alias (`*…`) refers to nothing".to_owned(),
            "define it above with `&name`; a value that begins with `*` needs quotes",
        ),
        ErrorKind::UnclosedQuotedScalar => {
            ("a quote is opened and never closed".to_owned(), "close the quote")
        }
        ErrorKind::UnexpectedCharacter { character } => {
            (format!("unexpected character {}", quoted(&character.to_string())), QUOTES)
        }
        ErrorKind::RecursionLimitExceeded => {
            (format!("nested more than {MAX_DEPTH} levels deep"), "write it flatter")
        }
        kind => (kind.to_string(), QUOTES),
    };
    SyntaxError { at: position(*error.marker()), what: format!("not valid YAML: {what}"), hint }
}

/// What most faults of syntax come down to.
const QUOTES: &str =
    "check the indentation; a value with `{`, `[`, `*`, `&`, `: ` or ` #` in it needs quotes";
/// Levels of nesting; the deepest key that means something is at level 6.
const MAX_DEPTH: usize = 32;
/// Values that aliases may add to a file.
const MAX_COPIED: usize = 100_000;

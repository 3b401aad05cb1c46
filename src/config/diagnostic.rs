//! What is wrong with a configuration file: where, what, and what to do about it.
//!
//! Knows nothing of YAML or of what a key means. It is the one place that faults are written from, so it also is where
//! a Stellar secret key that was put in the wrong place is masked, and where a text that a fault repeats is kept to its
//! line.

use std::{collections::HashSet, fmt, sync::Arc};

use super::settings::Contents;

/// A place in the file, as editors count it: lines and characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl Position {
    /// The first character of a file.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// One fault: `file:line:column: path: what`, and a hint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// The file, as the operator named it.
    pub file: Arc<str>,
    /// Where in the file; `None` if the file could not be read.
    pub at: Option<Position>,
    /// The key it is about, such as `routes[2].price`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

impl Diagnostic {
    pub(super) fn new(
        file: &Arc<str>,
        at: Option<Position>,
        path: &str,
        what: &str,
        hint: &str,
    ) -> Self {
        Self {
            file: Arc::clone(file),
            at,
            path: one_line(&mask_seeds(path)),
            what: one_line(&mask_seeds(what)),
            hint: one_line(&mask_seeds(hint)),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Position { line, column }) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}\n\nhint: {}", self.what, self.hint)
    }
}

/// Every fault of a file, in the order of the file. Its `Display` is what an operator reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    all: Vec<Diagnostic>,
    contents: Contents,
}

impl Diagnostics {
    pub(super) fn new(mut all: Vec<Diagnostic>) -> Self {
        // What several routes inherit is found several times.
        let mut seen = HashSet::new();
        all.retain(|diagnostic| seen.insert(diagnostic.clone()));
        // Faults of one place keep the order in which they were found.
        all.sort_by_key(|diagnostic| diagnostic.at);
        Self { all, contents: Contents::default() }
    }

    /// The same, found in files that held this.
    pub(super) fn found_in(self, contents: Contents) -> Self {
        Self { contents, ..self }
    }

    /// What the files held that they were found in: as long as all of them hold the same, nothing is mended there.
    #[must_use]
    pub const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The faults, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.all.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.all.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The one of `known` that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = word.chars().count().div_euclid(3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `names` as prose: `` `a`, `b` or `c` ``.
pub(super) fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}

/// `text` in backticks for a message: on one line, and not without end.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    // `escape_debug` also escapes quotes, which are nothing special between backticks.
    format!("`{}`", shown.replace("\\\"", "\"").replace("\\'", "'"))
}

/// `text` without control characters, and not without end.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_LINE));
    for letter in text.chars() {
        if line.len() >= MAX_LINE {
            line.push('…');
            break;
        }
        match letter.is_control() {
            true => line.extend(letter.escape_debug()),
            false => line.push(letter),
        }
    }
    line
}

/// The number of edits between two words; letters in another order count as one edit.
fn distance(word: &str, other: &str) -> usize {
    let sorted = |text: &str| {
        let mut letters: Vec<_> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    if word != other && sorted(word) == sorted(other) {
        return 1;
    }
    // Levenshtein's table, one row at a time.
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (index, letter) in word.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index.saturating_add(1);
        let mut cells = row.iter_mut();
        if let Some(first) = cells.next() {
            *first = left;
        }
        for (cell, candidate) in cells.zip(other.chars()) {
            let above = *cell;
            let replaced = diagonal.saturating_add(usize::from(letter != candidate));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            *cell = left;
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Replaces whatever looks like a Stellar secret key by `S…`: an operator may have put one anywhere.
fn mask_seeds(text: &str) -> String {
    let is_base32 = |letter: char| matches!(letter, 'A'..='Z' | '2'..='7');
    let mut masked = String::with_capacity(text.len());
    let mut word = String::new();
    for letter in text.chars().map(Some).chain([None]) {
        match letter {
            Some(letter) if is_base32(letter) => word.push(letter),
            other => {
                // A muxed address is longer than a key and says what it is.
                match word
                    .split_once('S')
                    .filter(|_| !(word.starts_with('M') && word.len() == MUXED_LENGTH))
                {
                    Some((before, seed)) if seed.len() >= SEED_LENGTH.saturating_sub(1) => {
                        masked.push_str(before);
                        masked.push_str("S…");
                    }
                    _ => masked.push_str(&word),
                }
                word.clear();
                masked.extend(other);
            }
        }
    }
    masked
}

/// Letters of an `S…` key.
const SEED_LENGTH: usize = 56;
/// Letters of an `M…` address.
const MUXED_LENGTH: usize = 69;
/// Letters of a value that a message repeats.
const MAX_SHOWN: usize = 100;
/// About as many bytes a message has at most.
const MAX_LINE: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_the_word_that_was_meant() {
        let keys = ["accept", "price", "upstream", "free"];
        for (typo, meant) in [
            ("acept", Some("accept")),
            ("accpet", Some("accept")),
            ("prize", Some("price")),
            ("upstreams", Some("upstream")),
            ("fee", Some("free")),
            ("limits", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typo, keys), meant, "{typo}");
        }
    }

    #[test]
    fn a_secret_key_is_masked_wherever_it_stands_and_an_address_is_not() {
        let seed = "SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY";
        let account = "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG";
        assert_eq!(mask_seeds(&format!("unknown key `{seed}`")), "unknown key `S…`");
        assert_eq!(mask_seeds(&format!("=={seed}{seed}==")), "==S…==");
        let muxed = "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ";
        assert_eq!(mask_seeds(account), account);
        assert_eq!(mask_seeds(muxed), muxed);
        assert_eq!(mask_seeds("SHORT `STELLAR_RPC_URL` ٣"), "SHORT `STELLAR_RPC_URL` ٣");
    }

    #[test]
    fn a_message_stays_on_one_line_and_ends_whoever_wrote_it() {
        let told = |text: &str| Diagnostic::new(&"f".into(), None, text, text, text);
        let Diagnostic { path, what, hint, .. } = told("a\nb\u{1b}[0m\r`c\\n` é");
        assert_eq!([path, what, hint], ["a\\nb\\u{1b}[0m\\r`c\\n` é"; 3]);
        assert_eq!(told(&"é".repeat(3_000)).what, format!("{}…", "é".repeat(1_000)));
    }

    #[test]
    fn a_quoted_value_stays_on_one_line_and_ends() {
        assert_eq!(quoted("a\nb\u{1b}[0m \"c\" 'd'"), "`a\\nb\\u{1b}[0m \"c\" 'd'`");
        assert_eq!(quoted(&"x".repeat(1000)), format!("`{}…`", "x".repeat(100)));
    }
}

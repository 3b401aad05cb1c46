//! An `.env` file: `NAME=value` lines that stand behind the environment of the process.
//!
//! Knows nothing of what a name means, and never repeats a value or a line that it cannot read: either may be a secret.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    diagnostic::{Diagnostic, Diagnostics, Position},
    file::read_capped,
    secret::is_open_to_all,
};

/// What an `.env` file says.
pub struct EnvFile {
    path: PathBuf,
    values: BTreeMap<String, String>,
    open_to_all: bool,
}

impl EnvFile {
    /// What such a file is called.
    pub const NAME: &'static str = ".env";

    /// Reads the file at `path`; `None` if there is none. Of a name that is given twice the last value counts, as in a
    /// shell.
    ///
    /// # Errors
    /// Every line that cannot be read, or why the file cannot.
    pub fn read(path: &Path) -> Result<Option<Self>, Diagnostics> {
        let (file, faults) = Self::read_some(path);
        if faults.is_empty() { Ok(file) } else { Err(faults) }
    }

    /// As [`EnvFile::read`], with the lines that can be read beside what is wrong with the others: the file may be
    /// somebody else's, and what it says to others is no reason to stop.
    pub(super) fn read_some(path: &Path) -> (Option<Self>, Diagnostics) {
        let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
        let read = read_capped(path).and_then(|bytes| String::from_utf8(bytes).map_err(not_text));
        match read {
            Ok(text) => {
                let (values, faults) = parse(&text, path);
                let open_to_all = is_open_to_all(path);
                (Some(Self { path: path.to_owned(), values, open_to_all }), faults)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => (None, Diagnostics::default()),
            Err(error) => {
                let what = format!("cannot read the file: {error}");
                let fault = fault(path, None, &what, "make it a readable text file, or remove it");
                (None, Diagnostics::new(vec![fault]))
            }
        }
    }

    /// The value of `name`, if the file gives it one; it may be empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The file's path, if every user of this machine can read it.
    pub(super) fn open_to_all(&self) -> Option<&Path> {
        self.open_to_all.then_some(&self.path)
    }
}

/// Shows no values: some of them are secrets.
impl fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvFile")
            .field("path", &self.path)
            .field("names", &self.values.keys())
            .finish_non_exhaustive()
    }
}

fn parse(text: &str, path: &Path) -> (BTreeMap<String, String>, Diagnostics) {
    let text = text.trim_start_matches('\u{feff}');
    let mut values = BTreeMap::new();
    let mut faults = Vec::new();
    for line in dotenvy::from_read_iter(text.as_bytes()) {
        match line {
            Ok((name, value)) => {
                values.insert(name, value);
            }
            Err(error) => {
                let at = match &error {
                    dotenvy::Error::LineParse(line, _) => place_of(line, text),
                    _ => None,
                };
                let hint = "write `NAME=value`, with the value in single quotes if it has a space";
                faults.push(fault(path, at, "the line cannot be read", hint));
            }
        }
    }
    (values, Diagnostics::new(faults))
}

/// Where `line` is in `text`: what the parser tells is a whole line or its value, over several lines where a quote is open.
fn place_of(line: &str, text: &str) -> Option<Position> {
    let first = line.lines().next()?.trim();
    let index = text.lines().position(|candidate| candidate.trim().ends_with(first))?;
    Some(Position { line: index.saturating_add(1), column: 1 })
}

fn fault(path: &Path, at: Option<Position>, what: &str, hint: &str) -> Diagnostic {
    Diagnostic::new(&path.display().to_string().into(), at, "", what, hint)
}

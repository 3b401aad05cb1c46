//! `gateway.yaml` to the typed settings of each part, or everything that is wrong with it in one run.
//!
//! The text becomes a tree of nodes that know their places (`parse`), the tree is read with the rules of each key
//! (`compile`), and what comes out has nothing left to check. No other part reads the file or the environment; what the
//! settings are used for is theirs. [`watch`] says when the file has changed.

mod compile;
mod diagnostic;
mod env;
mod env_file;
mod file;
mod node;
mod parse;
mod read;
mod secret;
mod settings;
mod source;
mod value;

pub mod watch;

use std::{io::ErrorKind, path::Path};

use sha2::{Digest as _, Sha256};

pub use self::{
    diagnostic::{Diagnostic, Diagnostics, Position},
    env::Env,
    env_file::EnvFile,
    settings::{
        Admin, Channel, Charge, ContentHash, Contents, Drain, FacilitatorSettings, Listener, Mpp,
        NamedFile, Payment, Reload, Section, Settings, Store, TokenSource, X402,
    },
    source::Source,
};
use self::{
    file::{MAX_FILE_BYTES, read_capped},
    read::Reading,
};

/// The JSON Schema of a configuration, for editors: which keys there are, and what their values look like. [`load`] says more.
pub const SCHEMA: &str = include_str!("config/schema.json");

/// Reads the configuration file at `path`; relative paths in it start at its folder.
///
/// # Errors
/// Everything that is wrong with the file, in its order.
pub fn load(path: &Path, env: &Env) -> Result<Settings, Diagnostics> {
    let name = path.display().to_string();
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let fault = |at, what: &str, hint: &str| {
        Diagnostics::new(vec![Diagnostic::new(&name.as_str().into(), at, "", what, hint)])
    };
    let bytes = match read_capped(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            let what = format!("the file is larger than {} KiB", MAX_FILE_BYTES >> 10);
            return Err(fault(None, &what, "this is no file for a gateway: is the path right?"));
        }
        Err(error) => {
            let what = format!("cannot read the file: {error}");
            return Err(fault(None, &what, "name a readable file: `-c gateway.yaml`"));
        }
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(text, &name, base, env),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let valid = String::from_utf8_lossy(valid);
            let (line, last) = valid.lines().enumerate().last().unwrap_or_default();
            let at = match valid.ends_with('\n') {
                true => Position { line: line.saturating_add(2), column: 1 },
                false => Position {
                    line: line.saturating_add(1),
                    column: last.chars().count().saturating_add(1),
                },
            };
            let contents = Contents::of(content_hash(&bytes), Vec::new());
            let faults = fault(Some(at), "the file is not UTF-8 text", "save it as UTF-8");
            Err(faults.found_in(contents))
        }
    }
}

/// Reads a configuration from its text. `name` stands for the file in messages, `base` for its folder.
///
/// # Errors
/// Everything that is wrong with the text, in its order.
pub fn parse(text: &str, name: &str, base: &Path, env: &Env) -> Result<Settings, Diagnostics> {
    let hash = content_hash(text.as_bytes());
    let reading = Reading::new(name, base, env, hash);
    match parse::parse(text) {
        Ok(document) => compile::compile(&document, reading, hash),
        Err(error) => {
            reading.fault_at(error.at, "", &error.what, error.hint);
            Err(reading.finish().0)
        }
    }
}

fn content_hash(bytes: &[u8]) -> ContentHash {
    ContentHash(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests;

//! Secrets by reference: `{ env: NAME }` or `{ file: PATH }`, never written in the file itself.
//!
//! No message here repeats what it read.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{
    diagnostic::quoted,
    read::{Keys, Spot},
};
use crate::{ledger::signer::Seed, protocol::stellar::Address};

impl Spot<'_> {
    /// A secret's text, without the line break that ends a file; never empty.
    pub(super) fn secret(&self) -> Option<Secret> {
        if !self.is_mapping() {
            return self.fault(
                "a secret must not be written in this file",
                "put it into the environment, `{ env: NAME }`, or a file, `{ file: PATH }`",
            );
        }
        if self.has_key("default") {
            return self.fault(
                "a secret has no default",
                "remove `default`: a secret comes from `{ env: NAME }` or `{ file: PATH }`",
            );
        }
        let fields = self.fields(&Keys { known: &["env", "file"], later: &[] })?;
        match (fields.get("env"), fields.get("file")) {
            (Some(name), None) => self.secret_variable(name.literal()?),
            (None, Some(path)) => self.secret_file(&path),
            _ => self.fault(
                "expected one of `env` and `file`",
                "write `{ env: NAME }` or `{ file: PATH }`",
            ),
        }
    }

    /// A Stellar secret key, `S…`.
    pub(super) fn seed(&self) -> Option<Seed> {
        let Secret { text, origin, .. } = self.secret()?;
        let text = text.expose_secret();
        if let Ok(seed) = text.parse() {
            return Some(seed);
        }
        let what = if text.parse::<Address>().is_ok() { "is an address, not" } else { "is not" };
        self.fault(
            format!("{origin} {what} a Stellar secret key"),
            "a secret key begins with `S` and has 56 characters",
        )
    }

    fn secret_variable(&self, name: &str) -> Option<Secret> {
        if let Some(file) = self.reading.env.open_file(name) {
            self.warn(
                format!(
                    "every user of this machine can read the secret {} in {}",
                    quoted(name),
                    quoted(&file.display().to_string())
                ),
                "take the right away: `chmod 600`",
            );
        }
        match self.reading.env.get(name) {
            Ok(value) => Some(Secret {
                text: SecretString::from(value),
                name: name.to_owned(),
                origin: format!("the value of {}", quoted(name)),
            }),
            Err(reason) => self.fault(
                format!("the environment variable {} {reason}", quoted(name)),
                format!("set `{name}`"),
            ),
        }
    }

    fn secret_file(&self, path: &Self) -> Option<Secret> {
        let written = quoted(path.literal()?);
        let file = path.file_path()?;
        let read = self.reading.read_file(&file).map(Zeroizing::new).and_then(|bytes| {
            let text = std::str::from_utf8(&bytes);
            text.map(|text| Zeroizing::new(text.to_owned()))
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
        });
        let text = match read {
            Ok(text) => text,
            Err(error) => {
                return path.fault(
                    format!("cannot read the secret in {written}: {error}"),
                    "the file must exist, be readable for this process, and hold text",
                );
            }
        };
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            return path.fault(
                format!("the secret file {written} is empty"),
                "write the secret into it, and nothing else",
            );
        }
        if is_open_to_all(&file) {
            path.warn(
                format!("every user of this machine can read the secret in {written}"),
                "take the right away: `chmod o-r`",
            );
        }
        Some(Secret {
            text: SecretString::from(secret),
            name: path.literal()?.to_owned(),
            origin: format!("the content of {written}"),
        })
    }
}

/// A secret and where it came from.
#[derive(Debug)]
pub(super) struct Secret {
    pub(super) text: SecretString,
    /// The variable or the file.
    pub(super) name: String,
    /// The same in a sentence.
    pub(super) origin: String,
}

pub(super) fn is_open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

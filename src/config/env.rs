//! The environment that `{ env: NAME }` reads: the process's own with an `.env` file behind it, or a fixed one.

use std::{collections::BTreeMap, fmt, path::Path};

use tracing::warn;

use super::{Diagnostic, EnvFile};

/// Where `{ env: NAME }` finds its value.
pub struct Env(Variables);

enum Variables {
    /// The process's own; what is not set there may stand in the file.
    Process(Option<EnvFile>),
    Fixed(BTreeMap<String, String>),
}

impl Env {
    /// The environment of this process alone.
    #[must_use]
    pub const fn process() -> Self {
        Self(Variables::Process(None))
    }

    /// The environment of this process, and behind it the file `.env` in `folder`, if there is one.
    ///
    /// A variable that is set in the process wins, even an empty one. What cannot be read in the file is logged, and
    /// stops only who needs it: a variable that is not there is not set.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        let (file, faults) = EnvFile::read_some(&folder.join(EnvFile::NAME));
        for Diagnostic { file, at, what, .. } in &faults {
            warn!(file = %file, line = at.map(|at| at.line), "{what}");
        }
        Self(Variables::Process(file))
    }

    /// An environment of `variables` and nothing else.
    pub fn fixed<N, V>(variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        let variables = variables.into_iter();
        Self(Variables::Fixed(variables.map(|(name, value)| (name.into(), value.into())).collect()))
    }

    /// The value of the variable `name`, if it has one.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<String> {
        self.get(name).ok()
    }

    /// The value of the variable `name`; an empty one is no value, as `NAME=` in an `.env` file means.
    pub(super) fn get(&self, name: &str) -> Result<String, NoValue> {
        let value = match &self.0 {
            Variables::Process(file) => match (process_variable(name), file) {
                (Err(NoValue::Unset), Some(file)) => {
                    file.get(name).map(str::to_owned).ok_or(NoValue::Unset)?
                }
                (value, _) => value?,
            },
            Variables::Fixed(variables) => variables.get(name).cloned().ok_or(NoValue::Unset)?,
        };
        if value.is_empty() { Err(NoValue::Empty) } else { Ok(value) }
    }

    /// The `.env` file that the value of `name` comes from, if every user of this machine can read it.
    pub(super) fn open_file(&self, name: &str) -> Option<&Path> {
        match &self.0 {
            Variables::Process(Some(file)) if process_variable(name) == Err(NoValue::Unset) => {
                file.get(name).and_then(|_| file.open_to_all())
            }
            _ => None,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where the configuration reads it")]
fn process_variable(name: &str) -> Result<String, NoValue> {
    std::env::var(name).map_err(|error| match error {
        std::env::VarError::NotPresent => NoValue::Unset,
        std::env::VarError::NotUnicode(_) => NoValue::NotText,
    })
}

/// Shows no values: some of them are secrets.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Variables::Process(_) => f.write_str("Env::process()"),
            Variables::Fixed(variables) => f.debug_list().entries(variables.keys()).finish(),
        }
    }
}

/// Why a variable has no usable value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoValue {
    #[error("is not set")]
    Unset,
    #[error("is empty")]
    Empty,
    #[error("is not UTF-8 text")]
    NotText,
}

//! The environment that `{ env: NAME }` reads: the process's own, or a fixed one.

use std::{collections::BTreeMap, fmt};

/// Where `{ env: NAME }` finds its value.
pub struct Env(Variables);

enum Variables {
    Process,
    Fixed(BTreeMap<String, String>),
}

impl Env {
    /// The environment of this process.
    #[must_use]
    pub const fn process() -> Self {
        Self(Variables::Process)
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
            Variables::Process => process_variable(name)?,
            Variables::Fixed(variables) => variables.get(name).cloned().ok_or(NoValue::Unset)?,
        };
        if value.is_empty() { Err(NoValue::Empty) } else { Ok(value) }
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
            Variables::Process => f.write_str("Env::process()"),
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

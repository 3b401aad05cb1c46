//! Where a configuration comes from, so that it can be read again.

use std::path::{Path, PathBuf};

use super::{Diagnostics, Env, Settings, load};

/// A configuration file, in an environment.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// `None` for the process's own, behind which the `.env` file beside the configuration stands.
    env: Option<Env>,
}

impl Source {
    /// The file at `path` in the environment of the process, behind which the `.env` file beside it stands.
    #[must_use]
    pub const fn file(path: PathBuf) -> Self {
        Self { path, env: None }
    }

    /// The file at `path` in this environment and no other.
    #[must_use]
    pub const fn file_in(path: PathBuf, env: Env) -> Self {
        Self { path, env: Some(env) }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file as it is now, and everything that it names. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(&self) -> Result<Settings, Diagnostics> {
        match &self.env {
            Some(env) => load(&self.path, env),
            None => {
                let folder = self.path.parent().unwrap_or_else(|| Path::new(""));
                load(&self.path, &Env::in_folder(folder))
            }
        }
    }
}

//! Another configuration for a gateway that runs: read, judged whole, and swapped in once, or not at all.

use std::{collections::BTreeMap, fmt, sync::Arc};

use tokio::{sync::Mutex as Turn, task::spawn_blocking};
use tracing::{error, info};

use super::{Core, doors::CannotListen};
use crate::config::{ContentHash, Diagnostics, NamedFile, Reload, Settings, Source};

/// Reads a gateway's configuration again when it is told to. Clones share it.
#[derive(Clone, Debug)]
pub struct Reloader {
    pub(super) core: Arc<Core>,
    pub(super) source: Arc<Source>,
    /// One after the other: what was read first must not be swapped in last.
    pub(super) turn: Arc<Turn<()>>,
}

/// What a reload has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Of the configuration file that the gateway runs on now.
    pub hash: ContentHash,
    /// The sections of the file that say something else, and the files named there that hold something else; empty if
    /// all is as before. What stands in the environment is not compared.
    pub changed: Vec<String>,
}

/// Why a reload has changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotReloaded {
    /// Everything that is wrong with the file.
    #[error("{0}")]
    Faulty(Diagnostics),
    /// It changes what cannot be changed while running.
    #[error(transparent)]
    NeedsRestart(#[from] NeedsRestart),
    /// A listener cannot be opened.
    #[error("{0}: {source}; the gateway goes on with the configuration that it has", source = .0.source)]
    Listen(#[from] CannotListen),
    /// The gateway has begun to stop.
    #[error("the gateway is stopping")]
    Stopping,
}

/// The configuration changes what cannot be changed while running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a changed `{0}` needs a restart; the gateway goes on with the configuration that it has")]
pub struct NeedsRestart(pub &'static str);

/// How the last reload went, for an operator's monitoring. A start counts as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// Whether it was swapped in.
    pub is_successful: bool,
    /// When one was last swapped in, in seconds since 1970.
    pub succeeded_at: u64,
    /// Of the configuration file that the gateway runs on.
    pub hash: ContentHash,
}

/// What has to be watched to know when to reload.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Whether and how patiently.
    pub reload: Reload,
    /// Of the configuration file.
    pub hash: ContentHash,
    /// The files that it names.
    pub files: Vec<NamedFile>,
}

impl Reloader {
    /// Reads the configuration again, with everything that it names, and swaps it in. One line of the log tells how it went.
    ///
    /// # Errors
    /// [`NotReloaded`]; nothing has changed then.
    ///
    /// # Cancellation
    /// It is swapped in whole or not at all.
    pub async fn reload(&self) -> Result<Reloaded, NotReloaded> {
        let _turn = self.turn.lock().await;
        let source = self.source.clone();
        let read = spawn_blocking(move || source.read()).await;
        let result = match read.expect("reading reports what is wrong, and does not panic") {
            Ok(settings) => self.core.swap(settings),
            Err(faults) => Err(NotReloaded::Faulty(faults)),
        };
        self.core.note(&result);
        result
    }
}

impl Core {
    /// Notes how a reload went, for the log and for whoever asks.
    pub(super) fn note(&self, result: &Result<Reloaded, NotReloaded>) {
        match result {
            Ok(Reloaded { hash, changed }) => {
                self.parts.figures.reloads.note_taken(&self.parts.clock);
                info!(config = %hash, changed = %Listed(changed), "configuration swapped");
            }
            Err(reason) => {
                self.parts.figures.reloads.note_failed();
                error!(%reason, "configuration not reloaded, the last good one serves on");
            }
        }
    }
}

/// The names of what says something else in `new` than in `old`.
pub(super) fn differences(old: &Settings, new: &Settings) -> Vec<String> {
    let sections = |settings: &Settings| -> BTreeMap<String, ContentHash> {
        let sections = settings.sections.iter();
        sections.map(|section| (section.key.clone(), section.hash)).collect()
    };
    let (before, after) = (sections(old), sections(new));
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
    let sections = keys.filter(|key| before.get(*key) != after.get(*key)).cloned();
    let is_other = |file: &&NamedFile| {
        old.files.iter().any(|before| before.path == file.path && before != *file)
    };
    let files = new.files.iter().filter(is_other).map(|file| file.path.display().to_string());
    sections.chain(files).collect()
}

/// Names with commas between them.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_first() {
            None => f.write_str("nothing"),
            Some((first, others)) => {
                f.write_str(first)?;
                others.iter().try_for_each(|other| write!(f, ", {other}"))
            }
        }
    }
}

//! Another configuration for a gateway that runs: read, judged whole, and swapped in once, or not at all.

use std::{collections::BTreeMap, fmt, sync::Arc};

use tokio::{sync::Mutex as Turn, task::spawn_blocking};
use tracing::{debug, error, info, warn};

use super::{Core, doors::CannotListen};
use crate::config::{ContentHash, Contents, Diagnostics, NamedFile, Reload, Settings, Source};

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
    /// The keys of secrets that are others by now, but cannot be changed while running: what they were counts on.
    pub needs_restart: Vec<&'static str>,
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
    /// What the configuration that serves was read from.
    pub taken: Contents,
    /// What the one that came last was read from, if it was not taken.
    pub tried: Option<Contents>,
}

impl Watched {
    pub(super) fn by(settings: &Settings, tried: Option<Contents>) -> Self {
        Self { reload: settings.reload, taken: settings.contents(), tried }
    }
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
        self.take_up(Told::Always).await
    }

    /// As [`Reloader::reload`], after one that failed: the log is told of a failure only if its reason is another one.
    ///
    /// # Errors
    /// [`NotReloaded`].
    ///
    /// # Cancellation
    /// It is swapped in whole or not at all.
    pub async fn retry(&self) -> Result<Reloaded, NotReloaded> {
        self.take_up(Told::IfNews).await
    }

    async fn take_up(&self, told: Told) -> Result<Reloaded, NotReloaded> {
        let _turn = self.turn.lock().await;
        let source = self.source.clone();
        let read = spawn_blocking(move || source.read()).await;
        match read.expect("reading reports what is wrong, and does not panic") {
            Ok(settings) => self.core.swap_and_note(settings, told),
            Err(faults) => {
                let contents = faults.contents().clone();
                let result = Err(NotReloaded::Faulty(faults));
                self.core.note(&result, contents, told);
                result
            }
        }
    }
}

/// When the log is told of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Always,
    IfNews,
}

impl Core {
    /// Swaps the configuration, and notes how that went.
    pub(super) fn swap_and_note(
        &self,
        settings: Settings,
        told: Told,
    ) -> Result<Reloaded, NotReloaded> {
        let contents = settings.contents();
        let result = self.swap(settings);
        self.note(&result, contents, told);
        result
    }

    /// Notes how a reload of what was read from `contents` went, for the log and for whoever asks or watches.
    fn note(&self, result: &Result<Reloaded, NotReloaded>, contents: Contents, told: Told) {
        let reloads = &self.parts.figures.reloads;
        let tried = match result {
            Ok(Reloaded { hash, changed, needs_restart }) => {
                reloads.note_taken(&self.parts.clock, needs_restart);
                info!(config = %hash, changed = %Listed(changed), "configuration swapped");
                for key in needs_restart {
                    warn!(%key, "what this key names has changed: the gateway goes on with what it was until a restart");
                }
                None
            }
            Err(reason) => {
                if reloads.note_failed(&reason.to_string()) || told == Told::Always {
                    error!(%reason, "configuration not reloaded, the last good one serves on");
                } else {
                    debug!(%reason, "configuration still not reloaded");
                }
                Some(contents)
            }
        };
        self.watched.send_replace(Watched::by(&self.current.load().settings, tried));
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

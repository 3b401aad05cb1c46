//! Says when the configuration file has changed, or one of the files that it names: certificates, keys, secrets.
//!
//! It watches their folders, not the files: a watch on a file goes deaf when an editor renames a new one over it or
//! Kubernetes swaps the `..data` link beside it. What an event names is ignored, since the swap names other files; after
//! a pause for more to come, the contents' hashes decide. A slow poll of the hashes catches what no event tells of: network
//! file systems, a link into another folder, a machine out of watches. Knows nothing of what is in the files; a file that
//! is gone for the moment has not changed, and an empty one has.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::{sync::Notify, task::spawn_blocking, time::sleep};
use tracing::warn;

use super::{ContentHash, NamedFile, content_hash, read_capped};

/// A watch on one configuration.
#[derive(Debug)]
pub struct Watch {
    debounce: Duration,
    poll: Duration,
    /// The files, the configuration first, with the contents that were last told of.
    seen: Vec<NamedFile>,
    events: Arc<Notify>,
    folders: BTreeSet<PathBuf>,
    /// Kept alive; `None` if the machine gave no watch, and the poll alone is left.
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches the file at `path`, whose content was `seen` when it was last read, and the `files` that it named then.
    /// `debounce` is the pause after an event.
    #[must_use]
    pub fn start(
        path: &Path,
        debounce: Duration,
        seen: ContentHash,
        files: Vec<NamedFile>,
    ) -> Self {
        Self::with_poll(path, debounce, POLL, seen, files)
    }

    fn with_poll(
        path: &Path,
        debounce: Duration,
        poll: Duration,
        seen: ContentHash,
        files: Vec<NamedFile>,
    ) -> Self {
        let events = Arc::new(Notify::new());
        let watcher = watcher(Arc::clone(&events))
            .inspect_err(|error| warn!(%error, "watch the configuration; it is polled instead"));
        let configuration = NamedFile { path: path.to_owned(), hash: seen };
        let mut watch = Self {
            debounce,
            poll,
            seen: vec![configuration],
            events,
            folders: BTreeSet::new(),
            watcher: watcher.ok(),
        };
        watch.follow(debounce, seen, files);
        watch
    }

    /// Watches from now on what a configuration that was read again names. What has changed since then is told of.
    pub fn follow(&mut self, debounce: Duration, seen: ContentHash, files: Vec<NamedFile>) {
        self.debounce = debounce;
        self.seen.truncate(1);
        if let Some(configuration) = self.seen.first_mut() {
            configuration.hash = seen;
        }
        self.seen.extend(files);
        let folders: BTreeSet<_> =
            self.seen.iter().map(|file| folder_of(&file.path).to_owned()).collect();
        if let Some(watcher) = &mut self.watcher {
            for gone in self.folders.difference(&folders) {
                // It may be gone itself.
                drop(watcher.unwatch(gone));
            }
            for new in folders.difference(&self.folders) {
                if let Err(error) = watcher.watch(new, RecursiveMode::NonRecursive) {
                    warn!(%error, folder = %new.display(), "watch a folder; it is polled instead");
                }
            }
        }
        self.folders = folders;
    }

    /// Waits until a file's content is another one than was told of before.
    ///
    /// # Cancellation
    /// Nothing is lost: the next call compares before it waits.
    pub async fn changed(&mut self) {
        loop {
            let now = self.hashes().await;
            let mut has_changed = false;
            for (file, now) in self.seen.iter_mut().zip(now) {
                if let Some(hash) = now.filter(|hash| *hash != file.hash) {
                    file.hash = hash;
                    has_changed = true;
                }
            }
            if has_changed {
                return;
            }
            tokio::select! {
                () = self.events.notified() => sleep(self.debounce).await,
                () = sleep(self.poll) => {}
            }
        }
    }

    /// Of each file as it is now; `None` if it cannot be read, which a swap may well cause for a moment.
    async fn hashes(&self) -> Vec<Option<ContentHash>> {
        let paths: Vec<_> = self.seen.iter().map(|file| file.path.clone()).collect();
        let hash = |path: PathBuf| read_capped(&path).ok().map(|bytes| content_hash(&bytes));
        let hashes = spawn_blocking(move || paths.into_iter().map(hash).collect());
        hashes.await.unwrap_or_default()
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn watcher(events: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.map_or(true, |event| may_change_content(event.kind)) {
            events.notify_one();
        }
    })
}

/// Reading is an event too, our own above all: without this every look at the file would cause the next one.
const fn may_change_content(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_))
        || matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

const POLL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use tempfile::TempDir;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);
    const DEBOUNCE: Duration = Duration::from_millis(20);
    const NEVER: Duration = Duration::from_secs(3_600);

    /// A folder with `gateway.yaml` in it, which reads `one`, and a watch on it that does not poll.
    fn watched() -> (TempDir, PathBuf, Watch) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.yaml");
        fs::write(&path, "one").unwrap();
        let watch = Watch::with_poll(&path, DEBOUNCE, NEVER, content_hash(b"one"), Vec::new());
        (folder, path, watch)
    }

    async fn expect_change_to(watch: &mut Watch, content: &str) {
        timeout(SOON, watch.changed()).await.expect("the change is told of");
        assert_eq!(watch.seen[0].hash, content_hash(content.as_bytes()));
    }

    #[tokio::test]
    async fn a_write_in_place_is_told_of_every_time() {
        let (_folder, path, mut watch) = watched();
        for content in ["two", "three", "one", "two"] {
            fs::write(&path, content).unwrap();
            expect_change_to(&mut watch, content).await;
        }
    }

    #[tokio::test]
    async fn a_rename_over_the_file_is_told_of_every_time() {
        let (folder, path, mut watch) = watched();
        let new = folder.path().join(".gateway.yaml.swp");
        for content in ["two", "three", "four"] {
            fs::write(&new, content).unwrap();
            fs::rename(&new, &path).unwrap();
            expect_change_to(&mut watch, content).await;
        }
    }

    #[tokio::test]
    async fn a_config_map_swap_is_told_of_every_time() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let swap = |version: &str| {
            let data = root.join(format!("..{version}"));
            fs::create_dir(&data).unwrap();
            fs::write(data.join("gateway.yaml"), version).unwrap();
            symlink(format!("..{version}"), root.join("..data_tmp")).unwrap();
            fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        };
        swap("one");
        let path = root.join("gateway.yaml");
        symlink("..data/gateway.yaml", &path).unwrap();
        let mut watch = Watch::with_poll(&path, DEBOUNCE, NEVER, content_hash(b"one"), Vec::new());
        for (version, old) in [("two", "one"), ("three", "two"), ("four", "three")] {
            swap(version);
            fs::remove_dir_all(root.join(format!("..{old}"))).unwrap();
            expect_change_to(&mut watch, version).await;
        }
    }

    #[tokio::test]
    async fn a_file_that_the_configuration_names_is_watched_from_then_on_and_until_it_is_not() {
        let (_folder, _, mut watch) = watched();
        let elsewhere = tempfile::tempdir().unwrap();
        let path = elsewhere.path().join("tls.crt");
        fs::write(&path, "one").unwrap();
        let named = NamedFile { path: path.clone(), hash: content_hash(b"one") };
        let config = content_hash(b"one");
        watch.follow(DEBOUNCE, config, vec![named]);
        for content in ["two", "three"] {
            fs::write(&path, content).unwrap();
            timeout(SOON, watch.changed()).await.expect("the change is told of");
            assert_eq!(watch.seen[1].hash, content_hash(content.as_bytes()));
        }
        watch.follow(DEBOUNCE, config, Vec::new());
        fs::write(&path, "four").unwrap();
        assert!(timeout(DEBOUNCE * 10, watch.changed()).await.is_err());
    }

    #[tokio::test]
    async fn a_file_that_was_gone_is_told_of_when_it_is_back_with_other_content() {
        let (_folder, path, mut watch) = watched();
        fs::remove_file(&path).unwrap();
        let quiet = timeout(DEBOUNCE * 10, watch.changed()).await;
        assert!(quiet.is_err(), "a missing file is no other content");
        fs::write(&path, "two").unwrap();
        expect_change_to(&mut watch, "two").await;
    }

    #[tokio::test]
    async fn an_emptied_file_has_changed() {
        let (_folder, path, mut watch) = watched();
        fs::write(&path, "").unwrap();
        expect_change_to(&mut watch, "").await;
    }

    #[tokio::test]
    async fn the_same_content_written_again_is_no_change() {
        let (_folder, path, mut watch) = watched();
        fs::write(&path, "one").unwrap();
        fs::write(path.with_extension("other"), "a neighbour").unwrap();
        assert!(timeout(DEBOUNCE * 10, watch.changed()).await.is_err());
        fs::write(&path, "two").unwrap();
        expect_change_to(&mut watch, "two").await;
    }

    #[tokio::test]
    async fn a_change_before_the_watch_began_is_told_of() {
        let (_folder, path, watch) = watched();
        fs::write(&path, "two").unwrap();
        drop(watch);
        let mut watch = Watch::with_poll(&path, DEBOUNCE, NEVER, content_hash(b"one"), Vec::new());
        expect_change_to(&mut watch, "two").await;
    }

    #[tokio::test]
    async fn a_change_that_no_event_tells_of_is_found_by_the_poll() {
        let (_folder, target, _) = watched();
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("gateway.yaml");
        symlink(&target, &link).unwrap();
        let mut watch =
            Watch::with_poll(&link, DEBOUNCE, DEBOUNCE, content_hash(b"one"), Vec::new());
        fs::write(&target, "two").unwrap();
        expect_change_to(&mut watch, "two").await;
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_watched_is_polled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/gateway.yaml");
        let mut watch =
            Watch::with_poll(&path, DEBOUNCE, DEBOUNCE, content_hash(b"one"), Vec::new());
        fs::create_dir(folder.path().join("later")).unwrap();
        fs::write(&path, "two").unwrap();
        expect_change_to(&mut watch, "two").await;
    }

    #[tokio::test]
    async fn looking_at_the_file_is_not_taken_for_a_change_of_it() {
        let (_folder, path, mut watch) = watched();
        // Whatever the folder's own making has left behind is let pass first.
        assert!(timeout(DEBOUNCE * 5, watch.changed()).await.is_err());
        fs::read(&path).unwrap();
        let told = timeout(DEBOUNCE * 5, watch.events.notified()).await;
        assert!(told.is_err(), "an access alone must not wake the watch");
        fs::write(&path, "two").unwrap();
        timeout(SOON, watch.events.notified()).await.expect("a write wakes it");
    }
}

//! Says when the configuration file has changed, or one of the files that it names: certificates, keys, secrets.
//!
//! It watches their folders, not the files: a watch on a file goes deaf when an editor renames a new one over it or
//! Kubernetes swaps the `..data` link beside it. What an event names is ignored, since the swap names other files; after
//! a pause for more to come, the contents' hashes decide. A slow poll of the hashes catches what no event tells of: network
//! file systems, a link into another folder, a folder that was made anew, a machine out of watches. Knows nothing of what
//! is in the files; a file that is gone for the moment has not changed, and an empty one has.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tracing::warn;

use super::{Contents, NamedFile, content_hash, file::read_capped};

/// A watch on one configuration.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    debounce: Duration,
    poll: Duration,
    /// The files, the configuration first, with the contents that were last told of.
    seen: Vec<NamedFile>,
    /// Whether what was read last was not taken.
    is_owed: bool,
    events: Arc<Notify>,
    /// The folders of the files; which one it was that is watched, if it is.
    folders: BTreeMap<PathBuf, Option<FolderId>>,
    /// Kept alive; `None` if the machine gave no watch, and the poll alone is left.
    watcher: Option<RecommendedWatcher>,
}

/// Why to read the configuration again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A file holds something else than it did.
    Change,
    /// What was read last was not taken, and what stood in the way need not be in a file.
    Retry,
}

impl Watch {
    /// Watches the file at `path` and those that it names, which held `taken` when it was read. `debounce` is the pause
    /// after an event.
    #[must_use]
    pub fn start(path: &Path, debounce: Duration, taken: Contents) -> Self {
        Self::with_poll(path, debounce, POLL, taken)
    }

    fn with_poll(path: &Path, debounce: Duration, poll: Duration, taken: Contents) -> Self {
        let events = Arc::new(Notify::new());
        let watcher = watcher(Arc::clone(&events))
            .inspect_err(|error| warn!(%error, "watch the configuration; it is polled instead"));
        let mut watch = Self {
            path: path.to_owned(),
            debounce,
            poll,
            seen: Vec::new(),
            is_owed: false,
            events,
            folders: BTreeMap::new(),
            watcher: watcher.ok(),
        };
        watch.follow(debounce, taken, None);
        watch
    }

    /// Watches from now on what a configuration that was read again names. What has changed since then is told of.
    ///
    /// If it was not taken it is the one that was `tried`: then what either of them names is watched, and now and then
    /// [`Cause::Retry`] is told until one is taken.
    pub fn follow(&mut self, debounce: Duration, taken: Contents, tried: Option<Contents>) {
        self.debounce = debounce;
        self.is_owed = tried.is_some();
        let taken = listed(&self.path, taken);
        self.seen = match tried {
            None => taken,
            Some(tried) => {
                let mut files = listed(&self.path, tried);
                for file in taken {
                    if !files.iter().any(|tried| tried.path == file.path) {
                        // As it was seen last, or what has changed in it since it was taken would be told of for ever.
                        let seen = self.seen.iter().find(|seen| seen.path == file.path).cloned();
                        files.push(seen.unwrap_or(file));
                    }
                }
                files
            }
        };
    }

    /// Waits until the configuration is to be read again.
    ///
    /// # Cancellation
    /// Nothing is lost: the next call compares before it waits.
    pub async fn changed(&mut self) -> Cause {
        let mut poll = pin!(sleep(self.poll));
        loop {
            // First, so that what changes while the files are read is heard of.
            self.watch_folders().await;
            if self.has_changed().await {
                return Cause::Change;
            }
            tokio::select! {
                () = self.events.notified() => sleep(self.debounce).await,
                () = poll.as_mut() => {
                    if self.is_owed {
                        return Cause::Retry;
                    }
                    let now = Instant::now();
                    poll.as_mut().reset(now.checked_add(self.poll).unwrap_or(now));
                }
            }
        }
    }

    /// Watches the folders that are not watched yet, and those that are other ones by now: made anew, or behind a link
    /// that leads elsewhere.
    async fn watch_folders(&mut self) {
        let mut folders: Vec<_> =
            self.seen.iter().map(|file| folder_of(&file.path).to_owned()).collect();
        folders.sort();
        folders.dedup();
        let identified = spawn_blocking(move || {
            let identify = |folder: PathBuf| {
                let id = FolderId::of(&folder).ok();
                (folder, id)
            };
            folders.into_iter().map(identify).collect::<BTreeMap<_, _>>()
        });
        let (Ok(now), Some(watcher)) = (identified.await, &mut self.watcher) else { return };
        for gone in self.folders.keys().filter(|folder| !now.contains_key(*folder)) {
            // It may be gone itself.
            drop(watcher.unwatch(gone));
        }
        let mut watched = BTreeMap::new();
        for (folder, id) in now {
            let before = self.folders.get(&folder).copied();
            if id.is_none() || before != Some(id) {
                drop(watcher.unwatch(&folder));
                let result = watcher.watch(&folder, RecursiveMode::NonRecursive);
                if let (Err(error), None) = (&result, before) {
                    warn!(%error, folder = %folder.display(), "watch a folder; it is polled instead");
                }
                watched.insert(folder, id.filter(|_| result.is_ok()));
            } else {
                watched.insert(folder, id);
            }
        }
        self.folders = watched;
    }

    async fn has_changed(&mut self) -> bool {
        let now = self.hashes().await;
        let mut has_changed = false;
        for (file, now) in self.seen.iter_mut().zip(now) {
            if now.is_some() && now != file.hash {
                file.hash = now;
                has_changed = true;
            }
        }
        has_changed
    }

    /// Of each file as it is now; `None` if it cannot be read, which a swap may well cause for a moment.
    async fn hashes(&self) -> Vec<Option<super::ContentHash>> {
        let paths: Vec<_> = self.seen.iter().map(|file| file.path.clone()).collect();
        let hash = |path: PathBuf| read_capped(&path).ok().map(|bytes| content_hash(&bytes));
        let hashes = spawn_blocking(move || paths.into_iter().map(hash).collect());
        hashes.await.unwrap_or_default()
    }
}

/// Which folder it is that has a name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FolderId {
    device: u64,
    inode: u64,
    /// A folder that was made anew may have the number of the one before.
    made: Option<SystemTime>,
}

impl FolderId {
    fn of(folder: &Path) -> io::Result<Self> {
        let found = fs::metadata(folder)?;
        let made = found.created().ok();
        Ok(Self { device: found.dev(), inode: found.ino(), made })
    }
}

/// The configuration at `path` and the files that it names.
fn listed(path: &Path, contents: Contents) -> Vec<NamedFile> {
    let mut files = vec![NamedFile { path: path.to_owned(), hash: contents.configuration }];
    files.extend(contents.files);
    files
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
        let watch = Watch::with_poll(&path, DEBOUNCE, NEVER, contents(b"one"));
        (folder, path, watch)
    }

    fn contents(configuration: &[u8]) -> Contents {
        Contents::of(content_hash(configuration), Vec::new())
    }

    async fn expect_change_to(watch: &mut Watch, content: &str) {
        let cause = timeout(SOON, watch.changed()).await.expect("the change is told of");
        assert_eq!(cause, Cause::Change);
        assert_eq!(watch.seen[0].hash, Some(content_hash(content.as_bytes())));
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
        let mut watch = Watch::with_poll(&path, DEBOUNCE, NEVER, contents(b"one"));
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
        let named = NamedFile { path: path.clone(), hash: Some(content_hash(b"one")) };
        let both = Contents { files: vec![named], ..contents(b"one") };
        watch.follow(DEBOUNCE, both, None);
        for content in ["two", "three"] {
            fs::write(&path, content).unwrap();
            timeout(SOON, watch.changed()).await.expect("the change is told of");
            assert_eq!(watch.seen[1].hash, Some(content_hash(content.as_bytes())));
        }
        watch.follow(DEBOUNCE, contents(b"one"), None);
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
    async fn what_somebody_else_had_read_is_not_told_of() {
        let (_folder, path, mut watch) = watched();
        fs::write(&path, "two").unwrap();
        watch.follow(DEBOUNCE, contents(b"two"), None);
        assert!(timeout(DEBOUNCE * 10, watch.changed()).await.is_err());
        fs::write(&path, "three").unwrap();
        expect_change_to(&mut watch, "three").await;
    }

    #[tokio::test]
    async fn a_change_before_the_watch_began_is_told_of() {
        let (_folder, path, watch) = watched();
        fs::write(&path, "two").unwrap();
        drop(watch);
        let mut watch = Watch::with_poll(&path, DEBOUNCE, NEVER, contents(b"one"));
        expect_change_to(&mut watch, "two").await;
    }

    #[tokio::test]
    async fn a_change_that_no_event_tells_of_is_found_by_the_poll() {
        let (_folder, target, _) = watched();
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("gateway.yaml");
        symlink(&target, &link).unwrap();
        let mut watch = Watch::with_poll(&link, DEBOUNCE, DEBOUNCE, contents(b"one"));
        fs::write(&target, "two").unwrap();
        expect_change_to(&mut watch, "two").await;
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_watched_is_polled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later/gateway.yaml");
        let mut watch = Watch::with_poll(&path, DEBOUNCE, DEBOUNCE, contents(b"one"));
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

    #[tokio::test]
    async fn a_file_that_was_looked_for_in_vain_is_told_of_when_it_comes() {
        let (folder, _, mut watch) = watched();
        let path = folder.path().join("secrets/new");
        let missing = NamedFile { path: path.clone(), hash: None };
        let tried = Contents { files: vec![missing], ..contents(b"one") };
        watch.follow(DEBOUNCE, contents(b"one"), Some(tried));
        assert!(timeout(DEBOUNCE * 10, watch.changed()).await.is_err(), "it is still missing");
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, "one").unwrap();
        let told = timeout(SOON, watch.changed()).await;
        assert_eq!(told.expect("the file is told of"), Cause::Change);
    }

    #[tokio::test]
    async fn what_was_not_taken_is_tried_again_until_it_is() {
        let (folder, path, _) = watched();
        let old = folder.path().join("old.crt");
        fs::write(&old, "two").unwrap();
        // It has changed since it was taken, and only the configuration that serves names it.
        let named = NamedFile { path: old.clone(), hash: Some(content_hash(b"one")) };
        let taken = Contents { files: vec![named], ..contents(b"one") };
        let mut watch = Watch::with_poll(&path, DEBOUNCE, DEBOUNCE, taken.clone());
        assert_eq!(timeout(SOON, watch.changed()).await.unwrap(), Cause::Change);
        for _ in 0..2 {
            watch.follow(DEBOUNCE, taken.clone(), Some(contents(b"one")));
            assert_eq!(timeout(SOON, watch.changed()).await.unwrap(), Cause::Retry);
        }
        fs::write(&old, "three").unwrap();
        assert_eq!(timeout(SOON, watch.changed()).await.unwrap(), Cause::Change);
        watch.follow(DEBOUNCE, contents(b"one"), None);
        assert!(timeout(DEBOUNCE * 10, watch.changed()).await.is_err(), "nothing is owed");
    }

    #[tokio::test]
    async fn a_folder_that_is_made_anew_or_behind_another_link_is_heard_of_again() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let make = |name: &str, content: &str| {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("gateway.yaml"), content).unwrap();
        };
        let link = |to: &str| {
            symlink(to, root.join("new")).unwrap();
            fs::rename(root.join("new"), root.join("now")).unwrap();
        };
        make("a", "one");
        link("a");
        let path = root.join("now/gateway.yaml");
        let mut watch = Watch::with_poll(&path, DEBOUNCE, DEBOUNCE, contents(b"one"));
        assert!(timeout(DEBOUNCE * 3, watch.changed()).await.is_err());
        make("b", "two");
        link("b");
        expect_change_to(&mut watch, "two").await;
        fs::remove_dir_all(root.join("b")).unwrap();
        make("b", "three");
        expect_change_to(&mut watch, "three").await;
        // From here on no poll is of help.
        assert!(timeout(DEBOUNCE * 3, watch.changed()).await.is_err());
        watch.poll = NEVER;
        fs::write(&path, "four").unwrap();
        expect_change_to(&mut watch, "four").await;
    }

    #[tokio::test]
    async fn a_pipe_in_place_of_a_file_keeps_nobody_waiting() {
        let (_folder, path, mut watch) = watched();
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(timeout(DEBOUNCE * 10, watch.changed()).await.is_err());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "two").unwrap();
        expect_change_to(&mut watch, "two").await;
    }
}

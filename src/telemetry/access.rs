//! The access log: one line for each request, written by a thread of its own.
//!
//! A slow disk loses lines, which are counted, and delays no request. A line tells no query, no credential and nothing that
//! a payment is made of; whatever a client chose is escaped.
//! Source: operations.md section 2.4.

mod line;

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, uri::PathAndQuery};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

pub use self::line::Format;
use self::line::Line;
use super::{
    Clock,
    label::{Outcome, Rail},
    trace::TraceId,
    worth::Worth,
};

/// How the log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What a line looks like.
    pub format: Format,
    /// Where lines go.
    pub output: Output,
    /// How many in a million of those requests that carried no payment, and were asked for one or told to come later, have
    /// a line.
    pub unpaid_per_million: u32,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, to whose end they are added.
    File(PathBuf),
}

/// A log that is kept. Clones share it.
#[derive(Clone)]
pub struct AccessLog(Arc<Shared>);

struct Shared {
    settings: Settings,
    clock: Clock,
    queue: mpsc::Sender<Entry>,
    /// Set for the file to be opened anew.
    reopens: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    /// Of those that paid nothing, for [`Settings::unpaid_per_million`].
    unpaid: AtomicU64,
}

enum Entry {
    Line(Box<Line>),
    /// Look whether the file is to be opened anew.
    Look,
    /// Everything before this is written.
    Done(oneshot::Sender<()>),
}

/// The line of a request that is under way; it is written when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Ticket(Arc<Record>);

struct Record {
    log: AccessLog,
    began: Instant,
    line: Mutex<Box<Line>>,
}

/// What is known of a request when it comes in.
#[derive(Debug)]
pub struct Asked {
    /// Its method.
    pub method: Method,
    /// Its canonical target; the query is left out.
    pub target: PathAndQuery,
    /// Whose it is.
    pub client: Option<IpAddr>,
    /// How long its body is, where it says so.
    pub bytes_in: Option<u64>,
    /// What it is called.
    pub id: HeaderValue,
    /// The trace that it is of.
    pub trace: Option<TraceId>,
}

impl AccessLog {
    /// Opens the log.
    ///
    /// # Errors
    /// If its file or its thread cannot be had.
    pub fn open(settings: Settings, clock: Clock) -> io::Result<Self> {
        let sink = Sink::open(&settings.output)?;
        let (queue, entries) = mpsc::channel(MOST_WAITING);
        let shared = Shared {
            settings,
            clock,
            queue,
            reopens: Arc::default(),
            lost: Arc::default(),
            written: Arc::default(),
            unpaid: AtomicU64::new(0),
        };
        let writer = Writer {
            sink,
            settings: shared.settings.clone(),
            reopens: shared.reopens.clone(),
            lost: shared.lost.clone(),
            written: shared.written.clone(),
            text: Vec::new(),
            is_failing: false,
        };
        thread::Builder::new().name("access-log".to_owned()).spawn(|| writer.run(entries))?;
        Ok(Self(Arc::new(shared)))
    }

    /// How it is kept.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Begins the line of a request.
    #[must_use]
    pub fn begin(&self, asked: Asked) -> Ticket {
        let line = Box::new(Line::new(asked, self.0.clock.now_ms()));
        Ticket(Arc::new(Record {
            log: self.clone(),
            began: Instant::now(),
            line: Mutex::new(line),
        }))
    }

    /// Opens the file anew: it was moved away, or is to be begun.
    pub fn reopen(&self) {
        self.0.reopens.store(true, Relaxed);
        // Where there is no room, there is a line to be written, and it is looked before each.
        drop(self.0.queue.try_send(Entry::Look));
    }

    /// How many lines were written, and how many lost because the queue was full or the file could not be written.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.0.written.load(Relaxed), self.0.lost.load(Relaxed))
    }

    /// Waits a moment until what is known by now is written.
    pub async fn flush(&self) {
        let (done, told) = oneshot::channel();
        let flushed = async {
            if self.0.queue.send(Entry::Done(done)).await.is_ok() {
                drop(told.await);
            }
        };
        drop(tokio::time::timeout(FLUSHED_WITHIN, flushed).await);
    }

    /// Whether a line of a request that paid nothing is one of those that are written.
    fn takes_unpaid(&self) -> bool {
        let share = u64::from(self.0.settings.unpaid_per_million);
        let before = self.0.unpaid.fetch_add(1, Relaxed).checked_rem(MILLION).unwrap_or_default();
        let so_far = |count: u64| count.saturating_mul(share).div_euclid(MILLION);
        so_far(before.saturating_add(1)) > so_far(before)
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Ticket {
    /// It belongs to this route, of this upstream.
    pub fn enter(&self, route: &Arc<str>, upstream: Option<&str>) {
        let mut line = self.line();
        line.route = Some(route.clone());
        line.upstream = upstream.map(str::to_owned);
    }

    /// It was answered with this status.
    pub fn answered(&self, status: u16) {
        self.line().status = Some(status);
    }

    /// The head of the upstream's answer took so long.
    pub fn note_upstream(&self, took: Duration) {
        self.line().upstream_took = Some(took);
    }

    /// It pays nothing, and was told so.
    pub fn note_unpaid(&self) {
        self.line().is_unpaid = true;
    }

    /// What became of its payment, and what that comes to where it is known.
    pub fn note_payment(&self, rail: Rail, outcome: Outcome, worth: Option<Worth>) {
        self.line().payment = Some((rail, outcome, worth));
    }

    /// So many bytes of the answer's body were sent; it took until now.
    pub fn note_sent(&self, bytes: u64) {
        self.line().bytes_out = bytes;
    }

    fn line(&self) -> MutexGuard<'_, Box<Line>> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let line = self.line.get_mut().unwrap_or_else(PoisonError::into_inner);
        if line.is_unpaid && !self.log.takes_unpaid() {
            return;
        }
        line.took = self.began.elapsed();
        let line = std::mem::take(line);
        let queue = &self.log.0.queue;
        let has_room = line.is_about_money() || queue.capacity() > KEPT_FOR_MONEY;
        if !has_room || queue.try_send(Entry::Line(line)).is_err() {
            self.log.0.lost.fetch_add(1, Relaxed);
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").finish_non_exhaustive()
    }
}

/// What writes the lines, on a thread of its own.
struct Writer {
    sink: Sink,
    settings: Settings,
    reopens: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    text: Vec<u8>,
    /// Whether the last line could not be written: that is told once.
    is_failing: bool,
}

enum Sink {
    Stdout,
    Stderr,
    File(BufWriter<File>),
}

impl Sink {
    fn open(output: &Output) -> io::Result<Self> {
        Ok(match output {
            Output::Stdout => Self::Stdout,
            Output::Stderr => Self::Stderr,
            Output::File(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path)?;
                Self::File(BufWriter::with_capacity(BUFFER, file))
            }
        })
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().write_all(text),
            Self::Stderr => io::stderr().write_all(text),
            Self::File(file) => file.write_all(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().flush(),
            Self::Stderr => io::stderr().flush(),
            Self::File(file) => file.flush(),
        }
    }
}

impl Writer {
    fn run(mut self, mut entries: mpsc::Receiver<Entry>) {
        while let Some(first) = entries.blocking_recv() {
            let mut next = Some(first);
            // What waits is written together.
            while let Some(entry) = next {
                self.look();
                match entry {
                    Entry::Line(line) => self.write(&line),
                    Entry::Look => {}
                    Entry::Done(done) => {
                        let flushed = self.sink.flush();
                        self.note(flushed);
                        // Whoever waits may have lost its patience.
                        done.send(()).unwrap_or_default();
                    }
                }
                next = entries.try_recv().ok();
            }
            let flushed = self.sink.flush();
            self.note(flushed);
        }
    }

    /// Opens the file anew if it is to be.
    fn look(&mut self) {
        if self.reopens.swap(false, Relaxed) {
            let flushed = self.sink.flush();
            self.note(flushed);
            match Sink::open(&self.settings.output) {
                Ok(sink) => self.sink = sink,
                Err(error) => {
                    warn!(%error, "the access log is not opened anew: it goes on where it is")
                }
            }
        }
    }

    fn write(&mut self, line: &Line) {
        self.text.clear();
        line.put(self.settings.format, &mut self.text);
        let written = self.sink.write(&self.text);
        if self.note(written) {
            self.written.fetch_add(1, Relaxed);
        } else {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Whether it was written.
    fn note(&mut self, written: io::Result<()>) -> bool {
        if let Err(error) = &written
            && !self.is_failing
        {
            warn!(%error, "the access log cannot be written");
        }
        self.is_failing = written.is_err();
        written.is_ok()
    }
}

/// Lines that wait to be written: as many as come in a second of a busy gateway.
const MOST_WAITING: usize = 8192;
/// Room that lines of other requests do not get: what was paid is told also in a flood of what was not.
const KEPT_FOR_MONEY: usize = 2048;
const BUFFER: usize = 64 * 1024;
const FLUSHED_WITHIN: Duration = Duration::from_secs(2);
const MILLION: u64 = 1_000_000;

#[cfg(test)]
mod tests;

//! A receiver of webhooks: it checks what it is sent by code of its own, and answers as it is told.
//!
//! Source: Standard Webhooks 1.0.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

/// A receiver on this machine.
pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    folder: TempDir,
    task: JoinHandle<()>,
}

struct Shared {
    /// What it answers.
    status: AtomicU16,
    /// Whatever was sent, and how it was answered.
    heard: watch::Sender<Vec<Heard>>,
    /// What a redirect leads to.
    elsewhere: Mutex<String>,
}

/// One message, whose signature was right.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) id: String,
    pub(crate) event: Value,
    pub(crate) status: u16,
}

impl Hook {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let secret = format!("whsec_{}\n", STANDARD.encode(KEY));
        std::fs::write(folder.path().join("secret"), secret).unwrap();
        let shared = Arc::new(Shared {
            status: AtomicU16::new(204),
            heard: watch::channel(Vec::new()).0,
            elsewhere: Mutex::default(),
        });
        let listening = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, listening.clone()));
            }
        });
        Self { address, shared, folder, task }
    }

    /// The line of a configuration that names it, for `events`, or all of them.
    pub(crate) fn line(&self, events: &str) -> String {
        format!("webhooks: [{}]", self.entry(events))
    }

    pub(crate) fn entry(&self, events: &str) -> String {
        let events = if events.is_empty() { String::new() } else { format!(", events: {events}") };
        let secret: PathBuf = self.folder.path().join("secret");
        format!(
            "{{ url: \"http://{}/hooks?key=hook-url-key\", secret: {{ file: {} }}{events} }}",
            self.address,
            secret.display()
        )
    }

    /// Answers with `status` from now on.
    pub(crate) fn answer(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// Takes what it is sent from now on, and says nothing.
    pub(crate) fn hang(&self) {
        self.answer(HANGING);
    }

    /// Answers with a redirect to `url` from now on.
    pub(crate) fn redirect(&self, url: &str) {
        url.clone_into(&mut self.shared.elsewhere.lock().unwrap());
        self.answer(307);
    }

    /// All that was sent so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.borrow().clone()
    }

    /// Waits until what was sent is as `is_so` wants it, and returns it.
    pub(crate) async fn until(&self, is_so: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
        let mut heard = self.shared.heard.subscribe();
        let waited = timeout(PATIENCE, heard.wait_for(|heard| is_so(heard))).await;
        let Ok(heard) = waited else { panic!("not in time: {:?}", self.heard()) };
        heard.unwrap().clone()
    }

    /// Waits for so many different events of a type that it has taken, each once.
    pub(crate) async fn taken(&self, kind: &str, count: usize) -> Vec<Value> {
        let heard = self.until(|heard| taken(heard, kind).len() >= count).await;
        taken(&heard, kind).into_values().collect()
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The different events of a type that were taken, by id.
pub(crate) fn taken(heard: &[Heard], kind: &str) -> BTreeMap<String, Value> {
    let taken = heard.iter().filter(|heard| heard.status < 300 && heard.event["type"] == kind);
    taken.map(|heard| (heard.id.clone(), heard.event.clone())).collect()
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Some((headers, body)) = read(&mut stream).await {
        let (id, event) = checked(&headers, &body);
        let status = shared.status.load(Ordering::SeqCst);
        let elsewhere = shared.elsewhere.lock().unwrap().clone();
        let answer =
            format!("HTTP/1.1 {status} Told\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
        // Noted first: who was answered may be gone by then.
        shared.heard.send_modify(|heard| heard.push(Heard { id, event, status }));
        if status == HANGING {
            return std::future::pending().await;
        }
        if stream.get_mut().write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A request's headers and its body; `None` once there are no more.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<(BTreeMap<String, String>, Vec<u8>)> {
    let mut line = String::new();
    if stream.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    assert_eq!(line, "POST /hooks?key=hook-url-key HTTP/1.1\r\n");
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some((headers, body))
}

/// Checks a message as its specification says, and returns its id and its event.
fn checked(headers: &BTreeMap<String, String>, body: &[u8]) -> (String, Value) {
    let (id, timestamp) = (&headers["webhook-id"], &headers["webhook-timestamp"]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(timestamp.parse().unwrap()) < 300, "{timestamp}");
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let expected = format!("v1,{}", STANDARD.encode(hmac(&signed)));
    assert_eq!(headers["webhook-signature"], expected);
    assert_eq!(headers["content-type"], "application/json");
    let event: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(event["id"], id.as_str());
    (id.clone(), event)
}

/// HMAC-SHA256 under [`KEY`]. Source: RFC 2104.
fn hmac(message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(KEY).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

const KEY: [u8; 32] = *b"a secret that two of us know....";
/// No status at all.
const HANGING: u16 = 999;
const PATIENCE: Duration = Duration::from_secs(45);

//! An HTTP server that answers as a script says, well or badly, and keeps what it was asked.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// `POST /verify`.
    pub(crate) line: String,
    /// The `Authorization` header.
    pub(crate) authorization: Option<String>,
    /// The body, if it is JSON.
    pub(crate) body: Value,
}

/// How it is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status and a JSON body.
    Json(u16, Value),
    /// A status, a header line and a body.
    Text(u16, &'static str, String),
    /// No answer, and the connection stays open.
    Silence,
    /// The connection is cut.
    Cut,
    /// The answer comes after a while.
    Late(Duration, Box<Self>),
    /// A good head, and then a byte a while without end.
    Drip,
    /// A body without end.
    Flood,
}

type Script = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

/// A running server.
pub(crate) struct Stub {
    pub(crate) url: String,
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl Stub {
    pub(crate) async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Arc::new(script)));
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let mut tasks = JoinSet::new();
        let (of_script, of_asked) = (script.clone(), asked.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, asked) = (of_script.clone(), of_asked.clone());
                connections.spawn(async move {
                    converse(stream, &script, &asked).await;
                });
            }
        });
        Self { url, script, asked, _tasks: tasks }
    }

    /// Answers by another script from now on.
    pub(crate) fn script(&self, script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// What was asked with this request line.
    pub(crate) fn asked(&self, line: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.line == line).cloned().collect()
    }
}

async fn converse(mut stream: TcpStream, script: &Mutex<Script>, log: &Mutex<Vec<Asked>>) {
    let Some(asked) = read(&mut stream).await else { return };
    log.lock().unwrap().push(asked.clone());
    let script = script.lock().unwrap().clone();
    let mut reply = script(&asked);
    if let Reply::Late(after, then) = reply {
        sleep(after).await;
        reply = *then;
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    let text = match reply {
        Reply::Json(status, json) => answer(status, "x-stub: 1", &json.to_string()),
        Reply::Text(status, header, body) => answer(status, header, &body),
        Reply::Silence => std::future::pending().await,
        Reply::Cut | Reply::Late(..) => return,
        Reply::Drip => {
            drop(stream.write_all(head.as_bytes()).await);
            while stream.write_all(b" ").await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
            return;
        }
        Reply::Flood => {
            drop(stream.write_all(head.as_bytes()).await);
            let spaces = [b' '; 16_384];
            while stream.write_all(&spaces).await.is_ok() {}
            return;
        }
    };
    drop(stream.write_all(text.as_bytes()).await);
    drop(stream.shutdown().await);
}

fn answer(status: u16, header: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\n{header}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        let mut some = [0; 4096];
        let count = stream.read(&mut some).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&some[..count]);
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length: usize = header("content-length").map_or(0, |text| text.parse().unwrap());
    while bytes.len() < end + 4 + length {
        let mut some = [0; 4096];
        let count = stream.read(&mut some).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&some[..count]);
    }
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let body = serde_json::from_slice(&bytes[end + 4..]).unwrap_or_default();
    Some(Asked { line, authorization: header("authorization"), body })
}

//! Messages of HTTP/1 as bytes, written and read by hand.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Io;

/// A message, as it was recorded or as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// `METHOD target`, or the status.
    pub(crate) start: String,
    /// By name; the values of a name in their order.
    pub(crate) headers: BTreeMap<String, Vec<Vec<u8>>>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: BTreeMap<String, Vec<Vec<u8>>>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |fields: &BTreeMap<String, Vec<Vec<u8>>>| {
            let text = |(name, values): (&String, &Vec<Vec<u8>>)| {
                let values: Vec<_> = values.iter().map(|v| v.escape_ascii().to_string()).collect();
                format!("{name}: {}", values.join(" | "))
            };
            fields.iter().map(text).collect::<Vec<_>>()
        };
        let start: String =
            self.body.iter().take(60).map(|b| b.escape_ascii().to_string()).collect();
        write!(
            f,
            "{} {:?} {} bytes {start} {:?}",
            self.start,
            text(&self.headers),
            self.body.len(),
            text(&self.trailers)
        )
    }
}

/// Adds a field behind those of the same name.
pub(crate) fn add(fields: &mut BTreeMap<String, Vec<Vec<u8>>>, name: &str, value: &[u8]) {
    fields.entry(name.to_ascii_lowercase()).or_default().push(value.to_vec());
}

/// How the body of a message is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none, and nothing says so.
    None,
    /// There is none, though this length is named.
    Told(usize),
    Length,
    Chunked,
    /// Chunks of uneven sizes with extensions.
    Extended,
    /// It ends with the connection.
    Close,
}

/// Writes a message; pieces are flushed on their own.
pub(crate) async fn write(
    stream: &mut dyn Io,
    start: &str,
    headers: &[(&str, Vec<u8>)],
    body: &[u8],
    framing: Framing,
    trailers: &[(&str, &str)],
) {
    let mut head = format!("{start}\r\n").into_bytes();
    for (name, value) in headers {
        head.extend(name.as_bytes());
        head.extend(b": ");
        head.extend(value);
        head.extend(b"\r\n");
    }
    match framing {
        Framing::None => {}
        Framing::Told(length) => head.extend(format!("Content-Length: {length}\r\n").bytes()),
        Framing::Length => head.extend(format!("Content-Length: {}\r\n", body.len()).bytes()),
        Framing::Chunked | Framing::Extended => head.extend(b"Transfer-Encoding: chunked\r\n"),
        Framing::Close => head.extend(b"Connection: close\r\n"),
    }
    head.extend(b"\r\n");
    stream.write_all(&head).await.unwrap();
    let size = if framing == Framing::Extended { body.len().div_ceil(7).max(1) } else { 16 * 1024 };
    match framing {
        Framing::None | Framing::Told(_) => {}
        Framing::Length | Framing::Close => stream.write_all(body).await.unwrap(),
        Framing::Chunked | Framing::Extended => {
            let extension = if framing == Framing::Extended { ";a=b;c=\"d\"" } else { "" };
            for piece in body.chunks(size) {
                let mut chunk = format!("{:x}{extension}\r\n", piece.len()).into_bytes();
                chunk.extend(piece);
                chunk.extend(b"\r\n");
                stream.write_all(&chunk).await.unwrap();
            }
            let mut end = format!("0{extension}\r\n");
            for (name, value) in trailers {
                end.push_str(&format!("{name}: {value}\r\n"));
            }
            stream.write_all((end + "\r\n").as_bytes()).await.unwrap();
        }
    }
    stream.flush().await.unwrap();
}

/// Reads a message; `is_bodyless` is one whose head says nothing true about a body. `None` at the end of the connection.
pub(crate) async fn read(stream: &mut dyn Io, is_bodyless: bool) -> Option<Message> {
    let head = read_head(stream).await?;
    let (start, fields) = head.split_first().unwrap();
    let start = String::from_utf8(start.clone()).unwrap();
    let mut message = Message {
        start: match start.strip_prefix("HTTP/1.1 ") {
            Some(status) => status.split(' ').next().unwrap().to_owned(),
            None => start.strip_suffix(" HTTP/1.1").unwrap().to_owned(),
        },
        headers: BTreeMap::new(),
        body: Vec::new(),
        trailers: BTreeMap::new(),
    };
    fields.iter().for_each(|line| add_line(&mut message.headers, line));
    let value = |name: &str| message.headers.get(name).map(|values| values.concat());
    let length = value("content-length");
    let is_chunked = value("transfer-encoding").is_some_and(|coding| coding == b"chunked");
    let is_closed = value("connection").is_some_and(|option| option == b"close");
    if is_bodyless {
        return Some(message);
    }
    if is_chunked {
        loop {
            let line = String::from_utf8(read_line(stream).await?).unwrap();
            let size = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
            if size == 0 {
                break;
            }
            let start = message.body.len();
            message.body.resize(start + size, 0);
            stream.read_exact(&mut message.body[start..]).await.unwrap();
            assert_eq!(read_line(stream).await?, b"");
        }
        loop {
            let line = read_line(stream).await?;
            if line.is_empty() {
                break;
            }
            add_line(&mut message.trailers, &line);
        }
    } else if let Some(length) = length {
        message.body.resize(String::from_utf8(length).unwrap().parse().unwrap(), 0);
        stream.read_exact(&mut message.body).await.unwrap();
    } else if is_closed {
        stream.read_to_end(&mut message.body).await.unwrap();
    }
    Some(message)
}

async fn read_head(stream: &mut dyn Io) -> Option<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    loop {
        let line = read_line(stream).await?;
        if line.is_empty() {
            return Some(lines);
        }
        lines.push(line);
    }
}

async fn read_line(stream: &mut dyn Io) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.ok()?);
    }
    line.truncate(line.len() - 2);
    Some(line)
}

fn add_line(fields: &mut BTreeMap<String, Vec<Vec<u8>>>, line: &[u8]) {
    let colon = line.iter().position(|byte| *byte == b':').unwrap();
    add(fields, std::str::from_utf8(&line[..colon]).unwrap(), line[colon + 1..].trim_ascii());
}

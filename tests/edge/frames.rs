//! An HTTP/2 client that writes its frames by hand, and so can write wrong ones.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::site::{Site, within};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One end of an HTTP/2 connection.
pub(crate) struct Frames {
    stream: TcpStream,
}

/// A frame as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Answered with this status.
    Status(u16),
    /// Its stream was reset.
    Reset,
    /// The connection was ended.
    Ended,
}

impl Frames {
    /// A connection whose settings are these, each an identifier and a value.
    pub(crate) async fn connect(site: &Site, settings: &[(u16, u32)]) -> Self {
        let stream = TcpStream::connect(site.address()).await.unwrap();
        let mut frames = Self { stream };
        frames.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        frames.send(SETTINGS, 0, 0, &settings).await;
        frames
    }

    /// Sends a frame; whether the other side still takes any.
    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.raw(&frame(kind, flags, stream, payload)).await
    }

    /// Sends these bytes as they are.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> bool {
        within(self.stream.write_all(bytes)).await.is_ok()
    }

    /// Sends a request without a body.
    pub(crate) async fn request(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields)).await;
    }

    /// The next frame; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        within(self.stream.read_exact(&mut head)).await.ok()?;
        let [a, b, c, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        within(self.stream.read_exact(&mut payload)).await.ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(rest), payload })
    }

    /// What becomes of the request on `stream`.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            match self.next().await {
                None => return Outcome::Ended,
                Some(frame) if frame.kind == GOAWAY => return Outcome::Ended,
                Some(frame) if frame.stream != stream => {}
                Some(frame) if frame.kind == RST_STREAM => return Outcome::Reset,
                Some(frame) if frame.kind == HEADERS => {
                    return Outcome::Status(status(&frame.payload));
                }
                Some(_) => {}
            }
        }
    }
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of fields that are neither indexed nor compressed.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(0, name, value)).collect()
}

/// One field; `kind` is 0 for one that is not indexed and 0x40 for one that is.
pub(crate) fn field(kind: u8, name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let mut bytes = Vec::new();
        let length = text.len();
        if length < 127 {
            bytes.push(u8::try_from(length).unwrap());
        } else {
            bytes.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128 + 128).unwrap());
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
        bytes.extend(text.as_bytes());
        bytes
    };
    [vec![kind], text(name), text(value)].concat()
}

/// The status at the beginning of an answer's header block. Source: RFC 7541, appendices A and B.
fn status(block: &[u8]) -> u16 {
    let indexed = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [first @ 0x88..=0x8e, ..] => indexed[usize::from(first - 0x88)],
        // The name of an entry of the static table, and a value of three digits in Huffman's code.
        [0x08 | 0x48, length, code @ ..] if length & 0x80 != 0 => {
            let bits: String = code[..usize::from(length & 0x7f)]
                .iter()
                .map(|byte| format!("{byte:08b}"))
                .collect();
            let mut rest = bits.as_str();
            let digits = (0..3).map(|_| {
                let short = u16::from_str_radix(&rest[..5], 2).unwrap();
                let (digit, length) = if short < 3 {
                    (short, 5)
                } else {
                    (u16::from_str_radix(&rest[..6], 2).unwrap() - 0b01_1001 + 3, 6)
                };
                rest = &rest[length..];
                digit
            });
            digits.fold(0, |status, digit| status * 10 + digit)
        }
        [0x08 | 0x48, 3, digits @ ..] => {
            std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap()
        }
        _ => panic!("no status: {block:02x?}"),
    }
}

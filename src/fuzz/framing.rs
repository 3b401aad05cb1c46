//! Bytes of an HTTP/1 connection: one split into requests, however they come and whoever reads them.
//!
//! Input: what a client sends.

use std::{convert::Infallible, sync::Mutex};

use http::{HeaderName, Request, Response, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;

use crate::server::door::{self, Split};

pub(super) fn check(bytes: &[u8]) {
    let split = door::split(bytes, || 1);
    for size in [2, 3, 7, 64, usize::MAX] {
        comes_alike(&split, &door::split(bytes, || size));
    }
    // Pieces of all sizes, as the bytes themselves have it.
    let mut sizes = bytes.iter().rev().cycle();
    comes_alike(&split, &door::split(bytes, || sizes.next().map_or(1, |byte| usize::from(*byte))));
    let mut start = 0_usize;
    let mut read = Vec::new();
    for (head_end, end) in &split.requests {
        let head = bytes.get(start..*head_end).expect("a head that was let through");
        let head = Head::read(head);
        head.is_the_same_to_all();
        if let Some(end) = end {
            let body = bytes.get(*head_end..*end).expect("a body that was let through");
            read.push((body_of(&head, body), head));
            start = *end;
        }
    }
    let passed = bytes.get(..split.passed).expect("no more than there is");
    let hypers = by_hyper(passed);
    assert!(hypers.len() <= split.requests.len(), "hyper sees {} requests", hypers.len());
    for ((body, head), hypers) in read.iter().zip(hypers) {
        head.is_as_read_by_hyper(hypers, body);
    }
}

/// The same, but for where bodies end.
fn comes_alike(one: &Split, other: &Split) {
    assert_eq!((one.passed, one.is_refused), (other.passed, other.is_refused));
}

/// A head that was let through, by the plainest of readers.
#[derive(Debug)]
struct Head<'a> {
    bytes: &'a [u8],
    method: &'a [u8],
    target: &'a [u8],
    fields: Vec<(HeaderName, &'a [u8])>,
}

impl<'a> Head<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let text = bytes.strip_suffix(b"\r\n\r\n").expect("an empty line ends a head");
        let text = text.strip_prefix(b"\r\n").unwrap_or(text);
        let mut lines = Lines(Some(text));
        let first = lines.next().expect("a first line");
        let words: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
        let [method, target, b"HTTP/1.0" | b"HTTP/1.1"] = words.as_slice() else {
            panic!("no first line: {}", first.escape_ascii())
        };
        let fields = lines.map(|line| {
            let at = line.iter().position(|byte| *byte == b':').expect("a colon");
            let (name, value) = line.split_at_checked(at).expect("within the line");
            let name = HeaderName::from_bytes(name).expect("a name");
            (name, value.strip_prefix(b":").expect("a colon").trim_ascii())
        });
        Self { bytes, method, target, fields: fields.collect() }
    }

    fn values(&self, name: &HeaderName) -> Vec<&'a [u8]> {
        let named = self.fields.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| *value).collect()
    }

    /// Whatever a reader takes beyond the grammar, here it finds nothing to take.
    fn is_the_same_to_all(&self) {
        let shown = self.bytes.escape_ascii().to_string();
        let feeds = self.bytes.iter().filter(|byte| **byte == b'\n').count();
        let returns = self.bytes.iter().filter(|byte| **byte == b'\r').count();
        let both = self.bytes.windows(2).filter(|pair| *pair == b"\r\n").count();
        assert!(feeds == both && returns == both, "{shown}");
        let is_odd = |byte: &u8| byte.is_ascii_control() && !b"\r\n\t".contains(byte);
        assert!(!self.bytes.iter().any(is_odd), "{shown}");
        let plain = |name: &HeaderName| name.as_str().replace('_', "-");
        let framing = self.fields.iter().filter(|(name, _)| {
            matches!(plain(name).as_str(), "content-length" | "transfer-encoding")
        });
        let framing: Vec<_> = framing.collect();
        match framing.as_slice() {
            [] => {}
            [(name, b"chunked")] if *name == header::TRANSFER_ENCODING => {}
            [(name, digits)] if *name == header::CONTENT_LENGTH => {
                assert!(digits.iter().all(u8::is_ascii_digit) && !digits.is_empty(), "{shown}");
            }
            more => panic!("{more:?} in {shown}"),
        }
        assert!(!self.target.contains(&b'#') && self.target.is_ascii(), "{shown}");
    }

    fn is_as_read_by_hyper(&self, request: Request<Vec<u8>>, body: &[u8]) {
        let shown = self.bytes.escape_ascii().to_string();
        assert_eq!(request.method().as_str().as_bytes(), self.method, "{shown}");
        assert_eq!(request.body().as_slice(), body, "{shown}");
        for (name, _) in &self.fields {
            let values: Vec<&[u8]> =
                request.headers().get_all(name).iter().map(|value| value.as_bytes()).collect();
            assert_eq!(values, self.values(name), "{name} in {shown}");
        }
        assert_eq!(request.headers().len(), self.fields.len(), "{shown}");
        let target = request.uri().path_and_query().map_or("", |target| target.as_str());
        let is_whole = self.target.starts_with(b"/");
        assert!(!is_whole || self.target == target.as_bytes(), "{target} in {shown}");
        // Where there is no path, it is the root's.
        assert!(target == "/" || self.target.ends_with(target.as_bytes()), "{target} in {shown}");
        let hosts = self.values(&header::HOST);
        let target = target.to_owned();
        let Some(inbound) = door::read(request) else { return };
        assert_eq!(inbound.target.as_str(), target, "{shown}");
        let told = inbound.request.headers().get_all(header::HOST).iter();
        let told: Vec<&[u8]> = told.map(|host| host.as_bytes()).collect();
        assert!(hosts.len() <= 1 && told == hosts, "{hosts:?} in {shown}");
        let authority = inbound.request.uri().authority().map(|it| it.as_str().as_bytes());
        assert_eq!(authority, hosts.first().copied(), "{shown}");
    }
}

/// The lines of a text that end with CR LF.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0?;
        let end = text.windows(2).position(|pair| pair == b"\r\n");
        let (line, rest) = match end.and_then(|end| text.split_at_checked(end)) {
            Some((line, rest)) => (line, rest.strip_prefix(b"\r\n")),
            None => (text, None),
        };
        self.0 = rest;
        Some(line)
    }
}

/// What the bytes of a body say.
fn body_of(head: &Head<'_>, bytes: &[u8]) -> Vec<u8> {
    if head.values(&header::TRANSFER_ENCODING).is_empty() {
        return bytes.to_vec();
    }
    let mut body = Vec::new();
    let mut rest = bytes;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a line with a size");
        let (line, behind) = rest.split_at_checked(end).expect("within the bytes");
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).expect("digits");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal digits");
        if size == 0 {
            return body;
        }
        let behind = behind.strip_prefix(b"\r\n").expect("the end of the line");
        let (data, behind) = behind.split_at_checked(size).expect("a whole chunk");
        body.extend_from_slice(data);
        rest = behind.strip_prefix(b"\r\n").expect("the end of the chunk");
    }
}

/// The whole requests that hyper reads in the bytes of a connection.
fn by_hyper(bytes: &[u8]) -> Vec<Request<Vec<u8>>> {
    let requests = Mutex::new(Vec::new());
    let service = service_fn(|request: Request<Incoming>| {
        let requests = &requests;
        async move {
            let (head, mut body) = request.into_parts();
            let mut read = Vec::new();
            while let Some(frame) = body.frame().await {
                // What breaks off is no whole request.
                let Ok(frame) = frame else { return Ok(Response::new(Empty::<&[u8]>::new())) };
                read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            }
            if let Ok(mut requests) = requests.lock() {
                requests.push(Request::from_parts(head, read));
            }
            Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new()))
        }
    });
    let io = TokioIo::new(tokio::io::join(bytes, tokio::io::sink()));
    let conversation = http1::Builder::new().half_close(true).serve_connection(io, service);
    RUNTIME.with(|runtime| {
        // How it ends is no matter: what it has read by then is.
        drop(runtime.block_on(conversation));
    });
    requests.into_inner().unwrap_or_default()
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without I/O takes nothing of the system");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyper_reads_requests_one_behind_the_other_and_what_is_in_them() {
        let bytes = b"POST /a HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n\r\nok\
            POST /b HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n1\r\n!\r\n0\r\n\r\n\
            GET /c HTTP/1.1\r\nHost: gw\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n\
            GET /d HTTP/1.1\r\nHost: gw\r\n\r\nPOST /e HTTP/1.1\r\nContent-Length: 9\r\n\r\n";
        let read = by_hyper(bytes);
        let read: Vec<(&str, &[u8])> =
            read.iter().map(|request| (request.uri().path(), request.body().as_slice())).collect();
        assert_eq!(read, [("/a", &b"ok"[..]), ("/b", b"ok!"), ("/c", b""), ("/d", b"")]);
        let split = door::split(bytes, || 1);
        let ends: Vec<bool> = split.requests.iter().map(|(_, end)| end.is_some()).collect();
        assert_eq!(ends, [true, true, true, true, false]);
        check(bytes);
    }
}

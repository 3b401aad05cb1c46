//! The exchanges, each a request and the answer to it.

use std::collections::BTreeMap;

use super::{
    Version,
    wire::{Framing, Message, add},
};

/// A request and the answer to it.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    pub(crate) target: &'static str,
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) framing: Framing,
    pub(crate) trailers: &'static [(&'static str, &'static str)],
    /// What an upstream of HTTP/1 says before its answer.
    pub(crate) before: &'static str,
    pub(crate) status: u16,
    pub(crate) answer_headers: Vec<(&'static str, Vec<u8>)>,
    pub(crate) answer_body: Vec<u8>,
    pub(crate) answer_framing: Framing,
    pub(crate) answer_trailers: &'static [(&'static str, &'static str)],
}

impl Exchange {
    /// `GET` and a short answer.
    fn named(name: &'static str) -> Self {
        Self {
            name,
            method: "GET",
            target: "/free/a",
            headers: Vec::new(),
            body: Vec::new(),
            framing: Framing::None,
            trailers: &[],
            before: "",
            status: 200,
            answer_headers: vec![("Date", b"Mon, 01 Jan 2001 00:00:00 GMT".to_vec())],
            answer_body: b"ok".to_vec(),
            answer_framing: Framing::Length,
            answer_trailers: &[],
        }
    }

    fn asks(mut self, method: &'static str, target: &'static str) -> Self {
        (self.method, self.target) = (method, target);
        self
    }

    fn with(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    fn sends(mut self, framing: Framing, body: impl Into<Vec<u8>>) -> Self {
        (self.framing, self.body) = (framing, body.into());
        if self.method == "GET" {
            self.method = "POST";
        }
        self
    }

    fn gets(mut self, status: u16, framing: Framing, body: impl Into<Vec<u8>>) -> Self {
        (self.status, self.answer_framing, self.answer_body) = (status, framing, body.into());
        self
    }

    fn and(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.answer_headers.push((name, value.as_ref().to_vec()));
        self
    }

    /// The request as an upstream of that version has to see it.
    pub(crate) fn request_at(&self, far: Version, scheme: &str) -> Message {
        let mut message = Message {
            start: format!("{} {}", self.method, self.target),
            headers: BTreeMap::new(),
            body: self.body.clone(),
            trailers: BTreeMap::new(),
        };
        // What the gateway adds.
        for (name, value) in [
            ("host", "gw.test:8402"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "gw.test:8402"),
            ("x-forwarded-proto", scheme),
        ] {
            add(&mut message.headers, name, value.as_bytes());
        }
        for (name, value) in &self.headers {
            add(&mut message.headers, name, value);
        }
        match (self.framing, far) {
            (Framing::Length, _) => {
                let length = self.body.len().to_string();
                add(&mut message.headers, "content-length", length.as_bytes());
            }
            (Framing::Chunked | Framing::Extended, Version::H1) => {
                add(&mut message.headers, "transfer-encoding", b"chunked");
            }
            _ => {}
        }
        for (name, value) in self.trailers {
            add(&mut message.trailers, name, value.as_bytes());
        }
        message
    }

    /// The answer as a client of that version has to see it.
    pub(crate) fn answer_at(&self, near: Version) -> Message {
        let mut message = Message {
            start: self.status.to_string(),
            headers: BTreeMap::new(),
            body: self.answer_body.clone(),
            trailers: BTreeMap::new(),
        };
        for (name, value) in &self.answer_headers {
            add(&mut message.headers, name, value);
        }
        let length = match self.answer_framing {
            Framing::Length => Some(self.answer_body.len()),
            Framing::Told(length) => Some(length),
            _ => None,
        };
        if let Some(length) = length {
            add(&mut message.headers, "content-length", length.to_string().as_bytes());
        } else if self.answer_framing != Framing::None && near == Version::H1 {
            add(&mut message.headers, "transfer-encoding", b"chunked");
        }
        for (name, value) in self.answer_trailers {
            add(&mut message.trailers, name, value.as_bytes());
        }
        message
    }
}

/// All of them.
pub(crate) fn exchanges() -> Vec<Exchange> {
    let new = Exchange::named;
    let (sized, chunked, extended) = (Framing::Length, Framing::Chunked, Framing::Extended);
    vec![
        new("a plain GET"),
        new("a target with everything in it")
            .asks("GET", "/free/%C3%A9/a@b:c,d=e+f~g'h(i)!*?x=%2e%2e&y=1;z&&=?/"),
        new("HEAD with a length").asks("HEAD", "/free/a").gets(200, Framing::Told(17), ""),
        new("HEAD without one").asks("HEAD", "/free/a").gets(200, Framing::None, ""),
        new("OPTIONS").asks("OPTIONS", "/free/a").sends(sized, "").and("Allow", "GET, POST").gets(
            204,
            Framing::None,
            "",
        ),
        new("DELETE").asks("DELETE", "/free/a").gets(204, Framing::None, ""),
        new("DELETE with a body").asks("DELETE", "/free/a").sends(sized, "which one"),
        new("PUT")
            .asks("PUT", "/free/a")
            .sends(sized, "new")
            .gets(201, sized, "made")
            .and("Location", "/free/b"),
        new("PATCH")
            .asks("PATCH", "/free/a")
            .sends(chunked, "a bit")
            .with("Content-Type", "application/json-patch+json"),
        new("POST of nothing").sends(sized, "").gets(200, sized, ""),
        new("POST with a length").sends(sized, "hello"),
        new("POST in chunks").sends(chunked, "hello world"),
        new("POST in chunks with extensions").sends(extended, bytes(100)),
        new("POST with trailers")
            .sends(chunked, "hello")
            .with("Trailer", "x-sum, x-more")
            .trailing(),
        new("every byte, both ways").sends(sized, bytes(256)).gets(200, sized, bytes(256)),
        new("a mebibyte up, with a length").sends(sized, bytes(1 << 20)),
        new("a mebibyte up, in chunks").sends(chunked, bytes(1 << 20)),
        new("a gzip body up").sends(sized, GZIP).with("Content-Encoding", "gzip"),
        new("a form of several parts")
            .sends(sized, "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n")
            .with("Content-Type", "multipart/form-data; boundary=x"),
        new("headers twice, in order")
            .with("X-Twice", "b")
            .with("X-Other", "o")
            .with("X-Twice", "a")
            .with("X-Twice", ""),
        new("an odd value").with("X-Odd", b"caf\xc3\xa9 \xff \"q\" \t;=").with("X_Under", "1"),
        new("credentials of the upstream's own")
            .with("Authorization", "Bearer abc.def")
            .with("Cookie", "a=1; b=2"),
        new("a long header").with("X-Long", vec![b'x'; 12_000]),
        new("what a client likes")
            .with("Accept", "text/html, */*;q=0.1")
            .with("Accept-Encoding", "gzip, br, zstd")
            .with("Accept-Language", "pt-PT")
            .with("User-Agent", "Exchange/1 (x; y)"),
        new("Range")
            .with("Range", "bytes=2-5")
            .gets(206, sized, "cdef")
            .and("Content-Range", "bytes 2-5/26")
            .and("Accept-Ranges", "bytes"),
        new("a range that is not there")
            .with("Range", "bytes=99-")
            .gets(416, sized, "")
            .and("Content-Range", "bytes */26"),
        new("not modified")
            .with("If-None-Match", "\"e\"")
            .gets(304, Framing::Told(1234), "")
            .and("ETag", "\"e\""),
        new("not modified, without a length")
            .with("If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT")
            .gets(304, Framing::None, ""),
        new("no content").gets(204, Framing::None, "").and("X-Is", "nothing"),
        new("nothing with a length").gets(200, sized, ""),
        new("gzip")
            .with("Accept-Encoding", "gzip")
            .gets(200, sized, GZIP)
            .and("Content-Encoding", "gzip")
            .and("Vary", "Accept-Encoding"),
        new("brotli, in chunks")
            .with("Accept-Encoding", "br")
            .gets(200, chunked, BROTLI)
            .and("Content-Encoding", "br"),
        new("moved").gets(301, sized, "gone there").and("Location", "https://elsewhere.test/x?y#z"),
        new("found").gets(302, sized, "").and("Location", "/free/b"),
        new("the same elsewhere")
            .sends(sized, "x")
            .gets(307, sized, "")
            .and("Location", "//other.test/"),
        new("three cookies")
            .and("Set-Cookie", "b=1; Path=/")
            .and("Set-Cookie", "a=2; HttpOnly")
            .and("Set-Cookie", "b=3"),
        new("headers twice in the answer")
            .and("Link", "</a>; rel=a")
            .and("Via", "1.1 x")
            .and("Link", "</b>; rel=b")
            .and("X-None", ""),
        new("an odd value in the answer").and("X-Odd", b"\xc3\xa9\xff"),
        new("what caches may do")
            .and("Cache-Control", "public, s-maxage=60")
            .and("Age", "3")
            .and("ETag", "W/\"x\""),
        new("the upstream asks who it is")
            .gets(401, sized, "who?")
            .and("WWW-Authenticate", "Basic realm=\"x\", Bearer"),
        new("not found")
            .gets(404, sized, "{\"no\":1}")
            .and("Content-Type", "application/json; charset=utf-8"),
        new("a status that few know").gets(418, sized, "teapot"),
        new("a status that nobody knows").gets(599, sized, "?"),
        new("an error").gets(500, chunked, "oops"),
        new("too busy").gets(503, sized, "later").and("Retry-After", "7"),
        new("in chunks").gets(200, chunked, "in chunks"),
        new("in chunks with extensions").gets(200, extended, bytes(100)),
        new("until the end").gets(200, Framing::Close, bytes(40_000)),
        new("a mebibyte down, with a length").gets(200, sized, bytes(1 << 20)),
        new("a mebibyte down, in chunks").gets(200, chunked, bytes(1 << 20)),
        new("trailers")
            .with("TE", "trailers")
            .gets(200, chunked, "body")
            .and("Trailer", "x-end")
            .ending(),
        new("a hint first").hinted(),
    ]
}

impl Exchange {
    fn trailing(mut self) -> Self {
        self.trailers = &[("x-sum", "1"), ("x-more", "a"), ("x-more", "b")];
        self
    }

    fn ending(mut self) -> Self {
        self.answer_trailers = &[("x-end", "2")];
        self
    }

    fn hinted(mut self) -> Self {
        self.before = "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n";
        self
    }
}

/// Bytes of every value, the same for a given length.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

/// `hello\n`, as gzip and brotli write it.
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\xe7\x02\x00\x20\x30\x3a\x36\x06\x00\x00\x00";
const BROTLI: &[u8] = b"\x8f\x02\x80\x68\x65\x6c\x6c\x6f\x0a\x03";

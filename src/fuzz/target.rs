//! Request targets: no two parties read an accepted one in two ways.

use http::Uri;

use crate::protocol::target::Target;

pub(super) fn check(bytes: &[u8]) {
    if let Ok(uri) = Uri::try_from(bytes) {
        let read = Target::read(&uri);
        assert_eq!(read, Target::read(&uri));
        if let Ok(target) = read {
            has_one_reading(&target);
            let of_uri = uri.path_and_query().expect("a target is a path");
            assert_eq!(of_uri.as_str(), target.as_str());
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(target) = Target::parse(text) {
        assert_eq!(target.as_str(), text);
        has_one_reading(&target);
        // However a request line writes it, it is the same.
        for written in [text.to_owned(), format!("http://gw:8402{text}")] {
            let uri = Uri::try_from(&written).expect("a target is a URI");
            assert_eq!(Target::read(&uri).as_ref(), Ok(&target), "{written}");
        }
    }
}

fn has_one_reading(target: &Target) {
    let (raw, path) = (target.as_str(), target.path());
    let again = Target::parse(raw);
    assert_eq!(again.as_ref().map(|again| (again.as_str(), again.path())), Ok((raw, path)));
    assert!(raw.starts_with('/') && raw.len() <= 8192, "{raw}");
    assert!(raw.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{raw}");
    let raw_path = raw.split('?').next().unwrap_or_default().as_bytes();
    for (name, reader) in READERS {
        assert_eq!(reader(raw_path), path.as_bytes(), "as {name} reads {raw}");
    }
    let segments = |bytes: &[u8]| bytes.split(|byte| *byte == b'/').count();
    assert_eq!(segments(raw_path), segments(path.as_bytes()), "{raw}");
    // A path has at most one other spelling, in which everything that may be encoded is.
    let respelled = respell(path);
    if respelled.len() <= 8192 {
        let other = Target::parse(&respelled);
        assert_eq!(other.as_ref().map(Target::path), Ok(path), "{raw} as {respelled}");
    }
}

type Reader = fn(&[u8]) -> Vec<u8>;

/// What others make of a path before they look at it.
const READERS: [(&str, Reader); 9] = [
    ("one that decodes", decode),
    ("one that decodes twice", |path| decode(&decode(path))),
    ("one that takes a backslash for a slash", |path| {
        decode(path).iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect()
    }),
    ("one that cuts parameters off", |path| {
        let decoded = decode(path);
        let cut = |segment: &[u8]| segment.split(|byte| *byte == b';').next().map(<[u8]>::to_vec);
        decoded.split(|byte| *byte == b'/').filter_map(cut).collect::<Vec<_>>().join(&b'/')
    }),
    ("one that stops at NUL", |path| {
        decode(path).split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
    }),
    ("one that merges slashes", |path| {
        let mut merged = decode(path);
        merged.dedup_by(|next, before| *next == b'/' && *before == b'/');
        merged
    }),
    ("one that resolves dots and decodes", |path| decode(&resolve(path))),
    ("one that decodes and resolves dots", |path| resolve(&decode(path))),
    ("one that drops what is no text", |path| {
        let decoded = decode(path);
        let text = String::from_utf8(decoded).expect("an accepted path decodes to text");
        text.chars()
            .filter(|char| !matches!(char, '\0'..='\x1f' | '\x7f'))
            .collect::<String>()
            .into()
    }),
];

/// Decodes what it can, and leaves the rest as it is.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, behind)) = rest.split_first() {
        let byte = match (first, behind.split_first_chunk::<2>()) {
            (b'%', Some((digits, after))) => std::str::from_utf8(digits)
                .ok()
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .map(|byte| (byte, after)),
            _ => None,
        };
        let (byte, after) = byte.unwrap_or((*first, behind));
        decoded.push(byte);
        rest = after;
    }
    decoded
}

/// RFC 3986 section 5.2.4, in short.
fn resolve(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    kept.join(&b'/')
}

fn respell(path: &str) -> String {
    let spell = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' | b'/' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    path.bytes().map(spell).collect()
}

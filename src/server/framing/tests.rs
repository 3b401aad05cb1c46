//! What is let through, to the byte, however it comes.

use proptest::prelude::*;

use super::*;
use crate::protocol::target::Ambiguous;

const BOUNDS: Bounds = Bounds { bytes: 1024, fields: 8 };

/// How many bytes go on, and why no more, if they come in pieces of `size`.
fn in_pieces(bytes: &[u8], size: usize) -> (usize, Option<Refused>, Framing) {
    let mut framing = Framing::new(BOUNDS);
    let (mut passed, mut shown) = (0, 0);
    while shown < bytes.len() {
        shown = (shown + size).min(bytes.len());
        let read = framing.read(&bytes[passed..shown]);
        passed += read.length;
        if read.refused.is_some() {
            return (passed, read.refused, framing);
        }
    }
    (passed, None, framing)
}

/// The verdict on these bytes, which must not depend on how they come.
#[track_caller]
fn verdict(bytes: impl AsRef<[u8]>) -> (usize, Option<Refused>) {
    let bytes = bytes.as_ref();
    let (passed, refused, _) = in_pieces(bytes, bytes.len().max(1));
    for size in [1, 2, 3, 7] {
        let other = in_pieces(bytes, size);
        assert_eq!(
            (other.0, other.1),
            (passed, refused),
            "{size}: {:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    (passed, refused)
}

/// As [`verdict`], where of two rules that a line breaks the one may be named or the other.
fn judged_alike(bytes: &[u8]) {
    let is_refused = |size| {
        let (passed, refused, _) = in_pieces(bytes, size);
        (passed, refused.is_some())
    };
    for size in [1, 2, 3, 7] {
        assert_eq!(is_refused(size), is_refused(bytes.len().max(1)), "{size}: {bytes:?}");
    }
}

/// A POST with this first header, and a body of two bytes.
fn post(header: &str) -> String {
    format!("POST /x HTTP/1.1\r\n{header}\r\nHost: gw\r\n\r\nok")
}

#[track_caller]
fn passes(bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    assert_eq!(verdict(bytes), (bytes.len(), None), "{:?}", String::from_utf8_lossy(bytes));
}

/// Nothing of it goes on, for this reason.
#[track_caller]
fn refuses(bytes: impl AsRef<[u8]>, refused: Refused) {
    let bytes = bytes.as_ref();
    assert_eq!(verdict(bytes), (0, Some(refused)), "{:?}", String::from_utf8_lossy(bytes));
}

#[test]
fn plain_requests_pass_one_behind_the_other() {
    passes("GET / HTTP/1.1\r\nHost: gw\r\n\r\n");
    passes("GET /a?b=\"{}|^`\\c HTTP/1.0\r\n\r\n".replace('"', "'"));
    passes("\r\nGET / HTTP/1.1\r\nHost: gw\r\nX:\r\nY: \t a\tb\u{e9} \r\n\r\n");
    passes(post("Content-Length: 2") + &post("content-length:2") + "GET / HTTP/1.1\r\n\r\n");
    passes("GET http://gw/x HTTP/1.1\r\nHost: gw\r\n\r\nGET HTTPS://gw/ HTTP/1.1\r\n\r\n");
}

#[test]
fn f01_a_length_beside_chunks_is_refused_in_any_order() {
    let (length, chunks) = ("Content-Length: 2", "Transfer-Encoding: chunked");
    refuses(post(&format!("{length}\r\n{chunks}")), Refused::LengthAndChunks);
    refuses(post(&format!("{chunks}\r\n{length}")), Refused::LengthAndChunks);
    refuses(post(&format!("Content-Length: 0\r\n{chunks}")), Refused::LengthAndChunks);
    passes(post(length));
}

#[test]
fn f02_a_length_is_one_plain_number() {
    for twice in
        ["Content-Length: 2\r\nContent-Length: 2", "Content-Length: 2\r\ncontent-length: 3"]
    {
        refuses(post(twice), Refused::TwoLengths);
    }
    for odd in [
        "2, 2",
        "2,2",
        "+2",
        "-2",
        "0x2",
        "2 ",
        "2\t",
        "",
        " ",
        "02",
        "2.0",
        "2e0",
        "\u{0662}",
        "18446744073709551615",
        "99999999999999999999",
        "100000000000000000000",
    ] {
        refuses(post(&format!("Content-Length: {odd}")), Refused::Length);
    }
    refuses(post("Content_Length: 2"), Refused::Field);
    for plain in ["Content-Length:2", "Content-Length:\t 2", "CONTENT-LENGTH: 2"] {
        passes(post(plain));
    }
}

#[test]
fn f03_a_transfer_coding_is_one_chunked() {
    for odd in [
        "xchunked",
        "chunked, identity",
        "gzip, chunked",
        "chunked, chunked",
        "chunked;q=1",
        "Chunked",
        "chunked ",
        "",
        "identity",
    ] {
        refuses(post(&format!("Transfer-Encoding: {odd}")), Refused::TransferCoding);
    }
    let chunked = "Transfer-Encoding: chunked";
    refuses(post(&format!("{chunked}\r\n{chunked}")), Refused::TransferCoding);
    refuses(post("Transfer-Encoding: \x0bchunked"), Refused::Control);
    refuses(post("Transfer-Encoding : chunked"), Refused::Field);
    refuses(post("Transfer_Encoding: chunked"), Refused::Field);
    refuses(post("Transfer-Encoding:\r\n chunked"), Refused::TransferCoding);
    passes(format!("POST /x HTTP/1.1\r\n{chunked}\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
}

#[test]
fn f04_http_1_0_has_no_chunks_and_ends_with_a_body() {
    let old = |headers: &str| format!("POST /x HTTP/1.0\r\n{headers}\r\n\r\nok");
    refuses(old("Transfer-Encoding: chunked"), Refused::OldChunks);
    refuses(old("Connection: x, Keep-Alive\r\nContent-Length: 2"), Refused::OldBody);
    passes(old("Content-Length: 2"));
    passes(old("Connection: close\r\nContent-Length: 2"));
    passes("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
}

#[test]
fn f05_behind_a_request_for_another_protocol_nothing_passes_until_it_is_answered() {
    let asks = "GET /x HTTP/1.1\r\nHost: gw\r\nUpgrade: foo\r\n\r\n";
    let behind = "GET /y HTTP/1.1\nHost: gw\r\n\r\n";
    let both = format!("{asks}{behind}");
    assert_eq!(verdict(&both), (asks.len(), None));
    let (.., mut framing) = in_pieces(both.as_bytes(), both.len());
    assert!(framing.is_asked());
    framing.answer(false);
    assert_eq!(framing.read(behind.as_bytes()).refused, Some(Refused::LineEnd));
    let (.., mut framing) = in_pieces(both.as_bytes(), both.len());
    framing.answer(true);
    assert_eq!(framing.read(behind.as_bytes()).length, behind.len());
    // The body of such a request comes first.
    let asks = "POST /x HTTP/1.1\r\nUpgrade: foo\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(verdict(format!("{asks}{behind}")), (asks.len(), None));
}

#[test]
fn f08_lines_end_with_cr_lf_and_have_no_control_characters() {
    for odd in [
        "GET / HTTP/1.1\nHost: gw\n\n",
        "GET / HTTP/1.1\r\nHost: gw\n\r\n",
        "GET / HTTP/1.1\r\nHost: gw\r\n\n",
        "\nGET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: g\rw\r\n\r\n",
        "GET / HTTP/1.1\rHost: gw\r\n\r\n",
        "GET / HTTP/1.1\r\r\n\r\n",
    ] {
        refuses(odd, Refused::LineEnd);
    }
    for odd in [
        "GET / HTTP/1.1\r\nHost: g\0w\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: g\x7fw\r\n\r\n",
        "GET / HTTP/1.1\r\nHo\0st: gw\r\n\r\n",
        "GET /\0 HTTP/1.1\r\n\r\n",
        "\0GET / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01",
    ] {
        refuses(odd, Refused::Control);
    }
    refuses("GET / HTTP/1.1\r\nHost: gw\r\n x\r\n\r\n", Refused::Folded);
    refuses("GET / HTTP/1.1\r\n Host: gw\r\n\r\n", Refused::Folded);
    for odd in ["Host", "Host : gw", ": gw", "H\u{f6}st: gw", "a(b: c"] {
        refuses(format!("GET / HTTP/1.1\r\n{odd}\r\n\r\n"), Refused::Field);
    }
    refuses("\r\n\r\nGET / HTTP/1.1\r\n\r\n", Refused::FirstLine);
}

#[test]
fn a_first_line_is_a_method_a_target_and_a_version() {
    for odd in [
        "GET /",
        "GET",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / a HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/11",
    ] {
        refuses(format!("{odd}\r\nHost: gw\r\n\r\n"), Refused::FirstLine);
    }
    for version in ["1.2", "2.0", "0.9", "3.0"] {
        refuses(format!("GET / HTTP/{version}\r\n\r\n"), Refused::Version);
    }
    refuses("CONNECT gw:80 HTTP/1.1\r\n\r\n", Refused::ForbiddenMethod);
    refuses("TRACE * HTTP/1.1\r\n\r\n", Refused::ForbiddenMethod);
}

#[test]
fn e07_e08_a_target_is_a_path_without_a_fragment() {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: gw\r\n\r\n");
    for (target, why) in [
        ("*", Ambiguous::NotAPath),
        ("x", Ambiguous::NotAPath),
        ("@evil/x", Ambiguous::NotAPath),
        ("?a", Ambiguous::NotAPath),
        ("ftp://gw/x", Ambiguous::NotAPath),
        ("gw:80", Ambiguous::NotAPath),
        ("/free#/../paid", Ambiguous::Fragment),
        ("/free?a#b", Ambiguous::Fragment),
        ("/caf\u{e9}", Ambiguous::Illegal),
        ("/?caf\u{e9}", Ambiguous::Illegal),
        ("/<x>", Ambiguous::Illegal),
        ("/`", Ambiguous::Illegal),
        ("/?\"", Ambiguous::Illegal),
    ] {
        refuses(get(target), Refused::Target(why));
    }
    passes(get("/free?/../paid"));
    passes(get("/%23%3f"));
}

#[test]
fn f14_heads_are_bounded() {
    let many = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: 1\r\n".repeat(count));
    passes(many(8));
    refuses(many(9), Refused::TooManyFields);
    let long = |length: usize| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(length));
    passes(long(1024 - 23));
    refuses(long(1024 - 22), Refused::HeadTooLong);
    // One that never ends is not waited for.
    refuses("x".repeat(1025), Refused::Target(Ambiguous::TooLong));
    refuses(format!("GET / HTTP/1.1\r\n{}", "x".repeat(1024)), Refused::HeadTooLong);
}

#[test]
fn chunks_have_one_form() {
    let head = "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = |body: &str| format!("{head}{body}");
    let next = "GET / HTTP/1.1\r\n\r\n";
    for body in [
        "0\r\n\r\n",
        "2\r\nok\r\n0\r\n\r\n",
        "00A\r\n0123456789\r\n000\r\n\r\n",
        "2;a=b;c=\"d e\"\r\nok\r\n0;x\r\n\r\n",
        "2\r\nok\r\n0\r\nDigest: a\r\nx:\r\n\r\n",
    ] {
        passes(chunked(body) + next);
    }
    for (good, bad) in [
        ("", " 2\r\nok\r\n"),
        ("2", " \r\nok\r\n"),
        ("2", "\nok\r\n"),
        ("2\r", "ok\r\n"),
        ("2\r\nok", "\n0\r\n\r\n"),
        ("2\r\nok\r", "0\r\n\r\n"),
        ("2\r\nok", "k\r\n"),
        ("0", "x2\r\nok\r\n0"),
        ("", "-2\r\n"),
        ("", "+2\r\n"),
        ("", "\r\n"),
        ("", ";a\r\n"),
        ("", "g\r\n"),
        ("2", " ;a\r\n"),
        ("2;a", "\nok\r\n"),
        ("2;a", "\0\r\nok\r\n"),
        ("2;a\r", "x"),
        ("000000000000000", "1"),
        ("fffffffffffffff", "f\r\n"),
        ("0\r\n", "\n"),
        ("0\r\n", ": a\r\n\r\n"),
        ("0\r\n", " a: b\r\n\r\n"),
        ("0\r\na", " : b\r\n\r\n"),
        ("0\r\na: b", "\n\r\n"),
        ("0\r\na: b", "\0\r\n"),
        ("0\r\na: b\r\n\r", "x"),
    ] {
        // What stands before the wrong byte has gone on.
        let passed = head.len() + good.len();
        assert_eq!(
            verdict(chunked(good) + bad),
            (passed, Some(Refused::Chunk)),
            "{good:?} {bad:?}"
        );
    }
    let extension = |length: usize| chunked(&format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(length)));
    passes(extension(8 * 1024));
    assert_eq!(verdict(extension(8 * 1024 + 1)).1, Some(Refused::Chunk));
    // Many small ones are as bad as a long one.
    let many = chunked(&"1;0123456789\r\nx\r\n".repeat(1000));
    assert_eq!(verdict(many).1, Some(Refused::Chunk));
    let trailers = chunked(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(4000)));
    assert_eq!(verdict(trailers).1, Some(Refused::Chunk));
}

/// Pieces of requests, good and bad, that a careless reader may put together in another way.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "GET ",
        "POST ",
        "HEAD ",
        "get ",
        "/",
        "/a",
        "/a?b",
        "*",
        "http://gw/",
        "#",
        " HTTP/1.1",
        " HTTP/1.0",
        " HTTP/2.0",
        "\r\n",
        "\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        "\0",
        " ",
        "\t",
        ":",
        "Host: gw",
        "Host:gw",
        "Content-Length: 2",
        "Content-Length: 2",
        "Content-Length: +2",
        "Content-Length: 4,4",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding : chunked",
        "ok",
        "2\r\nok\r\n",
        "0\r\n\r\n",
        "0\r\n",
        "2;a=b\r\nok\r\n",
        "Expect: 100-continue",
        "Upgrade: foo",
        "X: y",
        "X: \u{e9}",
        ";",
        "Connection: keep-alive",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_is_judged_alike_in_one_piece_and_in_many(pieces in prop::collection::vec(piece(), 0..24)) {
        judged_alike(pieces.concat().as_bytes());
    }

    #[test]
    fn noise_is_judged_alike_in_one_piece_and_in_many(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        judged_alike(&bytes);
    }

    #[test]
    fn a_head_that_passes_is_one_that_hypers_parser_reads_to_the_same_end(
        pieces in prop::collection::vec(piece(), 0..16),
    ) {
        let text = format!("GET / HTTP/1.1\r\n{}\r\n\r\n", pieces.concat());
        for text in [text, pieces.concat()] {
            let mut head = Head::default();
            if let Ok(Some(read)) = head.read(text.as_bytes(), BOUNDS) {
                let line = text.trim_start().split("\r\n").next().unwrap();
                let words: Vec<&str> = line.split(' ').collect();
                prop_assert!(http::Method::from_bytes(words[0].as_bytes()).is_ok());
                prop_assert!(words[1].parse::<http::Uri>().is_ok(), "{}", words[1]);
                prop_assert_eq!(&text[read.length - 4..read.length], "\r\n\r\n");
            }
        }
    }
}

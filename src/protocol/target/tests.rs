use proptest::{prelude::*, strategy::ValueTree as _};

use super::*;

#[track_caller]
fn refused(targets: &[(&str, Ambiguous)]) {
    for (target, reason) in targets {
        assert_eq!(Target::parse(target), Err(*reason), "{target}");
    }
}

/// Each target's path as routes see it; the target itself stays as it is.
#[track_caller]
fn read(targets: &[(&str, &str)]) {
    for (target, path) in targets {
        let read = Target::parse(target).unwrap_or_else(|reason| panic!("{target}: {reason}"));
        assert_eq!(read.path(), *path, "{target}");
        assert_eq!(read.as_str(), *target);
    }
}

#[test]
fn plain_paths_are_read_and_kept_as_they_are() {
    read(&[
        ("/", "/"),
        ("/weather", "/weather"),
        ("/weather/", "/weather/"),
        ("/v1/weather/San%20Francisco?units=c&day=%2e%2e", "/v1/weather/San Francisco"),
        ("/caf%C3%A9", "/café"),
        ("/caf%c3%a9", "/café"),
        ("/a%40b.com", "/a@b.com"),
        ("/a@b.com", "/a@b.com"),
        ("/100%25", "/100%"),
        ("/x.", "/x."),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/(a)*!$&'+,=:~|[1]", "/(a)*!$&'+,=:~|[1]"),
    ]);
}

#[test]
fn e01_empty_segments_have_two_readings() {
    refused(&[
        ("//paid/x", Ambiguous::EmptySegment),
        ("/paid//x", Ambiguous::EmptySegment),
        ("///paid/x", Ambiguous::EmptySegment),
        ("/paid//", Ambiguous::EmptySegment),
        ("//", Ambiguous::EmptySegment),
    ]);
    read(&[("/paid/x", "/paid/x"), ("/paid/", "/paid/")]);
}

#[test]
fn e02_dot_segments_have_two_readings() {
    refused(&[
        ("/free/../paid/x", Ambiguous::DotSegment),
        ("/free/./paid", Ambiguous::DotSegment),
        ("/free/..", Ambiguous::DotSegment),
        ("/.", Ambiguous::DotSegment),
        ("/free/%2e%2e/paid/x", Ambiguous::NeedlesslyEncoded),
        ("/free/.%2e/paid", Ambiguous::NeedlesslyEncoded),
        ("/free/..%2fpaid", Ambiguous::EncodedSlash),
    ]);
    read(&[("/free/..paid", "/free/..paid"), ("/free/.../paid", "/free/.../paid")]);
}

#[test]
fn e03_encoded_slashes_have_two_readings() {
    refused(&[
        ("/paid%2fx", Ambiguous::EncodedSlash),
        ("/users/x%2Fy", Ambiguous::EncodedSlash),
        ("/users/x%252Fy", Ambiguous::DoublyEncoded),
        ("/users/x%25252Fy", Ambiguous::DoublyEncoded),
        ("/users/x%5Cy", Ambiguous::EncodedSlash),
        ("/users/x%5cy", Ambiguous::EncodedSlash),
        ("/users/x\\y", Ambiguous::Backslash),
        ("\\paid", Ambiguous::NotAPath),
    ]);
    read(&[("/users/x%3Dy", "/users/x=y"), ("/users/50%25%20off", "/users/50% off")]);
}

#[test]
fn e04_malformed_encodings_have_no_reading() {
    refused(&[
        ("/paid/x%", Ambiguous::BadPercent),
        ("/paid/x%4", Ambiguous::BadPercent),
        ("/paid/%zz", Ambiguous::BadPercent),
        ("/paid/%+1", Ambiguous::BadPercent),
        ("/paid/x%c0", Ambiguous::NotUtf8),
        ("/paid/x%c0%af", Ambiguous::NotUtf8),
        ("/paid/x%e2%82", Ambiguous::NotUtf8),
        ("/paid/%ed%a0%80", Ambiguous::NotUtf8),
        ("/paid/%00", Ambiguous::Control),
        ("/paid/%0d%0a", Ambiguous::Control),
        ("/paid/%7f", Ambiguous::Control),
        ("/paid/é", Ambiguous::Illegal),
        ("/paid/a b", Ambiguous::Illegal),
        ("/paid/\"x\"", Ambiguous::Illegal),
        ("/paid/{x}", Ambiguous::Illegal),
        ("/paid?x=é", Ambiguous::Illegal),
    ]);
    read(&[("/paid/%E2%82%AC", "/paid/€"), ("/paid/%22x%22", "/paid/\"x\"")]);
}

#[test]
fn e05_path_parameters_have_two_readings() {
    refused(&[
        ("/paid/x;a=b", Ambiguous::Parameter),
        ("/paid/..;/free", Ambiguous::Parameter),
        ("/free/..;/paid/x", Ambiguous::Parameter),
        ("/paid/x%3Ba=b", Ambiguous::Parameter),
        ("/we%61ther", Ambiguous::NeedlesslyEncoded),
        ("/%77eather", Ambiguous::NeedlesslyEncoded),
        ("/weather%2Dnow", Ambiguous::NeedlesslyEncoded),
    ]);
    read(&[("/paid/x?a;b", "/paid/x"), ("/PAID/x", "/PAID/x"), ("/weather-now", "/weather-now")]);
}

#[test]
fn e07_what_is_no_path_has_no_reading() {
    refused(&[
        ("paid/x", Ambiguous::NotAPath),
        ("*", Ambiguous::NotAPath),
        ("@evil/x", Ambiguous::NotAPath),
        ("?a", Ambiguous::NotAPath),
        ("", Ambiguous::NotAPath),
        ("http://gw/x", Ambiguous::NotAPath),
    ]);
    for uri in ["*", "a", "evil:80"] {
        assert_eq!(Target::read(&uri.parse().unwrap()), Err(Ambiguous::NotAPath), "{uri}");
    }
    let query_only: Uri = "http://gw?a".parse().unwrap();
    assert_eq!(Target::read(&query_only), Err(Ambiguous::NotAPath));
    for (uri, target) in [("http://gw/x?y", "/x?y"), ("/x", "/x"), ("http://gw", "/")] {
        assert_eq!(Target::read(&uri.parse().unwrap()).unwrap().as_str(), target, "{uri}");
    }
}

#[test]
fn e08_a_query_hides_no_path_and_a_fragment_is_none() {
    refused(&[
        ("/free#/../paid/x", Ambiguous::Fragment),
        ("/free?x#y", Ambiguous::Fragment),
        ("/free%3f/../paid", Ambiguous::DotSegment),
    ]);
    read(&[
        ("/free?/../paid", "/free"),
        ("/free?a?b=//..\\;%2f%00%", "/free"),
        ("/free/what%3F", "/free/what?"),
        ("/free/c%23", "/free/c#"),
    ]);
    // What the HTTP parser hands over has lost its fragment, and what is left is matched and forwarded alike.
    let cut = Target::read(&"/free#/../paid/x".parse().unwrap()).unwrap();
    assert_eq!((cut.path(), cut.as_str()), ("/free", "/free"));
}

#[test]
fn e18_long_targets_are_refused_and_many_segments_are_not() {
    let longest = format!("/{}", "a".repeat(LONGEST - 1));
    read(&[(&longest, &longest)]);
    refused(&[(&format!("{longest}b"), Ambiguous::TooLong)]);
    refused(&[(&format!("/x?{}", "&".repeat(10_000)), Ambiguous::TooLong)]);
    let many = "/a".repeat(4000);
    read(&[(&many, &many)]);
}

/// What careless readers make of a path, each in its own way.
fn other_readings(path: &str) -> Vec<String> {
    let decoded = loosely_decoded(path);
    let twice = loosely_decoded(&decoded);
    let of = |path: &str| {
        let slashes = path.replace('\\', "/");
        let unparametered: Vec<&str> =
            slashes.split('/').map(|segment| segment.split(';').next().unwrap()).collect();
        let mut resolved: Vec<&str> = Vec::new();
        for segment in &unparametered {
            match *segment {
                "." => {}
                ".." => drop(resolved.pop()),
                segment => resolved.push(segment),
            }
        }
        let collapsed: Vec<&str> = resolved
            .iter()
            .enumerate()
            .filter(|(i, segment)| {
                !segment.is_empty() || *i == 0 || *i == resolved.len().saturating_sub(1)
            })
            .map(|(_, segment)| *segment)
            .collect();
        collapsed.join("/")
    };
    vec![of(&decoded), of(&twice), of(&loosely_decoded(&of(path)))]
}

fn loosely_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        let pair = bytes.get(i + 1..i + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if bytes[i] == b'%' => {
                decoded.push(byte);
                i += 3;
            }
            _ => {
                decoded.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hostile_path() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a", "B", "7", "-", "/", "/", "/", "//", ".", "..", "%2f", "%2F", "%5c", "\\", "%2e",
        "%25", "%252f", "2f", "%00", "%20", ";", "%3b", "%c0%af", "%C3%A9", "%", "%4", "%40", "@",
        "%61", "é", "%e2", "~", "*", "%3F", "%23",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn an_accepted_target_is_its_own_reading(path in hostile_path(), query in "(\\?[ -~&&[^#]]{0,12})?") {
        if let Ok(target) = Target::parse(&format!("{path}{query}")) {
            prop_assert_eq!(Target::parse(target.as_str()), Ok(target.clone()));
            prop_assert_eq!(target.as_str(), format!("{path}{query}"));
        }
    }

    #[test]
    fn an_accepted_path_has_no_second_reading(path in hostile_path()) {
        if let Ok(target) = Target::parse(&path) {
            for other in other_readings(&path) {
                prop_assert_eq!(&other, target.path());
            }
        }
    }

    #[test]
    fn reading_never_panics(text in ".{0,64}") {
        let _ = Target::parse(&text).is_ok();
    }
}

#[test]
fn the_generator_of_hostile_paths_makes_acceptable_ones_too() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let accepted = (0..1000)
        .filter(|_| {
            let path = hostile_path().new_tree(&mut runner).unwrap().current();
            Target::parse(&path).is_ok_and(|target| target.path().len() > 3)
        })
        .count();
    assert!(accepted > 20, "{accepted} of 1000");
}

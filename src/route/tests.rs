use proptest::prelude::*;

use super::*;

fn route(pattern: &str, access: Access) -> Route {
    Route {
        name: pattern.into(),
        pattern: Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")),
        access,
        upstream: 0,
        timeout: Duration::from_secs(1),
        body_limit: 0,
        tunnel: None,
        rewrite: None,
        counts: Counts::default(),
        callers: Default::default(),
    }
}

const KEPT: Access = Access::Denied(StatusCode::NOT_FOUND);

/// A table of routes that are free, or kept (which to the table is all that priced means) if they begin with `$`.
fn table(patterns: &[&str]) -> Table {
    Table::new(patterns.iter().map(|pattern| read(pattern)).collect()).unwrap()
}

fn read(pattern: &str) -> Route {
    match pattern.strip_prefix('$') {
        Some(pattern) => route(pattern, KEPT),
        None => route(pattern, Access::Free),
    }
}

#[track_caller]
fn finds(table: &Table, cases: &[(&str, &str)]) {
    for (request, expected) in cases {
        let (method, path) = request.split_once(' ').unwrap();
        let found = match table.find(&method.parse().unwrap(), path) {
            Match::Found(route) => route.name.to_string(),
            Match::WrongMethod { allow } => format!("405 {}", allow.to_str().unwrap()),
            Match::LookAlike => "400".to_owned(),
            Match::Unmatched => "404".to_owned(),
        };
        assert_eq!(found, *expected, "{request}");
    }
}

#[test]
fn a_route_takes_its_methods_and_paths() {
    let table = table(&["GET /weather/{city}", "POST /chat/*", "ANY /", "GET /i/img-{id}.png"]);
    finds(
        &table,
        &[
            ("GET /weather/rome", "GET /weather/{city}"),
            ("GET /weather/são paulo", "GET /weather/{city}"),
            ("GET /weather/", "404"),
            ("GET /weather", "404"),
            ("GET /weather/rome/now", "404"),
            ("POST /chat/", "POST /chat/*"),
            ("POST /chat/a/b/", "POST /chat/*"),
            ("POST /chat", "404"),
            ("DELETE /", "ANY /"),
            ("GET /i/img-7.png", "GET /i/img-{id}.png"),
            ("GET /i/img-.png", "404"),
            ("GET /i/img-7.jpg", "404"),
        ],
    );
}

#[test]
fn head_is_found_as_get() {
    finds(
        &table(&["GET /a", "POST /b", "ANY /c"]),
        &[("HEAD /a", "GET /a"), ("HEAD /b", "405 POST"), ("HEAD /c", "ANY /c")],
    );
}

#[test]
fn e15_the_most_specific_path_wins_whatever_the_order() {
    let mut patterns = vec![
        "ANY /*",
        "GET /a/*",
        "GET /a/{x}",
        "GET /a/b",
        "GET /a/b{x}",
        "GET /a/bc{x}",
        "GET /a/{x}/c",
        "GET /{x}/b/c",
    ];
    for _ in 0..patterns.len() {
        patterns.rotate_left(1);
        finds(
            &table(&patterns),
            &[
                ("GET /a/b", "GET /a/b"),
                ("GET /a/bx", "GET /a/b{x}"),
                ("GET /a/bcx", "GET /a/bc{x}"),
                ("GET /a/bc", "GET /a/b{x}"),
                ("GET /a/x", "GET /a/{x}"),
                ("GET /a/b/c", "GET /a/{x}/c"),
                ("GET /z/b/c", "GET /{x}/b/c"),
                ("GET /a/b/d", "GET /a/*"),
                ("GET /a/", "GET /a/*"),
                ("GET /z", "ANY /*"),
                ("GET /", "ANY /*"),
            ],
        );
    }
}

#[test]
fn an_exact_method_beats_any_and_a_missing_one_is_never_a_less_specific_route() {
    finds(
        &table(&["ANY /*", "GET /a", "ANY /b", "POST /b", "PUT /c", "GET /c"]),
        &[
            ("POST /a", "405 GET, HEAD"),
            ("POST /b", "POST /b"),
            ("GET /b", "ANY /b"),
            ("POST /c", "405 PUT, GET, HEAD"),
            ("POST /d", "ANY /*"),
        ],
    );
}

#[test]
fn e16_what_matches_nothing_is_unmatched() {
    let routes = table(&["GET /free/*", "$GET /paid/{x}"]);
    finds(&routes, &[("GET /other", "404"), ("GET /free/x", "GET /free/*"), ("GET /paid", "404")]);
    finds(&table(&[]), &[("GET /", "404")]);
}

#[test]
fn e05_a_free_path_that_looks_like_a_priced_one_is_refused() {
    let first = table(&["ANY /*", "$GET /paid/x", "$GET /Chat/*", "GET /docs", "$GET /users/me"]);
    finds(
        &first,
        &[
            ("GET /PAID/x", "400"),
            ("GET /Paid/X", "400"),
            ("GET /paid/x/", "400"),
            ("GET /chat/a", "400"),
            // An upstream's `/Chat/*` may well take this.
            ("GET /Chat", "400"),
            ("GET /paid/x", "GET /paid/x"),
            ("GET /Chat/a", "GET /Chat/*"),
            ("GET /Chat/A", "GET /Chat/*"),
            ("GET /paid/xy", "ANY /*"),
            // Free and free: nothing is lost.
            ("GET /DOCS", "ANY /*"),
            ("GET /docs/", "ANY /*"),
        ],
    );
    // `/docs/` is free and `/docs` is not; to many an upstream they are one.
    finds(
        &table(&["$ANY /*", "GET /docs/*", "GET /help/*", "GET /help"]),
        &[
            ("GET /docs/", "400"),
            ("GET /docs/a", "GET /docs/*"),
            ("GET /help/", "GET /help/*"),
            ("GET /help", "GET /help"),
        ],
    );
    let only = table(&["$GET /paid/x", "$GET /users/me", "$GET /Users/{id}"]);
    finds(
        &only,
        &[("GET /PAID/x", "404"), ("GET /Users/me", "400"), ("GET /Users/you", "GET /Users/{id}")],
    );
}

#[test]
fn paths_that_differ_only_in_case_or_a_last_slash_may_both_be_routes() {
    finds(
        &table(&["GET /a", "$GET /a/", "$GET /A", "$GET /b/*", "GET /b"]),
        &[
            ("GET /a", "GET /a"),
            ("GET /a/", "GET /a/"),
            ("GET /A", "GET /A"),
            ("GET /b", "GET /b"),
            ("GET /b/", "GET /b/*"),
        ],
    );
}

#[test]
fn routes_without_an_order_clash() {
    let clashes = |patterns: &[&str]| {
        let clashes = Table::new(patterns.iter().map(|pattern| read(pattern)).collect());
        clashes.map(|_| ()).map_err(|clashes| {
            clashes.iter().map(|clash| (clash.kind, clash.first, clash.second)).collect::<Vec<_>>()
        })
    };
    assert_eq!(
        clashes(&["GET /a", "GET /b/{x}", "GET /b/{y}", "GET /a", "POST /a", "ANY /a", "ANY /a"]),
        Err(vec![(ClashKind::Equal, 1, 2), (ClashKind::Equal, 0, 3), (ClashKind::Equal, 5, 6)])
    );
    assert_eq!(
        clashes(&["GET /{x}b", "GET /c", "GET /a{x}", "GET /{x}"]),
        Err(vec![(ClashKind::Unordered, 0, 2)])
    );
    assert_eq!(clashes(&["GET /Ab{x}", "GET /a{x}c"]), Err(vec![(ClashKind::Unordered, 0, 1)]));
    assert_eq!(clashes(&["GET /{x}b", "GET /a{x}b", "GET /c/a{x}", "GET /{x}"]), Ok(()));
    assert_eq!(clashes(&["GET /a/{x}", "GET /a/*", "GET /a/{x}/{y}", "GET /caf%C3%A9"]), Ok(()));
    assert_eq!(clashes(&["GET /caf%C3%A9", "GET /caf%c3%a9"]), Err(vec![(ClashKind::Equal, 0, 1)]));
}

#[test]
fn a_pattern_is_shown_as_it_is_written() {
    for text in ["GET /v1/weather/{city}", "ANY /internal/*", "POST /", "OPTIONS /*"] {
        assert_eq!(Pattern::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn a_pattern_says_what_is_wrong_with_it() {
    for (text, message) in [
        ("/weather", "expected a method and a path, such as `GET /weather`"),
        ("GET", "expected a method and a path, such as `GET /weather`"),
        ("get /a", "`get` is not upper case: methods are, such as `GET`"),
        ("HEAD /a", "a route for `GET` takes `HEAD` too, at the same price: write `GET`"),
        (
            "TRACE /a",
            "`TRACE` is not a method the gateway serves: expected GET, POST, PUT, PATCH, DELETE, OPTIONS or ANY",
        ),
        ("GET weather", "the path does not start with `/`"),
        ("GET  /a", "the path does not start with `/`"),
        ("GET /a?b=1", "a path has no query: parameters behind `?` play no part in matching"),
        ("GET /a*", "`*` stands alone as the last segment, such as `/v1/chat/*`"),
        ("GET /*/a", "`*` stands alone as the last segment, such as `/v1/chat/*`"),
        ("GET /a/**", "`*` stands alone as the last segment, such as `/v1/chat/*`"),
        ("GET /{a", "`{a` is not one parameter such as `{city}`, with or without text around it"),
        ("GET /a}", "`a}` is not one parameter such as `{city}`, with or without text around it"),
        (
            "GET /{a}{b}",
            "`{a}{b}` is not one parameter such as `{city}`, with or without text around it",
        ),
        ("GET /{*rest}", "`*rest` is not a parameter's name: expected letters, digits and `_`"),
        ("GET /{}", "`` is not a parameter's name: expected letters, digits and `_`"),
        ("GET /{a}/{a}", "the parameter `a` stands twice in the path"),
        ("GET /a//b", "the path has an empty segment: no request with such a path is let in"),
        ("GET //*", "the path has an empty segment: no request with such a path is let in"),
        ("GET /../a", "the path has a `.` or `..` segment: no request with such a path is let in"),
        (
            "GET /a%2Fb",
            "the path has an encoded slash or backslash: no request with such a path is let in",
        ),
        (
            "GET /é",
            "the request target has a character that must be percent-encoded: no request with such a path is let in",
        ),
        ("GET /a/{x};v", "the path has a `;`: no request with such a path is let in"),
    ] {
        assert_eq!(Pattern::parse(text).unwrap_err().to_string(), message, "{text}");
    }
}

/// How a pattern takes a path, worked out without the tree: the rank of each of its segments, lower is more specific.
fn rank(pattern: &str, path: &str) -> Option<Vec<(u8, usize)>> {
    let pieces: Vec<&str> = pattern.split_once(' ').unwrap().1.split('/').skip(1).collect();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let is_open = pieces.last() == Some(&"*");
    if segments.len() < pieces.len() || (!is_open && segments.len() > pieces.len()) {
        return None;
    }
    pieces
        .iter()
        .zip(&segments)
        .map(|(piece, segment)| match piece.split_once('{') {
            _ if *piece == "*" => Some((3, 0)),
            None => (piece == segment).then_some((0, 0)),
            Some((prefix, behind)) => {
                let suffix = behind.split_once('}').unwrap().1;
                let takes = segment.len() > prefix.len() + suffix.len()
                    && segment.starts_with(prefix)
                    && segment.ends_with(suffix);
                let literals = prefix.len() + suffix.len();
                takes.then_some(if literals == 0 { (2, 0) } else { (1, usize::MAX - literals) })
            }
        })
        .collect()
}

fn naive<'p>(patterns: &[&'p str], path: &str) -> Option<&'p str> {
    let ranked = patterns.iter().filter_map(|pattern| Some((rank(pattern, path)?, *pattern)));
    ranked.min().map(|(_, pattern)| pattern)
}

fn patterns() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(
        vec![
            "GET /*",
            "GET /",
            "GET /a",
            "GET /a/",
            "GET /A",
            "GET /{x}",
            "GET /{x}/",
            "GET /a/b",
            "GET /a/B",
            "GET /a/{x}",
            "GET /{x}/b",
            "GET /a/*",
            "GET /a/b/*",
            "GET /{x}/b/*",
            "GET /a{x}",
            "GET /ab{x}",
            "GET /a{x}/b",
            "GET /a/b{x}a",
            "GET /a/{x}/c",
            "GET /A/{x}/*",
            "GET /a/b/c",
        ],
        0..21,
    )
    .prop_shuffle()
}

proptest! {
    #[test]
    fn e15_the_tree_agrees_with_a_naive_reading(
        patterns in patterns(),
        path in prop::collection::vec(prop::sample::select(vec!["a", "b", "A", "B", "c", "ab", "bxa", ""]), 1..5),
    ) {
        let path = format!("/{}", path.join("/"));
        let table = table(&patterns);
        let found = match table.find(&Method::GET, &path) {
            Match::Found(route) => Some(route.name.to_string()),
            _ => None,
        };
        prop_assert_eq!(found.as_deref(), naive(&patterns, &path));
    }

    #[test]
    fn e05_a_careless_upstream_serves_nothing_that_is_kept(
        free in patterns(),
        kept in patterns(),
        path in prop::collection::vec(prop::sample::select(vec!["a", "b", "A", "B", "c", "ab", "bxa"]), 1..4),
        slash in prop::sample::select(vec!["", "/"]),
    ) {
        let path = format!("/{}{slash}", path.join("/"));
        let free: Vec<&str> = free.into_iter().filter(|pattern| !kept.contains(pattern)).collect();
        let routes = free.iter().map(|pattern| route(pattern, Access::Free));
        let table = Table::new(routes.chain(kept.iter().map(|pattern| route(pattern, KEPT))).collect()).unwrap();
        if let Match::Found(found) = table.find(&Method::GET, &path)
            && matches!(found.access, Access::Free)
        {
            // An upstream that knows neither case nor a last slash, with the same routes.
            let fold = |text: &str| text.to_lowercase().trim_end_matches('/').to_owned();
            let folded: Vec<String> = free.iter().chain(&kept).map(|pattern| format!("get {}", fold(&pattern[4..]))).collect();
            let folded: Vec<&str> = folded.iter().map(String::as_str).collect();
            let served = naive(&folded, &fold(&path));
            let is_own = served == Some(&format!("get {}", fold(&found.name[4..])));
            let is_free_there = kept.iter().all(|pattern| Some(format!("get {}", fold(&pattern[4..])).as_str()) != served);
            prop_assert!(is_own || is_free_there, "{path} is {} here and {served:?} there", found.name);
        }
    }
}

use http::Request;

use super::*;

/// What the upstream sees of these headers, as `name: value` lines in the order of the names.
fn seen(headers: &[(&str, &str)], set: &[(&'static str, &'static str)]) -> Vec<String> {
    let mut request = Request::builder().uri("http://gw/x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut head = request.body(()).unwrap().into_parts().0;
    head.extensions.insert(SocketAddr::from(([192, 0, 2, 1], 4711)));
    let set: Vec<_> = set
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let changes = HeaderChanges { set: set.clone(), remove: Vec::new() };
    prepare_request(&mut head, &changes, None).unwrap();
    let own = ["x-forwarded-for: 192.0.2.1", "x-forwarded-proto: http", "x-forwarded-host: gw"];
    let mut lines = lines(&head.headers);
    if set.is_empty() {
        lines.retain(|line| !own.contains(&line.as_str()));
    }
    lines
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let line =
        |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let mut lines: Vec<String> = headers.iter().map(line).collect();
    lines.sort_by_key(|line| line.split(':').next().unwrap().to_owned());
    lines
}

#[test]
fn ordinary_headers_pass_with_their_duplicates_in_order() {
    let headers = [
        ("host", "gw"),
        ("cookie", "b=1"),
        ("cookie", "a=2"),
        ("x-api-key", "k"),
        ("trailer", "digest"),
        ("accept-encoding", "gzip"),
        ("x_custom", "y"),
        ("content-length", "3"),
    ];
    let seen = seen(&headers, &[]);
    assert_eq!(
        seen,
        [
            "accept-encoding: gzip",
            "content-length: 3",
            "cookie: b=1",
            "cookie: a=2",
            "host: gw",
            "trailer: digest",
            "x-api-key: k",
            "x_custom: y",
        ]
    );
}

#[test]
fn the_cookies_of_an_http2_client_become_one_header_in_http1() {
    let cookies = |version| {
        let mut request = Request::new(());
        *request.version_mut() = version;
        for cookie in ["a=1", "b=2; c=3"] {
            request.headers_mut().append(header::COOKIE, HeaderValue::from_static(cookie));
        }
        fit_h1(&mut request, &Authority::from_static("upstream:1")).unwrap();
        lines(request.headers())
    };
    assert_eq!(cookies(Version::HTTP_2), ["cookie: a=1; b=2; c=3", "host: upstream:1"]);
    assert_eq!(cookies(Version::HTTP_11), ["cookie: a=1", "cookie: b=2; c=3", "host: upstream:1"]);
}

#[test]
fn a_request_fits_one_protocol_and_then_the_other() {
    let upstream = Authority::from_static("upstream:1");
    let mut request = Request::get("http://gw/a?b").header("host", "gw").body(()).unwrap();
    fit_h2(&mut request, Scheme::HTTPS, &upstream).unwrap();
    assert_eq!(
        (request.version(), request.uri().to_string().as_str()),
        (Version::HTTP_2, "https://gw/a?b")
    );
    assert_eq!(lines(request.headers()), Vec::<String>::new());
    fit_h1(&mut request, &upstream).unwrap();
    assert_eq!((request.version(), request.uri().to_string().as_str()), (Version::HTTP_11, "/a?b"));
    assert_eq!(lines(request.headers()), ["host: gw"]);
}

#[test]
fn trailers_say_nothing_of_framing_payments_or_who_somebody_is() {
    let mut trailers = HeaderMap::new();
    for name in ["grpc-status", "x-sum", "content-length", "payment-receipt", "authorization"] {
        trailers.append(name, HeaderValue::from_static("1"));
    }
    strip_trailers(&mut trailers);
    assert_eq!(lines(&trailers), ["grpc-status: 1", "x-sum: 1"]);
}

#[test]
fn h01_nominated_headers_go_before_the_gateway_sets_its_own() {
    let headers = [
        ("host", "gw"),
        ("connection", "close, Authorization, X-Forwarded-For,host"),
        ("connection", "x-internal-auth, X-Hop"),
        ("authorization", "Bearer b"),
        ("x-hop", "1"),
        ("x-keep", "1"),
    ];
    assert_eq!(
        seen(&headers, &[("x-internal-auth", "secret")]),
        [
            "host: gw",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: gw",
            "x-forwarded-proto: http",
            "x-internal-auth: secret",
            "x-keep: 1",
        ]
    );
}

#[test]
fn hop_by_hop_headers_stay() {
    let headers = [
        ("keep-alive", "1"),
        ("proxy-connection", "x"),
        ("te", "gzip"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
        ("proxy-authorization", "x"),
        ("expect", "100-continue"),
    ];
    assert_eq!(seen(&headers, &[]), Vec::<String>::new());
    assert_eq!(seen(&[("te", "gzip, trailers")], &[]), ["te: trailers"]);
}

#[test]
fn h02_a_client_cannot_say_where_it_comes_from_nor_what_it_meant() {
    let headers = [
        ("host", "gw"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x_forwarded_for", "10.0.0.1"),
        ("x-forwarded-prefix", "/admin"),
        ("X-Forwarded_Host", "evil"),
        ("forwarded", "for=10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("x_real_ip", "10.0.0.1"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/paid"),
        ("x_rewrite_url", "/paid"),
    ];
    assert_eq!(
        seen(&headers, &[("x-set", "1")]),
        [
            "host: gw",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: gw",
            "x-forwarded-proto: http",
            "x-set: 1",
        ]
    );
}

#[test]
fn h03_payments_stay_and_other_credentials_pass() {
    let headers = [
        ("payment-signature", "x"),
        ("x-payment", "x"),
        ("x_payment", "x"),
        ("payment_signature", "x"),
        ("payment-authorization", "x"),
        ("payment-channel", "x"),
        ("authorization", "Bearer one"),
        ("authorization", "PAYMENT abc"),
        ("authorization", " payment\tabc"),
        ("authorization", "Payments two"),
    ];
    assert_eq!(seen(&headers, &[]), ["authorization: Bearer one", "authorization: Payments two"]);
    assert_eq!(seen(&[("authorization", "Payment abc")], &[]), Vec::<String>::new());
}

#[test]
fn configured_headers_replace_the_clients() {
    let seen = seen(&[("authorization", "Bearer client")], &[("authorization", "Bearer own")]);
    assert!(seen.contains(&"authorization: Bearer own".to_owned()), "{seen:?}");
    assert!(!seen.contains(&"authorization: Bearer client".to_owned()), "{seen:?}");
}

#[test]
fn h05_an_upstream_cannot_speak_for_the_gateway() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("payment-required", "x"),
        ("payment-response", "x"),
        ("x-payment-response", "x"),
        ("payment_response", "x"),
        ("payment-receipt", "x"),
        ("payment-next", "x"),
        ("settlement-overrides", "x"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("etag", "\"e\""),
        ("www-authenticate", "Payment id=\"x\", realm=\"y\""),
        ("www-authenticate", "Basic realm=\"z\""),
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    strip_response(&mut headers);
    assert_eq!(
        lines(&headers),
        [
            "etag: \"e\"",
            "set-cookie: a=1",
            "set-cookie: b=2",
            "www-authenticate: Basic realm=\"z\""
        ]
    );
}

#[test]
fn a_payment_challenge_is_taken_out_of_a_list_of_challenges() {
    for (value, kept) in [
        ("Payment", None),
        ("payment id=\"a, Basic b\", x=y", None),
        ("Basic realm=\"Payment x\"", Some("Basic realm=\"Payment x\"")),
        (
            "Basic realm=\"a\", Payment id=\"b\", method=\"c\", Bearer",
            Some("Basic realm=\"a\", Bearer"),
        ),
        (
            "Payment id=x, Digest realm=\"a\\\", Payment\", nonce=1",
            Some("Digest realm=\"a\\\", Payment\", nonce=1"),
        ),
        ("Digest payment=1, nonce = 2", Some("Digest payment=1, nonce = 2")),
        ("Bearer abc==, Payment x==", Some("Bearer abc==")),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(value));
        strip_response(&mut headers);
        assert_eq!(
            headers.get(header::WWW_AUTHENTICATE).map(|kept| kept.to_str().unwrap()),
            kept,
            "{value}"
        );
    }
}

#[test]
fn what_the_operator_sets_has_no_twin_with_underscores() {
    let headers = [("x_api_key", "forged"), ("x-api_key", "forged"), ("x_api", "stays")];
    let lines = seen(&headers, &[("x-api-key", "own")]);
    assert!(lines.contains(&"x-api-key: own".to_owned()), "{lines:?}");
    assert!(lines.contains(&"x_api: stays".to_owned()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.ends_with("forged")), "{lines:?}");
}

#[test]
fn what_the_operator_removes_is_gone_and_what_a_route_sets_holds() {
    let header = |name: &'static str, value: &'static str| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let of_upstream = HeaderChanges {
        set: vec![header("x-key", "upstream"), header("x-team", "upstream")],
        remove: vec![HeaderName::from_static("cookie")],
    };
    let of_route = HeaderChanges {
        set: vec![header("x-key", "route")],
        remove: ["x-forwarded-for", "x-debug", "x-team"].map(HeaderName::from_static).to_vec(),
    };
    let request = Request::builder().uri("http://gw/x").header("cookie", "a").header("x-tea", "t");
    let request = request.header("x_debug", "1").header("x-team", "client");
    let mut head = request.body(()).unwrap().into_parts().0;
    head.extensions.insert(SocketAddr::from(([192, 0, 2, 1], 4711)));
    let rewrite = Rewrite { strip_prefix: None, headers: of_route };
    prepare_request(&mut head, &of_upstream, Some(&rewrite)).unwrap();
    assert_eq!(
        lines(&head.headers),
        ["x-forwarded-proto: http", "x-key: route", "x-tea: t", "x-team: upstream"]
    );
}

#[test]
fn an_answer_does_not_tell_where_else_the_service_is() {
    let mut headers = HeaderMap::new();
    headers.insert(header::ALT_SVC, HeaderValue::from_static("h3=\":443\""));
    headers.insert(header::ETAG, HeaderValue::from_static("x"));
    strip_response(&mut headers);
    assert_eq!(lines(&headers), ["etag: x"]);
}

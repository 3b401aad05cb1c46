use http::HeaderValue;

use super::*;

const PAY: &str = r#"Payment id="i", realm="r", method="stellar", intent="charge", request="e30""#;

/// What the lines hold: a challenge's id, or its error.
fn read(lines: &[&str]) -> Vec<String> {
    let lines: Vec<HeaderValue> =
        lines.iter().map(|line| HeaderValue::from_bytes(line.as_bytes()).unwrap()).collect();
    parse_challenges(&lines)
        .into_iter()
        .map(|found| found.map_or_else(|error| error.to_string(), |found| found.id.to_string()))
        .collect()
}

/// The one challenge of `line`.
fn one(line: &str) -> Challenge {
    let mut found = parse_challenges([&HeaderValue::from_bytes(line.as_bytes()).unwrap()]);
    assert_eq!(found.len(), 1, "{line}");
    found.pop().unwrap().expect(line)
}

#[test]
fn what_is_written_is_read() {
    let challenge = issued(|parts| parts.header = CredentialHeader::PaymentAuthorization);
    let read = one(challenge.to_header().to_str().unwrap());
    assert_eq!(members(&read), members(&challenge));
}

#[test]
fn challenges_are_found_on_many_lines_and_on_one() {
    let other = PAY.replace("\"i\"", "\"j\"");
    assert_eq!(read(&[PAY, &other]), ["i", "j"]);
    assert_eq!(read(&[&format!("{PAY}, {other}")]), ["i", "j"]);
    assert_eq!(read(&[&format!("{PAY} ,, ,{other},")]), ["i", "j"]);
    assert!(read(&[]).is_empty());
}

#[test]
fn other_schemes_are_passed_over() {
    for line in [
        format!(r#"Basic realm="x", {PAY}"#),
        format!(r#"{PAY}, Basic realm="x", charset="UTF-8""#),
        format!(r#"Basic realm="Payment id=\"z\", method=\"m\"", {PAY}, Bearer"#),
        format!("Negotiate abc==, {PAY}, NTLM, Bearer scope=a"),
        format!(r#"Digest qop="auth, auth-int", payment="x", {PAY}"#),
        format!("Bearer x, {PAY}"),
    ] {
        assert_eq!(read(&[&line]), ["i"], "{line}");
    }
    for line in
        ["", ",", "Basic realm=\"Payment id=i\"", "Payments id=i", "PaymentX id=i", "\"Payment\""]
    {
        assert!(read(&[line]).is_empty(), "{line}");
    }
}

#[test]
fn spelling_is_free_where_the_grammar_has_it_so() {
    for line in [
        r#"pAyMeNt ID = "i" ,realm= "r",METHOD="stellar" , Intent="charge",request="e30""#,
        "Payment id=i, realm=r, method=stellar, intent=charge, request=e30",
        "Payment\tid=i,\trealm=r,method=stellar,intent=charge,request=e30",
        r#"Payment request="e30", intent="charge", method="stellar", realm="r", id="i""#,
        r#"Payment id="\i", realm="r", method="stellar", intent="charge", request="e\30""#,
        r#"Payment id="i", realm="r", method="stellar", intent="charge", request="e30", later="x, y", z=1"#,
    ] {
        let challenge = one(line);
        assert_eq!(challenge.id.as_str(), "i", "{line}");
        assert_eq!((&*challenge.realm, &*challenge.request), ("r", "e30"), "{line}");
    }
}

#[test]
fn quoted_strings_hold_commas_quotes_backslashes_and_escaped_units() {
    for (quoted, text) in [
        (r#"a, Payment b="c""#, None),
        (r"a, Payment b=c", Some("a, Payment b=c")),
        (r#"say \"hi\" \\ ok"#, Some(r#"say "hi" \ ok"#)),
        (r"\a\,\ ", Some("a, ")),
        ("", Some("")),
        (r"\u2014", Some("—")),
        (r"x\ud83d\ude00y", Some("x😀y")),
        (r"\\u2014", Some(r"\u2014")),
        (r"\u20", Some("u20")),
        (r"\u+123", Some("u+123")),
        (r"\ud83d", None),
        (r"\ude00\ud83d", None),
    ] {
        let line = format!(r#"{PAY}, description="{quoted}""#);
        let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
        let found = parse_challenges([&value]).swap_remove(0);
        assert_eq!(found.ok().and_then(|found| found.description).as_deref(), text, "{line}");
    }
    let line = HeaderValue::from_bytes(&[PAY.as_bytes(), b", description=\"caf\xe9\""].concat());
    let found = parse_challenges([&line.unwrap()]).swap_remove(0).unwrap();
    assert_eq!(found.description.as_deref(), Some("café"));
}

#[test]
fn a_malformed_challenge_says_why_and_hides_no_other() {
    let with = |parameter: &str| format!("{PAY}, {parameter}");
    let without = |parameter: &str| PAY.replace(parameter, "x=y");
    for (line, error) in [
        (without(r#"id="i""#), "`id` is missing or not as it must be"),
        (PAY.replace(r#"id="i""#, r#"id="""#), "`id` is missing or not as it must be"),
        (without(r#"realm="r""#), "`realm` is missing or not as it must be"),
        (without(r#"method="stellar""#), "`method` is missing or not as it must be"),
        (PAY.replace("stellar", "Stellar"), "`method` is missing or not as it must be"),
        (PAY.replace("stellar", "1st"), "`method` is missing or not as it must be"),
        (without(r#"intent="charge""#), "`intent` is missing or not as it must be"),
        (without(r#"request="e30""#), "`request` is missing or not as it must be"),
        (PAY.replace("e30", &"e".repeat(16_385)), "longer than 16384 bytes"),
        (with("id=i"), "a parameter stands twice"),
        (with("ID=i"), "a parameter stands twice"),
        (with("x=1, X=2"), "a parameter stands twice"),
        (with("digest=\"sha-512=x\""), "`digest` is missing or not as it must be"),
        (with("expires=tomorrow"), "`expires` is missing or not as it must be"),
        (with("header=Cookie"), "`header` is missing or not as it must be"),
        (with("description="), "not a list of `name=\"value\"`"),
        (with("description=a b"), "not a list of `name=\"value\"`"),
        (with("description=\"a\"b"), "not a list of `name=\"value\"`"),
        (with("=x"), "not a list of `name=\"value\"`"),
        (with("\"x\""), "not a list of `name=\"value\"`"),
        ("Payment e30".to_owned(), "not a list of `name=\"value\"`"),
        ("Payment e30==".to_owned(), "`id` is missing or not as it must be"),
        ("Payment".to_owned(), "`id` is missing or not as it must be"),
    ] {
        assert_eq!(read(&[&format!("{PAY}, {line}, {PAY}")]), ["i", error, "i"], "{line:.200}");
    }
    // A string that does not end takes what follows it along.
    assert_eq!(read(&[&with("description=\"x"), PAY]), ["not a list of `name=\"value\"`", "i"]);
    assert_eq!(read(&[&with("description=\"x\\\""), PAY]), ["not a list of `name=\"value\"`", "i"]);
}

#[test]
fn the_largest_request_is_read() {
    assert_eq!(one(&PAY.replace("e30", &"e".repeat(16_384))).request.len(), 16_384);
}

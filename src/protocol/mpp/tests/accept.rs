use http::HeaderMap;

use super::*;

const OFFERS: [(&str, &str); 2] = [("stellar", "charge"), ("stellar", "channel")];

/// The offers in the order that `header` puts them in, by their intents.
fn ranked(header: &str) -> Vec<&'static str> {
    let order = AcceptPayment::parse(header).expect(header).rank(&OFFERS);
    order.into_iter().map(|index| OFFERS[index].1).collect()
}

#[test]
fn offers_are_ranked_by_weight_and_then_as_the_server_has_them() {
    for (header, order) in [
        ("stellar/charge", ["charge"].as_slice()),
        ("stellar/channel", &["channel"]),
        ("stellar/channel, stellar/charge", &["charge", "channel"]),
        ("stellar/charge;q=0.5, */*", &["channel", "charge"]),
        ("stellar/charge, stellar/channel;q=0.5", &["charge", "channel"]),
        ("stellar/charge;q=0.5, stellar/channel;q=0.501", &["channel", "charge"]),
        ("*/*", &["charge", "channel"]),
        ("stellar/*;q=0.1", &["charge", "channel"]),
        ("*/channel", &["channel"]),
        ("*/*, stellar/charge;q=0", &["channel"]),
        ("stellar/*, */*;q=0", &["charge", "channel"]),
        // Of two ranges that are alike the one that weighs more counts.
        ("stellar/charge;q=0.1, stellar/charge, stellar/channel;q=0.5", &["charge", "channel"]),
        ("tempo/charge, stellar/charge;q=0.2", &["charge"]),
        (" stellar / charge ; Q = 0.5 ; x=y ;; , ,*/*;q=1.000", &["channel", "charge"]),
        // Nothing is left: the whole set.
        ("tempo/charge", &["charge", "channel"]),
        ("stellar/charge;q=0", &["charge", "channel"]),
        ("*/*;q=0.000", &["charge", "channel"]),
    ] {
        assert_eq!(ranked(header), order, "{header}");
    }
    assert!(AcceptPayment::parse("*/*").unwrap().rank(&[]).is_empty());
}

#[test]
fn a_malformed_list_counts_as_none() {
    for header in [
        "",
        " , ",
        "stellar",
        "stellar/",
        "/charge",
        "stellar/charge/x",
        "Stellar/charge",
        "stellar/charge;q",
        "stellar/charge;q=",
        "stellar/charge;=1",
        "stellar/charge;q=2",
        "stellar/charge;q=1.001",
        "stellar/charge;q=0.1234",
        "stellar/charge;q=-0",
        "stellar/charge;q=.5",
        "stellar/charge;q=0.5=1",
        "stellar/charge;q=0,5",
        "stellar/charge;q=1e0",
        "stellar/charge, tempo",
        "stéllar/charge",
    ] {
        assert_eq!(AcceptPayment::parse(header), None, "{header}");
    }
    assert!(AcceptPayment::parse("stellar/charge;q=0.").is_some());
}

#[test]
fn lines_are_read_as_one_list_and_one_bad_line_spoils_it() {
    let read = |lines: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT_PAYMENT, http::HeaderValue::from_static(line));
        }
        AcceptPayment::from_headers(&headers)
    };
    assert_eq!(read(&[]), None);
    assert_eq!(
        read(&["stellar/charge;q=0.5", "*/*"]),
        AcceptPayment::parse("stellar/charge;q=0.5,*/*")
    );
    assert_eq!(read(&["*/*", "!"]), None);
}

#[test]
fn a_session_is_offered_beside_a_channel_to_who_names_it() {
    let offers = [("stellar", "charge"), ("stellar", "channel"), ("stellar", "session")];
    let session = ("stellar", channel::SESSION_INTENT);
    for (header, names, order) in [
        ("stellar/channel, stellar/session", true, [1, 2].as_slice()),
        ("stellar/session, stellar/channel;q=0.5", true, &[2, 1]),
        ("stellar/session;q=0.1, */*", true, &[0, 1, 2]),
        ("stellar/session", true, &[2]),
        ("stellar/channel", false, &[1]),
        ("stellar/*", false, &[0, 1, 2]),
        ("*/session", false, &[2]),
        ("*/*", false, &[0, 1, 2]),
        ("stellar/session;q=0, */*", false, &[0, 1]),
        ("tempo/session, stellar/channel", false, &[1]),
    ] {
        let accept = AcceptPayment::parse(header).unwrap();
        assert_eq!(accept.names(session), names, "{header}");
        assert_eq!(accept.rank(&offers), order, "{header}");
    }
}

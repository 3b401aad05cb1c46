//! `Accept-Payment`: which of the offers a client can pay, and which it likes best.

use std::cmp::Reverse;

use http::HeaderMap;

use super::ACCEPT_PAYMENT;

/// A client's list of `method/intent;q=…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptPayment(Vec<Range>);

impl AcceptPayment {
    /// Reads the header of a request, several lines as one list; `None` if there is none or it is malformed.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut ranges = Vec::new();
        for line in headers.get_all(ACCEPT_PAYMENT) {
            ranges.extend(Self::parse(line.to_str().ok()?)?.0);
        }
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// Reads a list; `None` if it is malformed or empty.
    #[must_use]
    pub fn parse(list: &str) -> Option<Self> {
        let ranges: Vec<Range> = list
            .split(',')
            .map(trim)
            .filter(|range| !range.is_empty())
            .map(Range::parse)
            .collect::<Option<_>>()?;
        (!ranges.is_empty()).then_some(Self(ranges))
    }

    /// Puts `offers`, pairs of method and intent, into the order to send them in: by their indices.
    ///
    /// An offer counts as much as the most specific range that it falls in says; offers that count alike stay in order,
    /// those that count nothing are left out. If that leaves none, all are sent: the client may know more than it said.
    #[must_use]
    pub fn rank(&self, offers: &[(&str, &str)]) -> Vec<usize> {
        let mut ranked: Vec<(u16, usize)> = offers
            .iter()
            .enumerate()
            .map(|(index, offer)| (self.weight(*offer), index))
            .filter(|(weight, _)| *weight > 0)
            .collect();
        ranked.sort_by_key(|(weight, _)| Reverse(*weight));
        if ranked.is_empty() {
            return (0..offers.len()).collect();
        }
        ranked.into_iter().map(|(_, index)| index).collect()
    }

    /// Whether the client asks for just this offer: a range without wildcards has it, and it counts for something.
    ///
    /// For what is offered only to who knows of it, such as another name of an intent.
    #[must_use]
    pub fn names(&self, offer: (&str, &str)) -> bool {
        let exact = |range: &Range| range.specificity() == 2 && range.has(offer);
        self.0.iter().any(exact) && self.weight(offer) > 0
    }

    /// Thousandths; 0 if no range has the offer.
    fn weight(&self, offer: (&str, &str)) -> u16 {
        let matching = self.0.iter().filter(|range| range.has(offer));
        matching
            .map(|range| (range.specificity(), range.weight))
            .max()
            .map_or(0, |(_, weight)| weight)
    }
}

/// `None` is the wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    method: Option<String>,
    intent: Option<String>,
    weight: u16,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(trim);
        let (method, intent) = parts.next()?.split_once('/')?;
        let mut range =
            Self { method: name(trim(method))?, intent: name(trim(intent))?, weight: FULL };
        for parameter in parts.filter(|part| !part.is_empty()) {
            let (name, value) = parameter.split_once('=')?;
            let (name, value) = (trim(name), trim(value));
            if name.is_empty() || value.is_empty() || value.contains('=') {
                return None;
            }
            if name.eq_ignore_ascii_case("q") {
                range.weight = weight(value)?;
            }
        }
        Some(range)
    }

    fn has(&self, (method, intent): (&str, &str)) -> bool {
        self.method.as_deref().is_none_or(|own| own == method)
            && self.intent.as_deref().is_none_or(|own| own == intent)
    }

    fn specificity(&self) -> u8 {
        u8::from(self.method.is_some()).saturating_add(self.intent.is_some().into())
    }
}

/// A name, or `Some(None)` for the wildcard.
fn name(text: &str) -> Option<Option<String>> {
    let is_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    match text {
        "*" => Some(None),
        "" => None,
        name => name.bytes().all(is_name).then(|| Some(name.to_owned())),
    }
}

/// A weight of RFC 9110 § 12.4.2, in thousandths: `0`, `1`, and up to three decimals.
fn weight(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(FULL),
        _ => None,
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

const FULL: u16 = 1000;

//! The page that a person with a browser sees instead of a 402's JSON: what it costs, and how a program pays.
//!
//! It runs no script and loads nothing; whatever comes from outside is escaped. The status stays 402 and the challenge
//! stands in the headers as always. Source: x402 v2, HTTP transport, browser paywall.

use std::fmt::Write as _;

use http::{HeaderMap, header};

use crate::pay::{Bound, Terms};

/// Whether a person's browser asks: it wants HTML and calls itself Mozilla, as all of them do.
pub(super) fn is_for_a_person(headers: &HeaderMap) -> bool {
    let contains = |name, word: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.contains(word))
    };
    contains(header::ACCEPT, "text/html") && contains(header::USER_AGENT, "Mozilla")
}

/// The page for a request `bound` to a route with `terms`.
pub(super) fn of(terms: &Terms, bound: &Bound) -> String {
    let mut offers = String::new();
    for offer in &terms.offers {
        let amount = offer.amount.to_decimal(offer.asset.decimals);
        // Writing to a string does not fail.
        let _written = write!(
            offers,
            "<li><b>{amount} {}</b> on {}, to <code>{}</code> ({})</li>",
            escaped(&offer.asset.name),
            offer.network,
            offer.payee,
            offer.method.as_str(),
        );
    }
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>402 Payment Required</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:4rem auto;padding:0 1rem}}\
         code{{overflow-wrap:anywhere}}</style>\
         <h1>Payment Required</h1><p>{}</p><p><code>{} {}</code> costs</p><ul>{offers}</ul>\
         <p>This is for programs: one that speaks x402 or MPP reads the challenge from the \
         <code>PAYMENT-REQUIRED</code> or the <code>WWW-Authenticate</code> header and pays by itself, for example</p>\
         <pre><code>tollgate pay URL</code></pre></html>\n",
        escaped(&terms.description),
        bound.method,
        escaped(&bound.target),
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_text_and_never_markup() {
        assert_eq!(escaped("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
    }

    #[test]
    fn only_a_browser_that_wants_html_gets_the_page() {
        let headers = |accept: &'static str, agent: &'static str| {
            HeaderMap::from_iter([
                (header::ACCEPT, http::HeaderValue::from_static(accept)),
                (header::USER_AGENT, http::HeaderValue::from_static(agent)),
            ])
        };
        assert!(is_for_a_person(&headers("text/html,*/*;q=0.8", "Mozilla/5.0 (X11)")));
        assert!(!is_for_a_person(&headers("*/*", "Mozilla/5.0 (X11)")));
        assert!(!is_for_a_person(&headers("text/html", "curl/8")));
        assert!(!is_for_a_person(&HeaderMap::new()));
    }
}

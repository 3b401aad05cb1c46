//! What a request may mean besides what it says: another method than its own, to servers that let it be overridden.
//!
//! Headers for that stay behind, whatever the route; a query cannot be taken apart, as it is forwarded as it is. So one that
//! asks for a method whose route is another is refused: it would be priced as the one and served as the other.

use std::sync::Arc;

use http::Method;

use crate::{
    protocol::target::Target,
    route::{Match, Route, Table},
};

/// Whether the query of a POST to `route` asks for a method that is not this route's.
pub(super) fn is_disguised(table: &Table, method: &Method, target: &Target, route: &Route) -> bool {
    let Some(query) = target.path_and_query().query().filter(|_| method == Method::POST) else {
        return false;
    };
    let asked = query.split(['&', ';']).filter_map(|pair| pair.split_once('='));
    asked.filter(|(name, _)| decoded(name).eq_ignore_ascii_case(b"_method")).any(|(_, value)| {
        let value = decoded(value).trim_ascii().to_ascii_uppercase();
        // What is no method is taken for one by no server.
        Method::from_bytes(&value).is_ok_and(|method| !is_of(table, &method, target, route))
    })
}

fn is_of(table: &Table, method: &Method, target: &Target, route: &Route) -> bool {
    match table.find(method, target.path()) {
        Match::Found(found) => std::ptr::eq(Arc::as_ptr(found), route),
        _ => false,
    }
}

/// The bytes that a part of a query stands for.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        rest = behind;
        bytes.push(match (byte, behind) {
            (b'+', _) => b' ',
            (b'%', [high, low, behind @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = behind;
                    high.wrapping_shl(4) | low
                }
                _ => b'%',
            },
            _ => *byte,
        });
    }
    bytes
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| digit.try_into().ok())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::{
        route::{Access, Pattern},
        telemetry::traffic::Counts,
    };

    #[test]
    fn e10_a_query_asks_for_no_method_of_another_route() {
        let route = |pattern: &str, access| Route {
            name: pattern.into(),
            pattern: Pattern::parse(pattern).unwrap(),
            access,
            upstream: 0,
            timeout: std::time::Duration::ZERO,
            body_limit: 0,
            tunnel: None,
            rewrite: None,
            counts: Counts::default(),
            callers: Default::default(),
        };
        let table = Table::new(vec![
            route("POST /orders", Access::Free),
            route("DELETE /orders", Access::Denied(StatusCode::FORBIDDEN)),
            route("ANY /any", Access::Free),
        ]);
        let table = table.unwrap();
        let is_disguised = |method: Method, target: &str| {
            let target = Target::parse(target).unwrap();
            let Match::Found(route) = table.find(&method, target.path()) else {
                panic!("{target}")
            };
            is_disguised(&table, &method, &target, route)
        };
        for query in [
            "_method=DELETE",
            "a=b&_method=delete",
            "%5f%6Dethod=%44elete",
            "_METHOD=+DELETE",
            "_method=PUT",
            "a;_method=DELETE",
        ] {
            assert!(is_disguised(Method::POST, &format!("/orders?{query}")), "{query}");
            assert!(!is_disguised(Method::POST, &format!("/any?{query}")), "{query}");
        }
        for query in [
            "",
            "_method",
            "_method=POST",
            "method=DELETE",
            "a=_method=DELETE",
            "_method=",
            "_method=a%20b",
        ] {
            assert!(!is_disguised(Method::POST, &format!("/orders?{query}")), "{query}");
        }
        assert!(!is_disguised(Method::DELETE, "/orders?_method=POST"));
    }
}

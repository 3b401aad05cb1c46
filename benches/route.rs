//! How long a lookup takes in a table of ten routes and in one of ten thousand.
//!
//! `cargo bench --bench route`. Fails if the larger table costs a microsecond more a lookup.

#![expect(clippy::arithmetic_side_effects, reason = "small numbers, all known here")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use http::{Method, StatusCode};
use tollgate::route::{Access, Match, Pattern, Route, Table};

fn main() {
    let few = nanoseconds(10);
    let many = nanoseconds(10_000);
    let more = many.saturating_sub(few);
    println_result(few, many);
    assert!(more < 1000, "10,000 routes add {more} ns to a lookup");
}

/// The time of one lookup in a table of `size` routes, over paths of every kind.
fn nanoseconds(size: usize) -> u128 {
    let routes = (0..size).map(|i| match i % 4 {
        0 => route(&format!("GET /v1/service{i}/weather/{{city}}"), Access::Free),
        1 => route(&format!("POST /v1/service{i}/chat/*"), Access::Denied(StatusCode::NOT_FOUND)),
        2 => route(&format!("GET /v1/service{i}/Now"), Access::Denied(StatusCode::NOT_FOUND)),
        _ => route(&format!("ANY /img/img{i}-{{id}}.png"), Access::Free),
    });
    let table =
        Table::new(routes.chain([route("ANY /*", Access::Free)]).collect()).expect("no clash");
    let last = size.saturating_sub(1) / 4 * 4;
    let paths = [
        format!("/v1/service{last}/weather/Rome"),
        "/v1/service2/Now".to_owned(),
        format!("/img/img{}-7.png", last.saturating_sub(1)),
        "/else/where".to_owned(),
    ];
    let lookups: u32 = 100_000;
    let best = (0..5).map(|_| {
        let begun = Instant::now();
        for _ in 0..lookups {
            for path in &paths {
                let found = table.find(black_box(&Method::GET), black_box(path));
                assert!(matches!(found, Match::Found(_)), "{path}");
            }
        }
        begun.elapsed()
    });
    let best = best.min().unwrap_or(Duration::ZERO);
    best.as_nanos() / u128::from(lookups) / 4
}

fn route(pattern: &str, access: Access) -> Route {
    Route {
        name: pattern.into(),
        pattern: Pattern::parse(pattern).expect("a pattern"),
        access,
        upstream: 0,
        timeout: Duration::ZERO,
        body_limit: 0,
        tunnel: None,
        rewrite: None,
        counts: tollgate::telemetry::traffic::Counts::default(),
        callers: Default::default(),
    }
}

#[expect(clippy::print_stdout, reason = "it is what a bench is run for")]
fn println_result(few: u128, many: u128) {
    println!("a lookup: {few} ns of 10 routes, {many} ns of 10,000");
}

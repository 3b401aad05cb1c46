//! `tollgate routes`: what each route takes and asks, and which one takes a request.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::Args;
use serde_json::{Value, json};

use super::{Output, gateway, say};
use crate::{
    callers::Mode,
    config::Settings,
    pay::Terms,
    protocol::target::Target,
    route::{Access, Match, Route},
};

/// Lists the routes of a configuration, or tells which one takes a request, and why.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tollgate routes
  tollgate routes --test \"GET /v1/weather/paris\"")]
pub(super) struct Routes {
    /// The configuration.
    #[arg(short, long, default_value = "gateway.yaml")]
    config: PathBuf,
    /// A request such as `GET /weather`.
    #[arg(long, value_name = "REQUEST")]
    test: Option<String>,
    /// How it is written; without this a table on a terminal, and JSON in a pipe.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

impl Routes {
    pub(super) fn run(self) -> ExitCode {
        let settings = match gateway::load(&self.config) {
            Ok(settings) => settings,
            Err(code) => return code,
        };
        let output = Output::or_by_reader(self.output);
        match &self.test {
            Some(request) => test(&settings, request, output),
            None => {
                let routes = settings.table.routes();
                match output {
                    Output::Table => say(&table(routes, &settings)),
                    Output::Json => {
                        let routes: Vec<_> =
                            routes.iter().map(|route| document(route, &settings)).collect();
                        say(&format_args!("{:#}", json!({ "routes": routes })));
                    }
                }
                ExitCode::SUCCESS
            }
        }
    }
}

/// What becomes of a request.
struct Verdict<'s> {
    /// The route that takes it, or the status of a refusal.
    route: Result<&'s Arc<Route>, u16>,
    why: String,
    /// Other routes whose paths take its path, and why they do not take it.
    others: Vec<(&'s Arc<Route>, String)>,
}

fn test(settings: &Settings, request: &str, output: Output) -> ExitCode {
    let Some((method, target)) = request.trim().split_once(' ') else {
        eprintln!("tollgate: expected a method and a path, as in --test \"GET /weather\"");
        return ExitCode::from(2);
    };
    let method = match http::Method::from_bytes(method.as_bytes()) {
        Ok(known) if !method.bytes().any(|byte| byte.is_ascii_lowercase()) => known,
        _ => {
            eprintln!("tollgate: `{method}` is no method such as `GET`, in upper case");
            return ExitCode::from(2);
        }
    };
    let verdict = judge(settings, &method, target.trim());
    match output {
        Output::Table => {
            match verdict.route {
                Ok(route) => say(&line(route, settings)),
                Err(status) => say(&status),
            }
            say(&format_args!("why: {}", verdict.why));
            for (other, why) in &verdict.others {
                say(&format_args!("not `{}`: {why}", other.pattern));
            }
        }
        Output::Json => {
            let others = verdict.others.iter();
            let others: Vec<_> = others
                .map(|(other, why)| json!({ "match": other.pattern.to_string(), "why": why }))
                .collect();
            let route = verdict.route.ok().map(|route| document(route, settings));
            say(&format_args!(
                "{:#}",
                json!({
                    "route": route, "status": verdict.route.err(), "why": verdict.why, "not": others,
                })
            ));
        }
    }
    ExitCode::SUCCESS
}

fn judge<'s>(settings: &'s Settings, method: &http::Method, target: &str) -> Verdict<'s> {
    let refused = |status, why: String, others| Verdict { route: Err(status), why, others };
    let target = match Target::parse(target) {
        Ok(target) => target,
        Err(ambiguous) => return refused(400, ambiguous.to_string(), Vec::new()),
    };
    let takers = settings.table.takers(target.path());
    match settings.table.find(method, target.path()) {
        Match::Found(route) => {
            let others = takers.into_iter().filter(|other| !Arc::ptr_eq(other, route));
            let others: Vec<_> = others.map(|other| (other, loses(route, other, method))).collect();
            let why = match others.is_empty() {
                true => "it is the only one whose path takes the request's",
                false => "of those whose paths take the request's its is the most specific",
            };
            Verdict { route: Ok(route), why: why.to_owned(), others }
        }
        Match::WrongMethod { allow } => {
            let allow = allow.to_str().unwrap_or_default();
            let why =
                format!("the most specific path that takes the request's is for {allow} alone");
            let others = takers.into_iter().map(|other| {
                let why = match &other.pattern.method {
                    Some(takes) => format!("it takes {takes}, and the request is {method}"),
                    None => {
                        "its path is less specific, and the most specific alone decides".to_owned()
                    }
                };
                (other, why)
            });
            let others = others.collect();
            refused(405, why, others)
        }
        Match::LookAlike => {
            let why = "it differs from a path that is priced or denied only by its case or a last slash, \
                       and an upstream may take it for that one";
            refused(400, why.to_owned(), Vec::new())
        }
        Match::Unmatched => refused(404, "no route's path takes it".to_owned(), Vec::new()),
    }
}

/// Why `other` does not take a request that `winner` takes.
fn loses(winner: &Route, other: &Route, method: &http::Method) -> String {
    let (ours, theirs) = (&winner.pattern.path, &other.pattern.path);
    let differs = ours.split('/').zip(theirs.split('/')).find(|(ours, theirs)| ours != theirs);
    match (differs, &other.pattern.method) {
        (Some((ours, theirs)), _) if !is_parameter(ours) || !is_parameter(theirs) => {
            format!("its `{theirs}` is less specific than `{ours}`")
        }
        (_, Some(takes)) => format!("it takes {takes}, and the request is {method}"),
        (_, None) => format!("ANY is for methods that no other route names, and {method} is named"),
    }
}

/// Names of parameters play no part.
fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{') && segment.ends_with('}')
}

fn table(routes: &[Arc<Route>], settings: &Settings) -> String {
    routes.iter().map(|route| line(route, settings)).collect::<Vec<_>>().join("\n")
}

fn line(route: &Route, settings: &Settings) -> String {
    let mut asks = match &route.access {
        Access::Free => "free".to_owned(),
        Access::Denied(status) => format!("deny {}", status.as_u16()),
        Access::Priced(terms) => price(terms),
    };
    if route.callers.mode == Mode::Observe && matches!(route.access, Access::Priced(_)) {
        asks.push_str(" (observed)");
    }
    let upstream = upstream(route, settings);
    format!("{:<40} {:<44} {}", route.pattern.to_string(), asks, upstream)
}

fn upstream<'s>(route: &Route, settings: &'s Settings) -> &'s str {
    settings.upstreams.get(route.upstream).map_or("-", |upstream| &upstream.name)
}

fn price(terms: &Terms) -> String {
    let offers = terms.offers.iter().map(|offer| {
        let amount = offer.amount.to_decimal(offer.asset.decimals);
        format!("{} {amount} {}", offer.method.as_str(), offer.asset.name)
    });
    offers.collect::<Vec<_>>().join(", ")
}

fn document(route: &Route, settings: &Settings) -> Value {
    let (access, status, prices) = match &route.access {
        Access::Free => ("free", None, Vec::new()),
        Access::Denied(status) => ("denied", Some(status.as_u16()), Vec::new()),
        Access::Priced(terms) => {
            let prices = terms.offers.iter().map(|offer| {
                json!({
                    "method": offer.method.as_str(),
                    "amount": offer.amount.to_decimal(offer.asset.decimals),
                    "asset": &*offer.asset.name,
                })
            });
            ("priced", None, prices.collect())
        }
    };
    json!({
        "name": &*route.name,
        "match": route.pattern.to_string(),
        "access": access,
        "status": status,
        "prices": prices,
        "observed": access == "priced" && route.callers.mode == Mode::Observe,
        "upstream": upstream(route, settings),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Env, parse};

    const FILE: &str = "version: 1
listen: 127.0.0.1:8402
upstream: http://127.0.0.1:3000
routes:
  - { match: \"GET /v1/weather/{city}\", free: true }
  - { match: GET /v1/weather/paris, free: true }
  - { match: ANY /v1/weather/paris, free: true }
  - { match: ANY /*, deny: 404 }
";

    fn told(request: &str) -> (Result<String, u16>, String, Vec<String>) {
        let settings = parse(FILE, "gateway.yaml", Path::new("/"), &Env::fixed([("A", "b")]));
        let settings = settings.unwrap();
        let (method, target) = request.split_once(' ').unwrap();
        let verdict = judge(&settings, &method.parse().unwrap(), target);
        let others = verdict.others.iter();
        let others = others.map(|(other, why)| format!("{}: {why}", other.pattern)).collect();
        (verdict.route.map(|route| route.pattern.to_string()), verdict.why, others)
    }

    #[test]
    fn a_route_that_wins_says_over_which_and_why() {
        let (route, why, others) = told("GET /v1/weather/paris");
        assert_eq!(route.unwrap(), "GET /v1/weather/paris");
        assert_eq!(why, "of those whose paths take the request's its is the most specific");
        let expected = [
            "GET /v1/weather/{city}: its `{city}` is less specific than `paris`",
            "ANY /v1/weather/paris: ANY is for methods that no other route names, and GET is named",
            "ANY /*: its `*` is less specific than `v1`",
        ];
        assert_eq!(others, expected);
        let (route, _, others) = told("POST /v1/weather/paris");
        assert_eq!(route.unwrap(), "ANY /v1/weather/paris");
        assert_eq!(others[1], "GET /v1/weather/paris: it takes GET, and the request is POST");
    }

    #[test]
    fn what_no_route_takes_says_why_not() {
        let (route, why, others) = told("POST /v1/weather/rome");
        assert_eq!(route.unwrap_err(), 405);
        assert_eq!(why, "the most specific path that takes the request's is for GET, HEAD alone");
        let expected = [
            "GET /v1/weather/{city}: it takes GET, and the request is POST",
            "ANY /*: its path is less specific, and the most specific alone decides",
        ];
        assert_eq!(others, expected);
        let (route, why, _) = told("GET /elsewhere");
        assert_eq!(
            (route.unwrap().as_str(), why.as_str()),
            ("ANY /*", "it is the only one whose path takes the request's")
        );
        assert_eq!(told("GET /a/../b").0.unwrap_err(), 400);
    }
}

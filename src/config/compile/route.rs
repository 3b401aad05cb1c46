//! Routes: what each one matches, what it asks, where it goes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{Method, StatusCode};

use super::{
    caller, mpp,
    payment::{LIVES, Money, Payee},
    price, rewrite,
    rule::{self, Defaults},
    upstream::Upstream,
};
use crate::{
    config::{
        diagnostic::{nearest, one_of, quoted},
        read::{Fields, Keys, Spot},
    },
    pay::{MethodName, Offer, SettleOrder, Terms, Wording},
    protocol::{money::Amount, mpp::CredentialHeader, stellar::Asset},
    route::{Access, ClashKind, Pattern, PatternError, Route, Table},
    telemetry::traffic::Counts,
};

/// Reads all routes into a table. `upstreams` is `None` if what the upstreams are called could not be found out.
pub(super) fn read(
    root: &Fields<'_>,
    defaults: &Defaults,
    money: &Money<'_>,
    upstreams: Option<&[Upstream]>,
    sources: &mut caller::Sources,
) -> Option<Table> {
    let hint = "list at least one: `routes: [{ match: GET /weather, price: \"$0.001\" }]`";
    let list = root.need("routes", hint)?;
    let items = list.items()?;
    if items.is_empty() {
        return list.fault("there is no route", hint);
    }
    let names = HashMap::new();
    let mut reader = RouteReader { root, defaults, money, upstreams, sources, names };
    let routes = items.iter().map(|item| (item, reader.read(item))).collect();
    tabulate(routes)
}

/// A route that has a pattern at least, and whether it was read whole; what is faulty is stood in for, closed.
type Sketch = (Route, bool);

/// Builds the table, and notes which routes clash: faulty ones are held against each other too.
fn tabulate(sketches: Vec<(&Spot<'_>, Option<Sketch>)>) -> Option<Table> {
    let is_whole = sketches.iter().all(|(_, sketch)| matches!(sketch, Some((_, true))));
    let (spots, routes): (Vec<_>, Vec<_>) =
        sketches.into_iter().filter_map(|(spot, sketch)| Some((spot, sketch?.0))).unzip();
    let patterns: Vec<_> = routes.iter().map(|route: &Route| route.pattern.clone()).collect();
    let clashes = match Table::new(routes) {
        Ok(table) => {
            rewrite::warn_of_ways_around(&table, &spots);
            return is_whole.then_some(table);
        }
        Err(clashes) => clashes,
    };
    for clash in clashes {
        let (Some(first), Some(second)) = (spots.get(clash.first), spots.get(clash.second)) else {
            continue;
        };
        let Some(pattern) = patterns.get(clash.first) else { continue };
        let line = first.at().line;
        let (what, hint) = match clash.kind {
            ClashKind::Equal => (
                format!(
                    "matches the same requests as `{pattern}`, `{}` in line {line}",
                    first.path
                ),
                "keep one of the two: the order in the file decides nothing",
            ),
            ClashKind::Unordered => (
                format!("takes some of the paths of `{pattern}`, `{}` in line {line}", first.path),
                "neither is the more specific: change one of the two",
            ),
        };
        second.child_named("match").unwrap_or_else(|| (*second).clone()).fault::<()>(what, hint);
    }
    None
}

struct RouteReader<'r, 'a> {
    root: &'r Fields<'a>,
    defaults: &'r Defaults,
    money: &'r Money<'a>,
    upstreams: Option<&'r [Upstream]>,
    sources: &'r mut caller::Sources,
    /// The names that are taken, and by which route.
    names: HashMap<String, String>,
}

/// What a route costs, before the price itself is read.
enum Kind<'a> {
    Free,
    Denied(Spot<'a>),
    Priced,
}

impl<'a> RouteReader<'_, 'a> {
    fn read(&mut self, spot: &Spot<'a>) -> Option<Sketch> {
        let fields = spot.fields(&ROUTE)?;
        let written = fields.need("match", "say what it matches: `match: GET /weather`");
        let written = written.and_then(|spot| Some((spot.text()?.text, spot)));
        let pattern = written.as_ref().and_then(|(text, spot)| read_pattern(text, spot));
        let name = self.read_name(&fields, pattern.as_ref());
        let upstream = self.read_upstream(&fields);
        let timeout = fields.duration("timeout");
        let timeout = timeout.or_else(|| Some(self.upstreams?.get(upstream?)?.timeout));
        let limits = fields.get("limits").and_then(|limits| limits.fields(&LIMITS));
        let body = limits.as_ref().and_then(|limits| limits.get("body")?.size());
        let tunnel = limits.as_ref().and_then(|limits| limits.duration("tunnel"));
        let access = match read_kind(&fields) {
            None => None,
            Some(Kind::Free) => {
                caller::only_for_priced(limits.as_ref(), "free");
                Some(Access::Free)
            }
            Some(Kind::Denied(spot)) => {
                caller::only_for_priced(limits.as_ref(), "denied");
                read_status(&spot).map(Access::Denied)
            }
            Some(Kind::Priced) => self
                .read_terms(&fields, name.as_deref(), pattern.as_ref(), timeout)
                .map(|terms| Access::Priced(Arc::new(terms))),
        };
        let is_whole =
            name.is_some() && access.is_some() && upstream.is_some() && timeout.is_some();
        let scope = name.as_deref().unwrap_or_default();
        let usual = &self.defaults.callers;
        let mut callers = caller::read(&fields, limits.as_ref(), scope, usual, self.sources);
        let mode = fields.get("mode").and_then(|spot| caller::read_mode(&spot));
        callers.mode = mode.unwrap_or(callers.mode);
        let rewrite = rewrite::read(&fields, pattern.as_ref());
        let route = Route {
            name: name.unwrap_or_default().into(),
            pattern: pattern?,
            access: access.unwrap_or(Access::Denied(StatusCode::SERVICE_UNAVAILABLE)),
            upstream: upstream.unwrap_or_default(),
            timeout: timeout.unwrap_or_default(),
            body_limit: body.unwrap_or(self.defaults.body),
            tunnel,
            rewrite: rewrite.map(Box::new),
            counts: Counts::default(),
            callers,
        };
        Some((route, is_whole))
    }

    /// The name as given, or else the pattern's text; it binds payments, so no two routes may share one.
    fn read_name(&mut self, fields: &Fields<'a>, pattern: Option<&Pattern>) -> Option<String> {
        let given = fields.get("name");
        let name = match &given {
            Some(spot) => spot.name()?,
            None => pattern?.to_string(),
        };
        let path = fields.spot.path.clone();
        match self.names.insert(name.clone(), path) {
            // Two routes without a name and with one pattern clash anyway: say that once.
            Some(first) if given.is_some() => given?.fault(
                format!("the name {} is taken by `{first}`", quoted(&name)),
                "give each route a name of its own",
            ),
            _ => Some(name),
        }
    }

    fn read_upstream(&self, fields: &Fields<'a>) -> Option<usize> {
        let spot = fields.get("upstream");
        let upstreams = self.upstreams?;
        let names = || upstreams.iter().map(|upstream| upstream.settings.name.as_str());
        let Some(spot) = spot else {
            // What is denied goes nowhere.
            if upstreams.len() == 1 || fields.get("deny").is_some() {
                return Some(0);
            }
            let hint = format!("name one of {}", one_of(names()));
            return fields.spot.fault("`upstream` is missing: there is more than one", hint);
        };
        let text = spot.text()?;
        names().position(|name| name == text.text).or_else(|| {
            let hint = match nearest(&text.text, names()) {
                _ if self.root.get("upstream").is_some() => {
                    "there is one upstream, without a name: leave the key out".to_owned()
                }
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("write {}", one_of(names())),
            };
            text.fault("is no upstream of this configuration", hint)
        })
    }

    fn read_terms(
        &self,
        fields: &Fields<'a>,
        name: Option<&str>,
        pattern: Option<&Pattern>,
        timeout: Option<Duration>,
    ) -> Option<Terms> {
        let rules = rule::read_rules(fields, self.defaults.rules);
        let price = fields.get("price").map(|spot| price::read(&spot, &self.money.assets));
        let payee = match fields.get("pay_to") {
            Some(spot) => self.money.read_payee(&spot),
            None => self.money.default_payee(),
        };
        let describe = fields.get("describe").and_then(|describe| describe.fields(&DESCRIBE));
        let summary = describe.and_then(|describe| Some(describe.get("summary")?.text()?.text));
        let accepted = match fields.get("accept") {
            Some(spot) => rule::read_accept(&spot, self.money),
            None => self.inherited_accept(),
        };
        let credential_header =
            fields.get("credential_header").and_then(|spot| read_credential_header(&spot));
        let bind_body = fields.get("bind_body").and_then(|spot| spot.flag());
        let accepted = accepted.unwrap_or_default();
        let methods: Vec<_> = accepted.iter().map(|(method, _)| *method).collect();
        only_with_mpp(fields, &methods);
        let mut offers = Vec::new();
        for (method, own) in accepted {
            let price = match (own, &price) {
                (Some(own), _) => price::read(&own, &self.money.assets),
                (None, Some(price)) => price.clone(),
                (None, None) => fields.spot.fault(
                    format!("`{}` has no price", method.as_str()),
                    "give the method a price, or the route one for all its methods",
                ),
            };
            offers.push(self.offer(fields, method, price, payee.as_ref()));
        }
        let offers: Option<Vec<_>> = offers.into_iter().collect();
        let timeout = timeout?;
        let settles = rules.settle.of(pattern?.method.as_ref().unwrap_or(&Method::GET));
        if settles == SettleOrder::AfterHead {
            let lives = methods.into_iter().map(|method| self.check_life(fields, method, timeout));
            lives.collect::<Vec<_>>().into_iter().collect::<Option<()>>()?;
        }
        Some(Terms {
            route: name?.into(),
            description: summary.unwrap_or_default().into(),
            // A priced route that nothing can pay was noted above, and never becomes a table.
            offers: offers.filter(|offers| !offers.is_empty())?,
            settle: rules.settle,
            charge_when: rules.charge_when,
            redelivery: rules.redelivery,
            timeout,
            credential_header: credential_header.unwrap_or_default(),
            bind_body: bind_body.unwrap_or(false),
        })
    }

    fn inherited_accept(&self) -> Option<Vec<rule::Accepted<'a>>> {
        let methods = self.defaults.accept.as_ref()?;
        if methods.is_empty() && !self.money.has_payments() {
            return self.root.spot.fault(
                "a route has a price, and `payments` is missing",
                "configure a method: `payments: { x402: { facilitator: self } }`",
            );
        }
        Some(methods.iter().map(|method| (*method, None)).collect())
    }

    fn offer(
        &self,
        fields: &Fields<'a>,
        method: MethodName,
        price: Option<(Amount, Asset)>,
        payee: Option<&Payee<'a>>,
    ) -> Option<Offer> {
        let ((amount, asset), payee) = (price?, payee?);
        payee.check(&asset)?;
        if method == MethodName::Channel {
            self.money.check_channel(&fields.spot, amount, &asset, payee)?;
        }
        Some(Offer {
            method,
            network: self.money.network,
            amount,
            asset,
            payee: payee.address,
            wording: Wording::default(),
        })
    }

    /// A payment that settles after the upstream's answer has to outlive the upstream's time.
    fn check_life(&self, fields: &Fields<'a>, method: MethodName, timeout: Duration) -> Option<()> {
        let timeout = timeout.as_secs();
        let (life, longest, subject, key, unit) = match method {
            MethodName::X402 => (
                u64::from(self.money.x402.as_ref()?.max_timeout_seconds),
                u64::from(*LIVES.end()),
                "a payment",
                "payments.x402.max_timeout_seconds",
                "",
            ),
            MethodName::Charge { .. } => (
                self.money.mpp.as_ref()?.challenge_ttl.as_secs(),
                mpp::CHALLENGE_TTLS.end().as_secs(),
                "a charge",
                "payments.mpp.challenge_ttl",
                "s",
            ),
            // A commitment settles whenever we like.
            MethodName::Channel => return Some(()),
        };
        let spare = life.checked_sub(timeout);
        if spare >= Some(LIFE_MARGIN_SECONDS) {
            return Some(());
        }
        let spot = fields.get("timeout").unwrap_or_else(|| fields.spot.clone());
        let what = format!(
            "the upstream may take {timeout} s, and {subject} lives {life} s until it has to be settled"
        );
        let enough = timeout.saturating_add(LIFE_MARGIN_SECONDS);
        let hint = if enough <= longest {
            format!("raise `{key}` to {enough}{unit}, lower `timeout`, or say `settle: before`")
        } else {
            "lower `timeout`, or say `settle: before`".to_owned()
        };
        if spare.is_none_or(|spare| spare == 0) {
            return spot.fault(what, hint);
        }
        spot.warn(what, hint);
        Some(())
    }
}

fn read_pattern(text: &str, spot: &Spot<'_>) -> Option<Pattern> {
    let error = match Pattern::parse(text) {
        Ok(pattern) => return Some(pattern),
        Err(error) => error,
    };
    let hint = match &error {
        PatternError::NoSlash => {
            let (method, path) = text.split_once(' ').unwrap_or(("GET", text));
            format!("write `{method} /{path}`")
        }
        PatternError::NoMethod if text.starts_with('/') => {
            format!("write `GET {text}`, or `ANY {text}` for every method")
        }
        PatternError::LowerCase(method) => {
            format!(
                "write `{}{}`",
                method.to_ascii_uppercase(),
                text.trim_start_matches(method.as_str())
            )
        }
        PatternError::UnknownMethod(method) => {
            let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "ANY"];
            match nearest(method, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "write one of them, or `ANY` for every method".to_owned(),
            }
        }
        PatternError::Head => format!("write `GET{}`", text.trim_start_matches("HEAD")),
        PatternError::Query => "write the path alone".to_owned(),
        PatternError::Literal(_) => {
            "write the path as clients send it: one slash between segments, no `.` or `..`, \
             percent-encoded only where it must be"
                .to_owned()
        }
        _ => "paths are written like `/v1/weather/{city}` or `/v1/chat/*`".to_owned(),
    };
    spot.fault(format!("{}: {error}", quoted(text)), hint)
}

/// Which of `price`, `free` and `deny` the route has: exactly one.
fn read_kind<'a>(fields: &Fields<'a>) -> Option<Kind<'a>> {
    let free = fields.get("free").map(|spot| spot.flag());
    let is_free = match free {
        Some(None) => return None,
        Some(Some(is_free)) => is_free,
        None => false,
    };
    let by_method = fields.get("accept").filter(Spot::is_mapping);
    let price = fields.get("price").or(by_method);
    match (is_free, fields.get("deny"), price) {
        (true, None, None) => only_for_priced(fields, "free").map(|()| Kind::Free),
        (false, Some(deny), None) => only_for_priced(fields, "denied").map(|()| Kind::Denied(deny)),
        (false, None, Some(_)) => Some(Kind::Priced),
        (false, None, None) => fields.spot.fault(
            "the route has no price, and does not say `free` or `deny` either",
            "say what it costs: `price: \"$0.001\"`, `free: true` or `deny: 404`",
        ),
        _ => fields.spot.fault(
            "the route says more than one of `price`, `free` and `deny`",
            "keep one of them",
        ),
    }
}

/// Notes keys that mean nothing on a route that takes no payment.
fn only_for_priced(fields: &Fields<'_>, kind: &str) -> Option<()> {
    let mut clean = Some(());
    let keys = [
        "accept",
        "settle",
        "charge_when",
        "redelivery",
        "pay_to",
        "credential_header",
        "bind_body",
        "allow",
        "free_quota",
        "mode",
    ];
    for key in keys {
        if fields.get(key).is_some() {
            let what = format!("`{key}` means nothing on a {kind} route");
            clean = fields.fault_key(key, &what, "remove it, or give the route a price");
        }
    }
    clean
}

/// Notes keys that mean nothing without an MPP method; `methods` is empty where the list of them is faulty.
fn only_with_mpp(fields: &Fields<'_>, methods: &[MethodName]) {
    if methods.is_empty() || methods.iter().any(|method| *method != MethodName::X402) {
        return;
    }
    if fields.get("credential_header").is_some() {
        let what = "`credential_header` means nothing on a route that no MPP method pays";
        fields.fault_key::<()>(
            "credential_header",
            what,
            "remove it, or accept `mpp.charge` too: x402 has a header of its own",
        );
    }
}

fn read_credential_header(spot: &Spot<'_>) -> Option<CredentialHeader> {
    let text = spot.text()?;
    let known = ["authorization", "payment-authorization"];
    match text.text.as_ref() {
        "authorization" => Some(CredentialHeader::Authorization),
        "payment-authorization" => Some(CredentialHeader::PaymentAuthorization),
        other => {
            let meant = nearest(&other.to_ascii_lowercase(), known);
            let hint = meant.map_or_else(
                || format!("write {}", one_of(known)),
                |meant| format!("write `{meant}`"),
            );
            text.fault("is no header that a credential comes in", hint)
        }
    }
}

fn read_status(spot: &Spot<'_>) -> Option<StatusCode> {
    let status = spot.number(400..=599_u16)?;
    if status == 402 {
        return spot.fault("402 would promise that it can be paid", "write `deny: 404` or `403`");
    }
    StatusCode::from_u16(status).ok()
}

const ROUTE: Keys = Keys {
    known: &[
        "name",
        "match",
        "upstream",
        "free",
        "deny",
        "price",
        "accept",
        "credential_header",
        "bind_body",
        "settle",
        "charge_when",
        "redelivery",
        "allow",
        "free_quota",
        "mode",
        "timeout",
        "pay_to",
        "limits",
        "strip_prefix",
        "headers",
        "describe",
    ],
    later: &[],
};
const LIMITS: Keys =
    Keys { known: &["body", "tunnel", "unpaid_rps_per_ip", "paid_rps_per_payer"], later: &[] };
const DESCRIBE: Keys =
    Keys { known: &["summary"], later: &["example_response", "request_schema_file"] };

/// What a payment must live beyond the upstream's time, so that it can be settled then: two ledgers.
const LIFE_MARGIN_SECONDS: u64 = 10;

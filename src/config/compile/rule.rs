//! The rules of a priced route: which methods it accepts, when money moves, what may come again; and their defaults.

use std::time::Duration;

use super::{caller, mpp, payment::Money};
use crate::{
    callers,
    config::{
        diagnostic::{nearest, one_of, quoted},
        read::{Fields, Keys, Spot},
    },
    pay::{ChargeWhen, MethodName, Redelivery, SettleOrder},
};

/// What routes inherit.
#[derive(Debug)]
pub(super) struct Defaults {
    /// The most bytes of a request's head; it is read before its route is known.
    pub(super) header_bytes: u64,
    /// The most bytes of a request's body.
    pub(super) body: u64,
    /// `None` if the list is faulty.
    pub(super) accept: Option<Vec<MethodName>>,
    pub(super) rules: Rules,
    pub(super) callers: callers::Rules,
}

/// When money moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) settle: SettleOrder,
    pub(super) charge_when: ChargeWhen,
    pub(super) redelivery: Redelivery,
}

/// A method that a route accepts, and the price that it has of its own, if it has one.
pub(super) type Accepted<'a> = (MethodName, Option<Spot<'a>>);

impl Defaults {
    pub(super) fn read(
        root: &Fields<'_>,
        money: &Money<'_>,
        sources: &mut caller::Sources,
    ) -> Self {
        let fields = root.get("defaults").and_then(|spot| spot.fields(&DEFAULTS));
        let limits = fields.as_ref().and_then(|fields| fields.get("limits")?.fields(&LIMITS));
        let size = |key| limits.as_ref().and_then(|limits| limits.get(key)?.size());
        let accept = fields.as_ref().and_then(|fields| fields.get("accept"));
        let accept = match accept {
            None => Some(money.configured_methods()),
            Some(spot) => read_names(&spot, money),
        };
        let mode = root.get("mode").and_then(|spot| caller::read_mode(&spot));
        let inherited = callers::Rules { mode: mode.unwrap_or_default(), ..Default::default() };
        let callers = match &fields {
            Some(fields) => caller::read(fields, limits.as_ref(), "", &inherited, sources),
            None => inherited,
        };
        Self {
            callers,
            header_bytes: size("header_bytes").unwrap_or(HEADER_BYTES),
            body: size("body").unwrap_or(BODY_BYTES),
            accept,
            rules: fields.map_or(RULES, |fields| read_rules(&fields, RULES)),
        }
    }
}

/// `accept: [x402, mpp.charge]`, or with prices `accept: { x402: { price: … }, mpp.charge: { price: … } }`.
pub(super) fn read_accept<'a>(spot: &Spot<'a>, money: &Money<'_>) -> Option<Vec<Accepted<'a>>> {
    if !spot.is_mapping() {
        let names = read_names(spot, money)?;
        return Some(names.into_iter().map(|method| (method, None)).collect());
    }
    let mut accepted = Vec::new();
    for (entry, value) in spot.entries()? {
        let method = read_method(&entry.key, money).map_err(|(what, hint)| {
            spot.reading.fault_at(entry.key_at, &spot.path, &what, &hint);
        });
        let keys = match method {
            Ok(MethodName::X402 | MethodName::Channel) => &METHOD,
            Ok(MethodName::Charge { .. }) | Err(()) => &CHARGE,
        };
        let fields = value.fields(keys);
        accepted.push(
            method.ok().zip(fields).map(|(method, fields)| {
                (read_sponsored(method, &fields, money), fields.get("price"))
            }),
        );
    }
    all_or_nothing(spot, accepted)
}

/// The method with what its section of a route says of its fee.
fn read_sponsored(method: MethodName, fields: &Fields<'_>, money: &Money<'_>) -> MethodName {
    let MethodName::Charge { sponsored: usual } = method else { return method };
    let sponsored = fields.get("sponsored");
    let sponsored = sponsored.and_then(|spot| mpp::read_sponsored(&spot, money.has_sponsors()));
    MethodName::Charge { sponsored: sponsored.unwrap_or(usual) }
}

/// The keys `settle`, `charge_when` and `redelivery`.
pub(super) fn read_rules(fields: &Fields<'_>, inherited: Rules) -> Rules {
    let settle = fields.get("settle").and_then(|spot| read_settle(&spot));
    let charge_when = fields.get("charge_when").and_then(|spot| read_charge_when(&spot));
    let redelivery = fields.get("redelivery");
    let redelivery = redelivery.and_then(|spot| read_redelivery(&spot, inherited.redelivery));
    Rules {
        settle: settle.unwrap_or(inherited.settle),
        charge_when: charge_when.unwrap_or(inherited.charge_when),
        redelivery: redelivery.unwrap_or(inherited.redelivery),
    }
}

fn read_names(spot: &Spot<'_>, money: &Money<'_>) -> Option<Vec<MethodName>> {
    let mut methods: Vec<Option<MethodName>> = Vec::new();
    for item in spot.items()? {
        let Some(text) = item.text() else {
            methods.push(None);
            continue;
        };
        let method = read_method(&text.text, money).map_err(|(what, hint)| {
            item.fault::<()>(what, hint);
        });
        if method.is_ok() && methods.contains(&method.ok()) {
            text.fault::<()>("is in the list already", "name it once");
        }
        methods.push(method.ok());
    }
    all_or_nothing(spot, methods)
}

fn all_or_nothing<T>(spot: &Spot<'_>, items: Vec<Option<T>>) -> Option<Vec<T>> {
    if items.is_empty() {
        return spot.fault("no method is accepted", "name one: `accept: [x402]`");
    }
    items.into_iter().collect()
}

/// The method called `name`, or what is wrong with it and a hint.
fn read_method(name: &str, money: &Money<'_>) -> Result<MethodName, (String, String)> {
    let configured = money.configured_methods();
    let sections = [
        ("x402", "payments: { x402: { facilitator: self } }"),
        (MethodName::CHARGE, "payments: { mpp: { charge: {} } }"),
        (
            MethodName::CHANNEL,
            "payments: { mpp: { channel: { signer: { env: RECIPIENT_SECRET } } } }",
        ),
    ];
    if let Some(method) = configured.into_iter().find(|method| method.as_str() == name) {
        return Ok(method);
    }
    if let Some((_, section)) = sections.into_iter().find(|(known, _)| *known == name) {
        return Err((
            format!("`{name}` is not configured under `payments`"),
            format!("configure it: `{section}`"),
        ));
    }
    let known = sections.map(|(known, _)| known);
    Err((
        format!("{} is no payment method", quoted(name)),
        nearest(name, known).map_or_else(
            || format!("this version knows {}", one_of(known)),
            |meant| format!("did you mean `{meant}`?"),
        ),
    ))
}

fn read_settle(spot: &Spot<'_>) -> Option<SettleOrder> {
    let text = spot.text()?;
    match text.text.as_ref() {
        "after" => Some(SettleOrder::AfterHead),
        "before" => Some(SettleOrder::BeforeForward),
        _ => text.fault(
            "is no order of settling",
            "write `after` or `before`; left out, it is `after` for GET and `before` for the rest",
        ),
    }
}

fn read_charge_when(spot: &Spot<'_>) -> Option<ChargeWhen> {
    let text = spot.text()?;
    let bound = text.text.strip_prefix('<').and_then(|bound| bound.trim_start().parse().ok());
    match bound {
        // Below 201 nothing but 200 would be charged, above 600 there is no status.
        Some(below @ 201..=600_u16) => Some(ChargeWhen { below }),
        _ => text.fault(
            "does not say which answers are worth money",
            "write a bound from `\"<201\"` to `\"<600\"`, such as `\"<400\"`",
        ),
    }
}

fn read_redelivery(spot: &Spot<'_>, inherited: Redelivery) -> Option<Redelivery> {
    let fields = spot.fields(&REDELIVERY)?;
    let attempts = fields.get("attempts").and_then(|spot| spot.number(1..=100));
    let within = fields.duration("for");
    Some(Redelivery {
        attempts: attempts.unwrap_or(inherited.attempts),
        within: within.unwrap_or(inherited.within),
    })
}

const DEFAULTS: Keys = Keys {
    known: &["accept", "limits", "charge_when", "redelivery", "settle", "allow", "free_quota"],
    later: &["headers"],
};
const LIMITS: Keys = Keys {
    known: &["body", "header_bytes", "unpaid_rps_per_ip", "paid_rps_per_payer"],
    later: &[],
};
const METHOD: Keys = Keys { known: &["price"], later: &[] };
const CHARGE: Keys = Keys { known: &["price", "sponsored"], later: &[] };
const REDELIVERY: Keys = Keys { known: &["attempts", "for"], later: &[] };

const HEADER_BYTES: u64 = 32 << 10;
const BODY_BYTES: u64 = 1 << 20;
const RULES: Rules = Rules {
    settle: SettleOrder::ByMethod,
    charge_when: ChargeWhen { below: 400 },
    redelivery: Redelivery { attempts: 3, within: Duration::from_secs(24 * 3_600) },
};

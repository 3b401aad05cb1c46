//! MPP charge: challenges, their keys, who pays the fee, and what a route may say of it.

use std::time::Duration;

use super::{changed, read};
use crate::{
    config::Settings,
    pay::{MethodName, Offer, Terms},
    protocol::mpp::CredentialHeader,
    route::Access,
};

/// The short form with the section `payments.mpp` beside `payments.x402`, and a route that takes both.
fn both(mpp: &str) -> String {
    let text = changed("facilitator: self }", &format!("facilitator: self }}, mpp: {mpp}"));
    text.replace("[x402]", "[x402, mpp.charge]")
}

fn terms(settings: &Settings) -> &Terms {
    let Access::Priced(terms) = &settings.table.routes()[0].access else { panic!() };
    terms
}

fn methods(offers: &[Offer]) -> Vec<MethodName> {
    offers.iter().map(|offer| offer.method).collect()
}

#[test]
fn a_route_takes_x402_and_charges_side_by_side() {
    let settings = read(&both("{ charge: {} }")).unwrap_or_else(|faults| panic!("{faults}"));
    let charge = MethodName::Charge { sponsored: true };
    assert_eq!(methods(&terms(&settings).offers), [MethodName::X402, charge]);
    assert_eq!(terms(&settings).credential_header, CredentialHeader::Authorization);
    assert!(!terms(&settings).bind_body);
    let payment = settings.payment.unwrap();
    assert!(payment.x402.is_some() && payment.sponsor.is_some());
    let mpp = payment.mpp.unwrap();
    assert_eq!(&*mpp.realm, "tollgate");
    assert!(mpp.secrets.is_none(), "the store's own secret is used");
    assert_eq!(mpp.challenge_ttl, Duration::from_secs(300));
    assert!(!mpp.unsigned_push);
    assert_eq!(settings.warnings.to_string(), "");
}

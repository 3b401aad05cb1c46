//! Asks the ledger and the facilitator about everything that a configuration takes for granted, before a customer does.
//!
//! It changes nothing and sends no transaction. What can be seen in the file alone is `config`'s to judge, and was judged
//! before: here only the answers of others count. All that is wrong is found in one run, and each finding says what to do.

mod ledger;
mod time;

use std::fmt;

use crate::{
    config::{FacilitatorSettings, Payment, Settings},
    ledger::{
        Http,
        remote::{self, Trouble},
        rpc::{self, Rpc},
    },
    telemetry::Clock,
};

/// What was found, in the order in which it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    findings: Vec<Finding>,
}

/// One answer, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is called: `payee-trustline`, or for what is as it should be just `payee`.
    pub name: &'static str,
    /// What was found.
    pub what: String,
    /// What to do about it; empty for what is as it should be.
    pub hint: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Payments fail, or are lost.
    Fault,
    /// As it should be.
    Fine,
}

impl Severity {
    /// Its name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "error",
            Self::Fine => "ok",
        }
    }
}

/// A line; a fault is followed by its hint, as the faults of a file are.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity.as_str(), self.name, self.what)?;
        match self.severity {
            Severity::Fault => write!(f, "\n\nhint: {}", self.hint),
            Severity::Fine => Ok(()),
        }
    }
}

impl Report {
    /// The findings.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.findings.iter()
    }

    /// How many faults there are.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.iter().filter(|finding| finding.severity == Severity::Fault).count()
    }

    fn fine(&mut self, name: &'static str, what: impl Into<String>) {
        let (what, hint) = (what.into(), String::new());
        self.findings.push(Finding { severity: Severity::Fine, name, what, hint });
    }

    fn fault(&mut self, name: &'static str, what: impl Into<String>, hint: impl Into<String>) {
        let (what, hint) = (what.into(), hint.into());
        self.findings.push(Finding { severity: Severity::Fault, name, what, hint });
    }
}

impl<'a> IntoIterator for &'a Report {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Asks everybody whom `settings` name.
pub async fn examine(settings: &Settings, http: &Http, clock: &Clock) -> Report {
    let mut report = Report::default();
    let Some(payment) = &settings.payment else {
        report.fine("payments", "no route asks for money: there is nobody to ask");
        return report;
    };
    let rpc = Rpc::new(http.clone(), payment.rpc_url.clone(), payment.network);
    if let Err(error) = examine_ledger(settings, payment, http, &rpc, clock, &mut report).await {
        unreachable(&rpc, &error, &mut report);
    }
    let facilitator = payment.x402.as_ref().map(|x402| &x402.facilitator);
    if let Some(FacilitatorSettings::Remote(remote)) = facilitator {
        let facilitator =
            remote::Facilitator::new(remote.clone(), http.clone(), rpc, clock.clone());
        examine_facilitator(remote, &facilitator, &mut report).await;
    }
    report
}

async fn examine_ledger(
    settings: &Settings,
    payment: &Payment,
    http: &Http,
    rpc: &Rpc,
    clock: &Clock,
    report: &mut Report,
) -> Result<(), rpc::Error> {
    rpc.check_network().await?;
    report.fine("rpc", format!("{} serves {}", rpc.place(), payment.network));
    time::examine(http, &payment.rpc_url, rpc, clock, report).await?;
    let tokens = ledger::examine_assets(settings, payment, rpc, report).await?;
    ledger::examine_payees(settings, &tokens, rpc, report).await?;
    ledger::examine_sponsors(payment, rpc, report).await
}

fn unreachable(rpc: &Rpc, error: &rpc::Error, report: &mut Report) {
    let place = rpc.place();
    match error {
        rpc::Error::WrongNetwork { expected } => report.fault(
            "rpc-network",
            format!("the Stellar RPC at {place} serves another network than {expected}"),
            "`network` and `stellar.rpc_url` belong together: change one of them; what is on the ledger was not asked",
        ),
        error => {
            let mut what = format!("{error} ({place})");
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                what = format!("{what}: {cause}");
                source = cause.source();
            }
            report.fault(
                "rpc-unreachable",
                what,
                "see `stellar.rpc_url`: no payment is taken without it; what is on the ledger was not asked",
            );
        }
    }
}

async fn examine_facilitator(
    settings: &remote::Settings,
    facilitator: &remote::Facilitator,
    report: &mut Report,
) {
    let Err(error) = facilitator.ask().await else {
        let base = settings.url.to_string();
        let base = base.trim_end_matches('/');
        report.fine("facilitator", format!("{base} settles on {}", settings.network));
        return;
    };
    let key = settings.api_key_name.as_deref();
    let (name, hint) = match error.trouble {
        Trouble::Silent(_) => (
            "facilitator-unreachable",
            "see `payments.x402.facilitator.url`, or settle by yourself: `facilitator: self`"
                .to_owned(),
        ),
        Trouble::KeyRefused(_) | Trouble::UnusableKey => (
            "facilitator-key",
            match key {
                Some(name) => format!("get a new key from who runs it, and put it into {name}"),
                None => "it wants a key: `api_key: { env: OZ_API_KEY }`".to_owned(),
            },
        ),
        Trouble::NoKind { network, .. } => (
            "facilitator-kind",
            format!(
                "take one that settles x402 `exact` on {network} and pays the fees, or `facilitator: self`"
            ),
        ),
        Trouble::Status(_) | Trouble::Nonsense => (
            "facilitator",
            "see `payments.x402.facilitator.url`: `/supported` is appended to it".to_owned(),
        ),
    };
    report.fault(name, error.what(), hint);
}

//! `tollgate check`: what is wrong with a configuration, in the file and, if asked, on the ledger.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{BAD_CONFIGURATION, gateway, say};
use crate::{
    checkup::{self, Finding, Severity},
    config::{Diagnostic, Diagnostics},
    ledger::Http,
    telemetry::Clock,
};

/// Checks a configuration, and tells every mistake in it.
///
/// Ends with 0 if there is none, with 78 if the file is wrong, and with 1 if the ledger or the facilitator says that
/// payments would fail.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration.
    #[arg(short, long, default_value = "gateway.yaml")]
    config: PathBuf,
    /// Asks the Stellar RPC and the facilitator too: trustlines, assets, sponsors, keys, clocks. Changes nothing there.
    #[arg(long)]
    online: bool,
    /// How the findings are written: for people, or as one JSON document on stdout.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Carries the command out.
pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let Arguments { config, online, format } = arguments;
    let file = config.display().to_string();
    let settings = match gateway::read(&config) {
        Ok(settings) => settings,
        Err(faults) => {
            match format {
                Format::Text => eprintln!("{faults}"),
                Format::Json => say(&document(&file, false, of_file("error", &faults))),
            }
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    if let Format::Text = format {
        for warning in &settings.warnings {
            eprintln!("warning: {warning}");
        }
        say(&format_args!("{file}: good, {} routes", settings.table.routes().len()));
    }
    let report = match online {
        true => checkup::examine(&settings, &Http::new(), &Clock::system()).await,
        false => checkup::Report::default(),
    };
    let is_good = report.faults() == 0;
    match format {
        Format::Text => {
            for finding in &report {
                match finding.severity {
                    Severity::Fault => eprintln!("{finding}"),
                    Severity::Fine => say(finding),
                }
            }
        }
        Format::Json => {
            let mut findings = of_file("warning", &settings.warnings);
            findings.extend(report.iter().map(online_finding));
            say(&document(&file, is_good, findings));
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn document(file: &str, is_good: bool, findings: Vec<Value>) -> Value {
    json!({ "file": file, "good": is_good, "findings": findings })
}

fn of_file(severity: &str, diagnostics: &Diagnostics) -> Vec<Value> {
    let finding = |Diagnostic { file, at, path, what, hint }: &Diagnostic| {
        json!({
            "severity": severity,
            "name": "config",
            "file": file.as_ref(),
            "line": at.map(|at| at.line),
            "column": at.map(|at| at.column),
            "path": path,
            "what": what,
            "hint": hint,
        })
    };
    diagnostics.iter().map(finding).collect()
}

fn online_finding(finding: &Finding) -> Value {
    let Finding { severity, name, what, hint } = finding;
    json!({ "severity": severity.as_str(), "name": name, "what": what, "hint": hint })
}

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
/// Ends with 0 if there is none, with 78 if the file is wrong (or, by `--strict`, doubtful), and with 1 if the ledger or the facilitator says that
/// payments would fail.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tollgate check --online
  tollgate check --strict --format github     in a pull request's workflow")]
pub(super) struct Arguments {
    /// The configuration.
    #[arg(short, long, default_value = "gateway.yaml")]
    config: PathBuf,
    /// Asks the Stellar RPC and the facilitator too: trustlines, assets, sponsors, keys, clocks. Changes nothing there.
    #[arg(long)]
    online: bool,
    /// Takes a warning for a mistake.
    #[arg(long)]
    strict: bool,
    /// How the findings are written: for people, as one JSON document on stdout, or as annotations of a GitHub workflow.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
    Github,
}

/// Carries the command out.
pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let Arguments { config, online, strict, format } = arguments;
    let file = config.display().to_string();
    let settings = match gateway::read(&config) {
        Ok(settings) => settings,
        Err(faults) => {
            match format {
                Format::Text => eprintln!("{faults}"),
                Format::Json => say(&document(&file, false, of_file("error", &faults))),
                Format::Github => faults.iter().for_each(|fault| say(&annotation("error", fault))),
            }
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let bears = |warnings: &Diagnostics| !strict || warnings.is_empty();
    match format {
        Format::Text => {
            for warning in settings.warnings.iter() {
                eprintln!("warning: {warning}");
            }
            if bears(&settings.warnings) {
                say(&format_args!("{file}: good, {} routes", settings.table.routes().len()));
            }
        }
        Format::Github => {
            let severity = if strict { "error" } else { "warning" };
            settings.warnings.iter().for_each(|warning| say(&annotation(severity, warning)));
        }
        Format::Json => {}
    }
    let report = match online {
        true => checkup::examine(&settings, &Http::new(), &Clock::system()).await,
        false => checkup::Report::default(),
    };
    let is_good = report.faults() == 0 && bears(&settings.warnings);
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
        Format::Github => {
            let faults = report.iter().filter(|finding| finding.severity == Severity::Fault);
            faults.for_each(|fault| say(&format_args!("::error::{}", escaped(&fault.to_string()))));
        }
    }
    match (bears(&settings.warnings), is_good) {
        (false, _) => ExitCode::from(BAD_CONFIGURATION),
        (true, false) => ExitCode::FAILURE,
        (true, true) => ExitCode::SUCCESS,
    }
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

/// A workflow command of GitHub, which marks the line in a pull request.
fn annotation(severity: &str, diagnostic: &Diagnostic) -> String {
    let Diagnostic { file, at, path, what, hint } = diagnostic;
    let file = escaped(file).replace(':', "%3A").replace(',', "%2C");
    let at = at.map(|at| format!(",line={},col={}", at.line, at.column)).unwrap_or_default();
    let subject = if path.is_empty() { String::new() } else { format!("{path}: ") };
    let hint = if hint.is_empty() { String::new() } else { format!("\n{hint}") };
    format!("::{severity} file={file}{at}::{}", escaped(&format!("{subject}{what}{hint}")))
}

/// `text` as a workflow command carries it: in one line.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

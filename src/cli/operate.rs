//! What operators type and scripts run beside a gateway: `schema`, `reload`, `health`, `version`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    BAD_CONFIGURATION, Output, fail, gateway,
    port::{self, At, Error, Port},
    say,
};
use crate::config;

/// Writes the JSON Schema of a configuration, with which editors complete and check it.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  tollgate schema > gateway.schema.json
and in the first line of gateway.yaml
  # yaml-language-server: $schema=./gateway.schema.json")]
pub(super) struct Schema {}

impl Schema {
    pub(super) fn run(self) -> ExitCode {
        say(&config::SCHEMA.trim_end());
        ExitCode::SUCCESS
    }
}

/// Has a running gateway read its configuration again.
///
/// One that is wrong changes nothing, and what is wrong with it is told. Without an admin port the gateway does the same on
/// SIGHUP, and tells its log.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  tollgate reload -c gateway.yaml && echo swapped")]
pub(super) struct Reload {
    #[command(flatten)]
    at: At,
}

impl Reload {
    pub(super) async fn run(self) -> ExitCode {
        let port = match self.at.port() {
            Ok(port) => port,
            Err(code) => return code,
        };
        match port.call(Method::POST, "/-/reload", RELOAD).await {
            Err(error) => fail(&error),
            Ok((StatusCode::OK, told)) => {
                say(&told.unwrap_or_else(|| json!({ "status": "ok" })));
                ExitCode::SUCCESS
            }
            Ok((StatusCode::UNPROCESSABLE_ENTITY, told)) => {
                eprintln!("tollgate: not reloaded, the last good configuration serves on");
                for line in told.iter().flat_map(lines) {
                    eprintln!("{line}");
                }
                ExitCode::from(BAD_CONFIGURATION)
            }
            Ok((StatusCode::NOT_FOUND, _)) => {
                eprintln!("tollgate: this gateway takes no such order: send it SIGHUP");
                ExitCode::FAILURE
            }
            Ok((status, told)) => {
                eprintln!("tollgate: the admin port answers {status}");
                for line in told.iter().flat_map(lines) {
                    eprintln!("{line}");
                }
                ExitCode::FAILURE
            }
        }
    }
}

/// Every text in what the port told, in its order.
fn lines(told: &Value) -> Vec<&str> {
    match told {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(lines).collect(),
        Value::Object(members) => members.values().flat_map(lines).collect(),
        _ => Vec::new(),
    }
}

/// Tells whether a gateway on this machine is alive: ends with 0 if it is, and with 1 if not.
///
/// For probes in images that have no shell. It asks the admin port, which answers this to everybody.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tollgate health --address 127.0.0.1:9901
  tollgate health --config /etc/tollgate/gateway.yaml --ready")]
pub(super) struct Health {
    /// The configuration, which says where the admin port is.
    #[arg(short, long, value_name = "FILE", default_value = "gateway.yaml")]
    config: PathBuf,
    /// The admin port, instead of what the configuration says.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "config")]
    address: Option<http::uri::Authority>,
    /// Whether it takes requests too, not only whether it is alive.
    #[arg(long)]
    ready: bool,
}

impl Health {
    pub(super) async fn run(self) -> ExitCode {
        let url = match self.url() {
            Ok(url) => url,
            Err(code) => return code,
        };
        let path = if self.ready { "/readyz" } else { "/healthz" };
        match Port::new(&url, None).call(Method::GET, path, PROBE).await {
            Ok((StatusCode::OK, Some(told))) => {
                let status = told.get("status").and_then(Value::as_str).unwrap_or("ok");
                say(&status);
                ExitCode::SUCCESS
            }
            Ok((_, told)) => {
                let why = told.as_ref().and_then(|told| told.get("error")?.as_str());
                eprintln!("tollgate: {}", why.unwrap_or("no gateway answers there"));
                ExitCode::FAILURE
            }
            Err(error) => fail(&error),
        }
    }

    fn url(&self) -> Result<String, ExitCode> {
        if let Some(address) = &self.address {
            return Ok(format!("http://{address}"));
        }
        let settings = gateway::read(&self.config).map_err(|faults| {
            eprintln!("{faults}");
            ExitCode::from(BAD_CONFIGURATION)
        })?;
        let none = || fail(&Error::NoPort { config: self.config.clone() });
        let admin = settings.admin.ok_or_else(none)?;
        port::url_of(admin.address).map_err(|error| fail(&error))
    }
}

/// Tells which version this is, and what is built into it.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  tollgate version -o json")]
pub(super) struct Version {
    /// How it is written; without this a table on a terminal, and JSON in a pipe.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
}

impl Version {
    pub(super) fn run(self) -> ExitCode {
        let version = env!("CARGO_PKG_VERSION");
        let features: Vec<&str> = [("sandbox", cfg!(feature = "sandbox"))]
            .iter()
            .filter(|(_, is_in)| *is_in)
            .map(|(name, _)| *name)
            .collect();
        let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        match Output::or_by_reader(self.output) {
            Output::Json => say(&json!({
                "version": version, "features": features, "target": target, "config": 1,
            })),
            Output::Table => say(&format_args!(
                "version   {version}\nfeatures  {}\ntarget    {target}\nconfig    version 1",
                features.join(", ")
            )),
        }
        ExitCode::SUCCESS
    }
}

/// All of it is built before anything is swapped.
const RELOAD: Duration = Duration::from_secs(60);
/// Probes are usually given as long.
const PROBE: Duration = Duration::from_secs(2);

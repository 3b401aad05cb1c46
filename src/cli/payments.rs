//! `tollgate payments`: the payments of a running gateway of which nobody knows yet what became, through its admin port.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;

use super::{
    Output,
    amount::{Asset, Units, unit},
    columns::{at, columns},
    fail,
    port::{self, At, Error, Port},
    say,
};

/// Tells of payments by x402 and charge whose outcome is not known: sent to the ledger, and then cut off or unanswered.
///
/// The gateway looks for each until it has landed or never can; none is sent again. Whoever comes back with such a payment
/// is served once it has landed. What was settled is on the ledger, in the access log and in the webhooks.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  tollgate payments list")]
pub(super) struct Arguments {
    #[command(flatten)]
    at: At,
    /// How the answer is written; without this a table on a terminal, and JSON in a pipe.
    #[arg(short, long, global = true, value_enum)]
    output: Option<Output>,
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Lists the payments whose outcome is not known.
    List,
}

/// Carries the command out.
pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let Arguments { at, output, order: Order::List } = arguments;
    let port = match at.port() {
        Ok(port) => port,
        Err(code) => return code,
    };
    match list(&port, Output::or_by_reader(output)).await {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

async fn list(port: &Port, output: Output) -> Result<String, Error> {
    let told = port.ask(Method::GET, "/payments", LOOK).await?;
    let listed: Listed = port::read(&told)?;
    if listed.more {
        eprintln!("tollgate: there are more than these");
    }
    Ok(match output {
        Output::Json => format!("{told:#}"),
        Output::Table => table(&listed.unresolved),
    })
}

fn table(payments: &[Payment]) -> String {
    if payments.is_empty() {
        return "no payment waits for its outcome to be found out".to_owned();
    }
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows = payments.iter().map(|payment| {
        let asset = payment.asset.as_ref();
        let amount = payment.amount.map(|amount| amount.number(asset));
        [
            or_none(&payment.method),
            or_none(&amount),
            unit(asset).to_owned(),
            or_none(&payment.payer),
            or_none(&payment.transaction),
            at(payment.valid_until),
        ]
    });
    columns(HEADS, rows)
}

#[derive(Debug, Deserialize)]
struct Listed {
    unresolved: Vec<Payment>,
    more: bool,
}

#[derive(Debug, Deserialize)]
struct Payment {
    method: Option<String>,
    amount: Option<Units>,
    asset: Option<Asset>,
    payer: Option<String>,
    transaction: Option<String>,
    valid_until: u64,
}

const HEADS: [&str; 6] = ["METHOD", "AMOUNT", "ASSET", "PAYER", "TRANSACTION", "CAN LAND UNTIL"];
const LOOK: Duration = Duration::from_secs(10);

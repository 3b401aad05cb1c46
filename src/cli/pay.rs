//! `tollgate pay`: sends a request, pays if it is asked to, and says what it paid.

mod channel;

use std::{
    io::{self, Read as _, Write},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::stellar::{self, Stellar, seed, url};
use crate::{
    client::{self, Client, Event, Limit, Mode, Offer, Paid, Settings, Settlement, Until},
    config::Env,
    protocol::{
        money::{Amount, Price},
        mpp::timestamp,
        stellar::Network,
    },
};

/// Requests a URL and pays for it if it has a price.
///
/// Pays with the key in `STELLAR_SECRET_KEY`, or in a file. What is asked and paid is told on stderr; the body goes to
/// stdout. Ends with 0 if the answer is 2xx or 3xx, else with 1. Redirects are not followed.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The URL, with `http://` or `https://`.
    #[arg(value_parser = url)]
    url: Uri,
    /// The method; GET, or POST with `-d`.
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<Method>,
    /// A request header, `Name: value`. May be repeated.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<Header>,
    /// The request's body; `@FILE` sends a file as it is, `@-` what comes from stdin.
    #[arg(short = 'd', long = "data", value_name = "DATA")]
    data: Option<String>,
    /// Writes the body to this file instead of stdout.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Writes status and headers of the answer before its body.
    #[arg(short = 'i', long = "include")]
    include: bool,
    /// The most to pay: `0.01` is in USDC, `2 XLM` in lumens.
    #[arg(long, value_name = "PRICE", default_value = "1")]
    max: String,
    /// How to pay: `x402`, `charge`, whichever of these is cheapest (`any`), or `channel`.
    #[arg(long = "method", value_name = "METHOD", default_value = "any")]
    rail: Rail,
    #[command(flatten)]
    channel: channel::Flags,
    /// Who puts a charge on the ledger: the server (`pull`), or this command before it asks again (`push`).
    #[arg(long, value_name = "MODE", default_value = "pull")]
    mode: Way,
    /// A file with the secret key (`S…`) that pays, instead of `STELLAR_SECRET_KEY`.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    stellar: Stellar,
    /// For how many seconds a pending payment is presented again.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    patience: u64,
}

/// Carries the command out.
pub(super) async fn run(arguments: Arguments) -> ExitCode {
    match arguments.run().await {
        Ok(code) => code,
        Err(error) => super::fail(&error),
    }
}

impl Arguments {
    async fn run(self) -> Result<ExitCode, Error> {
        let env = stellar::env();
        let Rail::Direct(method) = self.rail else { return channel::run(&self, &env).await };
        let settings = self.settings(method, &env)?;
        let request = self.request()?;
        let client = Client::new(settings);
        let paid = client.send(request, tell).await.map_err(Error::Client)?;
        let Paid { response, payment } = paid;
        if let Some(payment) = payment
            && payment.settlement.is_none()
        {
            let money = payment.offer.money();
            match payment.credential.pushed() {
                Some(hash) => note(&format_args!(
                    "the server does not say whether it took the {money} of transaction {hash}"
                )),
                None => note(&format_args!("the server does not say whether it took the {money}")),
            }
        }
        let mut out = self.out()?;
        let good = self.write(&mut out, response).await?;
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn settings(&self, method: client::Method, env: &Env) -> Result<Settings, Error> {
        let network = self.stellar.network(env)?;
        Ok(Settings {
            seed: seed(self.key_file.as_deref(), "STELLAR_SECRET_KEY", "--key-file", env)?,
            network,
            rpc_url: self.stellar.rpc_url(network, env)?,
            limit: Some(self.limit(network)?),
            method,
            mode: self.mode.0,
            patience: Duration::from_secs(self.patience),
        })
    }

    fn limit(&self, network: Network) -> Result<Limit, Error> {
        let price = Price::split(&self.max);
        let known = [network.usdc(), network.xlm()];
        let asset = match price.asset {
            None => network.usdc(),
            Some(name) => known
                .into_iter()
                .find(|asset| *asset.name == *name)
                .ok_or_else(|| Error::Asset { name: name.to_owned() })?,
        };
        let amount = Amount::parse_decimal(price.number, asset.decimals)
            .map_err(|source| Error::Max { text: self.max.clone(), source })?;
        Ok(Limit { amount, asset })
    }

    fn request(&self) -> Result<Request<Bytes>, Error> {
        let body = self.body()?;
        let method = match (&self.method, &self.data) {
            (Some(method), _) => method.clone(),
            (None, Some(_)) => Method::POST,
            (None, None) => Method::GET,
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.url.clone();
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if self.data.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FORM));
        }
        // What the user names replaces what would be sent anyway; what is named twice is sent twice.
        for Header { name, .. } in &self.headers {
            headers.remove(name);
        }
        for Header { name, value } in &self.headers {
            headers.append(name, value.clone());
        }
        Ok(request)
    }

    fn body(&self) -> Result<Bytes, Error> {
        let Some(data) = &self.data else { return Ok(Bytes::new()) };
        let (path, read) = match data.strip_prefix('@') {
            None => return Ok(Bytes::from(data.clone().into_bytes())),
            Some("-") => {
                let mut bytes = Vec::new();
                ("-", io::stdin().read_to_end(&mut bytes).map(|_| bytes))
            }
            Some(path) => (path, std::fs::read(path)),
        };
        read.map(Bytes::from).map_err(|source| Error::File {
            action: "read",
            path: path.into(),
            source,
        })
    }

    /// Where answers go.
    fn out(&self) -> Result<Box<dyn Write>, Error> {
        Ok(match &self.output {
            Some(path) => Box::new(std::fs::File::create(path).map_err(|e| self.unwritten(e))?),
            None => Box::new(io::stdout()),
        })
    }

    fn unwritten(&self, source: io::Error) -> Error {
        let path = self.output.clone().unwrap_or_else(|| PathBuf::from("-"));
        Error::File { action: "write", path, source }
    }

    /// Writes the answer as it comes, byte for byte, and says what it is if it is no good one.
    async fn write(
        &self,
        out: &mut dyn Write,
        response: Response<Incoming>,
    ) -> Result<bool, Error> {
        let failed = |source| self.unwritten(source);
        let status = response.status();
        if self.include {
            write_head(out, &response).map_err(failed)?;
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(Error::Broken)?;
            if let Some(bytes) = frame.data_ref() {
                out.write_all(bytes).map_err(failed)?;
                out.flush().map_err(failed)?;
            }
        }
        let good = status.is_success() || status.is_redirection();
        if !good {
            note(&format_args!("the answer is {status}"));
        }
        Ok(good)
    }
}

fn write_head(out: &mut dyn Write, response: &Response<Incoming>) -> io::Result<()> {
    write!(out, "{:?} {}\r\n", response.version(), response.status())?;
    for (name, value) in response.headers() {
        write!(out, "{name}: ")?;
        out.write_all(value.as_bytes())?;
        write!(out, "\r\n")?;
    }
    write!(out, "\r\n")
}

/// Tells on stderr what happens to the money.
fn tell(event: Event<'_>) {
    match event {
        Event::Asked(offer) => {
            let what = what(offer.description());
            let (money, to, network) = (offer.money(), offer.payee(), offer.network());
            let rail = match offer {
                Offer::X402(_) => "x402",
                Offer::Charge(_) if offer.is_sponsored() => "charge, with its fee paid",
                Offer::Charge(_) => "charge",
            };
            note(&format_args!("asked {money}{what}, to {to} on {network}, by {rail}"));
        }
        Event::Signed(Until::Ledger(ledger)) => {
            note(&format_args!("signed a transfer that holds until ledger {ledger}"));
        }
        Event::Signed(Until::Time(seconds)) => {
            let time = timestamp::write(seconds.saturating_mul(1_000));
            note(&format_args!("signed a transaction that holds until {time}"));
        }
        Event::Submitted(transaction) => {
            note(&format_args!(
                "submitted transaction {transaction}, and wait until it has landed"
            ));
        }
        Event::Pending { wait } => {
            note(&format_args!(
                "the outcome is not known yet; the same payment goes out again in {} s",
                wait.as_secs()
            ));
        }
        Event::Settled(settlement) => tell_settlement(settlement),
    }
}

/// What is sold, in the server's words: nothing in them may move the cursor of a terminal.
fn what(description: &str) -> String {
    match description {
        "" => String::new(),
        words => format!(" for {:?}", words.chars().take(100).collect::<String>()),
    }
}

fn tell_settlement(settlement: &Settlement) {
    let plain = |text: &str| text.chars().filter(char::is_ascii_graphic).take(100).collect();
    let transaction: String = plain(&settlement.transaction);
    if settlement.success {
        note(&format_args!("paid, transaction {transaction}"));
    } else {
        let reason: String = plain(settlement.error_reason.as_deref().unwrap_or("no reason given"));
        note(&format_args!("not paid: {reason} {transaction}"));
    }
}

fn note(line: &dyn std::fmt::Display) {
    if writeln!(io::stderr(), "tollgate: {line}").is_err() {
        tracing::debug!("nobody reads stderr");
    }
}

/// A request header as `-H` takes it.
#[derive(Clone, Debug)]
struct Header {
    name: HeaderName,
    value: HeaderValue,
}

impl FromStr for Header {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (name, value) = text.split_once(':').ok_or("expected `Name: value`")?;
        Ok(Self {
            name: name.trim().parse().map_err(|_| "not a header name")?,
            value: value.trim().parse().map_err(|_| "not a header value")?,
        })
    }
}

/// A rail as `--method` takes it.
#[derive(Clone, Copy, Debug)]
enum Rail {
    /// A payment of its own for each request.
    Direct(client::Method),
    Channel,
}

impl FromStr for Rail {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "any" => Ok(Self::Direct(client::Method::Any)),
            "x402" => Ok(Self::Direct(client::Method::X402)),
            "charge" => Ok(Self::Direct(client::Method::Charge)),
            "channel" => Ok(Self::Channel),
            _ => Err("expected `x402`, `charge`, `channel` or `any`"),
        }
    }
}

/// A mode as `--mode` takes it.
#[derive(Clone, Copy, Debug)]
struct Way(Mode);

impl FromStr for Way {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "pull" => Ok(Self(Mode::Pull)),
            "push" => Ok(Self(Mode::Push)),
            _ => Err("expected `pull` or `push`"),
        }
    }
}

/// Why the command did not get to an answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Stellar(#[from] stellar::Error),
    #[error("--max is in `{name}`: expected USDC or XLM")]
    Asset { name: String },
    #[error("--max is `{text}`")]
    Max { text: String, source: crate::protocol::money::Error },
    #[error("{action} `{path}`")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Client(crate::client::Error),
    #[error(transparent)]
    Channel(channel::Error),
    #[error("the answer broke off")]
    Broken(#[source] hyper::Error),
}

const USER_AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
/// What curl sends.
const FORM: &str = "application/x-www-form-urlencoded";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &[&str]) -> Arguments {
        Line::try_parse_from([&["pay"], line].concat()).unwrap().arguments
    }

    #[test]
    fn a_request_is_what_curl_would_send() {
        let request = parse(&["http://a/b?c=d"]).request().unwrap();
        assert_eq!((request.method(), request.body().len()), (&Method::GET, 0));
        assert!(!request.headers().contains_key(header::CONTENT_TYPE));
        let request = parse(&["http://a", "-d", "x=1"]).request().unwrap();
        assert_eq!((request.method(), &request.body()[..]), (&Method::POST, &b"x=1"[..]));
        assert_eq!(request.headers()[header::CONTENT_TYPE], FORM);
        let line = ["http://a", "-X", "PUT", "-d", "{}", "-H", "Content-Type:application/json"];
        let request =
            parse(&[&line[..], &["-H", "x: 1", "-H", "X: 2"]].concat()).request().unwrap();
        assert_eq!(request.method(), Method::PUT);
        assert_eq!(request.headers()[header::CONTENT_TYPE], "application/json");
        let both: Vec<_> = request.headers().get_all("x").iter().collect();
        assert_eq!(both, ["1", "2"]);
    }

    #[test]
    fn a_body_from_a_file_is_the_file_byte_for_byte() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"a\r\nb\0\xff\n").unwrap();
        let data = format!("@{}", file.path().display());
        let request = parse(&["http://a", "-d", &data]).request().unwrap();
        assert_eq!(&request.body()[..], b"a\r\nb\0\xff\n");
        let error = parse(&["http://a", "-d", "@/no/such/file"]).request().unwrap_err();
        assert_eq!(error.to_string(), "read `/no/such/file`");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_sentence() {
        let env = Env::fixed([
            ("STELLAR_SECRET_KEY", "SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY"),
            ("STELLAR_RPC_URL", "http://rpc"),
        ]);
        let with = |line: &[&str]| {
            parse(&[&["http://a"], line].concat()).settings(client::Method::Any, &env)
        };
        let limit = |line: &[&str]| {
            let Limit { amount, asset } = with(line).unwrap().limit.unwrap();
            format!("{amount} {}", asset.name)
        };
        assert_eq!(limit(&[]), "10000000 USDC");
        assert_eq!(limit(&["--max", "$0.01"]), "100000 USDC");
        assert_eq!(limit(&["--max", "0.5 XLM"]), "5000000 XLM");
        let refused = |line: &[&str]| with(line).unwrap_err().to_string();
        assert_eq!(refused(&["--max", "1 EUR"]), "--max is in `EUR`: expected USDC or XLM");
        assert_eq!(refused(&["--max", "lots"]), "--max is `lots`");
        for url in ["a.example", "localhost:8402/x", "/x"] {
            let error = Line::try_parse_from(["pay", url]).err().unwrap().to_string();
            assert!(error.contains("expected a URL with `http://` or `https://`"), "{error}");
        }
        assert!(Line::try_parse_from(["pay", "http://a", "-H", "no colon"]).is_err());
    }
}

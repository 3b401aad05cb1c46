//! The admin port of a running gateway, as its operator's commands call it.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{BAD_CONFIGURATION, fail, gateway, stellar};
use crate::{
    config::Env,
    ledger::{Http, HttpError},
    protocol::json,
};

/// Where the admin port of a running gateway is, and what it wants to see.
#[derive(Debug, Args)]
pub(in crate::cli) struct At {
    /// The gateway's configuration, which says where its admin port is and what token it wants.
    #[arg(short, long, global = true, value_name = "FILE", default_value = "gateway.yaml")]
    config: PathBuf,
    /// The admin port, instead of what the configuration says.
    #[arg(long, global = true, value_name = "URL", value_parser = stellar::url)]
    admin: Option<Uri>,
    /// The environment variable that has the token.
    #[arg(long, global = true, value_name = "NAME")]
    token_env: Option<String>,
}

impl At {
    /// The port, or the code to end with; what is wrong is told.
    pub(in crate::cli) fn port(&self) -> Result<Port, ExitCode> {
        let (url, token) = match &self.admin {
            Some(url) => (url.to_string(), None),
            None => self.configured()?,
        };
        let token = match &self.token_env {
            None => token,
            Some(name) => {
                let value = Env::process().var(name).filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| fail(&Error::NoToken { name: name.clone() }))?;
                Some(value.into())
            }
        };
        Ok(Port::new(&url, token))
    }

    /// Where the configuration has the port, and what token it wants.
    fn configured(&self) -> Result<(String, Option<SecretString>), ExitCode> {
        let settings = gateway::read(&self.config).map_err(|faults| {
            eprintln!("{faults}");
            ExitCode::from(BAD_CONFIGURATION)
        })?;
        let none = || fail(&Error::NoPort { config: self.config.clone() });
        let admin = settings.admin.ok_or_else(none)?;
        Ok((url_of(admin.address).map_err(|error| fail(&error))?, admin.token))
    }
}

/// A port that can be called.
#[derive(Debug)]
pub(in crate::cli) struct Port {
    /// Without a slash at its end.
    url: String,
    token: Option<SecretString>,
    http: Http,
}

impl Port {
    pub(in crate::cli) fn new(url: &str, token: Option<SecretString>) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), token, http: Http::new() }
    }

    /// The status and the document that the port answers with, if it is one.
    pub(in crate::cli) async fn call(
        &self,
        method: Method,
        path: &str,
        patience: Duration,
    ) -> Result<(StatusCode, Option<Value>), Error> {
        let gives_an_order = method == Method::POST;
        let body = if gives_an_order { Bytes::from_static(b"{}") } else { Bytes::new() };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{path}", self.url)
            .parse()
            .map_err(|_| Error::NoUrl { url: self.url.clone() })?;
        let headers = request.headers_mut();
        if gives_an_order {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(token) = &self.token {
            let bearer = format!("Bearer {}", token.expose_secret());
            let mut bearer = HeaderValue::try_from(bearer).map_err(|_| Error::BadToken)?;
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        let sent = self.http.send(request, patience, MOST_BYTES).await;
        let (status, body) =
            sent.map_err(|source| Error::Unreachable { url: self.url.clone(), source })?;
        match status {
            StatusCode::UNAUTHORIZED => Err(Error::Unauthorised),
            _ => Ok((status, json::parse(&body).ok())),
        }
    }

    /// What the port answers to `method` and `path`, within `patience`.
    pub(in crate::cli) async fn ask(
        &self,
        method: Method,
        path: &str,
        patience: Duration,
    ) -> Result<Value, Error> {
        let (status, told) = self.call(method, path, patience).await?;
        let none = || Error::NotAdmin { url: self.url.clone() };
        if status == StatusCode::OK {
            return told.ok_or_else(none);
        }
        let why = told.as_ref().and_then(|told| told.get("error")?.as_str());
        Err(why.map_or_else(none, |why| Error::Refused(why.to_owned())))
    }
}

/// What the port told, as a `T`.
pub(in crate::cli) fn read<T: DeserializeOwned>(told: &Value) -> Result<T, Error> {
    T::deserialize(told).map_err(Error::Unread)
}

/// How a port at `address` is reached from the same machine.
pub(in crate::cli) fn url_of(address: SocketAddr) -> Result<String, Error> {
    let port = match address.port() {
        0 => return Err(Error::AnyPort),
        port => port,
    };
    Ok(match address.ip() {
        ip if !ip.is_unspecified() => format!("http://{}", SocketAddr::new(ip, port)),
        ip if ip.is_ipv6() => format!("http://[::1]:{port}"),
        _ => format!("http://127.0.0.1:{port}"),
    })
}

/// Why the port did not do it. Repeats no token.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Error {
    #[error(
        "`{}` opens no admin port: add `admin: {{ address: 127.0.0.1:9901 }}`, or name one with --admin",
        config.display()
    )]
    NoPort { config: PathBuf },
    #[error("the admin port has whatever number the system chose: name it with --admin")]
    AnyPort,
    #[error("`{url}` is no URL of an admin port")]
    NoUrl { url: String },
    #[error("{name} is not set")]
    NoToken { name: String },
    #[error("the token cannot stand in a header")]
    BadToken,
    #[error("cannot ask the admin port at {url}, is the gateway running?")]
    Unreachable { url: String, source: HttpError },
    #[error("{url} does not answer as an admin port does")]
    NotAdmin { url: String },
    #[error("the token is missing or wrong: name the variable that has it with --token-env")]
    Unauthorised,
    #[error("{0}")]
    Refused(String),
    #[error("the admin port's answer does not read: is it of another version?")]
    Unread(#[source] serde_json::Error),
}

/// Some ten thousand channels.
const MOST_BYTES: usize = 8 << 20;

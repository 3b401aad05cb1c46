//! The admin port of a running gateway, as its operator's commands call it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    ledger::{Http, HttpError},
    protocol::json,
};

/// A port that can be called.
#[derive(Debug)]
pub(super) struct Port {
    /// Without a slash at its end.
    url: String,
    token: Option<SecretString>,
    http: Http,
}

impl Port {
    pub(super) fn new(url: &str, token: Option<SecretString>) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), token, http: Http::new() }
    }

    /// What the port answers to `method` and `path`, within `patience`.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        patience: Duration,
    ) -> Result<Value, Error> {
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
        let told = json::parse(&body);
        if status == StatusCode::OK {
            return told.map_err(|_| Error::NotAdmin { url: self.url.clone() });
        }
        let why = told.ok().and_then(|told| Some(told.get("error")?.as_str()?.to_owned()));
        match (status, why) {
            (StatusCode::UNAUTHORIZED, _) => Err(Error::Unauthorised),
            (_, Some(why)) => Err(Error::Refused(why)),
            (_, None) => Err(Error::NotAdmin { url: self.url.clone() }),
        }
    }
}

/// What the port told, as a `T`.
pub(super) fn read<T: DeserializeOwned>(told: &Value) -> Result<T, Error> {
    T::deserialize(told).map_err(Error::Unread)
}

/// How a port at `address` is reached from the same machine.
pub(super) fn url_of(address: SocketAddr) -> Result<String, Error> {
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
pub(super) enum Error {
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

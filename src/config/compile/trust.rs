//! How an upstream is spoken to: HTTP's version, and TLS with those who vouch for its servers.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use zeroize::Zeroizing;

use crate::{
    config::{
        diagnostic::quoted,
        read::{Fields, Keys, Spot},
        secret::is_open_to_all,
    },
    upstream::{Protocol, Tls, TlsError, TlsSettings},
};

/// Reads the keys `protocol` and `tls` of an upstream whose servers are `https` or are not.
pub(super) fn read(fields: &Fields<'_>, is_https: bool) -> Option<(Protocol, Option<Tls>)> {
    let protocol = match fields.get("protocol") {
        Some(spot) => read_protocol(&spot, is_https),
        None if is_https => Some(Protocol::Negotiated),
        None => Some(Protocol::Http1),
    };
    let tls = match fields.get("tls") {
        Some(spot) if !is_https => spot.fault(
            "the servers are `http`, where nothing is secured",
            "write their URLs with `https`, or remove `tls`",
        ),
        Some(spot) => read_tls(&spot).map(Some),
        None => Some(is_https.then(TlsSettings::default)),
    };
    let (protocol, tls) = (protocol?, tls?);
    let Some(settings) = tls else { return Some((protocol, None)) };
    secure(&fields.spot, settings, protocol).map(|tls| (protocol, Some(tls)))
}

/// TLS as it is where nothing is said about it.
pub(super) fn usual(spot: &Spot<'_>) -> Option<(Protocol, Option<Tls>)> {
    let tls = secure(spot, TlsSettings::default(), Protocol::Negotiated)?;
    Some((Protocol::Negotiated, Some(tls)))
}

fn secure(spot: &Spot<'_>, settings: TlsSettings, protocol: Protocol) -> Option<Tls> {
    let faulty = |key: &str| spot.child_named("tls").and_then(|tls| tls.child_named(key));
    match Tls::new(settings, protocol) {
        Ok(tls) => Some(tls),
        Err(error @ TlsError::NoAuthorities(_)) => spot.fault(
            format!("{error}, so no server over `https` can be trusted"),
            "install them, point `SSL_CERT_FILE` at them, or name one: `tls: { ca_file: ca.pem }`",
        ),
        Err(error @ TlsError::Authority(_)) => {
            faulty("ca_file").unwrap_or_else(|| spot.clone()).fault(error.to_string(), CA_HINT)
        }
        Err(error @ TlsError::Identity(_)) => faulty("key_file")
            .unwrap_or_else(|| spot.clone())
            .fault(error.to_string(), "name the file with the private key of `cert_file`"),
    }
}

fn read_protocol(spot: &Spot<'_>, is_https: bool) -> Option<Protocol> {
    let text = spot.text()?;
    match (text.text.as_ref(), is_https) {
        ("http1", _) => Some(Protocol::Http1),
        ("h2", true) | ("h2c", false) => Some(Protocol::Http2),
        ("h2", false) => text.fault(
            "is HTTP/2 over TLS, and the servers are `http`",
            "write `protocol: h2c`, or their URLs with `https`",
        ),
        ("h2c", true) => text.fault(
            "is HTTP/2 without TLS, and the servers are `https`",
            "write `protocol: h2`, or leave it to be agreed on",
        ),
        _ => text.fault(
            "is no protocol of an upstream",
            "write `http1`, `h2` (over TLS) or `h2c` (without)",
        ),
    }
}

fn read_tls(spot: &Spot<'_>) -> Option<TlsSettings> {
    let fields = spot.fields(&TLS)?;
    let authorities = match fields.get("ca_file") {
        Some(file) => read_certificates(&file, CA_HINT).map(Some),
        None => Some(None),
    };
    let identity = match (fields.get("cert_file"), fields.get("key_file")) {
        (None, None) => Some(None),
        _ => read_identity(&fields).map(Some),
    };
    let server_name = match fields.get("server_name") {
        Some(name) => read_server_name(&name).map(Some),
        None => Some(None),
    };
    let (authorities, identity, server_name) = (authorities?, identity?, server_name?);
    Some(TlsSettings { authorities, identity, server_name })
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_identity(fields: &Fields<'_>) -> Option<Identity> {
    let chain = fields.need("cert_file", IDENTITY_HINT).and_then(|file| {
        read_certificates(&file, "the gateway's own, then those that vouch for it")
    });
    let key = fields.need("key_file", IDENTITY_HINT).and_then(|file| read_key(&file));
    Some((chain?, key?))
}

fn read_certificates(spot: &Spot<'_>, hint: &str) -> Option<Vec<CertificateDer<'static>>> {
    let bytes = read_file(spot)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Some(certificates),
        _ => spot.fault(
            format!("{} holds no certificate in PEM form", quoted(&spot.text()?.text)),
            hint,
        ),
    }
}

fn read_key(spot: &Spot<'_>) -> Option<PrivateKeyDer<'static>> {
    let bytes = read_file(spot)?;
    let name = quoted(&spot.text()?.text);
    if is_open_to_all(&spot.file_path()?) {
        spot.warn(
            format!("every user of this machine can read the key in {name}"),
            "take the right away: `chmod o-r`",
        );
    }
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Some(key),
        Err(_) => spot.fault(
            format!("{name} holds no private key in PEM form"),
            "name the file with the private key of `cert_file`",
        ),
    }
}

fn read_file(spot: &Spot<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let path = spot.file_path()?;
    match spot.reading.read_file(&path) {
        Ok(bytes) => Some(Zeroizing::new(bytes)),
        Err(error) => spot.fault(
            format!("cannot read {}: {error}", quoted(&spot.text()?.text)),
            "the file must exist and be readable for this process",
        ),
    }
}

fn read_server_name(spot: &Spot<'_>) -> Option<ServerName<'static>> {
    let text = spot.text()?;
    match ServerName::try_from(text.text.to_string()) {
        Ok(name) => Some(name),
        Err(_) => {
            text.fault("is no name of a server", "write a host alone, such as `api.internal`")
        }
    }
}

const TLS: Keys = Keys { known: &["ca_file", "server_name", "cert_file", "key_file"], later: &[] };
const CA_HINT: &str = "name a file with the certificates of those who vouch for the servers";
const IDENTITY_HINT: &str =
    "name both files of the gateway's own certificate: `cert_file` and `key_file`";

//! A self-signed certificate for loopback, and the server side of TLS over it.
//!
//! The reference clients refuse `http://`. Node trusts a certificate that `NODE_EXTRA_CA_CERTS` names, and takes one
//! file: so the bundle written here keeps the certificates that the variable named before.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate could not be made.
    #[error("make a self-signed certificate")]
    Certificate(#[source] rcgen::Error),
    /// TLS does not take the certificate.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
    /// The file of certificates to keep could not be read.
    #[error("read the certificates to keep, `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificate could not be written.
    #[error("write the certificate `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A certificate made at this start, with its key.
pub(crate) struct Identity {
    /// The certificate, PEM.
    pub(crate) pem: String,
    /// What the listener needs.
    pub(crate) config: Arc<ServerConfig>,
}

impl Identity {
    /// Makes one for `localhost`, the loopback addresses and `listen`.
    pub(crate) fn new(listen: IpAddr) -> Result<Self, Error> {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
        let listen = listen.to_string();
        if !names.contains(&listen) {
            names.push(listen);
        }
        let made = rcgen::generate_simple_self_signed(names).map_err(Error::Certificate)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .map_err(Error::Tls)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { pem: made.cert.pem(), config: Arc::new(config) })
    }
}

/// Writes `pem` to `path`, followed by the certificates of the file `keep` that no sandbox wrote.
pub(crate) fn write_bundle(path: &Path, pem: &str, keep: Option<&Path>) -> Result<(), Error> {
    let mut bundle = format!("{MARK}\n{pem}");
    if let Some(keep) = keep {
        let text = std::fs::read_to_string(keep)
            .map_err(|source| Error::Read { path: keep.to_path_buf(), source })?;
        bundle.push_str(&without_ours(&text));
    }
    std::fs::write(path, bundle).map_err(|source| Error::Write { path: path.to_path_buf(), source })
}

/// `bundle` without the certificates that follow our mark: a sandbox may be started in a shell that has sourced the
/// env file of the last one.
fn without_ours(bundle: &str) -> String {
    let mut kept = String::new();
    let mut ours = false;
    for line in bundle.lines() {
        ours |= line == MARK;
        if !ours {
            kept.push_str(line);
            kept.push('\n');
        }
        ours &= line != "-----END CERTIFICATE-----";
    }
    kept
}

const MARK: &str = "# Tollgate sandbox";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_keeps_what_others_put_there_and_drops_an_older_certificate_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.pem");
        let other = "-----BEGIN CERTIFICATE-----\nOTHER\n-----END CERTIFICATE-----\n";
        let older = "-----BEGIN CERTIFICATE-----\nOLDER\n-----END CERTIFICATE-----\n";
        let newer = "-----BEGIN CERTIFICATE-----\nNEWER\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, other).unwrap();

        write_bundle(&path, older, Some(&path)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{MARK}\n{older}{other}"));
        write_bundle(&path, newer, Some(&path)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{MARK}\n{newer}{other}"));
    }

    #[test]
    fn a_missing_file_of_certificates_to_keep_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.pem");
        let error = write_bundle(&folder.path().join("out.pem"), "", Some(&missing)).unwrap_err();
        assert!(matches!(error, Error::Read { path, .. } if path == missing));
    }
}

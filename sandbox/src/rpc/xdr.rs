//! XDR in base64, within bounds.

use stellar_xdr::{Limits, ReadXdr, WriteXdr};

use super::message::Error;

/// Reads `text`. `None` if it is not base64 of exactly one value, or is nested deeper than anything valid.
pub(super) fn decode<T: ReadXdr>(text: &str) -> Option<T> {
    T::from_xdr_base64(text, Limits { depth: DEPTH, len: text.len() }).ok()
}

/// `value` in base64.
pub(super) fn encode<T: WriteXdr>(value: &T) -> Result<String, Error> {
    value
        .to_xdr_base64(Limits::none())
        .map_err(|error| Error::internal(format!("encode XDR: {error}")))
}

/// Each of `values` in base64.
pub(super) fn encode_all<'a, T: WriteXdr + 'a>(
    values: impl IntoIterator<Item = &'a T>,
) -> Result<Vec<String>, Error> {
    values.into_iter().map(encode).collect()
}

/// Refuses the one format that is not served.
pub(super) fn only_base64(format: Option<&str>) -> Result<(), Error> {
    match format {
        None | Some("" | "base64") => Ok(()),
        Some(other) => Err(Error::invalid_params(format!(
            "expected xdrFormat `base64`, got `{other}`: the sandbox serves no other"
        ))),
    }
}

/// Deeper than a transaction whose authorization tree the host would still run.
const DEPTH: u32 = 250;

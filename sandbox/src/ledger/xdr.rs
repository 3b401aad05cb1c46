//! Small XDR conveniences: encoding to memory, hashes, lists that cannot be too long.

use sha2::{Digest, Sha256};
use stellar_xdr::{Hash, Int128Parts, Limits, ScString, ScSymbol, ScVal, StringM, VecM, WriteXdr};

/// The XDR of `value`.
pub(super) fn encode(value: &impl WriteXdr) -> Vec<u8> {
    value.to_xdr(Limits::none()).expect("encoding to memory without limits does not fail")
}

/// The length of the XDR of `value`, in bytes.
pub(super) fn size(value: &impl WriteXdr) -> u32 {
    count(encode(value).len())
}

/// A length as XDR counts it.
pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// SHA-256 of the XDR of `value`.
pub(super) fn hash(value: &impl WriteXdr) -> Hash {
    sha256(&encode(value))
}

/// `items` as an XDR list. The callers' lists come from lists of the same bound.
pub(super) fn list<T, const MAX: u32>(items: Vec<T>) -> VecM<T, MAX> {
    items.try_into().expect("a list no longer than the one it was made from")
}

/// A symbol of at most 32 characters.
pub(super) fn symbol(text: &str) -> ScVal {
    ScVal::Symbol(ScSymbol(StringM::try_from(text).expect("a symbol of at most 32 characters")))
}

/// A string.
pub(super) fn string(text: &str) -> ScVal {
    ScVal::String(ScString(StringM::try_from(text).expect("a string shorter than 4 GiB")))
}

/// `amount` as the 128-bit integer that token events carry.
pub(super) fn i128(amount: i64) -> ScVal {
    let wide = i128::from(amount);
    ScVal::I128(Int128Parts {
        hi: i64::try_from(wide >> 64).expect("the upper half of an i128 is an i64"),
        lo: u64::from_ne_bytes(amount.to_ne_bytes()),
    })
}

//! Records as bytes: a version, the fields in a fixed order, and a checksum over them and their key.
//!
//! An unknown version is refused and never guessed at; so is a record that belongs to another key.

use std::time::Duration;

use super::{
    Binding, ClaimKey, Error, Redelivery, Settled, Submitting,
    bytes::{Reader, checksum, put_bytes, put_digest},
    claim::{Origin, Record, State},
};
use crate::protocol::stellar::TxHash;

/// The format of records.
pub(super) const FORMAT: u8 = 2;

/// Writes the record of `key`.
///
/// # Errors
/// [`Error::TooLarge`] for a receipt or memo above 16 KiB.
pub(super) fn encode(key: ClaimKey, record: &Record) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(160);
    out.push(FORMAT);
    put_origin(&mut out, &record.origin);
    put_state(&mut out, &record.state)?;
    let sum = checksum(&key.0, &out);
    out.extend(sum);
    Ok(out)
}

/// Reads the record of `key`.
///
/// # Errors
/// [`Error::UnknownFormat`] or [`Error::Corrupt`].
pub(super) fn decode(key: ClaimKey, bytes: &[u8]) -> Result<Record, Error> {
    match bytes.first() {
        Some(&FORMAT) => {}
        Some(&found) => return Err(Error::UnknownFormat { found, known: FORMAT }),
        None => return Err(corrupt(key)),
    }
    read(key, bytes).ok_or_else(|| corrupt(key))
}

fn read(key: ClaimKey, bytes: &[u8]) -> Option<Record> {
    let (body, sum) = bytes.split_last_chunk()?;
    if checksum(&key.0, body) != *sum {
        return None;
    }
    let mut reader = Reader::new(body.get(1..)?);
    let origin = origin(&mut reader)?;
    let state = state(&mut reader)?;
    reader.is_done().then_some(Record { origin, state })
}

pub(super) fn put_origin(out: &mut Vec<u8>, origin: &Origin) {
    put_digest(out, origin.alias.map(|ClaimKey(alias)| alias));
    out.extend(origin.binding.0);
    out.extend(origin.keep_until.to_be_bytes());
    out.push(origin.redelivery.attempts);
    out.extend(origin.redelivery.within.as_secs().to_be_bytes());
}

pub(super) fn origin(reader: &mut Reader<'_>) -> Option<Origin> {
    Some(Origin {
        alias: reader.digest()?.map(ClaimKey),
        binding: Binding(reader.array()?),
        keep_until: reader.u64()?,
        redelivery: Redelivery {
            attempts: reader.u8()?,
            within: Duration::from_secs(reader.u64()?),
        },
    })
}

/// # Errors
/// [`Error::TooLarge`] for a receipt or memo above 16 KiB.
pub(super) fn put_state(out: &mut Vec<u8>, state: &State) -> Result<(), Error> {
    match state {
        State::Submitting(submitting) => {
            out.push(SUBMITTING);
            put_digest(out, submitting.transaction.map(|TxHash(hash)| hash));
            out.extend(submitting.valid_until.to_be_bytes());
            out.extend(submitting.since_ledger.to_be_bytes());
            put_bytes(out, &submitting.memo)
        }
        State::Settled { settled, attempts } => {
            out.push(SETTLED);
            out.push(*attempts);
            put_settled(out, settled)
        }
        State::Delivered { settled, status } => {
            out.push(DELIVERED);
            out.extend(status.to_be_bytes());
            put_settled(out, settled)
        }
        State::Refused { reason } => {
            out.push(REFUSED);
            put_bytes(out, reason.as_bytes())
        }
    }
}

pub(super) fn state(reader: &mut Reader<'_>) -> Option<State> {
    Some(match reader.u8()? {
        SUBMITTING => State::Submitting(Submitting {
            transaction: reader.digest()?.map(TxHash),
            valid_until: reader.u64()?,
            since_ledger: reader.u32()?,
            memo: reader.bytes()?,
        }),
        SETTLED => {
            let attempts = reader.u8()?;
            State::Settled { settled: settled(reader)?, attempts }
        }
        DELIVERED => {
            let status = reader.u16()?;
            State::Delivered { settled: settled(reader)?, status }
        }
        REFUSED => State::Refused { reason: String::from_utf8(reader.bytes()?.into()).ok()? },
        _ => return None,
    })
}

fn settled(reader: &mut Reader<'_>) -> Option<Settled> {
    Some(Settled {
        transaction: reader.digest()?.map(TxHash),
        receipt: reader.bytes()?,
        at: reader.u64()?,
    })
}

fn put_settled(out: &mut Vec<u8>, settled: &Settled) -> Result<(), Error> {
    put_digest(out, settled.transaction.map(|TxHash(hash)| hash));
    put_bytes(out, &settled.receipt)?;
    out.extend(settled.at.to_be_bytes());
    Ok(())
}

fn corrupt(key: ClaimKey) -> Error {
    Error::Corrupt { what: format!("the record of {key:?} does not read").into() }
}

const SUBMITTING: u8 = 1;
const SETTLED: u8 = 2;
const DELIVERED: u8 = 3;
const REFUSED: u8 = 4;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::store::bytes::MAX_BYTES;

    fn records() -> impl Strategy<Value = Record> {
        let hash = || proptest::option::of(any::<[u8; 32]>().prop_map(TxHash));
        let bytes = || proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        let settled = move || {
            (hash(), bytes(), any::<u64>()).prop_map(|(transaction, receipt, at)| Settled {
                transaction,
                receipt,
                at,
            })
        };
        let state =
            prop_oneof![
                (hash(), any::<u64>(), any::<u32>(), bytes()).prop_map(
                    |(transaction, valid_until, since_ledger, memo)| State::Submitting(
                        Submitting { transaction, valid_until, since_ledger, memo }
                    )
                ),
                (settled(), any::<u8>())
                    .prop_map(|(settled, attempts)| State::Settled { settled, attempts }),
                (settled(), any::<u16>())
                    .prop_map(|(settled, status)| State::Delivered { settled, status }),
                ".{0,40}".prop_map(|reason| State::Refused { reason }),
            ];
        let alias = proptest::option::of(any::<[u8; 32]>().prop_map(ClaimKey));
        let origin = (alias, any::<[u8; 32]>(), any::<u64>(), any::<u8>(), any::<u64>()).prop_map(
            |(alias, binding, keep_until, attempts, within)| Origin {
                alias,
                binding: Binding(binding),
                keep_until,
                redelivery: Redelivery { attempts, within: Duration::from_secs(within) },
            },
        );
        (origin, state).prop_map(|(origin, state)| Record { origin, state })
    }

    proptest! {
        #[test]
        fn a_record_reads_back_as_it_was_written(key: [u8; 32], record in records()) {
            let bytes = encode(ClaimKey(key), &record).unwrap();
            prop_assert_eq!(decode(ClaimKey(key), &bytes).unwrap(), record);
        }

        #[test]
        fn a_flipped_bit_is_found(
            key: [u8; 32],
            record in records(),
            place: prop::sample::Index,
            bit in 0..8_u8,
        ) {
            let mut bytes = encode(ClaimKey(key), &record).unwrap();
            let at = place.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(ClaimKey(key), &bytes).is_err());
        }

        #[test]
        fn a_record_of_another_key_is_refused(keys: ([u8; 32], [u8; 32]), record in records()) {
            prop_assume!(keys.0 != keys.1);
            let bytes = encode(ClaimKey(keys.0), &record).unwrap();
            let is_corrupt = matches!(decode(ClaimKey(keys.1), &bytes), Err(Error::Corrupt { .. }));
            prop_assert!(is_corrupt);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            drop(decode(ClaimKey([0; 32]), &bytes));
        }
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_and_not_guessed_at() {
        let key = ClaimKey([1; 32]);
        let newer = FORMAT + 1;
        for bytes in [vec![newer], [&[newer][..], &[0; 200]].concat()] {
            let error = decode(key, &bytes).unwrap_err();
            assert!(
                matches!(error, Error::UnknownFormat { found, known: FORMAT } if found == newer)
            );
        }
    }

    #[test]
    fn a_receipt_has_a_bound() {
        let key = ClaimKey([1; 32]);
        let record = |length| Record {
            origin: Origin {
                alias: None,
                binding: Binding([0; 32]),
                keep_until: 0,
                redelivery: Redelivery { attempts: 1, within: Duration::ZERO },
            },
            state: State::Delivered {
                settled: Settled { transaction: None, receipt: vec![0; length].into(), at: 0 },
                status: 200,
            },
        };
        assert!(encode(key, &record(MAX_BYTES)).is_ok());
        for length in [MAX_BYTES + 1, 70_000] {
            assert!(matches!(encode(key, &record(length)), Err(Error::TooLarge { .. })));
        }
    }
}

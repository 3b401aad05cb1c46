//! Points in time as RFC 3339 text, to the millisecond.

use time::{
    OffsetDateTime,
    format_description::well_known::{
        Iso8601, Rfc3339,
        iso8601::{Config, EncodedConfig, TimePrecision},
    },
};

/// Writes Unix milliseconds as JavaScript does: `2030-01-01T00:00:00.000Z`.
///
/// What lies after the year 9999 is written as its last millisecond.
#[must_use]
pub fn write(unix_ms: u64) -> String {
    let nanoseconds = i128::from(unix_ms.min(LAST_MS)).saturating_mul(NANOSECONDS_PER_MS);
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|time| time.format(&MILLISECONDS).ok())
        .expect("a time of the years 1970 to 9999 has a text")
}

/// Reads `YYYY-MM-DDTHH:MM:SS[.fraction](Z|±hh:mm)` as Unix milliseconds, rounded down.
///
/// # Errors
/// [`NotTime`] for any other text, a day or an hour that is none, and what lies before 1970.
pub fn read(text: &str) -> Result<u64, NotTime> {
    if !has_shape(text.as_bytes()) {
        return Err(NotTime);
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| NotTime)?;
    u64::try_from(time.unix_timestamp_nanos().div_euclid(NANOSECONDS_PER_MS)).map_err(|_| NotTime)
}

/// The text is no time as the scheme writes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time such as `2030-01-01T00:00:00.000Z`")]
pub struct NotTime;

/// The library takes more than `mppx` does: lower case, other separators, leap seconds.
fn has_shape(text: &[u8]) -> bool {
    let Some((seconds, rest)) = text.split_at_checked(SECONDS.len()) else { return false };
    let rest = match rest {
        [b'.', fraction @ ..] => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            match fraction.split_at_checked(digits) {
                Some((digits, rest)) if !digits.is_empty() => rest,
                _ => return false,
            }
        }
        rest => rest,
    };
    let like = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
    };
    like(seconds, SECONDS)
        && seconds.get(SECONDS.len().saturating_sub(2)) != Some(&b'6')
        && (rest == b"Z" || like(rest, b"+00:00"))
}

const SECONDS: &[u8] = b"0000-00-00T00:00:00";
const NANOSECONDS_PER_MS: i128 = 1_000_000;
/// 9999-12-31T23:59:59.999Z.
const LAST_MS: u64 = 253_402_300_799_999;
const MILLISECONDS: Iso8601<{ MILLISECOND_CONFIG }> = Iso8601;
const MILLISECOND_CONFIG: EncodedConfig = Config::DEFAULT
    .set_year_is_six_digits(false)
    .set_time_precision(TimePrecision::Second { decimal_digits: std::num::NonZero::new(3) })
    .encode();

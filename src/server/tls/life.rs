//! Until when a certificate holds, as it says in its DER form.
//!
//! Reads no more of it than that, and judges nothing: rustls does. Source: RFC 5280 section 4.1.

use time::{Date, Month};

/// When the certificate ends, in seconds since 1970; `None` if that cannot be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<u64> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    let (first, _, behind) = element(fields)?;
    if first == VERSION {
        fields = behind;
    }
    // The serial number, the signature's algorithm, and who issued it.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (_, validity, _) = element(fields)?;
    let (_, _, behind) = element(validity)?;
    let (kind, text, _) = element(behind)?;
    read_time(kind, std::str::from_utf8(text).ok()?)
}

/// The tag and the content of the first element, and what comes behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = der else { return None };
    let (length, rest) = match length {
        short @ 0..0x80 => (usize::from(*short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = digits.iter().try_fold(0_usize, |sum, digit| {
                sum.checked_mul(256)?.checked_add(usize::from(*digit))
            });
            (length?, rest)
        }
    };
    let (content, behind) = rest.split_at_checked(length)?;
    Some((*tag, content, behind))
}

/// Reads `YYMMDDHHMMSSZ` (of the years 1950 to 2049), or the same with four digits of the year.
fn read_time(kind: u8, text: &str) -> Option<u64> {
    let digits = text.strip_suffix('Z')?;
    let (year, rest) = digits.split_at_checked(if kind == UTC_TIME { 2 } else { 4 })?;
    let number = |text: &str| text.parse::<u8>().ok();
    let year = match (kind, year.parse::<i32>().ok()?) {
        (UTC_TIME, year @ 50..) => year.checked_add(1900)?,
        (UTC_TIME, year) => year.checked_add(2000)?,
        (_, year) => year,
    };
    let parts = [0..2, 2..4, 4..6, 6..8, 8..10].map(|range| rest.get(range).and_then(number));
    let [Some(month), Some(day), Some(hour), Some(minute), Some(second)] = parts else {
        return None;
    };
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    let time = date.with_hms(hour, minute, second).ok()?;
    u64::try_from(time.assume_utc().unix_timestamp()).ok()
}

/// The tag of the version, which old certificates have not.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_in_either_form() {
        for (year, month, day, ends) in [
            (2031, 2, 3, 1_927_843_200),
            (2060, 12, 31, 2_871_676_800_u64),
            (1999, 1, 1, 915_148_800),
        ] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, month, day);
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(not_after(certificate.der()), Some(ends), "{year}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for der in
            [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x00], &[0; 64]]
        {
            assert_eq!(not_after(der), None, "{der:?}");
        }
        assert_eq!(read_time(UTC_TIME, "310203000000"), None);
        assert_eq!(read_time(UTC_TIME, "311303000000Z"), None);
    }
}

//! Values with a grammar of their own: durations, sizes, numbers, URLs, names, paths.
//!
//! Each has one spelling with its unit in it; what is nearly right gets the right spelling as a hint.

use std::{net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use http::Uri;

use super::read::{Fields, Spot, Text};

impl<'a> Spot<'a> {
    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        let text = self.text()?;
        match text.text.as_ref() {
            "true" if text.is_plain() => Some(true),
            "false" if text.is_plain() => Some(false),
            "true" | "false" => {
                text.fault("is in quotes, which makes it text", "remove the quotes")
            }
            _ => text.fault("is neither `true` nor `false`", "write `true` or `false`"),
        }
    }

    /// A whole number in `range`.
    pub(super) fn number<N>(&self, range: RangeInclusive<N>) -> Option<N>
    where
        N: std::str::FromStr + PartialOrd + std::fmt::Display,
    {
        let text = self.text()?;
        let digits = !text.text.is_empty() && text.text.bytes().all(|byte| byte.is_ascii_digit());
        let hint = format!("write a whole number from {} to {}", range.start(), range.end());
        if !digits {
            return text.fault("is not a whole number", hint);
        }
        match text.text.parse() {
            Ok(number) if range.contains(&number) => Some(number),
            _ => text.fault("is out of range", hint),
        }
    }

    /// A duration with its unit, above zero.
    pub(super) fn duration(&self) -> Option<Duration> {
        let text = self.text()?;
        let duration = read_duration(&text)?;
        if duration.is_zero() {
            return text.fault("is no time at all", "write a duration above zero, such as `30s`");
        }
        Some(duration)
    }

    /// A duration with its unit, or zero.
    pub(super) fn duration_or_zero(&self) -> Option<Duration> {
        read_duration(&self.text()?)
    }

    /// A duration with its unit in `range`, which `hint` spells out.
    pub(super) fn duration_in(
        &self,
        range: RangeInclusive<Duration>,
        hint: &str,
    ) -> Option<Duration> {
        let text = self.text()?;
        let duration = read_duration(&text)?;
        if !range.contains(&duration) {
            return text.fault("is out of range", hint);
        }
        Some(duration)
    }

    /// A size in bytes with its unit, above zero.
    pub(super) fn size(&self) -> Option<u64> {
        let text = self.text()?;
        let (number, unit) = split_unit(&text.text);
        let scale: u64 = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => {
                let meant = match unit.chars().next().map(|first| first.to_ascii_uppercase()) {
                    Some(first @ ('K' | 'M' | 'G')) if !number.is_empty() => {
                        format!("write `{number}{first}iB`")
                    }
                    _ => "write a number and a unit: `512B`, `32KiB`, `1MiB`, `1GiB`".to_owned(),
                };
                let problem = if unit.is_empty() { "has no unit" } else { "is not a size" };
                return text.fault(problem, meant);
            }
        };
        let hint = "write a number and a unit: `512B`, `32KiB`, `1MiB`, `1GiB`";
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale)) {
            None => text.fault("is not a size", hint),
            Some(0) => text.fault("is no size at all", "write a size above zero, such as `1MiB`"),
            size => size,
        }
    }

    /// A file's path; a relative one starts at the configuration's folder.
    pub(super) fn file_path(&self) -> Option<PathBuf> {
        let text = self.text()?;
        if text.text.is_empty() || text.text.contains('\0') {
            return text.fault("is no path", "write the path of a file");
        }
        Some(self.reading.base.join(text.text.as_ref()))
    }

    /// A name that goes into messages and metrics: a short line of printable text.
    pub(super) fn name(&self) -> Option<String> {
        let text = self.text()?;
        if is_name(&text.text) {
            return Some(text.text.into_owned());
        }
        text.fault("is no name", NAME_HINT)
    }

    /// An absolute `http` or `https` URL without user, query and fragment.
    pub(super) fn url(&self, example: &str) -> Option<Url<'a>> {
        let text = self.text()?;
        let url = read_url(text, example)?;
        if url.uri.query().is_some() {
            return url.text.fault("has a query", format!("write it like `{example}`"));
        }
        Some(url)
    }

    /// An absolute `http` or `https` URL without user and fragment; an RPC service's key may stand in its query.
    pub(super) fn url_with_query(&self, example: &str) -> Option<Url<'a>> {
        read_url(self.text()?, example)
    }
}

impl Fields<'_> {
    /// The duration under `key`, if it is there.
    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        self.get(key)?.duration()
    }
}

/// A URL that was read, and its text for further faults.
#[derive(Debug)]
pub(super) struct Url<'a> {
    pub(super) uri: Uri,
    pub(super) text: Text<'a>,
}

impl Url<'_> {
    pub(super) fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether the path is that of a bare origin.
    pub(super) fn is_origin(&self) -> bool {
        // `Uri` reads `http://host` and `http://host/` alike; neither says more than the origin.
        matches!(self.uri.path(), "" | "/")
    }

    /// Whether what is sent there stays on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(self.uri.host().unwrap_or_default())
    }
}

/// Whether `host`, as a URL has it, is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Whether `text` can name a route, a listener or an upstream.
pub(super) fn is_name(text: &str) -> bool {
    let printable = text.chars().all(|letter| letter.is_ascii_graphic() || letter == ' ');
    (1..=MAX_NAME).contains(&text.len()) && printable && text.trim() == text
}

/// What a name looks like.
pub(super) const NAME_HINT: &str = "write 1 to 200 printable ASCII characters";

fn read_url<'a>(text: Text<'a>, example: &str) -> Option<Url<'a>> {
    let hint = format!("write it like `{example}`");
    let uri = match text.text.parse::<Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => uri,
        _ => return text.fault("is not a URL", hint),
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return text.fault("is not an `http` or `https` URL", hint);
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return text.fault("carries a user name or password", hint);
    }
    // `Uri` drops a fragment in silence.
    if text.text.contains('#') {
        return text.fault("has a fragment", hint);
    }
    // `Uri` takes a port of any digits, and 0, to which nothing can connect.
    let port = uri.authority().and_then(|authority| authority.as_str().rsplit_once(':'));
    let has_port = port.is_some_and(|(_, port)| !port.ends_with(']'));
    if has_port && uri.port_u16().is_none_or(|port| port == 0) {
        return text.fault("has no usable port", "write a port from 1 to 65535");
    }
    Some(Url { uri, text })
}

fn read_duration(text: &Text<'_>) -> Option<Duration> {
    let (number, unit) = split_unit(&text.text);
    let hint = "write a whole number and a unit: `500ms`, `30s`, `5m`, `24h`";
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if !number.is_empty() => {
            return text
                .fault("has no unit", format!("write `{number}s`, `{number}m` or the like"));
        }
        _ => return text.fault("is not a duration", hint),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis)) {
        Some(millis) if millis <= MAX_DURATION_MILLIS => Some(Duration::from_millis(millis)),
        Some(_) => text.fault("is longer than a year", "write a shorter duration"),
        None => text.fault("is not a duration", hint),
    }
}

/// The leading digits and the rest.
fn split_unit(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

const MAX_NAME: usize = 200;
const MAX_DURATION_MILLIS: u64 = 366 * 24 * 3_600_000;

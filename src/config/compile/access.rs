//! The section `access_log`: what a line looks like, where lines go, and which of them are written.

use crate::{
    config::read::{Keys, Spot, Text},
    telemetry::access::{Format, Output, Settings},
};

/// Reads the section.
pub(super) fn read(spot: &Spot<'_>) -> Option<Settings> {
    let fields = spot.fields(&ACCESS_LOG)?;
    let format = fields.get("format").map(|spot| read_format(&spot));
    let output = fields.get("output").map(|spot| read_output(&spot));
    let unpaid = fields.get("sample_unpaid").and_then(|spot| spot.text()).map(|text| share(&text));
    Some(Settings {
        format: format.unwrap_or(Some(Format::Json))?,
        output: output.unwrap_or(Some(Output::Stdout))?,
        unpaid_per_million: unpaid.unwrap_or(Some(MILLION))?,
    })
}

fn read_format(spot: &Spot<'_>) -> Option<Format> {
    let text = spot.text()?;
    match text.text.as_ref() {
        "json" => Some(Format::Json),
        "combined" => Some(Format::Combined),
        _ => text.fault("is no form of a line", "write `json` or `combined`"),
    }
}

fn read_output(spot: &Spot<'_>) -> Option<Output> {
    match spot.text()?.text.as_ref() {
        "stdout" => Some(Output::Stdout),
        "stderr" => Some(Output::Stderr),
        _ => spot.file_path().map(Output::File),
    }
}

/// A share from 0 to 1, in millionths.
fn share(text: &Text<'_>) -> Option<u32> {
    let (whole, fraction) = text.text.split_once('.').unwrap_or((&text.text, "0"));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let millionths = match whole {
        "0" | "1" if (1..=6).contains(&fraction.len()) && is_number(fraction) => {
            format!("{whole}{fraction:0<6}").parse().ok()
        }
        _ => None,
    };
    match millionths.filter(|share| *share <= MILLION) {
        None => text.fault("is no share", "write a number from 0 to 1, such as `0.1`"),
        share => share,
    }
}

const ACCESS_LOG: Keys = Keys { known: &["format", "output", "sample_unpaid"], later: &[] };
const MILLION: u32 = 1_000_000;

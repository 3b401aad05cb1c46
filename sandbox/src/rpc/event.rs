//! `getEvents`: events by ledger range or cursor, filtered by type, contract and topics.
//!
//! Source: Stellar RPC `getEvents`: filters are alternatives; within one, type, contract and topics must all fit.

use serde::{Deserialize, Serialize};
use stellar_strkey::Contract;
use stellar_xdr::{ContractEvent, ContractEventBody, ContractEventType, ContractId, Hash, ScVal};

use super::message::{Error, Pagination};
use super::time::{UnixText, rfc3339};
use super::view::View;
use super::xdr;
use crate::ledger::EventRecord;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Query {
    #[serde(default)]
    start_ledger: u32,
    #[serde(default)]
    end_ledger: u32,
    #[serde(default)]
    filters: Vec<RawFilter>,
    pagination: Option<Pagination>,
    xdr_format: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFilter {
    r#type: Option<String>,
    #[serde(default)]
    contract_ids: Vec<String>,
    #[serde(default)]
    topics: Vec<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply {
    events: Vec<Event>,
    /// The id of the last event if the limit was reached, else the end of the range that was searched.
    cursor: String,
    latest_ledger: u32,
    latest_ledger_close_time: UnixText,
    oldest_ledger: u32,
    oldest_ledger_close_time: UnixText,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    r#type: &'static str,
    ledger: u32,
    ledger_closed_at: String,
    contract_id: String,
    id: String,
    operation_index: u32,
    transaction_index: u32,
    tx_hash: String,
    in_successful_contract_call: bool,
    topic: Vec<String>,
    value: String,
}

pub(super) fn get(view: &View, query: Query) -> Result<Reply, Error> {
    xdr::only_base64(query.xdr_format.as_deref())?;
    let filters = Filter::parse_all(&query.filters)?;
    let pagination = query.pagination.unwrap_or_default();
    let limit = pagination.limit.filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT);
    if limit > MOST {
        return Err(Error::invalid_params(format!("limit must not exceed {MOST}")));
    }
    let (first, after) = match &pagination.cursor {
        Some(_) if query.start_ledger != 0 || query.end_ledger != 0 => {
            let error = "ledger ranges and cursor cannot both be set";
            return Err(Error::invalid_params(error));
        }
        Some(cursor) => (cursor_ledger(cursor)?, cursor.as_str()),
        None if query.start_ledger == 0 => {
            return Err(Error::invalid_params("startLedger must be positive"));
        }
        None => (query.start_ledger, ""),
    };
    let (latest, oldest) = (view.latest_mark(), view.oldest_mark());
    if !(oldest.sequence..=latest.sequence).contains(&first) {
        return Err(Error::invalid_request(format!(
            "startLedger must be within the ledger range: {} - {}",
            oldest.sequence, latest.sequence
        )));
    }
    let mut last = latest.sequence.min(first.saturating_add(SCANNED_LEDGERS));
    if query.end_ledger != 0 {
        last = last.min(query.end_ledger.saturating_sub(1));
    }
    let found = view.ledger().events(first, last);
    let mut matching = found.iter().filter(|record| {
        record.id.as_str() > after
            && (filters.is_empty() || filters.iter().any(|filter| filter.matches(&record.event)))
    });
    let events = matching.by_ref().take(limit).map(event).collect::<Result<Vec<_>, _>>()?;
    let cursor = match events.last() {
        Some(event) if events.len() == limit => event.id.clone(),
        _ => end_of(last),
    };
    Ok(Reply {
        events,
        cursor,
        latest_ledger: latest.sequence,
        latest_ledger_close_time: UnixText(latest.close_time),
        oldest_ledger: oldest.sequence,
        oldest_ledger_close_time: UnixText(oldest.close_time),
    })
}

/// One alternative. Empty lists match everything.
struct Filter {
    types: Vec<ContractEventType>,
    contracts: Vec<ContractId>,
    topics: Vec<Topics>,
}

/// A pattern over an event's topics.
struct Topics {
    segments: Vec<Segment>,
    /// Ends with `**`: more topics may follow.
    open: bool,
}

enum Segment {
    Any,
    Exactly(ScVal),
}

impl Filter {
    fn parse_all(raw: &[RawFilter]) -> Result<Vec<Self>, Error> {
        if raw.len() > FEW {
            return Err(Error::invalid_params("maximum 5 filters per request"));
        }
        let numbered = raw.iter().zip(1_u32..);
        let parse = |(filter, number): (&RawFilter, u32)| {
            Self::parse(filter)
                .map_err(|why| Error::invalid_params(format!("filter {number} invalid: {why}")))
        };
        numbered.map(parse).collect()
    }

    fn parse(raw: &RawFilter) -> Result<Self, String> {
        let names = raw.r#type.as_deref().unwrap_or_default();
        let types = names.split(',').filter(|name| !name.is_empty()).map(|name| match name {
            "contract" => Ok(ContractEventType::Contract),
            "system" => Ok(ContractEventType::System),
            _ => Err("filter type invalid: if set, type must be either 'system' or 'contract'"
                .to_owned()),
        });
        if raw.contract_ids.len() > FEW {
            return Err("maximum 5 contract IDs per filter".into());
        }
        if raw.topics.len() > FEW {
            return Err("maximum 5 topics per filter".into());
        }
        let contracts = raw.contract_ids.iter().zip(1_u32..).map(|(text, number)| {
            Contract::from_string(text)
                .map(|contract| ContractId(Hash(contract.0)))
                .map_err(|_| format!("contract ID {number} invalid"))
        });
        let topics = raw.topics.iter().zip(1_u32..).map(|(topics, number)| {
            Topics::parse(topics).map_err(|why| format!("topic {number} invalid: {why}"))
        });
        Ok(Self {
            types: types.collect::<Result<_, _>>()?,
            contracts: contracts.collect::<Result<_, _>>()?,
            topics: topics.collect::<Result<_, _>>()?,
        })
    }

    fn matches(&self, event: &ContractEvent) -> bool {
        let ContractEventBody::V0(body) = &event.body;
        let contract =
            || event.contract_id.as_ref().is_some_and(|contract| self.contracts.contains(contract));
        (self.types.is_empty() || self.types.contains(&event.type_))
            && (self.contracts.is_empty() || contract())
            && (self.topics.is_empty()
                || self.topics.iter().any(|topics| topics.matches(&body.topics)))
    }
}

impl Topics {
    fn parse(raw: &[String]) -> Result<Self, String> {
        let (segments, open) = match raw {
            [segments @ .., last] if last == "**" => (segments, true),
            segments => (segments, false),
        };
        if raw.is_empty() {
            return Err("topic must have at least 1 segment".into());
        }
        if segments.len() > TOPICS {
            return Err(format!("topic cannot have more than {TOPICS} segments"));
        }
        let parse = |(text, number): (&String, u32)| match text.as_str() {
            "*" => Ok(Segment::Any),
            "**" => Err(format!(
                "segment {number} invalid: wildcard '**' is only allowed as the last segment"
            )),
            value => xdr::decode(value)
                .map(Segment::Exactly)
                .ok_or_else(|| format!("segment {number} invalid: not an ScVal in base64")),
        };
        let segments = segments.iter().zip(1_u32..).map(parse).collect::<Result<_, _>>()?;
        Ok(Self { segments, open })
    }

    fn matches(&self, topics: &[ScVal]) -> bool {
        let long_enough = topics.len() == self.segments.len()
            || (self.open && topics.len() > self.segments.len());
        long_enough
            && self.segments.iter().zip(topics).all(|(segment, topic)| match segment {
                Segment::Any => true,
                Segment::Exactly(value) => value == topic,
            })
    }
}

fn event(record: &EventRecord) -> Result<Event, Error> {
    let ContractEventBody::V0(body) = &record.event.body;
    Ok(Event {
        r#type: match record.event.type_ {
            ContractEventType::System => "system",
            ContractEventType::Contract => "contract",
            ContractEventType::Diagnostic => "diagnostic",
        },
        ledger: record.ledger,
        ledger_closed_at: rfc3339(record.close_time),
        contract_id: record
            .event
            .contract_id
            .as_ref()
            .map(|contract| format!("{}", Contract(contract.0.0)))
            .unwrap_or_default(),
        id: record.id.clone(),
        operation_index: record.operation_index,
        transaction_index: record.transaction_index,
        tx_hash: hex::encode(record.tx_hash.0),
        in_successful_contract_call: record.in_successful_call,
        topic: xdr::encode_all(body.topics.iter())?,
        value: xdr::encode(&body.data)?,
    })
}

/// The ledger of a cursor: an operation's place in 19 digits, of which the upper 32 bits are the ledger, and 10 digits.
fn cursor_ledger(cursor: &str) -> Result<u32, Error> {
    let invalid = || Error::invalid_params(format!("invalid cursor `{cursor}`"));
    let (place, event) = cursor.split_once('-').ok_or_else(invalid)?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if place.len() != 19 || event.len() != 10 || !digits(place) || !digits(event) {
        return Err(invalid());
    }
    let place = place.parse::<u64>().map_err(|_| invalid())?;
    u32::try_from(place.checked_shr(32).unwrap_or_default()).map_err(|_| invalid())
}

/// The cursor after every event of `ledger`.
fn end_of(ledger: u32) -> String {
    format!("{:019}-{:010}", (u64::from(ledger) << 32) | u64::from(u32::MAX), u32::MAX)
}

const DEFAULT_LIMIT: usize = 100;
const MOST: usize = 10_000;
const SCANNED_LEDGERS: u32 = 9_999;
const FEW: usize = 5;
const TOPICS: usize = 4;

#[cfg(test)]
mod tests {
    use stellar_xdr::{Limits, WriteXdr};

    use super::*;

    fn topics(raw: &[&str]) -> Result<Topics, String> {
        Topics::parse(&raw.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn topics_match_by_place_and_length() {
        let (one, two) = (ScVal::U32(1), ScVal::U32(2));
        let text = one.to_xdr_base64(Limits::none()).unwrap();
        let table: [(&[&str], bool, bool, bool); 5] = [
            (&[&text], true, false, false),
            (&[&text, "*"], false, true, false),
            (&[&text, "**"], true, true, true),
            (&["*", &text], false, false, false),
            (&["**"], true, true, true),
        ];
        for (pattern, alone, with_one_more, with_two_more) in table {
            let pattern = topics(pattern).unwrap();
            assert_eq!(pattern.matches(std::slice::from_ref(&one)), alone);
            assert_eq!(pattern.matches(&[one.clone(), two.clone()]), with_one_more);
            assert_eq!(pattern.matches(&[one.clone(), two.clone(), two.clone()]), with_two_more);
        }
    }

    #[test]
    fn topics_that_mean_nothing_are_refused() {
        for raw in [&[][..], &["**", "*"], &["*", "*", "*", "*", "*"], &["not XDR"]] {
            assert!(topics(raw).is_err());
        }
    }

    #[test]
    fn a_cursor_names_its_ledger_and_the_end_of_a_ledger_stays_in_it() {
        assert_eq!(cursor_ledger("0000000012884905984-0000000001").unwrap(), 3);
        assert_eq!(cursor_ledger(&end_of(7)).unwrap(), 7);
        for wrong in ["", "12", "0000000012884905984-1", "00000000128849059x4-0000000001"] {
            assert!(cursor_ledger(wrong).is_err());
        }
    }
}

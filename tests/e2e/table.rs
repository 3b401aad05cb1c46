//! When money moves, as one table: every way in which an upstream, the ledger, or the client itself can fail a paid
//! request, for each rail and both orders. To be read beside "When money moves" in ARCHITECTURE.md.

mod cell;
mod origin;
mod rail;
mod row;
mod told;

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};

pub(crate) use self::origin::Deserted;
use self::{
    cell::Cell,
    rail::{Rail, Settle},
    row::Row::{self, *},
    told::{Heard, Told},
};

/// What must come of a row in one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outcome {
    /// What the client is told.
    told: Told,
    /// How often the upstream was reached until then.
    reached: usize,
    /// Whether the payee has the money by then.
    is_paid: bool,
    /// What the same payment gives once the trouble is over; if that is the answer that it buys, it buys no other.
    again: Told,
}

/// Nobody has paid by then.
const fn kept(told: Told, reached: usize, again: Told) -> Option<Outcome> {
    Some(Outcome { told, reached, is_paid: false, again })
}

/// The payer has paid once by then.
const fn paid(told: Told, reached: usize, again: Told) -> Option<Outcome> {
    Some(Outcome { told, reached, is_paid: true, again })
}

/// A row, and what must come of it in each column; `None` where it cannot happen.
type Line = (Row, [Option<Outcome>; 3]);

/// The upstream's doing.
#[rustfmt::skip]
const UPSTREAM: &[Line] = &[
    //                    settle: after                 settle: before                a charge that was pushed
    (UpstreamRefuses,    [kept(UNREACHABLE, 0, SERVED), paid(UNREACHABLE, 0, SERVED), paid(UNREACHABLE, 0, SERVED)]),
    (UpstreamResets,     [kept(UNREACHABLE, 1, SERVED), paid(UNREACHABLE, 1, SERVED), paid(UNREACHABLE, 1, SERVED)]),
    (UpstreamTimesOut,   [kept(LATE,        1, SERVED), paid(LATE,        1, SERVED), paid(LATE,        1, SERVED)]),
    (UpstreamAnswers404, [kept(OWN_404,     1, SERVED), paid(OWN_404,     1, SERVED), paid(OWN_404,     1, SERVED)]),
    (UpstreamAnswers500, [kept(OWN_500,     1, SERVED), paid(OWN_500,     1, SERVED), paid(OWN_500,     1, SERVED)]),
    (HeadComesInTime,    [paid(SERVED,      1, USED  ), paid(SERVED,      1, USED  ), paid(SERVED,      1, USED  )]),
    (HeadComesTooLate,   [kept(UNSETTLED,   1, UNFIT ), paid(SERVED,      1, USED  ), paid(SERVED,      1, USED  )]),
    (LifeIsTooShort,     [kept(UNFIT,       0, UNFIT ), paid(SERVED,      1, USED  ), paid(SERVED,      1, USED  )]),
    (BodyBreaksOff,      [paid(CUT,         1, USED  ), paid(CUT,         1, USED  ), paid(CUT,         1, USED  )]),
];

/// The ledger's doing, or that of the way to it.
#[rustfmt::skip]
const LEDGER: &[Line] = &[
    //                      settle: after                  settle: before                 a charge that was pushed
    (LedgerIsDown,         [kept(NOT_NOW,   0, SERVED   ), kept(NOT_NOW,   0, SERVED   ), paid(PENDING, 0, SERVED)]),
    (QueueIsFull,          [kept(NOT_NOW,   1, SERVED   ), kept(NOT_NOW,   0, SERVED   ), None]),
    (SettlementIsRefused,  [kept(UNSETTLED, 1, UNFIT    ), kept(UNSETTLED, 0, UNFIT    ), None]),
    (SettlementFails,      [kept(UNSETTLED, 1, UNSETTLED), kept(UNSETTLED, 0, UNSETTLED), kept(UNFIT,   0, UNFIT )]),
    (UnknownThenFound,     [paid(PENDING,   1, SERVED   ), paid(PENDING,   0, SERVED   ), paid(PENDING, 0, SERVED)]),
    (UnknownThenAbsent,    [kept(PENDING,   1, UNSETTLED), kept(PENDING,   0, UNSETTLED), kept(PENDING, 0, UNFIT )]),
    (OwnUnknownThenAbsent, [kept(PENDING,   1, ENDED    ), kept(PENDING,   0, ENDED    ), None]),
];

/// The client's doing: it is told nothing, and what it paid for is done all the same.
#[rustfmt::skip]
const CLIENT: &[Line] = &[
    //                        settle: after             settle: before            a charge that was pushed
    (GoneWhileVerifying,     [paid(NOTHING, 1, USED  ), paid(NOTHING, 1, USED  ), paid(NOTHING, 1, USED  )]),
    (GoneWhileForwarding,    [paid(NOTHING, 1, USED  ), paid(NOTHING, 1, USED  ), paid(NOTHING, 1, USED  )]),
    (GoneThenUpstreamResets, [kept(NOTHING, 1, SERVED), paid(NOTHING, 1, SERVED), paid(NOTHING, 1, SERVED)]),
    (GoneWhileSettling,      [paid(NOTHING, 1, USED  ), paid(NOTHING, 1, USED  ), None]),
    (GoneWhileRecording,     [paid(NOTHING, 1, USED  ), paid(NOTHING, 1, USED  ), paid(NOTHING, 1, USED  )]),
    (GoneWhileStreaming,     [paid(NOTHING, 1, USED  ), paid(NOTHING, 1, USED  ), paid(NOTHING, 1, USED  )]),
];

/// The upstream's answer, whole, with a receipt.
const SERVED: Told = Told::Served;
/// The upstream's answer with a receipt, as far as it came.
const CUT: Told = Told::Cut;
/// The upstream's own failure.
const OWN_404: Told = Told::Passed(404);
const OWN_500: Told = Told::Passed(500);
const UNREACHABLE: Told = Told::Problem(502, "");
const LATE: Told = Told::Problem(504, "");
/// The payment was good, and could not be settled.
const UNSETTLED: Told = Told::Problem(402, "settlement-failed");
/// The payment is not good, or not any more.
const UNFIT: Told = Told::Problem(402, "verification-failed");
/// The payment was never settled, and its challenge has ended.
const ENDED: Told = Told::Problem(402, "payment-expired");
/// The payment has bought its answer.
const USED: Told = Told::Problem(402, "invalid-challenge");
/// The payment may have moved money: come again with it, after `Retry-After`.
const PENDING: Told = Told::Problem(503, "settlement-pending");
/// Nothing was sent, and nothing is taken at the moment: come again with it, after `Retry-After`.
const NOT_NOW: Told = Told::Problem(503, "payments-unavailable");
const NOTHING: Told = Told::Nothing;

#[test]
fn the_table_itself_cheats_nobody() {
    for (row, columns) in [UPSTREAM, LEDGER, CLIENT].concat() {
        for (column, outcome) in columns.into_iter().enumerate() {
            let Some(Outcome { told, reached, is_paid, again }) = outcome else { continue };
            let cell = format!("{row:?}, column {column}");
            let may_be_lost = [SERVED, CUT, NOTHING].contains(&told);
            assert!(!is_paid || may_be_lost || again == SERVED, "paid for nothing: {cell}");
            assert!(column == 0 || reached == 0 || is_paid, "reached unpaid: {cell}");
            assert!(is_paid || ![SERVED, CUT].contains(&told), "served unpaid: {cell}");
        }
    }
}

/// Holds one part of the table against a gateway: all rows of a rail's column, side by side, each in a world of its own.
macro_rules! columns {
    ($($name:ident: $part:ident, $rail:ident, $settle:ident;)*) => {
        $(#[tokio::test]
        async fn $name() {
            hold($part, Rail::$rail, Settle::$settle).await;
        })*
    };
}

columns! {
    d15_when_the_upstream_fails_and_x402_settles_after: UPSTREAM, X402, After;
    d15_when_the_upstream_fails_and_x402_settles_before: UPSTREAM, X402, Before;
    d15_when_the_upstream_fails_and_a_sponsored_charge_settles_after: UPSTREAM, Sponsored, After;
    d15_when_the_upstream_fails_and_a_sponsored_charge_settles_before: UPSTREAM, Sponsored, Before;
    d15_when_the_upstream_fails_and_an_unsponsored_charge_settles_after: UPSTREAM, Unsponsored, After;
    d15_when_the_upstream_fails_and_an_unsponsored_charge_settles_before: UPSTREAM, Unsponsored, Before;
    d15_when_the_upstream_fails_and_a_charge_was_pushed_where_others_settle_after: UPSTREAM, Pushed, After;
    d15_when_the_upstream_fails_and_a_charge_was_pushed_where_others_settle_before: UPSTREAM, Pushed, Before;
    d03_when_the_ledger_fails_and_x402_settles_after: LEDGER, X402, After;
    d03_when_the_ledger_fails_and_x402_settles_before: LEDGER, X402, Before;
    d03_when_the_ledger_fails_and_a_sponsored_charge_settles_after: LEDGER, Sponsored, After;
    d03_when_the_ledger_fails_and_a_sponsored_charge_settles_before: LEDGER, Sponsored, Before;
    d03_when_the_ledger_fails_and_an_unsponsored_charge_settles_after: LEDGER, Unsponsored, After;
    d03_when_the_ledger_fails_and_an_unsponsored_charge_settles_before: LEDGER, Unsponsored, Before;
    d03_when_the_ledger_fails_and_a_charge_was_pushed_where_others_settle_after: LEDGER, Pushed, After;
    d03_when_the_ledger_fails_and_a_charge_was_pushed_where_others_settle_before: LEDGER, Pushed, Before;
    d16_when_the_client_goes_and_x402_settles_after: CLIENT, X402, After;
    d16_when_the_client_goes_and_x402_settles_before: CLIENT, X402, Before;
    d16_when_the_client_goes_and_a_sponsored_charge_settles_after: CLIENT, Sponsored, After;
    d16_when_the_client_goes_and_a_sponsored_charge_settles_before: CLIENT, Sponsored, Before;
    d16_when_the_client_goes_and_an_unsponsored_charge_settles_after: CLIENT, Unsponsored, After;
    d16_when_the_client_goes_and_an_unsponsored_charge_settles_before: CLIENT, Unsponsored, Before;
    d16_when_the_client_goes_and_a_charge_was_pushed_where_others_settle_after: CLIENT, Pushed, After;
    d16_when_the_client_goes_and_a_charge_was_pushed_where_others_settle_before: CLIENT, Pushed, Before;
}

async fn hold(part: &[Line], rail: Rail, settle: Settle) {
    let mut cells = JoinSet::new();
    for &(row, columns) in part {
        let outcome = columns[rail.column(settle)].filter(|_| row.befalls(rail));
        let Some(outcome) = outcome else { continue };
        cells.spawn(async move {
            let checked = tokio::spawn(timeout(PATIENCE, check(row, rail, settle, outcome))).await;
            let why = match checked {
                Ok(Ok(())) => return None,
                Ok(Err(late)) => late.to_string(),
                Err(panic) => match panic.into_panic().downcast::<String>() {
                    Ok(text) => *text,
                    Err(other) => other
                        .downcast::<&str>()
                        .map_or_else(|_| "?".into(), |text| text.to_string()),
                },
            };
            Some(format!("{rail:?}, settle {settle:?}, {row:?}: {why}"))
        });
    }
    let failed: Vec<String> = cells.join_all().await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{} cells failed:\n\n{}", failed.len(), failed.join("\n\n"));
}

/// The story of one cell.
async fn check(row: Row, rail: Rail, settle: Settle, outcome: Outcome) {
    let (site, trouble) = row.site();
    let mut cell = Cell::start(rail, settle, &site).await;
    row.prepare(&cell, &trouble).await;
    let proof = rail.pay(&cell).await;
    let heard = row.happen(&mut cell, &proof).await;

    // Who is there is answered, and has paid by then or not. For whom is gone, that is when the gateway is done.
    let mut reached = outcome.reached;
    if outcome.is_paid {
        cell.charge();
    }
    if let Some(heard) = &heard {
        outcome.told.check("at first", rail, heard, outcome.is_paid);
        if let Some(receipt) = rail.receipt(&heard.headers) {
            cell.assert_landed(&receipt);
        }
        assert_eq!(cell.origin.reached(), reached, "requests that came at first");
        if row != UnknownThenFound {
            cell.assert_books("at first");
        }
    }
    if row.is_unknown() {
        let (sent, hash) =
            (cell.sent(), heard.as_ref().and_then(|heard| heard.member("transaction")));
        let still = cell.present(&proof).await;
        outcome.told.check("while it is unknown", rail, &still, outcome.is_paid);
        assert_eq!(still.member("transaction"), hash, "the transaction to watch");
        assert_eq!(cell.sent(), sent, "nothing more is sent");
        assert_eq!(cell.origin.reached(), reached, "nothing more is forwarded");
    }
    row.end(&cell, &trouble).await;

    let again = cell.present_after_it(&proof).await;
    outcome.again.check("again", rail, &again, outcome.is_paid);
    if outcome.again == SERVED {
        reached += 1;
        if !outcome.is_paid {
            cell.charge();
        }
        assert_same_payment(&cell, heard.as_ref(), &again);
        let sent = cell.sent();
        let more = cell.present(&proof).await;
        USED.check("once more", rail, &more, true);
        assert_eq!(cell.sent(), sent, "nothing is sent for a payment that is used");
    }
    assert_eq!(cell.origin.reached(), reached, "requests that came for this payment");
    cell.assert_books("after this payment");

    cell.earn().await;
    let fresh = rail.pay(&cell).await;
    let served = cell.present(&fresh).await;
    SERVED.check("a fresh payment", rail, &served, true);
    cell.charge();
    cell.assert_landed(&rail.receipt(&served.headers).unwrap());
    assert_eq!(cell.origin.reached(), reached + 1, "requests that came with the fresh payment");
    cell.assert_books("after the fresh payment");
    cell.world.end().await;
}

/// The receipt names a transaction of the ledger, and the one that was told of when the payment failed.
fn assert_same_payment(cell: &Cell, failed: Option<&Heard>, delivered: &Heard) {
    let receipt = cell.rail.receipt(&delivered.headers).unwrap();
    cell.assert_landed(&receipt);
    let Some(failed) = failed else { return };
    for told in [cell.rail.receipt(&failed.headers), failed.member("transaction")] {
        assert!(told.is_none_or(|told| told == receipt), "another than {receipt}: {failed:?}");
    }
}

/// For all of a cell; it ends at events, and this is for those that never come.
const PATIENCE: Duration = Duration::from_secs(50);

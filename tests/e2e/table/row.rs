//! The rows of the table: what goes wrong, and how it is made to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tollgate::client::Until;
use tollgate_sandbox::{Fault, Method as Rpc, Moment, Times};

use super::{
    cell::{Cell, Site},
    origin::{Conduct, Deserted},
    rail::{Proof, Rail, Settle},
    told::Heard,
};
use crate::world::until;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// Nobody listens where the upstream should be.
    UpstreamRefuses,
    /// It resets the connection before a byte of its answer.
    UpstreamResets,
    /// It is silent for longer than the route's timeout.
    UpstreamTimesOut,
    /// It answers 404.
    UpstreamAnswers404,
    /// It answers 500.
    UpstreamAnswers500,
    /// Its head comes at the last moment at which the payment can be settled.
    HeadComesInTime,
    /// Its head comes one ledger, or one second, after that.
    HeadComesTooLate,
    /// The payment would not outlive the route's timeout, though it can be settled still.
    LifeIsTooShort,
    /// It resets the connection in the middle of the body.
    BodyBreaksOff,

    /// The ledger cannot be asked.
    LedgerIsDown,
    /// The network takes no transaction at the moment.
    QueueIsFull,
    /// The payer spends its money elsewhere after its payment was verified.
    SettlementIsRefused,
    /// The transaction fails on the ledger.
    SettlementFails,
    /// Nobody can tell what became of the transaction, which has landed.
    UnknownThenFound,
    /// Nobody can tell what became of the transaction, which never lands.
    UnknownThenAbsent,
    /// As before, with a transaction of the payer's own: when it cannot land any more, nothing was used up.
    OwnUnknownThenAbsent,

    /// The client goes away while the ledger judges its payment.
    GoneWhileVerifying,
    /// …while the upstream works.
    GoneWhileForwarding,
    /// …while the upstream works, and then that resets the connection.
    GoneThenUpstreamResets,
    /// …while its transaction is sent.
    GoneWhileSettling,
    /// …when its transaction has landed, and that is not recorded yet.
    GoneWhileRecording,
    /// …in the middle of the body.
    GoneWhileStreaming,
}

/// How a row's trouble ends.
#[derive(Default)]
pub(super) struct Trouble {
    /// Keeps the address where nobody listens.
    deserted: Option<Deserted>,
    /// Whether transactions are lost.
    is_lossy: Arc<AtomicBool>,
}

impl Row {
    /// Where the row takes place.
    pub(super) fn site(self) -> (Site, Trouble) {
        let mut trouble = Trouble::default();
        let site = match self {
            Self::UpstreamRefuses => {
                let deserted = trouble.deserted.insert(Deserted::new());
                Site { address: Some(deserted.address), ..Site::default() }
            }
            Self::UpstreamTimesOut => Site { timeout: Some("1s"), ..Site::default() },
            _ => Site::default(),
        };
        (site, trouble)
    }

    /// Readies the trouble, before the payment is made.
    pub(super) async fn prepare(self, cell: &Cell, trouble: &Trouble) {
        if let Some(deserted) = &trouble.deserted {
            deserted.leave().await;
        }
        cell.origin.behave(match self {
            Self::UpstreamResets => Conduct::Resets,
            Self::UpstreamAnswers404 => Conduct::Answers(404),
            Self::UpstreamAnswers500 => Conduct::Answers(500),
            Self::UpstreamTimesOut
            | Self::HeadComesInTime
            | Self::HeadComesTooLate
            | Self::GoneWhileForwarding => Conduct::WaitsThenAnswers,
            Self::GoneThenUpstreamResets => Conduct::WaitsThenResets,
            Self::BodyBreaksOff => Conduct::BreaksOff,
            Self::GoneWhileStreaming => Conduct::Streams,
            _ => Conduct::Answers(200),
        });
        let faults = cell.world.sandbox.faults();
        match self {
            Self::SettlementFails => faults.fail_transactions(1, |_| true),
            Self::UnknownThenAbsent | Self::OwnUnknownThenAbsent => {
                trouble.is_lossy.store(true, Ordering::Relaxed);
                let is_lossy = trouble.is_lossy.clone();
                faults.lose_transactions(u32::MAX, move |_| is_lossy.load(Ordering::Relaxed));
            }
            _ => {}
        }
    }

    /// Presents the payment and has it go wrong; what its client hears, if it is there to hear it.
    pub(super) async fn happen(self, cell: &mut Cell, proof: &Proof) -> Option<Heard> {
        match self {
            Self::UpstreamRefuses
            | Self::UpstreamResets
            | Self::UpstreamTimesOut
            | Self::UpstreamAnswers404
            | Self::UpstreamAnswers500
            | Self::SettlementFails => Some(cell.present(proof).await),
            Self::HeadComesInTime | Self::HeadComesTooLate => Some(self.wait(cell, proof).await),
            Self::LifeIsTooShort => {
                let still = cell.network.stand_still().await;
                age(cell, proof.until, 3, 10).await;
                let sent = cell.sent();
                let presented = cell.presenting(proof);
                if cell.settles(Settle::Before) {
                    until("it is sent", || cell.sent() > sent).await;
                }
                drop(still);
                Some(presented.await.unwrap())
            }
            Self::BodyBreaksOff => {
                let presented = cell.presenting(proof);
                cell.origin.until_reached(1).await;
                cell.origin.go_on();
                Some(presented.await.unwrap())
            }
            Self::LedgerIsDown => {
                let faults = cell.world.sandbox.faults();
                faults.arm(Rpc::SimulateTransaction, Times::Always, Fault::Drop);
                faults.arm(Rpc::GetTransaction, Times::Always, Fault::Drop);
                Some(cell.present(proof).await)
            }
            Self::QueueIsFull => {
                let (faults, sent) = (cell.world.sandbox.faults(), cell.sent());
                faults.arm(Rpc::SendTransaction, Times::Always, Fault::TryAgainLater);
                let presented = cell.presenting(proof);
                until("it is sent", || cell.sent() > sent).await;
                cell.world.clock.advance(Duration::from_secs(16));
                Some(presented.await.unwrap())
            }
            Self::SettlementIsRefused => Some(refuse(cell, proof).await),
            Self::UnknownThenFound | Self::UnknownThenAbsent | Self::OwnUnknownThenAbsent => {
                Some(lose_sight(cell, proof).await)
            }
            Self::GoneWhileVerifying => {
                let judge = match cell.rail {
                    Rail::Pushed => Rpc::GetTransaction,
                    _ => Rpc::SimulateTransaction,
                };
                leave_at(cell, proof, judge, Moment::BeforeEffect).await
            }
            Self::GoneWhileSettling => {
                leave_at(cell, proof, Rpc::SendTransaction, Moment::AfterEffect).await
            }
            // What comes after the ledger's word is recorded at once.
            Self::GoneWhileRecording if cell.rail == Rail::Pushed => {
                leave_at(cell, proof, Rpc::GetTransaction, Moment::AfterEffect).await
            }
            Self::GoneWhileRecording => {
                let faults = cell.world.sandbox.faults();
                let sending = faults.hold(Rpc::SendTransaction, Moment::AfterEffect);
                let visitor = cell.visit(proof).await;
                sending.arrived().await;
                let looking = faults.hold(Rpc::GetTransaction, Moment::BeforeEffect);
                sending.release();
                cell.until_landed().await;
                visitor.leave().await;
                looking.release();
                None
            }
            Self::GoneWhileForwarding | Self::GoneThenUpstreamResets => {
                let visitor = cell.visit(proof).await;
                cell.origin.until_reached(1).await;
                visitor.leave().await;
                cell.origin.behave(Conduct::Answers(200));
                cell.origin.go_on();
                None
            }
            Self::GoneWhileStreaming => {
                let mut visitor = cell.visit(proof).await;
                visitor.hear(b"{\"the").await;
                visitor.hang_up();
                cell.origin.behave(Conduct::Answers(200));
                cell.origin.go_on();
                None
            }
        }
    }

    /// Ends the trouble: from now on everything works.
    pub(super) async fn end(self, cell: &Cell, trouble: &Trouble) {
        cell.origin.behave(Conduct::Answers(200));
        cell.origin.go_on();
        cell.world.sandbox.faults().clear();
        trouble.is_lossy.store(false, Ordering::Relaxed);
        match self {
            Self::UpstreamRefuses | Self::UpstreamTimesOut => cell.mend(),
            Self::UnknownThenFound => cell.until_landed().await,
            Self::UnknownThenAbsent | Self::OwnUnknownThenAbsent => {
                // Beyond the last second at which it could have landed.
                cell.world.pass(Duration::from_secs(310)).await;
            }
            _ => {}
        }
        // The gateway may have noticed.
        cell.world.until_ready().await;
    }

    /// Whether it is not known what became of the payment until the trouble ends.
    pub(super) const fn is_unknown(self) -> bool {
        matches!(
            self,
            Self::UnknownThenFound | Self::UnknownThenAbsent | Self::OwnUnknownThenAbsent
        )
    }

    /// Whether it can happen to payments of this rail.
    pub(super) fn befalls(self, rail: Rail) -> bool {
        match self {
            Self::UnknownThenAbsent => rail != Rail::Unsponsored,
            Self::OwnUnknownThenAbsent => rail == Rail::Unsponsored,
            _ => true,
        }
    }

    /// The upstream works until the payment can just be settled, or just not.
    async fn wait(self, cell: &Cell, proof: &Proof) -> Heard {
        let sent = cell.sent();
        let presented = cell.presenting(proof);
        cell.origin.until_reached(1).await;
        let still = cell.network.stand_still().await;
        match self {
            Self::HeadComesInTime => age(cell, proof.until, 2, 1).await,
            _ => age(cell, proof.until, 1, -1).await,
        }
        cell.origin.go_on();
        if self == Self::HeadComesInTime && cell.settles(Settle::After) {
            until("it is sent", || cell.sent() > sent).await;
        }
        drop(still);
        presented.await.unwrap()
    }
}

/// The client leaves while a call of `method` is held.
async fn leave_at(cell: &Cell, proof: &Proof, method: Rpc, moment: Moment) -> Option<Heard> {
    let hold = cell.world.sandbox.faults().hold(method, moment);
    let visitor = cell.visit(proof).await;
    match proof.pushed {
        // The gateway asks for transactions of its own too.
        Some(pushed) => hold.arrived_with(&pushed.to_string()).await,
        None => hold.arrived().await,
    }
    visitor.leave().await;
    hold.release();
    if proof.pushed.is_some() {
        // It is looked up before it is claimed: who presents it again now could be first.
        cell.origin.until_reached(1).await;
    }
    None
}

/// Lets time pass until a payment has so many ledgers, or seconds, left. The network stands still meanwhile.
async fn age(cell: &Cell, payment: Until, ledgers: u32, seconds: i64) {
    match payment {
        Until::Ledger(last) => {
            assert!(cell.world.ledger() <= last - ledgers, "the machine is too slow for this");
            while cell.world.ledger() < last - ledgers {
                cell.world.sandbox.close_ledger().await;
            }
        }
        Until::Time(last) => {
            let now = last.checked_add_signed(-seconds).unwrap();
            let by = now.checked_sub(cell.world.clock.now()).unwrap();
            cell.world.pass(Duration::from_secs(by)).await;
        }
    }
}

/// Presents the payment, and has the payer spend its money elsewhere before that is settled.
async fn refuse(cell: &mut Cell, proof: &Proof) -> Heard {
    let faults = cell.world.sandbox.faults().clone();
    if cell.rail == Rail::Unsponsored {
        // Its own account has been used, so the network refuses it.
        let settling = faults.hold(Rpc::SendTransaction, Moment::BeforeEffect);
        let presented = cell.presenting(proof);
        settling.arrived().await;
        cell.spend_everything().await;
        settling.release();
        return presented.await.unwrap();
    }
    let verifying = faults.hold(Rpc::SimulateTransaction, Moment::BeforeEffect);
    let presented = cell.presenting(proof);
    verifying.arrived().await;
    let settling = faults.hold(Rpc::SimulateTransaction, Moment::BeforeEffect);
    verifying.release();
    settling.arrived().await;
    cell.spend_everything().await;
    settling.release();
    presented.await.unwrap()
}

/// Presents the payment, and has the gateway never hear of its transaction.
async fn lose_sight(cell: &Cell, proof: &Proof) -> Heard {
    let sandbox = &cell.world.sandbox;
    if cell.rail == Rail::Pushed {
        sandbox.faults().arm(Rpc::GetTransaction, Times::Always, Fault::NotFound);
        return cell.present(proof).await;
    }
    // Not before it is sent: where the ledger stands is asked in the same way.
    let sending = sandbox.faults().hold(Rpc::SendTransaction, Moment::AfterEffect);
    let presented = cell.presenting(proof);
    sending.arrived().await;
    sandbox.faults().arm(Rpc::GetTransaction, Times::Always, Fault::Drop);
    let looked = sandbox.calls(Rpc::GetTransaction);
    sending.release();
    // Others ask too, once a second at most.
    until("it is looked for", || sandbox.calls(Rpc::GetTransaction) >= looked + 3).await;
    cell.world.clock.advance(Duration::from_secs(21));
    presented.await.unwrap()
}

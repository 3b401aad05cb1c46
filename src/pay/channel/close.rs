//! Closing a channel because its payer asks for it.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tokio::time::timeout;

use super::{Asker, Channel, check, denial};
use crate::{
    pay::{Bound, Denied, Fault, Receipt, Terms, mpp::expired},
    protocol::{
        money::Amount,
        mpp::{
            Credential,
            channel::{Action, Request},
        },
    },
};

/// A channel that was closed because its payer asked for it.
#[derive(Debug)]
pub struct Closed {
    /// The answer's body: what the close brought.
    pub body: Value,
    /// The receipt.
    pub receipt: Receipt,
}

impl Channel {
    /// Whether the credential asks to close its channel instead of paying for a request.
    #[must_use]
    pub fn asks_to_close(credential: &Credential) -> bool {
        let action = credential.payload.as_ref().and_then(|payload| payload.get("action"));
        action.and_then(Value::as_str) == Some(Action::Close.name())
    }

    /// Closes the channel on the ledger because its payer asks for it: what was delivered is collected, the rest goes back.
    ///
    /// The commitment proves that it is the payer: it is above all that were presented before, or the last one of a deposit
    /// that is used up, and was never on the ledger. It is not collected, and costs nothing. A close is not a request: the upstream is not asked.
    ///
    /// # Errors
    /// [`Denied`] if it is not the payer's, or if the close is not through yet.
    pub async fn close(
        &self,
        terms: &Arc<Terms>,
        bound: &Bound,
        asker: &Asker,
        credential: Credential,
    ) -> Result<Closed, Denied> {
        let checked = self.check(terms, bound, credential)?;
        let view = self.look(checked.request.channel, asker).await;
        let view = match (view, self.channels.seen(checked.request.channel)) {
            (Ok(view), _) => view,
            // One that is being closed is no good for paying; to be told that it is closed it is good enough.
            (Err(_), Some(view)) if view.close_effective_at.is_some() => view,
            (Err(denied), _) => return Err(denied),
        };
        if let Some(offer) = terms.channel() {
            check::fits(&view, offer)?;
        }
        self.check_signature(&checked, &view)?;
        let account = self.store.account(view.channel).await.map_err(denial::fault_of_store)?;
        let account = account.unwrap_or_default();
        // One that was presented before may have been seen by others; what is collected was seen by all. Who has no more to
        // commit to presents the last one again.
        let collecting = account.collection().map_or(Amount::ZERO, |collection| collection.amount);
        let public = view.withdrawn.max(account.withdrawn()).max(collecting);
        let (amount, authorised) = (checked.payload.amount, account.standing().authorised);
        let is_last = amount == authorised && authorised >= view.deposited();
        if !(amount > authorised || is_last) || amount <= public {
            return Err(denial::stale_close().into());
        }
        if self.clock.now() > checked.expires {
            return Err(expired().into());
        }
        let _place = self.closing.try_acquire().map_err(|_| denial::closing_elsewhere())?;
        // The close goes on when its payer is told to come again.
        let closed = match timeout(PATIENCE, self.closer.close(view.channel)).await {
            Ok(closed) => closed.map_err(denial::not_closed)?,
            Err(_) => return Err(Fault::pending("the channel is being closed", None).into()),
        };
        let transaction = closed.transaction.map(|hash| hash.to_string());
        let reference = transaction.clone().unwrap_or_else(|| checked.request.reference.clone());
        let request = Request { reference, ..checked.request.clone() };
        Ok(Closed {
            body: serde_json::json!({
                "closed": true,
                "channel": view.channel.to_string(),
                "txHash": transaction,
                "amount": closed.withdrawn.to_string(),
            }),
            receipt: self.receipt_of(&checked.challenge, &request, account.standing()),
        })
    }
}

/// Payers who may wait for a close at once.
pub(super) const MOST_AT_ONCE: usize = 64;

/// How long one waits: some ledgers.
const PATIENCE: Duration = Duration::from_secs(30);

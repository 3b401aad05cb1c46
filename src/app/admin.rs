//! What the admin port sees of a running gateway.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Reloader, dump, road::Configured};
use crate::{
    admin::{self, Unresolved},
    closer::{CloseError, Closer, Collected, Standing, Standings},
    protocol::{
        money::Amount,
        stellar::{Asset, ContractId},
    },
    store::{self, Member, MemberId, Store},
    telemetry::metrics::Metrics,
    workers::Pulse,
};

/// The gateway, for its operator.
#[derive(Clone, Debug)]
pub(super) struct Administered {
    pub(super) current: Arc<ArcSwap<Configured>>,
    /// What remembers payments, if any are taken.
    pub(super) store: Option<Store>,
    /// What collects from channels, if any are taken.
    pub(super) closer: Option<Closer>,
    pub(super) metrics: Metrics,
    /// Set once the gateway stops.
    pub(super) stopping: CancellationToken,
    /// What reads the configuration anew, once somebody said from where.
    pub(super) reloader: Arc<OnceLock<Reloader>>,
    pub(super) pulse: Pulse,
}

impl admin::Administered for Administered {
    fn is_alive(&self) -> bool {
        self.pulse.is_steady()
    }

    fn ready(&self) -> Result<(), Cow<'static, str>> {
        if self.stopping.is_cancelled() {
            return Err("the gateway is stopping".into());
        }
        match &self.store {
            Some(store) if !store.is_running() => {
                Err("the store has stopped: restart the gateway".into())
            }
            _ => Ok(()),
        }
    }

    fn assets(&self) -> Vec<Asset> {
        let current = self.current.load();
        current.settings.payment.as_ref().map(|payment| payment.assets.clone()).unwrap_or_default()
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }

    fn config(&self) -> Value {
        dump::config(&self.current.load().settings)
    }

    fn routes(&self) -> Value {
        dump::routes(&self.current.load().settings)
    }

    async fn reload(&self) -> Result<Value, String> {
        let reloader = self.reloader.get().ok_or("nothing says where the configuration is")?;
        let reloaded = reloader.reload().await.map_err(|why| why.to_string())?;
        let mut taken = json!({ "config": reloaded.hash.to_string() });
        if let (Value::Object(taken), false) = (&mut taken, reloaded.needs_restart.is_empty()) {
            taken.insert("needs_restart".to_owned(), json!(reloaded.needs_restart));
        }
        Ok(taken)
    }

    async fn list(&self) -> Result<Standings, store::Error> {
        match &self.closer {
            Some(closer) => closer.list().await,
            None => Ok(Standings::default()),
        }
    }

    async fn show(&self, channel: ContractId) -> Result<Option<Standing>, store::Error> {
        match &self.closer {
            Some(closer) => closer.show(channel).await,
            None => Ok(None),
        }
    }

    async fn settle(&self, channel: ContractId) -> Result<Collected, CloseError> {
        let closer = self.closer.as_ref().ok_or(CloseError::Unknown(channel))?;
        closer.settle(channel).await
    }

    async fn close(&self, channel: ContractId) -> Result<Collected, CloseError> {
        let closer = self.closer.as_ref().ok_or(CloseError::Unknown(channel))?;
        closer.close(channel).await
    }

    async fn adopt(&self, channel: ContractId) -> Result<Amount, CloseError> {
        let closer = self.closer.as_ref().ok_or(CloseError::Unknown(channel))?;
        closer.adopt(channel).await
    }

    async fn members(&self) -> Result<Vec<Member>, store::Error> {
        match &self.store {
            Some(store) => store.members().await,
            None => Ok(Vec::new()),
        }
    }

    async fn dismiss(&self, member: MemberId) -> Result<bool, store::Error> {
        match &self.store {
            Some(store) => store.dismiss(member).await,
            None => Ok(false),
        }
    }

    async fn unresolved(&self, most: usize) -> Result<Vec<Unresolved>, store::Error> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let methods = self.current.load().guard.methods().clone();
        let (mut found, mut after) = (Vec::new(), None);
        while found.len() < most {
            let page = store.pending(after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            found.extend(page.into_iter().map(|pending| {
                let payment = methods.worth(&pending);
                Unresolved { pending, payment }
            }));
        }
        found.truncate(most);
        Ok(found)
    }
}

//! Charges that are changed after they were made, signed anew where their payer could have.

use http::Method;
use stellar_xdr as xdr;
use tollgate::{
    client::{
        ChargeOffer, Credential, Overrides,
        charge::{bump, seal},
    },
    ledger::signer::Seed,
    protocol::stellar::{Address, Network},
};

use super::shop::Form;
use crate::{
    forge::{Case, Spent},
    world::{Agent, World},
};

/// Makes other payments of one for GET of a pulled form's path.
pub struct Forge {
    pub form: Form,
    pub agent: Agent,
    pub offer: ChargeOffer,
    pub seed: Seed,
    pub tx: xdr::Transaction,
    payer: Address,
}

impl Forge {
    /// Around an honest payment by the world's payer.
    pub async fn new(world: &World, form: Form) -> Self {
        let seed = world.sandbox.accounts().payer.secret().parse().unwrap();
        Self::of(world.agent(), seed, form, &Overrides::default()).await
    }

    /// Around a payment by `agent`, whose seed is `seed`, that is made as `overrides` say.
    pub async fn of(agent: Agent, seed: Seed, form: Form, overrides: &Overrides) -> Self {
        let offer = agent.charge_offer_of(Method::GET, form.path()).await;
        let made = agent.client.transaction(&offer, overrides).await.unwrap();
        let xdr::TransactionEnvelope::Tx(envelope) = made.envelope else { panic!("{made:?}") };
        Self { form, agent, offer, seed, tx: envelope.tx, payer: made.payer }
    }

    /// The payment as it was made.
    pub fn honest(&self) -> Credential {
        self.sealed(self.tx.clone())
    }

    /// With this envelope instead.
    pub fn with(&self, envelope: &xdr::TransactionEnvelope) -> Credential {
        self.offer.pull(envelope, self.payer).unwrap()
    }

    /// The envelope around `tx`, signed as the form wants it.
    pub fn envelope(&self, tx: xdr::Transaction) -> xdr::TransactionEnvelope {
        match self.form {
            Form::Sponsored => unsigned(tx),
            Form::Own | Form::Pushed => seal(tx, &[&self.seed], Network::Testnet).unwrap(),
        }
    }

    /// With `tx` instead, signed as the form wants it.
    pub fn sealed(&self, tx: xdr::Transaction) -> Credential {
        self.with(&self.envelope(tx))
    }

    /// After `change` of the transaction.
    pub fn changed(&self, change: impl FnOnce(&mut xdr::Transaction)) -> Credential {
        let mut tx = self.tx.clone();
        change(&mut tx);
        self.sealed(tx)
    }

    /// With these operations instead.
    pub fn with_operations(&self, operations: Vec<xdr::Operation>) -> Credential {
        self.changed(|tx| tx.operations = operations.try_into().unwrap())
    }

    /// After `change` of the call's operation; nothing of it is authorized anew.
    pub fn invoked(&self, change: impl FnOnce(&mut xdr::InvokeHostFunctionOp)) -> Credential {
        self.changed(|tx| invocation(tx, change))
    }

    /// With these authorizations instead.
    pub fn with_auth(&self, auth: Vec<xdr::SorobanAuthorizationEntry>) -> Credential {
        self.invoked(|op| op.auth = auth.try_into().unwrap())
    }

    /// With `change` of the authorization, signed anew by the payer.
    pub fn authorized(
        &self,
        change: impl FnOnce(&mut xdr::SorobanAuthorizationEntry),
    ) -> Credential {
        let mut entry = self.entry();
        change(&mut entry);
        sign(&mut entry, &self.seed);
        self.with_auth(vec![entry])
    }

    /// With `change` of the call, in the operation as in the authorization, signed anew by the payer.
    pub fn called(&self, change: impl FnOnce(&mut xdr::InvokeContractArgs)) -> Credential {
        self.called_by(&self.seed, change)
    }

    /// As [`Forge::called`], authorized by another account.
    pub fn called_by(
        &self,
        seed: &Seed,
        change: impl FnOnce(&mut xdr::InvokeContractArgs),
    ) -> Credential {
        let mut entry = self.entry();
        let mut tx = self.tx.clone();
        invocation(&mut tx, |op| {
            let xdr::HostFunction::InvokeContract(call) = &mut op.host_function else {
                unreachable!()
            };
            change(call);
            let function = xdr::SorobanAuthorizedFunction::ContractFn(call.clone());
            entry.root_invocation.function = function;
            if let xdr::SorobanCredentials::Address(credentials) = &mut entry.credentials {
                credentials.address = Address::Account(seed.account()).to_xdr();
            }
            sign(&mut entry, seed);
            op.auth = vec![entry].try_into().unwrap();
        });
        self.offer.pull(&self.envelope(tx), Address::Account(seed.account())).unwrap()
    }

    /// The authorization of the honest payment.
    pub fn entry(&self) -> xdr::SorobanAuthorizationEntry {
        let mut entry = None;
        invocation(&mut self.tx.clone(), |op| entry = op.auth.first().cloned());
        entry.unwrap()
    }

    /// The honest transaction, with its fee paid by `payer`.
    pub fn bumped(&self, payer: &Seed) -> xdr::TransactionEnvelope {
        let sealed = seal(self.tx.clone(), &[&self.seed], Network::Testnet).unwrap();
        bump(&sealed, payer, 1_000_000, Network::Testnet).unwrap()
    }

    /// Presents every case: each is refused for its reason, and nothing is forwarded, sent or spent. Then the honest
    /// payment, which all of them were made of, is served.
    pub async fn refused_then_served(self, world: &World, cases: Vec<Case>) {
        let before = Spent::of(world);
        for (what, reason, credential) in cases {
            let answer = self.agent.present(self.form.path(), &credential).await;
            assert_eq!(answer.status, 402, "{:?}, {what}: {answer:?}", self.form);
            assert_eq!(answer.reason(), reason, "{:?}, {what}: {answer:?}", self.form);
            answer.assert_refused(reason);
            assert_ne!(answer.charges()[0].id.as_str(), self.offer.challenge.id.as_str());
            assert_eq!(Spent::of(world), before, "{:?}, {what}", self.form);
        }
        self.agent.present(self.form.path(), &self.honest()).await.assert_charge_paid();
    }
}

/// Signs an authorization by address credentials; one by the transaction's source has no signature.
pub fn sign(entry: &mut xdr::SorobanAuthorizationEntry, seed: &Seed) {
    if matches!(entry.credentials, xdr::SorobanCredentials::Address(_)) {
        seed.sign_authorization(entry, Network::Testnet).unwrap();
    }
}

/// `tx` without signatures.
pub fn unsigned(tx: xdr::Transaction) -> xdr::TransactionEnvelope {
    let signatures = xdr::VecM::default();
    xdr::TransactionEnvelope::Tx(xdr::TransactionV1Envelope { tx, signatures })
}

/// The call of a contract in a transaction.
pub fn invocation(tx: &mut xdr::Transaction, change: impl FnOnce(&mut xdr::InvokeHostFunctionOp)) {
    let mut operations = tx.operations.to_vec();
    let xdr::OperationBody::InvokeHostFunction(op) = &mut operations[0].body else {
        unreachable!()
    };
    change(op);
    tx.operations = operations.try_into().unwrap();
}

//! Payments that are changed after they were made, as a thief or a broken client would send them.

use stellar_xdr::{self as xdr, ReadXdr as _, WriteXdr as _};
use tollgate::{
    client::{Credential, Overrides},
    ledger::signer::Seed,
    protocol::stellar::{AccountId, Address, Network},
};
use tollgate_sandbox::Method;

use crate::world::{Agent, World};

/// Makes other payments of an honest one.
pub struct Forge {
    pub honest: Credential,
    /// The payer's.
    seed: Seed,
    envelope: xdr::TransactionV1Envelope,
}

/// A payment that must not be taken: what is wrong with it, the reason that is given, and itself.
pub type Case = (String, &'static str, Credential);

impl Forge {
    /// Around a payment for GET /weather by the world's payer.
    pub async fn new(world: &World) -> Self {
        let honest = world.agent().sign("/weather", &Overrides::default()).await;
        let seed = world.sandbox.accounts().payer.secret().parse().unwrap();
        Self::around(honest, seed)
    }

    /// Around a payment for GET /weather; what is signed anew is signed with `seed`.
    pub fn around(honest: Credential, seed: Seed) -> Self {
        let base64 = honest.payload().pointer("/payload/transaction").unwrap().as_str().unwrap();
        match xdr::TransactionEnvelope::from_xdr_base64(base64, xdr::Limits::none()).unwrap() {
            xdr::TransactionEnvelope::Tx(envelope) => Self { honest, seed, envelope },
            other => panic!("{other:?}"),
        }
    }

    /// With this envelope instead.
    pub fn sealed(&self, envelope: &xdr::TransactionEnvelope) -> Credential {
        let mut payload = self.honest.payload().clone();
        payload["payload"]["transaction"] =
            envelope.to_xdr_base64(xdr::Limits::none()).unwrap().into();
        Credential::x402(payload)
    }

    /// After `change` of what the payer did not sign.
    pub fn changed(&self, change: impl FnOnce(&mut xdr::TransactionV1Envelope)) -> Credential {
        let mut envelope = self.envelope.clone();
        change(&mut envelope);
        self.sealed(&xdr::TransactionEnvelope::Tx(envelope))
    }

    /// With these operations instead.
    pub fn with_operations(&self, operations: Vec<xdr::Operation>) -> Credential {
        self.changed(|envelope| envelope.tx.operations = operations.try_into().unwrap())
    }

    /// With this operation instead, of the same source as the honest one.
    pub fn with_operation(&self, body: xdr::OperationBody) -> Credential {
        self.with_operations(vec![xdr::Operation { source_account: None, body }])
    }

    /// With these authorizations instead, signed or not.
    pub fn with_auth(&self, auth: Vec<xdr::SorobanAuthorizationEntry>) -> Credential {
        self.changed(|envelope| invocation(envelope, |op| op.auth = auth.try_into().unwrap()))
    }

    /// With `change` of the authorization, signed anew by the payer.
    pub fn authorized(
        &self,
        change: impl FnOnce(&mut xdr::SorobanAuthorizationEntry),
    ) -> Credential {
        let mut entry = self.entry();
        change(&mut entry);
        self.seed.sign_authorization(&mut entry, Network::Testnet).unwrap();
        self.with_auth(vec![entry])
    }

    /// With `change` of the call, in the operation as in the authorization, signed anew by the payer.
    pub fn called(&self, change: impl FnOnce(&mut xdr::InvokeContractArgs)) -> Credential {
        self.called_by(&self.seed, change)
    }

    /// As [`Forge::called`], authorized and signed by another account.
    pub fn called_by(
        &self,
        seed: &Seed,
        change: impl FnOnce(&mut xdr::InvokeContractArgs),
    ) -> Credential {
        self.changed(|envelope| {
            invocation(envelope, |op| {
                let mut entry = self.entry();
                let xdr::HostFunction::InvokeContract(call) = &mut op.host_function else {
                    unreachable!()
                };
                change(call);
                credentials_of(&mut entry).address = Address::Account(seed.account()).to_xdr();
                entry.root_invocation.function =
                    xdr::SorobanAuthorizedFunction::ContractFn(call.clone());
                seed.sign_authorization(&mut entry, Network::Testnet).unwrap();
                op.auth = vec![entry].try_into().unwrap();
            });
        })
    }

    /// The payer's authorization.
    pub fn entry(&self) -> xdr::SorobanAuthorizationEntry {
        let mut envelope = self.envelope.clone();
        let mut entry = None;
        invocation(&mut envelope, |op| entry = op.auth.first().cloned());
        entry.unwrap()
    }

    /// The honest transaction.
    pub fn transaction(&self) -> xdr::Transaction {
        self.envelope.tx.clone()
    }

    /// Presents every case: each is refused for its reason, and nothing is forwarded, sent or spent. Then the honest
    /// payment, which all of them were made of, is served.
    pub async fn refused_then_served(self, world: World, cases: Vec<Case>) {
        let agent = world.agent();
        let before = Spent::of(&world);
        for (what, reason, credential) in cases {
            let answer = agent.present("/weather", &credential).await;
            assert_eq!(answer.status, 402, "{what}: {answer:?}");
            assert_eq!(answer.reason(), reason, "{what}: {answer:?}");
            answer.assert_refused(reason);
            assert_eq!(Spent::of(&world), before, "{what}");
        }
        agent.present("/weather", &self.honest).await.assert_paid();
        world.end().await;
    }
}

/// What a refusal must leave as it was.
#[derive(Debug, PartialEq, Eq)]
pub struct Spent {
    forwarded: usize,
    sent: u64,
    sponsor: i64,
    payee: i128,
}

impl Spent {
    pub fn of(world: &World) -> Self {
        Self {
            forwarded: world.upstream.hits().len(),
            sent: world.sandbox.calls(Method::SendTransaction),
            sponsor: world.sponsor_xlm(),
            payee: world.payee_usdc(),
        }
    }
}

/// The call of a contract in an envelope.
pub fn invocation(
    envelope: &mut xdr::TransactionV1Envelope,
    change: impl FnOnce(&mut xdr::InvokeHostFunctionOp),
) {
    let mut operations = envelope.tx.operations.to_vec();
    let xdr::OperationBody::InvokeHostFunction(op) = &mut operations[0].body else {
        unreachable!()
    };
    change(op);
    envelope.tx.operations = operations.try_into().unwrap();
}

pub fn credentials_of(
    entry: &mut xdr::SorobanAuthorizationEntry,
) -> &mut xdr::SorobanAddressCredentials {
    match &mut entry.credentials {
        xdr::SorobanCredentials::Address(credentials) => credentials,
        other => panic!("{other:?}"),
    }
}

/// Replaces an argument of a call.
pub fn set_argument(call: &mut xdr::InvokeContractArgs, at: usize, value: impl Into<xdr::ScVal>) {
    let mut args = call.args.to_vec();
    args[at] = value.into();
    call.args = args.try_into().unwrap();
}

/// Pays by `agent` after `change` of an honest payment's unsigned part.
pub async fn served(world: &World, agent: &Agent, credential: &Credential) {
    let before = world.payee_usdc();
    agent.present("/weather", credential).await.assert_paid();
    assert_eq!(world.payee_usdc() - before, crate::world::PRICE);
}

/// One case.
pub fn case(what: impl ToString, reason: &'static str, credential: Credential) -> Case {
    (what.to_string(), reason, credential)
}

/// The account of a secret seed.
pub fn account_of(secret: &str) -> AccountId {
    secret.parse::<Seed>().unwrap().account()
}

/// The address of a secret seed's account.
pub fn address_of(secret: &str) -> Address {
    Address::Account(account_of(secret))
}

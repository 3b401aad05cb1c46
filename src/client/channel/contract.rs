//! The payer's side of a channel's contract: opening it, topping it up, ending it, looking at it.
//!
//! Each change is one transaction of the payer's own, who pays its fee. The calls and their authorizations are made here,
//! and nothing is taken from a simulation but resources and fees. What the payee does, settling and closing, is not here.
//! Source: the one-way channel contract.

use rand_core::{OsRng, RngCore as _};
use stellar_xdr as xdr;

use super::{
    super::{
        Client, Error, Overrides,
        charge::seal,
        transaction::{BASE_FEE, transaction},
    },
    Terms,
};
use crate::{
    ledger::rpc::Rpc,
    protocol::{
        channel::{self, Balance, Instance, Opening},
        money::{Amount, Decimals},
        stellar::{Address, Asset, ContractId, Network, TxHash},
        transfer::{self, transfer_call},
    },
};

/// A channel that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its contract.
    pub channel: ContractId,
    /// The transaction that opened it.
    pub transaction: TxHash,
}

/// A channel as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its terms, and how far it has come.
    pub instance: Instance,
    /// What it holds, in base units of its token. Nothing where the token keeps its balances in a way of its own.
    pub balance: Amount,
}

impl Standing {
    /// All that was ever paid in.
    #[must_use]
    pub fn deposited(&self) -> Amount {
        self.balance.checked_add(self.instance.withdrawn).unwrap_or(self.balance)
    }

    /// What it pays in, by name where that is known.
    #[must_use]
    pub fn asset(&self, network: Network) -> Asset {
        let token = self.instance.token;
        let known = [network.usdc(), network.xlm()];
        known.into_iter().find(|asset| asset.contract == token).unwrap_or_else(|| Asset {
            name: format!("base units of {token}").into(),
            contract: token,
            decimals: Decimals::new(0).expect("is below the bound"),
            issuer: None,
        })
    }

    /// What a purse must know of `channel`, whose standing this is.
    #[must_use]
    pub fn terms(&self, network: Network, channel: ContractId) -> Terms {
        let (asset, deposited) = (self.asset(network), self.deposited());
        Terms { network, channel, asset, payee: self.instance.to, deposited }
    }
}

/// Reads `channel` from the ledger.
///
/// # Errors
/// [`Error::Rpc`], [`Error::NotChannel`].
pub async fn look_up(rpc: &Rpc, channel: ContractId) -> Result<Standing, Error> {
    let wrong = |source| Error::NotChannel { channel, source };
    let found = rpc.entries(&[channel::instance_key(channel)]).await.map_err(Error::Rpc)?;
    let (_, entry) = found.first().ok_or_else(|| wrong(None))?;
    let instance = Instance::read(channel, entry).map_err(|error| wrong(Some(error)))?;
    let key = channel::balance_key(instance.token, channel);
    let found = rpc.entries(&[key]).await.map_err(Error::Rpc)?;
    let balance = match found.first() {
        Some((_, entry)) => {
            let read = Balance::read(instance.token, channel, entry);
            read.map_err(|error| wrong(Some(error)))?.amount
        }
        None => Amount::ZERO,
    };
    Ok(Standing { instance, balance })
}

impl Client {
    /// Opens a channel of uploaded `code`, whose payer is this client.
    ///
    /// # Errors
    /// As [`Client::transaction`] and [`Client::land`]. Unless the fate of the transaction is known, no other may be made.
    pub async fn open_channel(&self, opening: &Opening, code: [u8; 32]) -> Result<Opened, Error> {
        let mut salt = [0; 32];
        OsRng.fill_bytes(&mut salt);
        let payer = Address::Account(self.account());
        let channel = channel::contract_id(payer, salt, self.rpc().network());
        let create = opening.create(payer, salt, code);
        let xdr::HostFunction::CreateContractV2(args) = &create else {
            return Err(Error::Sign(transfer::Error::Malformed));
        };
        // The payer leaves its money to the constructor, and the constructor to the token.
        let constructor = xdr::InvokeContractArgs {
            contract_address: channel.to_xdr(),
            function_name: xdr::ScSymbol(
                CONSTRUCTOR.try_into().expect("a symbol is below the bound of 32"),
            ),
            args: args.constructor_args.clone(),
        };
        let deposit =
            transfer_call(opening.token, payer, Address::Contract(channel), opening.amount);
        let within = if opening.amount.is_zero() {
            Vec::new()
        } else {
            vec![invocation(calling(constructor), vec![invocation(calling(deposit), Vec::new())])]
        };
        let root = xdr::SorobanAuthorizedFunction::CreateContractV2HostFn(args.clone());
        let root = invocation(root, within);
        let transaction = self.invoke(create, root).await?;
        Ok(Opened { channel, transaction })
    }

    /// Pays `amount` more into `channel`.
    ///
    /// # Errors
    /// As [`look_up`] and [`Client::open_channel`].
    pub async fn top_up(&self, channel: ContractId, amount: Amount) -> Result<TxHash, Error> {
        let token = look_up(self.rpc(), channel).await?.instance.token;
        let payer = Address::Account(self.account());
        let deposit = transfer_call(token, payer, Address::Contract(channel), amount);
        self.call(channel::top_up(channel, amount), vec![invocation(calling(deposit), Vec::new())])
            .await
    }

    /// Begins to end `channel`: once its waiting period is over, what is left can be taken back.
    ///
    /// # Errors
    /// As [`Client::open_channel`].
    pub async fn close_start(&self, channel: ContractId) -> Result<TxHash, Error> {
        self.call(channel::close_start(channel), Vec::new()).await
    }

    /// Takes back what is left in `channel`, which has ended.
    ///
    /// # Errors
    /// As [`Client::open_channel`].
    pub async fn refund(&self, channel: ContractId) -> Result<TxHash, Error> {
        self.call(channel::refund(channel), Vec::new()).await
    }

    async fn call(
        &self,
        call: xdr::InvokeContractArgs,
        within: Vec<xdr::SorobanAuthorizedInvocation>,
    ) -> Result<TxHash, Error> {
        let root = invocation(calling(call.clone()), within);
        self.invoke(xdr::HostFunction::InvokeContract(call), root).await
    }

    /// Makes a transaction of this client's account that does `function`, which its signature authorizes as `root` says,
    /// and lands it.
    async fn invoke(
        &self,
        function: xdr::HostFunction,
        root: xdr::SorobanAuthorizedInvocation,
    ) -> Result<TxHash, Error> {
        let signer = self.signer().await?;
        let entry = xdr::SorobanAuthorizationEntry {
            credentials: xdr::SorobanCredentials::SourceAccount,
            root_invocation: root,
        };
        let operation = xdr::Operation {
            source_account: None,
            body: xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
                host_function: function,
                auth: vec![entry].try_into().expect("one entry is below the bound of 2^32"),
            }),
        };
        let own = self.account();
        let sequence = signer.sequence(own, &Overrides::default()).await?;
        let max_time = self.clock.now().saturating_add(VALID_SECONDS);
        let mut tx = transaction(operation, own, sequence, max_time);
        let (data, min_fee) = signer.simulate(&tx).await?;
        tx.fee = BASE_FEE.saturating_add(min_fee);
        tx.ext = xdr::TransactionExt::V1(data);
        let envelope = seal(tx, &[&self.settings.seed], self.settings.network)?;
        self.land(&envelope).await
    }
}

const fn calling(call: xdr::InvokeContractArgs) -> xdr::SorobanAuthorizedFunction {
    xdr::SorobanAuthorizedFunction::ContractFn(call)
}

fn invocation(
    function: xdr::SorobanAuthorizedFunction,
    within: Vec<xdr::SorobanAuthorizedInvocation>,
) -> xdr::SorobanAuthorizedInvocation {
    let sub_invocations = within.try_into().expect("one invocation is below the bound of 2^32");
    xdr::SorobanAuthorizedInvocation { function, sub_invocations }
}

/// What the network calls of a contract that is created.
const CONSTRUCTOR: &str = "__constructor";
/// How long such a transaction could land.
const VALID_SECONDS: u64 = 300;

//! A ledger that closes by hand, and what a test builds on it: accounts, assets, contracts.

use std::path::Path;

use stellar_xdr as xdr;
use tollgate::{
    checkup::{self, Report},
    config::{self, Env},
    ledger::{
        Http,
        classic::ClassicAsset,
        rpc::{AuthMode, Rpc, Simulation},
        signer::Seed,
    },
    protocol::stellar::{AccountId, ContractId, Network},
    telemetry::Clock,
};
use tollgate_sandbox::{Clock as Ledgers, DevAccount, Options, Sandbox};

pub(crate) struct Site {
    pub(crate) sandbox: Sandbox,
    rpc: Rpc,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let options = Options { clock: Ledgers::Manual, ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let url = sandbox.rpc_url().parse().unwrap();
        let rpc = Rpc::new(Http::new(), url, Network::Testnet);
        Self { sandbox, rpc }
    }

    /// A new account with so many lumens, always the same for the same label.
    pub(crate) async fn account(&self, label: &str, lumens: i64) -> DevAccount {
        let account = DevAccount::from_label(label);
        self.sandbox.create_account(&account, lumens * 10_000_000).await.unwrap();
        account
    }

    /// Has `account` carry out `body`.
    pub(crate) async fn apply(&self, account: &DevAccount, body: xdr::OperationBody) {
        self.land(account, body, xdr::TransactionExt::V0, 100).await;
    }

    /// Gives `asset` the contract that every classic asset may have.
    pub(crate) async fn deploy(&self, account: &DevAccount, asset: &ClassicAsset) -> ContractId {
        let xdr::LedgerKey::Trustline(line) = asset.trustline_key(id(account)) else { panic!() };
        let asset_of = match line.asset {
            xdr::TrustLineAsset::CreditAlphanum4(asset) => xdr::Asset::CreditAlphanum4(asset),
            _ => panic!("a code of four letters"),
        };
        let create = xdr::CreateContractArgs {
            contract_id_preimage: xdr::ContractIdPreimage::Asset(asset_of),
            executable: xdr::ContractExecutable::StellarAsset,
        };
        self.host(account, xdr::HostFunction::CreateContract(create)).await;
        asset.contract(Network::Testnet)
    }

    /// A contract without a single function.
    pub(crate) async fn deploy_nothing(&self, account: &DevAccount) -> ContractId {
        let wasm = empty_wasm();
        let upload = xdr::HostFunction::UploadContractWasm(wasm.clone().try_into().unwrap());
        self.host(account, upload).await;
        use sha2::Digest as _;
        let preimage = xdr::ContractIdPreimage::Address(xdr::ContractIdPreimageFromAddress {
            address: xdr::ScAddress::Account(account.account_id()),
            salt: xdr::Uint256([7; 32]),
        });
        let create = xdr::CreateContractArgs {
            contract_id_preimage: preimage.clone(),
            executable: xdr::ContractExecutable::Wasm(xdr::Hash(
                sha2::Sha256::digest(&wasm).into(),
            )),
        };
        self.host(account, xdr::HostFunction::CreateContract(create)).await;
        let id = xdr::HashIdPreimage::ContractId(xdr::HashIdPreimageContractId {
            network_id: xdr::Hash(Network::Testnet.id()),
            contract_id_preimage: preimage,
        });
        let bytes = xdr::WriteXdr::to_xdr(&id, xdr::Limits::none()).unwrap();
        ContractId(sha2::Sha256::digest(bytes).into())
    }

    /// What `tollgate check --online` finds, with places that change from run to run replaced.
    pub(crate) async fn examine(&self, yaml: &str) -> String {
        self.examine_at(yaml, &Clock::system()).await
    }

    /// As [`Site::examine`], with another clock.
    pub(crate) async fn examine_at(&self, yaml: &str, clock: &Clock) -> String {
        let url = self.sandbox.rpc_url();
        let env = Env::fixed(self.sandbox.env_lines());
        let settings = config::parse(yaml, "gateway.yaml", Path::new("/nowhere"), &env);
        let settings = settings.unwrap_or_else(|faults| panic!("{faults}"));
        let report = checkup::examine(&settings, &Http::new(), clock).await;
        shown(&report).replace(url, "http://SANDBOX")
    }

    async fn host(&self, account: &DevAccount, function: xdr::HostFunction) {
        let body = |auth| {
            xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
                host_function: function.clone(),
                auth,
            })
        };
        let plain = xdr::VecM::default();
        let asked = self.transaction(account, body(plain), xdr::TransactionExt::V0, 100).await;
        let envelope = xdr::TransactionEnvelope::Tx(xdr::TransactionV1Envelope {
            tx: asked,
            signatures: xdr::VecM::default(),
        });
        let simulated = match self.rpc.simulate(&envelope, AuthMode::Record).await.unwrap() {
            Simulation::Success(simulated) => simulated,
            Simulation::Failure { error, .. } => panic!("{error}"),
        };
        let data = xdr::SorobanTransactionData {
            resource_fee: simulated.min_resource_fee.into(),
            ..simulated.data
        };
        let auth = simulated.authorizations.try_into().unwrap();
        let fee = 100 + simulated.min_resource_fee;
        self.land(account, body(auth), xdr::TransactionExt::V1(data), fee).await;
    }

    async fn land(
        &self,
        account: &DevAccount,
        body: xdr::OperationBody,
        ext: xdr::TransactionExt,
        fee: u32,
    ) {
        let tx = self.transaction(account, body, ext, fee).await;
        let hash = tx.hash(Network::Testnet.id()).unwrap();
        let signatures = vec![seed(account).sign(&hash)].try_into().unwrap();
        let envelope = xdr::TransactionEnvelope::Tx(xdr::TransactionV1Envelope { tx, signatures });
        let told = self.sandbox.ledger().submit(envelope);
        self.sandbox.close_ledger().await;
        let record = self.sandbox.ledger().transaction(&xdr::Hash(hash));
        let record = record.unwrap_or_else(|| panic!("not in a ledger: {told:?}"));
        let failed = format!("{:?}", record.result);
        assert_eq!(record.status, tollgate_sandbox::ledger::TransactionStatus::Success, "{failed}");
    }

    async fn transaction(
        &self,
        account: &DevAccount,
        body: xdr::OperationBody,
        ext: xdr::TransactionExt,
        fee: u32,
    ) -> xdr::Transaction {
        let entry = self.rpc.accounts(&[id(account)]).await.unwrap().remove(0);
        xdr::Transaction {
            source_account: id(account).to_muxed(),
            fee,
            seq_num: xdr::SequenceNumber(entry.seq_num.0 + 1),
            cond: xdr::Preconditions::None,
            memo: xdr::Memo::None,
            operations: vec![xdr::Operation { source_account: None, body }].try_into().unwrap(),
            ext,
        }
    }
}

/// Opens `account`'s trustline of `asset` for at most `limit`.
pub(crate) fn trust(asset: &ClassicAsset, limit: i64) -> xdr::OperationBody {
    let issuer = asset.issuer();
    let xdr::LedgerKey::Trustline(line) = asset.trustline_key(issuer) else { panic!() };
    let line = match line.asset {
        xdr::TrustLineAsset::CreditAlphanum4(asset) => {
            xdr::ChangeTrustAsset::CreditAlphanum4(asset)
        }
        _ => panic!("a code of four letters"),
    };
    xdr::OperationBody::ChangeTrust(xdr::ChangeTrustOp { line, limit })
}

/// Makes an issuer one whose trustlines it must authorize each.
pub(crate) fn require_authorization() -> xdr::OperationBody {
    xdr::OperationBody::SetOptions(xdr::SetOptionsOp {
        inflation_dest: None,
        clear_flags: None,
        set_flags: Some(i32::from(xdr::AccountFlags::RequiredFlag).try_into().unwrap()),
        master_weight: None,
        low_threshold: None,
        med_threshold: None,
        high_threshold: None,
        home_domain: None,
        signer: None,
    })
}

pub(crate) fn seed(account: &DevAccount) -> Seed {
    account.secret().parse().unwrap()
}

pub(crate) fn id(account: &DevAccount) -> AccountId {
    seed(account).account()
}

fn shown(report: &Report) -> String {
    report.iter().map(|finding| format!("{finding}\n")).collect()
}

/// The least that the host takes for a contract: what interface it was built for, and no code.
fn empty_wasm() -> Vec<u8> {
    let version = xdr::ScEnvMetaEntryInterfaceVersion { protocol: 22, pre_release: 0 };
    let entry = xdr::ScEnvMetaEntry::ScEnvMetaKindInterfaceVersion(version);
    let entry = xdr::WriteXdr::to_xdr(&entry, xdr::Limits::none()).unwrap();
    let name = b"contractenvmetav0";
    let section = [&[u8::try_from(name.len()).unwrap()][..], name, &entry].concat();
    [b"\0asm\x01\0\0\0\0", &[u8::try_from(section.len()).unwrap()][..], &section].concat()
}

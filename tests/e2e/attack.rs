//! Attacks that a careful reader found: who else could be paid for, and who else could be made to pay.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use stellar_xdr::{self as xdr, ReadXdr as _};
use tollgate::{
    client::{Credential, Overrides},
    ledger::{
        Http,
        rpc::{AuthMode, Rpc as RpcClient, Simulation},
        signer::Seed,
    },
    protocol::stellar::Network,
};
use tollgate_sandbox::{Clock as Ledgers, Fault, Method as Rpc, Times};

use crate::{
    forge::{Forge, Spent},
    process::Site,
    upstream::Script,
    world::{Agent, Answer, PRICE, Plan, World, still, until, yaml},
};

/// What `credential` puts on the ledger, under an offer that the thief was made.
async fn stolen(world: &World, method: Method, path: &str, credential: &Credential) -> Credential {
    let thief = world.agent_of(&world.sandbox.accounts().zero_xlm_payer);
    let own = thief.sign_for(method, path).await;
    let mut payload = own.payload().clone();
    payload["payload"] = credential.payload()["payload"].clone();
    Credential::x402(payload)
}

#[tokio::test]
async fn a_stranger_who_saw_a_payment_on_the_ledger_cannot_take_its_delivery() {
    let world = World::start().await;
    let agent = world.agent();
    let credential = agent.sign_for(Method::POST, "/order").await;
    world.upstream.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
    let failed = agent.present_with(Method::POST, "/order", &credential).await;
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);

    world.upstream.play(Script::default());
    let stolen = stolen(&world, Method::POST, "/order", &credential).await;
    let taken = agent.present_with(Method::POST, "/order", &stolen).await;
    assert_eq!(taken.status, StatusCode::PAYMENT_REQUIRED, "{taken:?}");
    assert_eq!(world.upstream.hits().len(), 1);
    agent.present_with(Method::POST, "/order", &credential).await.assert_paid();
    world.end().await;
}

/// The operation of a payment, with `others` beside its authorization.
fn operation_of(
    credential: &Credential,
    others: impl IntoIterator<Item = xdr::SorobanAuthorizationEntry>,
) -> xdr::Operation {
    let base64 = credential.payload().pointer("/payload/transaction").unwrap().as_str().unwrap();
    let envelope = xdr::TransactionEnvelope::from_xdr_base64(base64, xdr::Limits::none()).unwrap();
    let xdr::TransactionEnvelope::Tx(envelope) = envelope else { panic!("{envelope:?}") };
    let mut operation = envelope.tx.operations[0].clone();
    let invoke = invoke_of(&mut operation);
    let auth: Vec<_> = invoke.auth.iter().cloned().chain(others).collect();
    invoke.auth = auth.try_into().unwrap();
    operation
}

fn invoke_of(operation: &mut xdr::Operation) -> &mut xdr::InvokeHostFunctionOp {
    match &mut operation.body {
        xdr::OperationBody::InvokeHostFunction(invoke) => invoke,
        other => panic!("{other:?}"),
    }
}

fn entry_of(credential: &Credential) -> xdr::SorobanAuthorizationEntry {
    invoke_of(&mut operation_of(credential, [])).auth[0].clone()
}

/// Has `operation` land before what the gateway sends of `credentials`, all of which it has verified.
async fn overtake(
    world: &World,
    agent: &Agent,
    credentials: &[&Credential],
    operation: xdr::Operation,
) -> Vec<Answer> {
    let count = u32::try_from(credentials.len()).unwrap();
    let sent = world.sandbox.calls(Rpc::SendTransaction);
    let slow = Fault::Delay(Duration::from_secs(3));
    world.sandbox.faults().arm(Rpc::SendTransaction, Times::Next(count), slow);
    let presented: Vec<_> = credentials
        .iter()
        .map(|credential| agent.presenting(Method::GET, "/weather", credential))
        .collect();
    let all_sent = || world.sandbox.calls(Rpc::SendTransaction) >= sent + u64::from(count);
    until("all are sent", all_sent).await;
    land(world, operation).await;
    let answers = world.while_ledgers_close(join_all(presented)).await;
    answers.into_iter().map(Result::unwrap).collect()
}

/// Has the world's payer, who has lumens, send `operation`, and closes a ledger over it.
async fn land(world: &World, operation: xdr::Operation) {
    let url = world.sandbox.rpc_url().parse().unwrap();
    let rpc = RpcClient::new(Http::new(), url, Network::Testnet);
    let payer: Seed = world.sandbox.accounts().payer.secret().parse().unwrap();
    let account = rpc.accounts(&[payer.account()]).await.unwrap().remove(0);
    let mut tx = xdr::Transaction {
        source_account: payer.account().to_muxed(),
        fee: 1_000_000,
        seq_num: xdr::SequenceNumber(account.seq_num.0 + 1),
        cond: xdr::Preconditions::None,
        memo: xdr::Memo::None,
        operations: vec![operation].try_into().unwrap(),
        ext: xdr::TransactionExt::V0,
    };
    let envelope = |tx: &xdr::Transaction, signatures| {
        xdr::TransactionEnvelope::Tx(xdr::TransactionV1Envelope { tx: tx.clone(), signatures })
    };
    let simulated = rpc.simulate(&envelope(&tx, xdr::VecM::default()), AuthMode::Enforce).await;
    let Simulation::Success(simulated) = simulated.unwrap() else { panic!("it would fail") };
    tx.ext = xdr::TransactionExt::V1(simulated.data.clone());
    let hash = tx.hash(Network::Testnet.id()).unwrap();
    let signed = envelope(&tx, vec![payer.sign(&hash)].try_into().unwrap());
    world.sandbox.ledger().submit(signed);
    world.sandbox.close_ledger().await;
    let landed = world.sandbox.ledger().transaction(&xdr::Hash(hash));
    assert!(landed.is_some(), "it did not land");
}

#[tokio::test]
async fn one_transfer_does_not_pay_for_every_authorization_that_its_transaction_carries() {
    let world = World::build(Plan { ledgers: Ledgers::Manual, ..Plan::default() }).await;
    let agent = &world.while_ledgers_close(world.payers(1)).await[0];
    let before = world.payee_usdc();
    let one = agent.sign("/weather", &Overrides::default()).await;
    let two = agent.sign("/weather", &Overrides::default()).await;
    // Both are good until the payer spends all it has, by a transaction that carries the one and the other.
    let operation = operation_of(&one, [entry_of(&two)]);
    let answers = overtake(&world, agent, &[&one, &two], operation).await;
    let paid = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(paid, 1, "{answers:?}");
    assert_eq!(world.payee_usdc() - before, PRICE);
    world.end().await;
}

#[tokio::test]
async fn a_payment_that_a_stranger_sends_first_and_dressed_up_is_the_payers_all_the_same() {
    let world = World::build(Plan { ledgers: Ledgers::Manual, ..Plan::default() }).await;
    let agent = &world.while_ledgers_close(world.payers(1)).await[0];
    let before = world.payee_usdc();
    let payment = agent.sign("/weather", &Overrides::default()).await;
    // What a stranger can add: an authorization that nobody signed, and that nothing uses.
    let mut other = entry_of(&payment);
    crate::forge::credentials_of(&mut other).nonce += 1;
    let operation = operation_of(&payment, [other]);
    let answers = overtake(&world, agent, &[&payment], operation).await;
    answers[0].assert_paid();
    assert_eq!(world.payee_usdc() - before, PRICE);
    agent.present("/weather", &payment).await.assert_refused("duplicate_settlement");
    world.end().await;
}

#[tokio::test]
async fn a_payment_that_cannot_land_in_time_is_refused_before_it_costs_anything() {
    let world = World::build(Plan { clock: still(), ledgers: Ledgers::Manual, ..Plan::default() });
    let world = world.await;
    let agent = world.agent();
    let honest = agent.sign("/weather", &Overrides::default()).await;
    let before = Spent::of(&world);
    let soon = |seconds| Some(world.clock.now() + seconds);
    for (overrides, reason) in [
        // It would make the upstream work, hold a lane, and never land.
        (
            Overrides { max_time: soon(3), ..Overrides::default() },
            "invalid_exact_stellar_payload_malformed",
        ),
        // It would land dead, and cost the sponsor its fee.
        (
            Overrides { expiration_ledger: Some(world.ledger() + 1), ..Overrides::default() },
            "invalid_exact_stellar_payload_auth_already_expired",
        ),
    ] {
        for (method, path) in [(Method::GET, "/weather"), (Method::POST, "/order")] {
            let offer = agent.offer_of(method.clone(), path).await;
            let credential = agent.client.sign_x402(&offer, &overrides).await.unwrap();
            agent.present_with(method, path, &credential).await.assert_refused(reason);
            assert_eq!(Spent::of(&world), before);
        }
    }
    world.while_ledgers_close(agent.present("/weather", &honest)).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn a_payment_too_large_to_be_remembered_is_refused_before_anything_is_forwarded() {
    let world = World::start().await;
    let forge = Forge::new(&world).await;
    let padded = |bytes: usize| {
        forge.changed(|envelope| {
            let xdr::TransactionExt::V1(data) = &mut envelope.tx.ext else { panic!() };
            let mut keys = data.resources.footprint.read_only.to_vec();
            keys.push(xdr::LedgerKey::ContractData(xdr::LedgerKeyContractData {
                contract: xdr::ScAddress::Contract(xdr::ContractId(xdr::Hash([1; 32]))),
                key: xdr::ScVal::Bytes(xdr::ScBytes(vec![0; bytes].try_into().unwrap())),
                durability: xdr::ContractDataDurability::Persistent,
            }));
            data.resources.footprint.read_only = keys.try_into().unwrap();
        })
    };
    let agent = world.agent();
    for bytes in [11_000, 11_500, 14_000] {
        let refused = agent.present("/weather", &padded(bytes)).await;
        refused.assert_refused("invalid_exact_stellar_payload_malformed");
    }
    assert!(world.upstream.hits().is_empty());
    agent.present("/weather", &padded(10_400)).await.assert_paid();
    world.end().await;
}

#[tokio::test]
async fn paid_answers_are_private_for_caches_that_read_other_headers_too() {
    let world = World::start().await;
    let others = [
        ("cdn-cache-control", "max-age=600"),
        ("surrogate-control", "max-age=600"),
        ("x-accel-expires", "600"),
        ("cloudflare-cdn-cache-control", "max-age=600"),
        ("edge-control", "max-age=600"),
    ];
    world.upstream.play(Script { headers: others.to_vec(), ..Script::default() });
    let paid = world.agent().pay("/weather").await;
    paid.assert_paid();
    assert_eq!(paid.headers["cache-control"], "private");
    for (name, _) in others {
        assert!(!paid.headers.contains_key(name), "{name}");
    }
    // Its twin: what is free may be cached.
    let free = world.agent().ask(Method::GET, "/health").await;
    assert_eq!(free.headers["surrogate-control"], "max-age=600");
    world.end().await;
}

#[tokio::test]
async fn a_secret_that_was_replaced_is_used_after_a_hangup_though_the_configuration_reads_as_before()
 {
    let site = Site::new(&Plan::default()).await;
    let key = site.config().with_file_name("key");
    std::fs::write(&key, "old").unwrap();
    site.write(&format!(
        "version: 1\nlisten: 127.0.0.1:0\nupstreams:\n  api:\n    servers: [http://{}]\n    \
         headers: {{ set: {{ x-api-key: {{ file: ./key }} }} }}\n\
         routes: [{{ match: GET /health, free: true }}]\n",
        site.upstream.address
    ));
    let process = site.run_unready().await;
    let agent = site.agent(&process);
    let sent = || site.upstream.hits().last().unwrap().headers["x-api-key"].clone();
    agent.ask(Method::GET, "/health").await;
    assert_eq!(sent(), "old");
    std::fs::write(&key, "new").unwrap();
    process.hang_up().await;
    process.logged("configuration swapped").await;
    agent.ask(Method::GET, "/health").await;
    assert_eq!(sent(), "new");
}

#[tokio::test]
async fn payments_that_wait_for_the_ledger_keep_nobody_out_of_the_upstream() {
    let plan = Plan { ledgers: Ledgers::Interval(Duration::from_secs(3)), ..Plan::default() };
    let site = Site::new(&plan).await;
    let api = format!("upstream: http://{}", site.upstream.address);
    let narrow =
        api.replace("upstream: ", "upstreams: { api: { servers: [") + "], max_in_flight: 2 } }";
    site.write(&yaml(&site.upstream, &plan).replace(&api, &narrow));
    let process = site.run().await;
    let agent = site.agent(&process);
    let sign = (0..6).map(|_| agent.sign_for(Method::POST, "/order"));
    let credentials = join_all(sign).await;
    let sent = site.sandbox.calls(Rpc::SendTransaction);
    let presented: Vec<_> = credentials
        .iter()
        .map(|credential| agent.presenting(Method::POST, "/order", credential))
        .collect();
    until("all are sent", || site.sandbox.calls(Rpc::SendTransaction) >= sent + 6).await;
    // All of them wait for the next ledger, and what is free is served.
    assert_eq!(agent.ask(Method::GET, "/health").await.status, StatusCode::OK);
    // Then all of them come at once, and wait for each other.
    let slow = Script { delay: Duration::from_millis(100), ..Script::default() };
    site.upstream.play(slow);
    for answer in join_all(presented).await {
        answer.unwrap().assert_paid();
    }
}

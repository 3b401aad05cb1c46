//! What the gateway knows of the channel contract, held against its code in the real host.

use std::time::Duration;

use stellar_xdr as xdr;
use tollgate::protocol::{
    channel::{self, Balance, Event, Instance, Opening},
    commitment::{Commitment, CommitmentSeed},
    money::Amount,
    stellar::{Address, ContractId, Network},
    transfer,
};
use tollgate_sandbox::{DevAccount, OpenChannel, channel_code, ledger::Simulation};

use super::support::{World, seed};

/// Longer than the test: ledgers close when something is done.
const TICK: Duration = Duration::from_secs(600);
const NETWORK: Network = Network::Testnet;

fn units(amount: i128) -> Amount {
    Amount::from_units(amount).unwrap()
}

fn address(account: &DevAccount) -> Address {
    Address::Account(seed(account).account())
}

fn commitments() -> CommitmentSeed {
    CommitmentSeed::from_bytes(&[1; 32])
}

/// A channel of 100 units from the payer to the recipient.
async fn opened(world: &World) -> ContractId {
    let accounts = world.sandbox.accounts();
    let wanted = OpenChannel {
        payer: &accounts.payer,
        payee: &accounts.recipient.address(),
        token: &world.sandbox.usdc_contract(),
        commitment_key: commitments().key().to_bytes(),
        deposit: 100,
        refund_waiting_ledgers: 30,
    };
    ContractId(world.sandbox.open_channel(&wanted).await.unwrap().0.0)
}

fn entry(world: &World, key: xdr::LedgerKey) -> xdr::LedgerEntryData {
    let mut found = world.sandbox.ledger().entries(&[key]);
    assert_eq!(found.len(), 1);
    found.remove(0).entry.data
}

fn state(world: &World, id: ContractId) -> (Instance, Balance) {
    let token = NETWORK.usdc().contract;
    let instance = entry(world, channel::instance_key(id));
    let balance = entry(world, channel::balance_key(token, id));
    (Instance::read(id, &instance).unwrap(), Balance::read(token, id, &balance).unwrap())
}

/// What the host says to `function`, as nobody in particular.
fn tried(world: &World, function: xdr::HostFunction) -> Result<Simulation, String> {
    let operation = xdr::Operation {
        source_account: None,
        body: xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
            host_function: function,
            auth: xdr::VecM::default(),
        }),
    };
    let envelope = transfer::unsigned_envelope(operation, None, 100, 0);
    let simulated = world.sandbox.ledger().simulate(&envelope, Default::default());
    simulated.map_err(|failure| failure.message)
}

/// The events of `id` that a simulation would emit.
fn told(simulation: &Simulation, id: ContractId) -> Vec<Event> {
    let read = |event: &xdr::DiagnosticEvent| Event::read(id, &event.event).unwrap();
    simulation.events.iter().filter_map(read).collect()
}

#[tokio::test]
async fn a_channels_entries_and_events_are_read_through_its_life() {
    let world = World::start(TICK).await;
    let accounts = world.sandbox.accounts().clone();
    let (from, to) = (address(&accounts.payer), address(&accounts.recipient));
    let first = world.sandbox.ledger().latest().sequence;
    let id = opened(&world).await;
    let fresh = Instance {
        code: channel_code(),
        token: NETWORK.usdc().contract,
        from,
        to,
        commitment_key: commitments().key().to_bytes(),
        refund_waiting_period: 30,
        withdrawn: Amount::ZERO,
        close_effective_at: None,
    };
    let hundred = Balance { amount: units(100), authorized: true, clawback: false };
    assert_eq!(state(&world, id), (fresh.clone(), hundred));

    let payer = xdr::ContractId(xdr::Hash(id.0));
    world.sandbox.top_up(&payer, &accounts.payer, 7).await.unwrap();
    world.sandbox.close_start(&payer, &accounts.payer).await.unwrap();
    let last = world.sandbox.ledger().latest().sequence;
    let ending = Instance { close_effective_at: Some(last + 30), ..fresh.clone() };
    assert_eq!(state(&world, id), (ending, Balance { amount: units(107), ..hundred }));

    let events = world.sandbox.ledger().events(first, last);
    let events: Vec<Event> =
        events.iter().filter_map(|record| Event::read(id, &record.event).unwrap()).collect();
    let open = Event::Open {
        token: fresh.token,
        from,
        to,
        amount: units(100),
        commitment_key: fresh.commitment_key,
        refund_waiting_period: 30,
    };
    assert_eq!(events, [open, Event::Close { effective_at: last + 30 }]);
}

#[tokio::test]
async fn the_contract_takes_the_commitments_that_are_signed_here_and_no_others() {
    let world = World::start(TICK).await;
    let id = opened(&world).await;
    let accounts = world.sandbox.accounts();
    let (from, to) = (address(&accounts.payer), address(&accounts.recipient));
    let good = commitments().sign(NETWORK, id, units(60));
    let call = |make: fn(ContractId, &Commitment) -> xdr::InvokeContractArgs,
                commitment: &Commitment| {
        tried(&world, xdr::HostFunction::InvokeContract(make(id, commitment)))
    };
    let withdraw = Event::Withdraw { amount: units(60), to };
    let settled = call(channel::settle, &good).unwrap();
    assert_eq!(told(&settled, id), std::slice::from_ref(&withdraw));
    let closed = call(channel::close, &good).unwrap();
    let latest = world.sandbox.ledger().latest().sequence;
    let events = told(&closed, id);
    let [first, Event::Close { effective_at }, last] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!((first, last), (&withdraw, &Event::Refund { amount: units(40), from }));
    assert!((latest..=latest + 1).contains(effective_at), "{effective_at} in {latest}");

    for wrong in [
        commitments().sign(Network::Pubnet, id, units(60)),
        commitments().sign(NETWORK, ContractId([9; 32]), units(60)),
        CommitmentSeed::from_bytes(&[2; 32]).sign(NETWORK, id, units(60)),
        Commitment { amount: units(61), ..good },
        commitments().sign(NETWORK, id, units(101)),
    ] {
        assert!(call(channel::settle, &wrong).is_err(), "{wrong:?}");
        assert!(call(channel::close, &wrong).is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_channel_that_is_created_and_called_from_here_stands_where_it_should() {
    let world = World::start(TICK).await;
    let accounts = world.sandbox.accounts();
    let (from, to) = (address(&accounts.payer), address(&accounts.recipient));
    let opening = Opening {
        token: NETWORK.usdc().contract,
        from,
        commitment_key: commitments().key(),
        to,
        amount: units(100),
        refund_waiting_period: 30,
    };
    let expected = channel::contract_id(from, [8; 32], NETWORK);
    let created = tried(&world, opening.create(from, [8; 32], channel_code())).unwrap();
    assert_eq!(created.result, Some(xdr::ScVal::Address(expected.to_xdr())));
    assert!(matches!(told(&created, expected).as_slice(), [Event::Open { .. }]));

    let id = opened(&world).await;
    let invoked = |call| tried(&world, xdr::HostFunction::InvokeContract(call));
    assert!(invoked(channel::top_up(id, units(1))).is_ok());
    let started = invoked(channel::close_start(id)).unwrap();
    assert!(matches!(told(&started, id).as_slice(), [Event::Close { .. }]));
    // Nothing was closed: the second error of the contract.
    let refused = invoked(channel::refund(id)).unwrap_err();
    assert!(refused.contains("Error(Contract, #2)"), "{refused}");
}

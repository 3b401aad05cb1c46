//! A channel's entries age like all others: extended for a rent, archived, and restored.

use serde_json::json;
use stellar_xdr::{
    ExtendFootprintTtlOp, ExtensionPoint, LedgerFootprint, LedgerKey, OperationBody,
    RestoreFootprintOp, SorobanResources, SorobanTransactionData, SorobanTransactionDataExt,
    Transaction, TransactionExt, VecM,
};

use super::kit::{Channel, channel, instance_key, land};
use crate::support::{assemble, base64, call, next, simulate};

/// The ledgers that an entry lives when it is created or restored, the first one included.
const LIFE: u32 = 120_960;

#[tokio::test]
async fn a_channel_near_its_end_is_extended() {
    let it = channel(100).await;
    let opened = it.sandbox.ledger().latest().sequence;
    assert_eq!(live_until(&it).await, opened + LIFE - 1);
    it.sandbox.skip_ledgers(LIFE - 2).await;

    let extend = ExtendFootprintTtlOp { ext: ExtensionPoint::V0, extend_to: 50_000 };
    let landed = footprint_only(&it, OperationBody::ExtendFootprintTtl(extend)).await;
    assert_eq!(live_until(&it).await, landed + 50_000);
    it.sandbox.skip_ledgers(49_000).await;
    it.succeed(it.payee(), "settle", it.committed(30)).await;
    assert_eq!(it.holdings()[2], 30);
}

#[tokio::test]
async fn an_archived_channel_is_restored_and_pays() {
    let it = channel(100).await;
    it.sandbox.skip_ledgers(LIFE).await;
    assert!(live_until(&it).await < it.sandbox.ledger().latest().sequence);

    let restore = RestoreFootprintOp { ext: ExtensionPoint::V0 };
    let landed = footprint_only(&it, OperationBody::RestoreFootprint(restore)).await;
    assert_eq!(live_until(&it).await, landed + LIFE - 1);
    // The call restores what else it needs, the token's entries and both codes, by what its simulation names.
    it.succeed(it.payee(), "settle", it.committed(30)).await;
    assert_eq!(it.holdings()[2], 30);
}

#[tokio::test]
async fn a_call_of_an_archived_channel_restores_it_on_the_way() {
    let it = channel(100).await;
    it.sandbox.skip_ledgers(LIFE).await;
    it.succeed(it.payee(), "close", it.committed(45)).await;
    let landed = it.sandbox.ledger().latest().sequence;
    assert_eq!(live_until(&it).await, landed + LIFE - 1);
    assert_eq!(it.holdings()[0], 0);
    assert_eq!(it.holdings()[2], 45);
}

/// Carries out `body` over the channel's instance, as the payee, and answers the ledger that it landed in.
async fn footprint_only(it: &Channel, body: OperationBody) -> u32 {
    let instance: VecM<LedgerKey> = vec![instance_key(&it.id)].try_into().unwrap();
    let (read_only, read_write) = match &body {
        OperationBody::RestoreFootprint(_) => (VecM::default(), instance),
        _ => (instance, VecM::default()),
    };
    let draft = Transaction {
        ext: TransactionExt::V1(SorobanTransactionData {
            ext: SorobanTransactionDataExt::V0,
            resources: SorobanResources {
                footprint: LedgerFootprint { read_only, read_write },
                instructions: 0,
                disk_read_bytes: 0,
                write_bytes: 0,
            },
            resource_fee: 0,
        }),
        ..next(&it.sandbox, it.payee(), body).await
    };
    let simulated = simulate(&it.sandbox, &draft).await;
    assert!(simulated.get("error").is_none(), "{simulated}");
    let found = land(&it.sandbox, it.payee(), assemble(draft, &simulated)).await;
    assert_eq!(found["status"], "SUCCESS", "{found}");
    it.sandbox.ledger().latest().sequence
}

async fn live_until(it: &Channel) -> u32 {
    let keys = json!({ "keys": [base64(&instance_key(&it.id))] });
    let found = call(&it.sandbox, "getLedgerEntries", keys).await;
    found["entries"][0]["liveUntilLedgerSeq"].as_u64().unwrap().try_into().unwrap()
}

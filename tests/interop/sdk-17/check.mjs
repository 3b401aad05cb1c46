import assert from "node:assert/strict";
import * as sdk from "@stellar/stellar-sdk";
import { run } from "../shared/checks.mjs";

// Since version 17, XDR values are objects with plain properties, and simulations record the newer address credentials.
await run(sdk, {
  recordedCredentials: "sorobanCredentialsAddressV2",
  code: (result) => result.result.type,
  operationCode: (result) => {
    const { tr } = result.result.results[0];
    return tr[`${tr.type}Result`].type;
  },
  feeCharged: (result) => BigInt(result.feeCharged),
  credentials: (entry) => entry.credentials.type,
  balance: (entry) => BigInt(entry.balance),
  latestLedger: (latest) => {
    assert.equal(latest.headerXdr.ledgerSeq, latest.sequence);
    assert.equal(latest.headerXdr.ledgerVersion, 30);
    assert.ok(latest.metadataXdr);
  },
});

// Reads XDR values of stellar-sdk 14 and 15, where they are classes with accessor functions.

import assert from "node:assert/strict";

export const lens = {
  recordedCredentials: "sorobanCredentialsAddress",
  code: (result) => result.result().switch().name,
  operationCode: (result) => result.result().results()[0].tr().value().switch().name,
  feeCharged: (result) => BigInt(result.feeCharged().toString()),
  credentials: (entry) => entry.credentials().switch().name,
  balance: (entry) => BigInt(entry.balance().toString()),
  latestLedger: (latest) => assert.equal(Number(latest.protocolVersion), 30),
};

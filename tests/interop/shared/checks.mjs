// The conformance checks of the sandbox, for any version of @stellar/stellar-sdk.
//
// `sdk` is the module, `lens` reads the XDR values whose shape differs between versions. Every check prints one JSON line
// {"check", "ok", ...}; the process exits non-zero if one failed. The environment names the sandbox (STELLAR_RPC_TLS_URL,
// FRIENDBOT_URL, FAUCET_URL, STELLAR_SECRET_KEY, STELLAR_RECIPIENT, SPONSOR_SECRET).

import assert from "node:assert/strict";
import { report } from "./report.mjs";

const POLL = { attempts: 200, sleepStrategy: () => 50 };

export async function run(sdk, lens) {
  const { Keypair, Networks, Asset, Operation, Address, Contract, rpc, scValToNative } = sdk;
  const passphrase = Networks.TESTNET;
  const server = new rpc.Server(process.env.STELLAR_RPC_TLS_URL);
  const usdc = new Asset("USDC", "GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5");
  const token = new Contract(usdc.contractId(passphrase));
  const payer = Keypair.fromSecret(process.env.STELLAR_SECRET_KEY);
  const sponsor = Keypair.fromSecret(process.env.SPONSOR_SECRET);
  const recipient = process.env.STELLAR_RECIPIENT;
  const fresh = Keypair.random();

  const builder = (account, fee = "100") =>
    new sdk.TransactionBuilder(account, { fee, networkPassphrase: passphrase }).setTimeout(120);
  const build = async (source, ...operations) => {
    const b = builder(await server.getAccount(source.publicKey()));
    operations.forEach((operation) => b.addOperation(operation));
    return b.build();
  };
  const send = async (tx, ...signers) => {
    tx.sign(...signers);
    const sent = await server.sendTransaction(tx);
    assert.equal(sent.status, "PENDING", JSON.stringify(sent));
    return server.pollTransaction(sent.hash, POLL);
  };
  const transfer = (from, to, units, auth) =>
    Operation.invokeContractFunction({
      contract: token.contractId(),
      function: "transfer",
      args: [
        new Address(from).toScVal(),
        new Address(to).toScVal(),
        sdk.nativeToScVal(BigInt(units), { type: "i128" }),
      ],
      ...(auth && { auth }),
    });
  // Reads the balance through the contract itself, as a client that knows only SEP-41 does.
  const balance = async (address) => {
    const operation = Operation.invokeContractFunction({
      contract: token.contractId(),
      function: "balance",
      args: [new Address(address).toScVal()],
    });
    const simulated = await server.simulateTransaction(await build(sponsor, operation));
    assert.ok(rpc.Api.isSimulationSuccess(simulated), simulated.error);
    return scValToNative(simulated.result.retval);
  };
  const latest = async () => (await server.getLatestLedger()).sequence;
  const waitUntilPast = async (ledger) => {
    while ((await latest()) <= ledger) await new Promise((wake) => setTimeout(wake, 50));
  };
  // One transfer of `units` out of `payer`, its auth entry signed by `payer`, simulated with and without the signature.
  const authorized = async (units, expires) => {
    const draft = await build(sponsor, transfer(payer.publicKey(), recipient, units));
    const recorded = await server.simulateTransaction(draft);
    assert.ok(rpc.Api.isSimulationSuccess(recorded), recorded.error);
    assert.equal(recorded.result.auth.length, 1);
    const signed = await sdk.authorizeEntry(recorded.result.auth[0], payer, expires, passphrase);
    return { signed, data: recorded.transactionData.build(), fee: recorded.minResourceFee };
  };
  // The same operation with resources found earlier, so that what a simulation would refuse reaches the ledger.
  const forced = async (units, { signed, data, fee }) => {
    const account = await server.getAccount(sponsor.publicKey());
    return builder(account, (BigInt(fee) * 2n + 10_000n).toString())
      .addOperation(transfer(payer.publicKey(), recipient, units, [signed]))
      .setSorobanData(data)
      .build();
  };

  const checks = {
    async network() {
      const [health, network, version] = [
        await server.getHealth(),
        await server.getNetwork(),
        await server.getVersionInfo(),
      ];
      assert.equal(health.status, "healthy");
      assert.equal(network.passphrase, passphrase);
      assert.equal(Number(network.protocolVersion), 30);
      assert.equal(version.protocolVersion, 30);
      assert.equal(token.contractId(), "CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA");
    },

    async latest_ledger_moves() {
      const before = await server.getLatestLedger();
      assert.match(before.id, /^[0-9a-f]{64}$/);
      await waitUntilPast(before.sequence);
      lens.latestLedger(await server.getLatestLedger());
    },

    async fee_stats() {
      const stats = await server.getFeeStats();
      assert.equal(String(stats.inclusionFee.p50), "100");
      assert.equal(String(stats.sorobanInclusionFee.max), "100");
    },

    async account_from_friendbot() {
      const created = await server.requestAirdrop(fresh.publicKey());
      const read = await server.getAccount(fresh.publicKey());
      assert.equal(created.accountId(), fresh.publicKey());
      assert.equal(created.sequenceNumber(), read.sequenceNumber());
      const again = await fetch(`${process.env.FRIENDBOT_URL}?addr=${fresh.publicKey()}`);
      assert.equal(again.status, 400);
      assert.match((await again.json()).detail, /createAccountAlreadyExist/);
    },

    async missing_account_is_not_found() {
      await assert.rejects(server.getAccount(Keypair.random().publicKey()), /not found/i);
    },

    async failure_payment_without_trustline() {
      const operation = Operation.payment({
        destination: fresh.publicKey(),
        asset: usdc,
        amount: "1",
      });
      const failed = await send(await build(payer, operation), payer);
      assert.equal(failed.status, "FAILED");
      assert.equal(lens.code(failed.resultXdr), "txFailed");
      assert.equal(lens.operationCode(failed.resultXdr), "paymentNoTrust");
    },

    async failure_transfer_without_trustline() {
      const tx = await build(payer, transfer(payer.publicKey(), fresh.publicKey(), 1));
      const simulated = await server.simulateTransaction(tx);
      assert.ok(rpc.Api.isSimulationError(simulated));
      assert.match(simulated.error, /Error\(Contract, #13\)/);
      assert.ok(simulated.events.length > 0);
    },

    async failure_faucet_without_trustline() {
      const refused = await fetch(`${process.env.FAUCET_URL}?addr=${fresh.publicKey()}&amount=10`);
      assert.equal(refused.status, 400);
      assert.match((await refused.json()).detail, /changeTrust/);
    },

    async trustline_and_faucet() {
      const trusted = await send(await build(fresh, Operation.changeTrust({ asset: usdc })), fresh);
      assert.equal(trusted.status, "SUCCESS");
      assert.equal(lens.operationCode(trusted.resultXdr), "changeTrustSuccess");
      const paid = await fetch(`${process.env.FAUCET_URL}?addr=${fresh.publicKey()}&amount=2.5`);
      assert.equal(paid.status, 200, await paid.clone().text());
      assert.equal(await balance(fresh.publicKey()), 25_000_000n);
      const line = await server.getTrustline(fresh.publicKey(), usdc);
      assert.equal(lens.balance(line), 25_000_000n);
    },

    async transfer_with_source_auth() {
      const [before, payee] = [await balance(payer.publicKey()), await balance(recipient)];
      const tx = await build(payer, transfer(payer.publicKey(), recipient, 10_000));
      const simulated = await server.simulateTransaction(tx);
      assert.equal(lens.credentials(simulated.result.auth[0]), "sorobanCredentialsSourceAccount");
      assert.ok(simulated.stateChanges.length > 0);
      const done = await send(rpc.assembleTransaction(tx, simulated).build(), payer);
      assert.equal(done.status, "SUCCESS", JSON.stringify(done));
      assert.equal(lens.code(done.resultXdr), "txSuccess");
      assert.equal(scValToNative(done.returnValue) ?? null, null);
      assert.equal(await balance(payer.publicKey()), before - 10_000n);
      assert.equal(await balance(recipient), payee + 10_000n);
    },

    async transfer_with_signed_auth_by_a_third_party() {
      const [before, payee] = [await balance(payer.publicKey()), await balance(recipient)];
      const { signed } = await authorized(20_000, (await latest()) + 60);
      assert.equal(lens.credentials(signed), lens.recordedCredentials);
      const tx = await build(sponsor, transfer(payer.publicKey(), recipient, 20_000, [signed]));
      const enforced = await server.simulateTransaction(tx);
      assert.ok(rpc.Api.isSimulationSuccess(enforced), enforced.error);
      const done = await send(rpc.assembleTransaction(tx, enforced).build(), sponsor);
      assert.equal(done.status, "SUCCESS", JSON.stringify(done));
      assert.equal(await balance(payer.publicKey()), before - 20_000n);
      assert.equal(await balance(recipient), payee + 20_000n);
    },

    async fee_bump() {
      const stroops = async () => lens.balance(await server.getAccountEntry(fresh.publicKey()));
      const before = await stroops();
      const inner = await build(
        fresh,
        Operation.payment({ destination: recipient, asset: usdc, amount: "0.1" }),
      );
      inner.sign(fresh);
      const bump = sdk.TransactionBuilder.buildFeeBumpTransaction(sponsor, "500", inner, passphrase);
      const done = await send(bump, sponsor);
      assert.equal(done.status, "SUCCESS", JSON.stringify(done));
      assert.equal(done.feeBump, true);
      assert.equal(lens.code(done.resultXdr), "txFeeBumpInnerSuccess");
      const found = await server.getTransaction(Buffer.from(inner.hash()).toString("hex"));
      assert.equal(found.status, "SUCCESS");
      assert.equal(await stroops(), before);
    },

    async fee_bump_of_a_transfer() {
      const tx = await build(payer, transfer(payer.publicKey(), recipient, 5_000));
      const inner = await server.prepareTransaction(tx);
      inner.sign(payer);
      const fee = (BigInt(inner.fee) * 2n).toString();
      const bump = sdk.TransactionBuilder.buildFeeBumpTransaction(sponsor, fee, inner, passphrase);
      const done = await send(bump, sponsor);
      assert.equal(done.status, "SUCCESS", JSON.stringify(done));
      assert.equal(done.events.contractEventsXdr.flat().length, 1);
    },

    async events() {
      const startLedger = await latest();
      const tx = await build(payer, transfer(payer.publicKey(), recipient, 7));
      const done = await send(await server.prepareTransaction(tx), payer);
      const topic = (value, type) => sdk.nativeToScVal(value, { type }).toXDR("base64");
      const filter = (first) => ({
        type: "contract",
        contractIds: [token.contractId()],
        topics: [[topic(first, "symbol"), topic(payer.publicKey(), "address"), "*", "**"]],
      });
      const page = await server.getEvents({ startLedger, filters: [filter("transfer")], limit: 10 });
      const ours = page.events.filter((event) => event.txHash === done.txHash);
      assert.equal(ours.length, 1);
      const [event] = ours;
      assert.deepEqual(event.topic.map(scValToNative), [
        "transfer",
        payer.publicKey(),
        recipient,
        `USDC:${usdc.getIssuer()}`,
      ]);
      assert.equal(scValToNative(event.value), 7n);
      assert.equal(event.type, "contract");
      assert.equal(event.ledger, done.ledger);
      assert.equal(String(event.contractId), token.contractId());
      assert.equal(Date.parse(event.ledgerClosedAt) / 1000, Number(done.createdAt));
      const rest = await server.getEvents({ cursor: page.cursor, filters: [filter("transfer")] });
      assert.equal(rest.events.length, 0);
      const none = await server.getEvents({ startLedger, filters: [filter("burn")] });
      assert.equal(none.events.length, 0);
      await assert.rejects(
        server.getEvents({ startLedger: startLedger + 100_000, filters: [] }),
        (error) => error.code === -32600 && /must be within the ledger range/.test(error.message),
      );
    },

    async failure_balance_too_low() {
      const tx = await build(payer, transfer(payer.publicKey(), recipient, 10n ** 15n));
      const simulated = await server.simulateTransaction(tx);
      assert.match(simulated.error, /Error\(Contract, #10\)/);
    },

    async failure_replayed_nonce() {
      const once = await authorized(30_000, (await latest()) + 60);
      const first = await send(await forced(30_000, once), sponsor);
      assert.equal(first.status, "SUCCESS", JSON.stringify(first));
      const before = await balance(payer.publicKey());
      const again = await forced(30_000, once);
      const simulated = await server.simulateTransaction(again);
      assert.match(simulated.error, /Error\(Auth, ExistingValue\)/);
      const failed = await send(again, sponsor);
      assert.equal(failed.status, "FAILED");
      assert.equal(lens.operationCode(failed.resultXdr), "invokeHostFunctionTrapped");
      assert.ok(lens.feeCharged(failed.resultXdr) > 0n);
      assert.equal(await balance(payer.publicKey()), before);
    },

    async failure_expired_auth() {
      const expires = (await latest()) + 1;
      const once = await authorized(40_000, expires);
      await waitUntilPast(expires);
      const late = await forced(40_000, once);
      const simulated = await server.simulateTransaction(late);
      assert.match(simulated.error, /Error\(Auth, InvalidInput\)/);
      const failed = await send(late, sponsor);
      assert.equal(failed.status, "FAILED");
      assert.equal(lens.operationCode(failed.resultXdr), "invokeHostFunctionTrapped");
    },

    async failure_tampered_amount() {
      const once = await authorized(50_000, (await latest()) + 60);
      const simulated = await server.simulateTransaction(await forced(50_001, once));
      assert.match(simulated.error, /Error\(Auth, InvalidAction\)/);
    },

    async failure_bad_sequence() {
      const tx = await build(payer, Operation.bumpSequence({ bumpTo: "0" }));
      const stale = builder(new sdk.Account(payer.publicKey(), (BigInt(tx.sequence) + 5n).toString()))
        .addOperation(Operation.bumpSequence({ bumpTo: "0" }))
        .build();
      stale.sign(payer);
      const sent = await server.sendTransaction(stale);
      assert.equal(sent.status, "ERROR");
      assert.equal(lens.code(sent.errorResult), "txBadSeq");
    },

    async failure_wrong_signer() {
      const tx = await build(payer, Operation.bumpSequence({ bumpTo: "0" }));
      tx.sign(Keypair.random());
      const sent = await server.sendTransaction(tx);
      assert.equal(sent.status, "ERROR");
      assert.equal(lens.code(sent.errorResult), "txBadAuth");
    },

    async one_waiting_transaction_an_account() {
      for (;;) {
        const account = await server.getAccount(fresh.publicKey());
        const one = builder(account).addOperation(Operation.bumpSequence({ bumpTo: "0" })).build();
        const two = builder(account).addOperation(Operation.bumpSequence({ bumpTo: "0" })).build();
        one.sign(fresh);
        two.sign(fresh);
        const before = await latest();
        const answers = [];
        for (const tx of [one, one, two]) answers.push(await server.sendTransaction(tx));
        const done = await server.pollTransaction(answers[0].hash, POLL);
        assert.equal(done.status, "SUCCESS");
        // A ledger that closed in between has let the first one out: the answers then say nothing, and the second one may
        // still wait, with the very bytes that the next try would send.
        if (answers.some((answer) => answer.latestLedger !== before)) {
          await waitUntilPast(await latest());
          continue;
        }
        assert.deepEqual(
          answers.map((answer) => answer.status),
          ["PENDING", "DUPLICATE", "TRY_AGAIN_LATER"],
        );
        return;
      }
    },

    async unknown_transaction_is_not_found() {
      const found = await server.getTransaction("00".repeat(32));
      assert.equal(found.status, "NOT_FOUND");
      assert.ok(found.latestLedger >= found.oldestLedger);
    },

    async transactions_by_ledger() {
      const done = await send(await build(payer, Operation.bumpSequence({ bumpTo: "0" })), payer);
      const page = await server.getTransactions({ startLedger: done.ledger, pagination: { limit: 50 } });
      assert.ok(page.transactions.some((tx) => tx.txHash === done.txHash && tx.status === "SUCCESS"));
    },
  };

  await report(checks);
}

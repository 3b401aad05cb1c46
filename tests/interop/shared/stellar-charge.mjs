// The `charge` intent of the `stellar` method for the client of mppx: what the wallet of an agent does between a challenge
// and its credential. mppx does all the rest. Written from the wire reference, for @stellar/stellar-sdk 15.
//
// Node resolves packages from the folder of the file that imports them, and this one serves several: they are arguments.

const ZERO_ACCOUNT = "GAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAWHF";
const BASE_FEE = "100";
const SECONDS_A_LEDGER = 5;
// How long a payment lives when its challenge names no end.
const SECONDS = 180;
const POLL = { attempts: 600, sleepStrategy: () => 50 };

/** The method as a server names it, too: its fields and what they may be. */
export function stellarChargeMethod({ Method, z }) {
  return Method.from({
    name: "stellar",
    intent: "charge",
    schema: {
      credential: {
        payload: z.discriminatedUnion("type", [
          z.object({ type: z.literal("transaction"), transaction: z.string() }),
          z.object({ type: z.literal("signedHash"), hash: z.string(), sourceSignature: z.string() }),
        ]),
      },
      request: z.object({
        amount: z.string(),
        currency: z.string(),
        recipient: z.string(),
        externalId: z.optional(z.string()),
        methodDetails: z.object({
          network: z.string(),
          feePayer: z.optional(z.boolean()),
          credentialTypes: z.optional(z.array(z.string())),
        }),
      }),
    },
  });
}

/**
 * Pays from the account of `secret` through the RPC at `rpcUrl`. `mode` is `pull`, where the server submits the transfer and
 * pays its fee if it says so, or `push`, where the client does. `say` is told each step.
 */
export function stellarCharge(mppx, sdk, { secret, rpcUrl, mode = "pull", say = () => {} }) {
  const payer = sdk.Keypair.fromSecret(secret);
  const server = new sdk.rpc.Server(rpcUrl);
  return mppx.Method.toClient(stellarChargeMethod(mppx), {
    async createCredential({ challenge }) {
      const asked = read(challenge, sdk);
      say(`challenge ${challenge.id}: ${asked.amount} to ${asked.recipient}`);
      const payload =
        mode === "push"
          ? await push(sdk, server, payer, asked, challenge, say)
          : await pull(sdk, server, payer, asked, say);
      const source = `did:pkh:${asked.network}:${payer.publicKey()}`;
      return mppx.Credential.serialize({ challenge, payload, source });
    },
  });
}

/** What the payer's key says about a transfer that it made: that it pays this challenge, and no other. */
export function signHash(payer, id, hash) {
  return payer.sign(Buffer.from(`${id}:${hash.toLowerCase()}`)).toString("hex");
}

/** The signed form of an auth entry, good until the ledger `validUntil`. */
export function signEntry(sdk, entry, payer, validUntil, passphrase) {
  return sdk.authorizeEntry(entry, payer, validUntil, passphrase);
}

/** The one operation of a payment. */
export function transfer(sdk, { currency, recipient, amount }, from) {
  return sdk.Operation.invokeContractFunction({
    contract: currency,
    function: "transfer",
    args: [
      new sdk.Address(from).toScVal(),
      new sdk.Address(recipient).toScVal(),
      sdk.nativeToScVal(BigInt(amount), { type: "i128" }),
    ],
  });
}

async function pull(sdk, server, payer, asked, say) {
  if (asked.types !== undefined && !asked.types.includes("transaction")) {
    throw new Error("this server takes no transactions");
  }
  if (!asked.feePayer) {
    const transaction = await ownTransaction(sdk, server, payer, asked);
    say("signed the transaction");
    return { type: "transaction", transaction: transaction.toXDR() };
  }
  // Whoever pays the fee puts its own account in the place of this one.
  const source = new sdk.Account(ZERO_ACCOUNT, "0");
  const assembled = await assemble(sdk, server, build(sdk, source, payer, asked));
  const left = asked.expires === undefined ? SECONDS : Math.max(asked.expires - Date.now() / 1000, 0);
  const spare = asked.expires === undefined ? 10 : 0;
  const { sequence } = await server.getLatestLedger();
  const validUntil = sequence + Math.ceil(left / SECONDS_A_LEDGER) + spare;

  const envelope = assembled.toEnvelope();
  const call = envelope.v1().tx().operations()[0].body().invokeHostFunctionOp();
  const entries = call.auth().map((entry) => signEntry(sdk, entry, payer, validUntil, asked.passphrase));
  call.auth(await Promise.all(entries));
  say(`signed the auth entry until ledger ${validUntil}`);
  return { type: "transaction", transaction: envelope.toXDR("base64") };
}

async function push(sdk, server, payer, asked, challenge, say) {
  if (asked.feePayer) throw new Error("who pushes pays its own fee");
  if (!asked.types?.includes("signedHash")) throw new Error("this server takes no signed hashes");
  const transaction = await ownTransaction(sdk, server, payer, asked);
  say("signed the transaction");
  const sent = await server.sendTransaction(transaction);
  if (sent.status === "ERROR" || sent.status === "DUPLICATE") {
    throw new Error(`the ledger answers ${sent.status}: ${JSON.stringify(sent.errorResult)}`);
  }
  say(`submitted ${sent.hash}`);
  const done = await server.pollTransaction(sent.hash, POLL);
  if (done.status !== "SUCCESS") throw new Error(`${sent.hash} is ${done.status}`);
  say(`settled ${sent.hash}`);
  const sourceSignature = signHash(payer, challenge.id, sent.hash);
  return { type: "signedHash", hash: sent.hash, sourceSignature };
}

/** The transfer from the payer's own account, assembled and signed. */
async function ownTransaction(sdk, server, payer, asked) {
  const source = await server.getAccount(payer.publicKey());
  const assembled = await assemble(sdk, server, build(sdk, source, payer, asked));
  assembled.sign(payer);
  return assembled;
}

function build(sdk, source, payer, asked) {
  const builder = new sdk.TransactionBuilder(source, {
    fee: BASE_FEE,
    networkPassphrase: asked.passphrase,
    timebounds: { minTime: 0, maxTime: Math.floor(asked.expires ?? Date.now() / 1000 + SECONDS) },
  });
  return builder.addOperation(transfer(sdk, asked, payer.publicKey())).build();
}

async function assemble(sdk, server, transaction) {
  const simulated = await server.simulateTransaction(transaction);
  if (sdk.rpc.Api.isSimulationError(simulated)) {
    throw new Error(`the transfer cannot be made: ${simulated.error}`);
  }
  return sdk.rpc.assembleTransaction(transaction, simulated).build();
}

/** What the challenge asks for. */
function read({ request, expires }, { Networks }) {
  const { amount, currency, recipient, methodDetails = {} } = request;
  const network = methodDetails.network ?? "stellar:testnet";
  const passphrase = { "stellar:testnet": Networks.TESTNET, "stellar:pubnet": Networks.PUBLIC }[network];
  if (passphrase === undefined) throw new Error(`no such network: ${network}`);
  return {
    amount,
    currency,
    recipient,
    network,
    passphrase,
    feePayer: methodDetails.feePayer === true,
    types: methodDetails.credentialTypes,
    // Seconds since 1970, as the ledger counts.
    expires: expires === undefined ? undefined : Date.parse(expires) / 1000,
  };
}

// A server of mppx that sells the weather by `stellar` charge, and settles what it is given on the ledger: it shows that the
// client of these tests is understood by others than the gateway. It prints its URL and serves until it is killed.
//
// It looks at no more than it needs to settle: a server that is owed money checks a good deal else.
//
// The environment: STELLAR_RPC_TLS_URL, STELLAR_RECIPIENT, USDC_CONTRACT, and SPONSOR_SECRET if it is to pay the fee of what
// it settles, SPONSORED=true.

import { createServer } from "node:http";
import { stellarChargeMethod } from "./stellar-charge.mjs";

const POLL = { attempts: 600, sleepStrategy: () => 50 };

export async function serve(mppx, { Mppx }, sdk) {
  const { STELLAR_RPC_TLS_URL, STELLAR_RECIPIENT, USDC_CONTRACT } = process.env;
  const sponsor = process.env.SPONSORED === "true" && sdk.Keypair.fromSecret(process.env.SPONSOR_SECRET);
  const ledger = new sdk.rpc.Server(STELLAR_RPC_TLS_URL);
  const passphrase = sdk.Networks.TESTNET;

  const submit = async (transaction) => {
    const sent = await ledger.sendTransaction(transaction);
    if (sent.status !== "PENDING") throw new Error(`the ledger answers ${sent.status}`);
    return settled(sent.hash);
  };
  const settled = async (hash) => {
    const done = await ledger.pollTransaction(hash, POLL);
    if (done.status !== "SUCCESS") throw new Error(`${hash} is ${done.status}`);
    return hash;
  };
  // The same operation from the sponsor's account.
  const sponsored = async (transaction) => {
    const operation = transaction.toEnvelope().v1().tx().operations()[0];
    const source = await ledger.getAccount(sponsor.publicKey());
    const options = { fee: "100", networkPassphrase: passphrase, timebounds: transaction.timeBounds };
    const rebuilt = new sdk.TransactionBuilder(source, options).addOperation(operation).build();
    const prepared = await ledger.prepareTransaction(rebuilt);
    prepared.sign(sponsor);
    return submit(prepared);
  };
  const pushed = async ({ hash, sourceSignature }, { challenge, source }) => {
    const payer = sdk.Keypair.fromPublicKey(source.split(":").at(-1));
    const bound = Buffer.from(`${challenge.id}:${hash}`);
    if (!payer.verify(bound, Buffer.from(sourceSignature, "hex"))) throw new Error("not bound");
    return settled(hash);
  };

  const method = mppx.Method.toServer(stellarChargeMethod(mppx), {
    async verify({ credential }) {
      const { payload } = credential;
      const transaction = () => sdk.TransactionBuilder.fromXDR(payload.transaction, passphrase);
      let reference;
      if (payload.type === "signedHash") reference = await pushed(payload, credential);
      else if (sponsor) reference = await sponsored(transaction());
      else reference = await submit(transaction());
      const timestamp = new Date().toISOString();
      return mppx.Receipt.from({ method: "stellar", reference, status: "success", timestamp });
    },
  });
  const payment = Mppx.create({
    methods: [method],
    realm: "shop.example.com",
    secretKey: "a secret of the tests, of at least 32 bytes",
  });
  const price = payment.charge({
    amount: "10000",
    currency: USDC_CONTRACT,
    recipient: STELLAR_RECIPIENT,
    description: "the weather",
    methodDetails: {
      network: "stellar:testnet",
      credentialTypes: sponsor ? ["transaction"] : ["transaction", "signedHash"],
      ...(sponsor && { feePayer: true }),
    },
  });
  const server = createServer(async (request, response) => {
    try {
      const { status } = await Mppx.toNodeListener(price)(request, response);
      if (status === 402) return;
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ sky: "clear" }));
    } catch (error) {
      console.error(error);
      response.writeHead(500).end();
    }
  });
  server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
}

// A facilitator made of the reference packages at 2.9.0: /verify, /settle and /supported, each only with the Bearer key BEARER.
// Settles from FACILITATOR_SECRET over STELLAR_RPC_TLS_URL. Prints its URL, serves until killed.

import "../shared/offline.mjs";
import express from "express";
import { x402Facilitator } from "@x402/core/facilitator";
import { createEd25519Signer } from "@x402/stellar";
import { ExactStellarScheme } from "@x402/stellar/exact/facilitator";

const { FACILITATOR_SECRET, BEARER, STELLAR_RPC_TLS_URL, MAX_FEE_STROOPS } = process.env;
const signer = createEd25519Signer(FACILITATOR_SECRET, "stellar:testnet");
const scheme = new ExactStellarScheme([signer], {
  rpcConfig: { url: STELLAR_RPC_TLS_URL },
  ...(MAX_FEE_STROOPS && { maxTransactionFeeStroops: Number(MAX_FEE_STROOPS) }),
});
const facilitator = new x402Facilitator().register("stellar:testnet", scheme);

const app = express();
app.use((request, response, next) => {
  if (request.get("authorization") === `Bearer ${BEARER}`) return next();
  response.status(401).json({ error: "Unauthorized" });
});
app.use(express.json({ limit: "64kb" }));
app.get("/supported", (_, response) => response.json(facilitator.getSupported()));
for (const step of ["verify", "settle"]) {
  app.post(`/${step}`, async (request, response) => {
    const { paymentPayload, paymentRequirements } = request.body;
    try {
      response.json(await facilitator[step](paymentPayload, paymentRequirements));
    } catch (error) {
      response.status(500).json({ error: String(error?.message ?? error) });
    }
  });
}
const listener = app.listen(0, "127.0.0.1", () =>
  console.log(`http://127.0.0.1:${listener.address().port}`),
);

// A reference resource server at 2.9.0: GET /weather at $0.001, paid to PAY_TO through the facilitator at FACILITATOR_URL with
// the Bearer key FACILITATOR_KEY. Prints its URL, serves until killed. GET /hits says how often the handler ran.

import "../shared/offline.mjs";
import express from "express";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import { ExactStellarScheme } from "@x402/stellar/exact/server";

const { FACILITATOR_URL, FACILITATOR_KEY, PAY_TO } = process.env;
const bearer = { Authorization: `Bearer ${FACILITATOR_KEY}` };
const facilitator = new HTTPFacilitatorClient({
  url: FACILITATOR_URL,
  createAuthHeaders: async () => ({ verify: bearer, settle: bearer, supported: bearer }),
});
const server = new x402ResourceServer(facilitator).register(
  "stellar:testnet",
  new ExactStellarScheme(),
);
const accepts = {
  scheme: "exact",
  price: "$0.001",
  network: "stellar:testnet",
  payTo: PAY_TO,
  maxTimeoutSeconds: 60,
};

let hits = 0;
const app = express();
app.get("/hits", (_, response) => response.type("text").send(String(hits)));
app.use(paymentMiddleware({ "GET /weather": { accepts, description: "The weather" } }, server));
app.get("/weather", (_, response) => {
  hits += 1;
  response.json({ sky: "clear" });
});
const listener = app.listen(0, "127.0.0.1", () =>
  console.log(`http://127.0.0.1:${listener.address().port}`),
);

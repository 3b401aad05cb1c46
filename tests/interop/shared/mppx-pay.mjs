// Pays one request with the client of `mppx`, its `stellar` charge method that of ./stellar-charge.mjs, and prints what came
// back as one JSON line: that of ./pay.mjs with {receipt, credentials} in the place of `paymentResponse`: the decoded
// Payment-Receipt or null, and the credentials that were signed for it.
//
// The environment: CLIENT_SECRET, STELLAR_RPC_TLS_URL, MODE (`pull` or `push`), PAGE (the origin of the web page that pays;
// there mppx sends other origins no Accept-Payment). Progress goes to stderr.

import { fromPageOf } from "./other-origin.mjs";
import { pay } from "./pay.mjs";
import { stellarCharge } from "./stellar-charge.mjs";

export async function payWithMppx(mppx, { Mppx }, sdk) {
  const { CLIENT_SECRET, STELLAR_RPC_TLS_URL, MODE, PAGE } = process.env;
  const method = stellarCharge(mppx, sdk, {
    secret: CLIENT_SECRET,
    rpcUrl: STELLAR_RPC_TLS_URL,
    mode: MODE ?? "pull",
    say: (step) => console.error(step),
  });
  const client = Mppx.create({
    methods: [method],
    polyfill: false,
    ...(PAGE && { fetch: fromPageOf(PAGE), acceptPaymentPolicy: "never" }),
  });
  const credentials = [];
  client.onCredentialCreated(({ credential }) => credentials.push(credential));
  await pay(client.fetch, (response) => {
    const receipt = response.headers.get("payment-receipt");
    return { receipt: receipt === null ? null : mppx.Receipt.deserialize(receipt), credentials };
  });
}
